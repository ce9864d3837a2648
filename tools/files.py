"""Files and folders written whole or not at all: a process killed half-way leaves no partial file."""

import functools
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing_file(target: Path) -> Iterator[Path]:
    """A path to write to, which replaces `target` once the block has ended and its bytes are on disk. If the
    block raises, `target` stays as it was and nothing else is left behind.

    Raises:
        OSError: the file could not be written; it names `target`.
    """
    scratch = _scratch(target)
    try:
        with _naming(target, scratch):
            yield scratch
            _flush(scratch)
            scratch.replace(target)
            _flush(target.parent)
    finally:
        scratch.unlink(missing_ok=True)


def write_file(target: Path, content: bytes | str) -> Path:
    """Write a file's whole content, text in UTF-8, and return its path.

    Raises:
        OSError: as `replacing_file`.
    """
    with replacing_file(target) as scratch:
        scratch.write_bytes(content.encode() if isinstance(content, str) else content)
    return target


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """An empty folder to fill, which replaces `target` once the block has ended and its content is on disk.
    If the block raises, `target` stays as it was. The parent folder of `target` must exist.

    Raises:
        OSError: the folder could not be written; it names `target`.
    """
    scratch = _scratch(target)
    try:
        with _naming(target, scratch):
            scratch.mkdir()
            yield scratch
            for path in scratch.rglob("*"):
                _flush(path)
            _flush(scratch)
            remove_folder(target)
            scratch.rename(target)
            _flush(target.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder, if it exists, so that others see all of it or nothing.

    Raises:
        OSError: it cannot be removed.
    """
    if not folder.exists():
        return
    doomed = folder.parent / f".{folder.name}.{os.getpid()}.removed"
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written or half-removed in `folder` and below. Only
    for a folder that no other process is writing to."""
    for path in sorted([*folder.rglob(".*.partial"), *folder.rglob(".*.removed")]):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def cache_directory(name: str, variable: str = "") -> Path:
    """This user's folder for one kind of cache, created if necessary.

    It is the value of the environment variable `variable`, else `$XDG_CACHE_HOME/ludus/NAME`, else
    `~/.cache/ludus/NAME`; if that is not writable, a folder of this user's in the system's temporary
    directory, which is logged once.

    Raises:
        OSError: the folder that `variable` names, or even the temporary one, cannot be written to.
    """
    if variable and (chosen := os.environ.get(variable)):
        return _writable(Path(chosen))
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    wanted = Path(home) / "ludus" / name
    try:
        return _writable(wanted)
    except OSError as error:
        shared = Path(tempfile.gettempdir()) / f"ludus-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
        folder = _writable(shared / name, private=shared)
        _tell_once(f"{wanted} cannot be written to ({error.strerror}): {folder} is the cache instead")
        return folder


@functools.cache
def _tell_once(text: str) -> None:
    logging.getLogger("ludus").warning(text)


def _writable(folder: Path, private: Path | None = None) -> Path:
    if private is not None:
        # In a directory that anybody can write to, a folder with that name may belong to somebody else.
        private.mkdir(mode=0o700, exist_ok=True)
        if hasattr(os, "getuid") and private.stat().st_uid != os.getuid():
            raise PermissionError(f"{private} belongs to another user")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return folder


def _scratch(target: Path) -> Path:
    return target.parent / f".{target.name}.{os.getpid()}.partial"


@contextmanager
def _naming(target: Path, scratch: Path) -> Iterator[None]:
    """Make an OSError about `scratch`, which the caller does not know, name `target`."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(error.filename) == scratch:
            error.filename = str(target)
        raise


def _flush(path: Path) -> None:
    """Return once a file's content, or a folder's list of entries, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
