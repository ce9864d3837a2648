"""The identity of what a folder holds: a dataclass of settings in a file there, all of which must match to go
on."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ludus.tools.errors import UserError
from ludus.tools.files import write_file


def has_begun(path: Path, settings: Any, noun: str, error: type[UserError] = UserError) -> bool:
    """Whether it has begun in the folder of `path`; if not, it may.

    Args:
        path: the file with the settings.
        settings: a dataclass.
        noun: what it is that the folder holds.
        error: what to raise.

    Raises:
        UserError: the folder holds another one, or something else.
    """
    folder, wanted = path.parent, json.loads(json.dumps(asdict(settings)))
    if folder.exists() and not folder.is_dir():
        raise error(f"{folder} is a file: name a folder for the {noun}")
    if path.exists():
        try:
            found: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as damage:
            raise error(f"{path} is damaged ({damage}): restore it, or choose another folder") from None
        differing = [
            f"{name.name.replace('_', '-')} {found.get(name.name)!r}, not {wanted[name.name]!r}"
            for name in fields(settings)
            if found.get(name.name) != wanted[name.name]
        ]
        if differing:
            raise error(
                f"{folder} holds another {noun} ({'; '.join(differing)}): repeat its settings to continue "
                "it, or give this one a folder of its own with --out"
            )
        return True
    if folder.exists() and any(folder.iterdir()):
        raise error(f"{folder} is not empty and no {noun}'s folder: choose another one")
    return False


def begin(path: Path, settings: Any) -> None:
    """Write the settings, and the folder if it does not exist.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps(asdict(settings), indent=1) + "\n")
