"""`Encyclopedia`: the pages of an invented world with a full-text index, built once and kept on disk."""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path

from ludus.tools.errors import UserError
from ludus.tools.files import cache_directory
from ludus.tools.services.world import Page, World, invent, pages

PAGES = 10_000
NAMESAKES = 0.2
OUTDATED = 0.2
COMMON = 200
"""Words on more pages than this are common: ranking all their pages would take too long. No name is
common."""
_DIGEST_BYTES = 32
_UNFINISHED = "building-"
_SOURCES = (
    ("ludus.tools.services.geography", ("names.py", "places.py")),
    ("ludus.tools.services.world", ("relations.py", "vocabulary.py", "world.py", "prose.py")),
    ("ludus.tools.services.search", ("encyclopedia.py",)),
)
"""The code that determines the pages."""


class CacheError(UserError):
    """The cache folder cannot be read or written."""


class Encyclopedia:
    """Pages in their versions, and an index of them; one object for each world. It never changes, and any
    thread may use it: each has its own connection to the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        rows = self.connection.execute("SELECT id, entity, title, date, text FROM page ORDER BY rowid")
        self.pages = tuple(Page(*row) for row in rows)
        """By row of the index: the current version of each entity's page, in the entities' order, then the
        earlier versions."""
        self.titles = tuple(page.title.lower().replace(",", "") for page in self.pages)
        self.texts = tuple(page.text.lower().replace("\n", ".") for page in self.pages)
        """As searched: in lower case, with a full stop after each sentence and line."""
        self.rows = {page.id: row for row, page in enumerate(self.pages)}
        self.earlier: dict[int, int] = {}
        """By row of a changed page's current version: the row of the version before."""
        entities = len(self.pages)
        for row, page in enumerate(self.pages):
            if page.entity != row:
                entities = min(entities, row)
                self.earlier[page.entity] = row
        self.entities = entities
        """The number of current versions: rows from here on are earlier ones."""

    @cached_property
    def world(self) -> World:
        """The facts behind the pages, for those who ask questions, never for those who answer."""
        ((text,),) = self.connection.execute("SELECT facts FROM world")
        return World.read(json.loads(text))

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection, in this process: a connection does not survive a fork."""
        local = self._local
        if getattr(local, "process", None) != os.getpid():
            # Existing files are never written to, only replaced.
            local.connection = sqlite3.connect(f"{self._path.as_uri()}?mode=ro&immutable=1", uri=True)
            local.connection.execute("PRAGMA mmap_size = 268435456")
            local.process = os.getpid()
        return local.connection


_building = threading.Lock()


def encyclopedia(
    seed: int = 0, size: int = PAGES, namesakes: float = NAMESAKES, outdated: float = OUTDATED
) -> Encyclopedia:
    """The encyclopedia of a world: from memory, else from disk, else built and saved.

    Files lie in the cache `search` (see `ludus.tools.files.cache_directory`), one for each world and version
    of the code that makes it. A damaged one is rebuilt.

    Args:
        size: the number of pages, not counting earlier versions.
        namesakes: the share of people and companies with nearly the same name as another.
        outdated: the share of pages that have an earlier version, too.

    Raises:
        ValueError: see `world.invent`.
        CacheError: the folder cannot be read or written.
    """
    with _building:
        return _encyclopedia(seed, size, float(namesakes), float(outdated))


@lru_cache(maxsize=8)
def _encyclopedia(seed: int, size: int, namesakes: float, outdated: float) -> Encyclopedia:
    key = hashlib.blake2b(
        f"{_code()} {seed} {size} {namesakes!r} {outdated!r}".encode(), digest_size=12
    ).hexdigest()
    path = cache_folder() / f"{key}.sqlite"
    if not _is_whole(path):
        _build(path, seed, size, namesakes, outdated)
    return Encyclopedia(path)


def cache_folder() -> Path:
    """
    Raises:
        CacheError: no folder is writable.
    """
    try:
        return cache_directory("search").absolute()
    except OSError as error:
        raise _no_cache(Path(error.filename or "the cache"), error) from error


@lru_cache(maxsize=1)
def _code() -> str:
    code = hashlib.blake2b(digest_size=16)
    for package, names in _SOURCES:
        for name in names:
            code.update(resources.files(package).joinpath(name).read_bytes())
    return code.hexdigest()


def _digest(path: Path, length: int) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    with path.open("rb") as file:
        while length > 0 and (part := file.read(min(length, 1 << 20))):
            digest.update(part)
            length -= len(part)
    return digest.digest()


def _is_whole(path: Path) -> bool:
    """Whether a file exists and ends with the digest of everything before."""
    try:
        length = path.stat().st_size - _DIGEST_BYTES
        with path.open("rb") as file:
            file.seek(max(0, length))
            return length > 0 and file.read() == _digest(path, length)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _no_cache(path.parent, error) from error


def _build(path: Path, seed: int, size: int, namesakes: float, outdated: float) -> None:
    """Write a world's file beside its place, and move it there when complete: if two processes build the same
    one at once, the second replaces it with the same content."""
    world = invent(seed, size, namesakes, outdated)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=_UNFINISHED))
        try:
            file = folder / "index.sqlite"
            with closing(sqlite3.connect(file)) as connection:
                _fill(connection, world, seed)
            whole = _digest(file, file.stat().st_size)
            # SQLite reads as many pages as the header says, and ignores what follows.
            with file.open("ab") as end:
                end.write(whole)
            os.replace(file, path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except (OSError, sqlite3.OperationalError) as error:
        raise _no_cache(path.parent, error) from error


def _sweep(folder: Path) -> None:
    """Remove what processes killed while building left behind."""
    for left in folder.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > 3600:
                shutil.rmtree(left, ignore_errors=True)


def _no_cache(folder: Path, error: Exception) -> CacheError:
    return CacheError(
        f"the search index cannot be kept in {folder} ({error}): make room or mend the permissions, or set "
        "XDG_CACHE_HOME to another folder"
    )


def _fill(connection: sqlite3.Connection, world: World, seed: int) -> None:
    connection.executescript(
        """
        PRAGMA page_size = 8192; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
        CREATE TABLE world (facts TEXT);
        CREATE TABLE page (
            rowid INTEGER PRIMARY KEY, id TEXT, entity INTEGER, title TEXT, date TEXT, text TEXT
        );
        CREATE VIRTUAL TABLE words USING fts5(
            title, text, content = '', tokenize = "unicode61 remove_diacritics 2"
        );
        CREATE TABLE common (word TEXT PRIMARY KEY, pages INTEGER);
        """
    )
    written = pages(world, seed)
    rows: Iterator[tuple[object, ...]] = (
        (row, page.id, page.entity, page.title, page.date, page.text) for row, page in enumerate(written)
    )
    with connection:
        connection.execute("INSERT INTO world VALUES (?)", (json.dumps(world.plain()),))
        connection.executemany("INSERT INTO page VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.executemany(
            "INSERT INTO words (rowid, title, text) VALUES (?, ?, ?)",
            ((row, page.title, page.text) for row, page in enumerate(written)),
        )
    connection.executescript(
        f"""
        INSERT INTO words (words) VALUES ('optimize');
        CREATE VIRTUAL TABLE spread USING fts5vocab(words, row);
        INSERT INTO common SELECT term, doc FROM spread WHERE doc > {COMMON};
        DROP TABLE spread;
        """
    )
