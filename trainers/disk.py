"""Writing to a run's folder: whole or not at all. A failure becomes one line that says what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors

from ludus.tools.files import replacing_folder
from ludus.tools.files import write_file as write_whole_file
from ludus.trainers.errors import RunError


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn a failure to write into one line that names what was written and what to do.

    Raises:
        RunError: if the disk is full or cannot be written to.
    """
    try:
        yield
    except safetensors.SafetensorError as error:
        if "Error while serializing" not in str(error):
            raise
        raise RunError(f"{target} could not be written: {error}; {_fix(str(error))}") from error
    except OSError as error:
        raise RunError(f"{target} could not be written: {error.strerror or error}; {_fix(error)}") from error


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary folder to fill; it becomes `target` once it is complete and on disk.

    Raises:
        RunError: if the disk is full or cannot be written to; `target` is then as it was.
    """
    with disk_errors(target):
        target.parent.mkdir(exist_ok=True)  # no parents: a run's folder that was removed must be noticed
        with replacing_folder(target) as scratch:
            yield scratch


def write_file(target: Path, content: bytes | str) -> None:
    """Write a file whole or not at all.

    Raises:
        RunError: as `replacing`.
    """
    with disk_errors(target):
        write_whole_file(target, content)


def _fix(error: OSError | str) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOENT:
        return "its folder was removed or renamed in the meantime: put it back and continue with --resume"
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if isinstance(error, str):  # what safetensors makes of one
        is_full = "StorageFull" in error or any(f"(os error {code})" in error for code in full)
    else:
        is_full = error.errno in full
    cause = "free some space" if is_full else "check the folder's permissions and disk"
    return f"{cause} and continue with --resume; what was saved before is intact"
