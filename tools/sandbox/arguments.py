"""Checks of what a caller passes to a sandbox."""

from collections.abc import Sequence
from typing import Any

from ludus.tools.errors import UserError
from ludus.tools.sandbox.limits import Limits


def checked_bytes(what: str, data: object) -> bytes:
    """What a sandbox is given, as bytes.

    Raises:
        UserError: it is neither text nor bytes (a number would be taken for one of our descriptors), or it is
            text that UTF-8 cannot encode.
    """
    if isinstance(data, str):
        check_encodable(what, data)
        return data.encode()
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise UserError(f"{what}: {data!r:.50} cannot go into a sandbox: give text or bytes")


def check_encodable(what: str, text: str) -> None:
    """Check that UTF-8 can encode a text.

    Raises:
        UserError: it contains half of a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{what}: {text[error.start]!r} at {error.start} is half of a surrogate pair, which UTF-8 "
            "cannot write: give whole characters, or bytes"
        ) from None


def check_order(code: object, limits: Limits | None, files_out: Sequence[str] = ()) -> None:
    """Check the arguments of a run.

    Raises:
        UserError: an argument is not what it should be.
    """
    if not isinstance(code, str):
        raise UserError(f"code={code!r:.50} is not a program: give its text")
    if limits is not None and not isinstance(limits, Limits):
        raise UserError(f"limits={limits!r:.50}: give Limits(…)")
    check_names(files_out)


def check_names(names: Sequence[str]) -> None:
    """Check a list of file names (see `check_name`); a single name is not a list.

    Raises:
        UserError: they are not.
    """
    if isinstance(names, str):
        raise UserError(f"files_out={names!r} is one name: give a list, [{names!r}]")
    for name in names:
        check_name(name)


def check_name(name: str) -> None:
    """Check that a file's name stays inside the work directory.

    Raises:
        UserError: it does not, or it is not text that UTF-8 can encode.
    """
    if not isinstance(name, str):
        raise UserError(f"file {name!r:.50}: give a path inside the work directory, as in 'data/table.csv'")
    check_encodable("file", name)
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise UserError(f"file {name!r}: give a path inside the work directory, as in 'data/table.csv'")


def checked_inputs(name: object, inputs: object) -> list[list[Any]]:
    """The arguments of each call of the function `name`.

    Raises:
        UserError: they are not.
    """
    if not isinstance(name, str):
        raise UserError(f"name={name!r:.50} is not the name of a function: give a text, as in 'solve'")
    try:
        return [list(arguments) for arguments in inputs]  # type: ignore[attr-defined]
    except TypeError:
        raise UserError(
            f"inputs={inputs!r:.50}: give a list of arguments for each call, as in [[1, 2], [3, 4]]"
        ) from None
