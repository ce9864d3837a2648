"""The one place where a problem that the user can fix becomes a line on stderr and an exit code."""

import errno
from dataclasses import dataclass

import gymnasium

from ludus.tools.errors import UserError
from ludus.tools.extras import EXTRAS, how_to_install

INCOMPLETE = 3
"""The exit code of a measurement of which too many episodes have no score; its results are written."""
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NO_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS}


class UsageError(UserError):
    """The command was called in a way that cannot work."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """The line that the command line prints, and its exit code."""

    line: str
    exit_code: int


def explain(error: BaseException) -> Problem | None:
    """The line for a problem that the user can fix, followed by the error's notes; None for a bug."""
    problem = _explain(error)
    if problem is None:
        return None
    parts = [problem.line.strip().rstrip("."), *getattr(error, "__notes__", [])]
    return Problem(" ".join("; ".join(parts).split()), problem.exit_code)


def _explain(error: BaseException) -> Problem | None:
    if isinstance(error, UserError):
        return Problem(str(error), error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        return Problem("interrupted", 130)
    if isinstance(error, gymnasium.error.UnregisteredEnv):
        return Problem(f"{error}; `ludus envs` lists the environments", 2)
    if isinstance(error, ModuleNotFoundError):
        return _missing_extra(error)
    if isinstance(error, OSError):
        return _unwritable(error)
    return None


def _missing_extra(error: ModuleNotFoundError) -> Problem | None:
    package = (error.name or "").partition(".")[0]
    if not any(package in modules for modules in EXTRAS.values()):
        return None
    return Problem(f"this needs {package}, which is not installed: {how_to_install(package)}", 1)


def _unwritable(error: OSError) -> Problem | None:
    where = f" while writing {error.filename}" if error.filename else ""
    if error.errno in _NO_SPACE:
        return Problem(f"no space left on the disk{where}: free some, then run the command again", 1)
    if error.errno == errno.EFBIG:
        return Problem(f"a file passed the allowed size{where}: raise the limit (`ulimit -f unlimited`)", 1)
    if error.errno == errno.ENAMETOOLONG:
        return Problem(f"{str(error.filename)[:60]}… is longer than a file's name may be: give a path", 1)
    if error.errno == errno.ENOTDIR and error.filename:
        return Problem(f"{error.filename} goes through a file as if it were a folder: choose another path", 1)
    if error.errno in _NO_ACCESS and error.filename:
        return Problem(f"cannot write or read {error.filename} ({error.strerror}): check its permissions", 1)
    return None
