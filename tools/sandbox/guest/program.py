"""Runs one job in a process of its own, which is the guest from here on.

Descriptors: 0 to 2 are the program's, 3 takes reports (JSON lines), 4 holds the job (JSON).
"""

from __future__ import annotations

import atexit
import builtins
import errno
import importlib.machinery
import json
import linecache
import os
import stat
import sys
import traceback
import types
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing `typing` would slow the start
    from typing import Any

# Neither `threading` nor `random`: what they do after a fork would double its time. Guests import them as
# needed.

REPORT, JOB = 3, 4
MEMORY_EXIT, DISK_EXIT, NO_SUCH_FILE_EXIT = 201, 202, 203
"""Exit codes with which a guest says what stopped it. It can lie only about itself."""
PLACES = ("work", "tmp", "shm")
ROOT = "/box"
"""Where `PLACES` are, unless the server says otherwise."""


def perform() -> None:
    """Do the job, and end the process."""
    job = json.loads(os.pread(JOB, os.fstat(JOB).st_size, 0).decode())
    os.close(JOB)
    code = _JOBS[job["do"]](job)
    _end(code)


def _run(job: dict[str, Any]) -> int:
    namespace = _main_module()
    os.close(REPORT)
    return _execute(job["code"], "main.py", namespace)


def _call(job: dict[str, Any]) -> int:
    namespace = _main_module()
    code = _execute(job["code"], "main.py", namespace)
    if code:
        return code
    for arguments in job["inputs"]:
        try:
            line = json.dumps({"value": namespace[job["name"]](*arguments)})
        except KeyError as error:
            missing = error.args == (job["name"],) and job["name"] not in namespace
            line = json.dumps({"error": f"no function {job['name']!r}" if missing else _one_line(error)})
        except BaseException as error:
            line = json.dumps({"error": _one_line(error)})
        _report(line)
    return 0


def _session(job: dict[str, Any]) -> int:
    """Cells arrive on descriptor 0 as a length and JSON; stdin is empty."""
    cells = os.fdopen(os.dup(0), "rb")
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    namespace = _main_module()
    count = 0
    while length := cells.read(8):
        cell = json.loads(cells.read(int.from_bytes(length, "little")))
        count += 1
        status = _execute(cell["code"], f"cell-{count}", namespace, interactive=True)
        status = _flush() or status
        _read({"names": cell["files"], "bytes": cell["bytes"]})
        _report(json.dumps({"cell_status": status}))
    return 0


def _write(job: dict[str, Any]) -> int:
    path = f"{ROOT}/work/{job['name']}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        # A new file, so that nothing is written through a link that a guest left.
        if os.path.lexists(path):
            os.unlink(path)
        out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        size = os.fstat(0).st_size
        with os.fdopen(out, "wb") as file:
            while size > 0 and (data := os.read(0, 1 << 20)):
                file.write(data)
    except OSError as error:
        print(error, file=sys.stderr)
        return DISK_EXIT if error.errno in _FULL else 1
    return 0


def _read(job: dict[str, Any]) -> int:
    import base64

    for name in job["names"]:
        data = _regular_file(name, job["bytes"])
        if data is not None:
            _report(json.dumps({"name": name, "data": base64.b64encode(data).decode()}))
    return 0


def _regular_file(name: str, most: int) -> bytes | None:
    """The content of a regular file reached through real folders only; None for anything else."""
    held = []
    try:
        held.append(os.open(f"{ROOT}/work", os.O_RDONLY | os.O_DIRECTORY))
        *parents, last = name.split("/")
        for parent in parents:
            held.append(os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=held[-1]))
        # Without blocking: opening a pipe would wait for its writer.
        held.append(os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=held[-1]))
        status = os.fstat(held[-1])
        if not stat.S_ISREG(status.st_mode) or status.st_size > most:
            return None
        with os.fdopen(held.pop(), "rb") as file:
            return file.read(most)
    except OSError:
        return None
    finally:
        for descriptor in held:
            os.close(descriptor)


def _snapshot(job: dict[str, Any]) -> int:
    import tarfile

    with os.fdopen(os.dup(REPORT), "wb") as file, tarfile.open(fileobj=file, mode="w|gz") as archive:
        archive.add(
            f"{ROOT}/work",
            arcname=".",
            filter=lambda entry: entry if entry.isfile() or entry.isdir() else None,
        )
    return 0


def _restore(job: dict[str, Any]) -> int:
    import tarfile

    try:
        with os.fdopen(os.dup(0), "rb") as file, tarfile.open(fileobj=file, mode="r|gz") as archive:
            # Before 3.11.4 there are no filters. This process is a guest, as powerless as any other.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(f"{ROOT}/work")
    except (OSError, tarfile.TarError) as error:
        print(error, file=sys.stderr)
        return DISK_EXIT if getattr(error, "errno", None) in _FULL else 1
    return 0


def empty() -> None:
    """Remove everything in and beside the places where guests may write."""
    for place in PLACES:
        for name in os.listdir(f"{ROOT}/{place}"):
            _remove(f"{ROOT}/{place}/{name}")
    for name in os.listdir(ROOT):
        if name not in PLACES:
            _remove(f"{ROOT}/{name}")


def lay(mode: int) -> None:
    """Restore the places where guests may write, since a guest may have changed their modes and times, or
    replaced them. If one is broken, all of them are emptied. `mode` is that of `ROOT`."""
    os.chmod(ROOT, mode)
    for place in PLACES:
        path = f"{ROOT}/{place}"
        if os.path.islink(path) or not os.path.isdir(path):
            for name in os.listdir(ROOT):
                _remove(f"{ROOT}/{name}")
            break
    for place in PLACES:
        path = f"{ROOT}/{place}"
        os.makedirs(path, exist_ok=True)
        os.chmod(path, 0o755)
        os.utime(path, (0, 0))
    os.utime(ROOT, (0, 0))


def _wipe(job: dict[str, Any]) -> int:
    empty()
    return 0


def _remove(path: str) -> None:
    """Remove a tree, however deep and whatever its permissions and names."""
    folders, moves = [path], 0
    while folders:
        current = folders[-1]
        try:
            os.unlink(current)
        except (IsADirectoryError, PermissionError):
            try:
                os.rmdir(current)
            except OSError:
                os.chmod(current, 0o700)
                # Move what is inside to the top, so that no path grows too long.
                for name in os.listdir(current):
                    inner = os.path.join(current, name)
                    while os.path.lexists(moved := f"{ROOT}/{moves}"):
                        moves += 1
                    if os.path.isdir(inner) and not os.path.islink(inner):
                        os.chmod(inner, 0o700)  # a locked folder cannot be moved
                    os.rename(inner, moved)
                    folders.append(moved)
                continue
        folders.pop()


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_JOBS = {
    "run": _run, "call": _call, "session": _session, "write": _write, "read": _read,
    "snapshot": _snapshot, "restore": _restore, "wipe": _wipe,
}  # fmt: skip


def _main_module() -> dict[str, Any]:
    module = types.ModuleType("__main__")
    module.__builtins__ = builtins  # type: ignore[attr-defined]
    sys.modules["__main__"] = module
    sys.argv = ["main.py"]
    # As far as possible, a program prints the same thing every time.
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(0)
    if "random" in sys.modules:
        sys.modules["random"].seed(0)
    else:
        sys.meta_path.insert(0, _SeededRandom())
    return module.__dict__


class _SeededRandom:
    """Finds the module `random`, and seeds it when it is first imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "random":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = _seeding(spec.loader.exec_module)  # type: ignore[method-assign]
        return spec


def _seeding(execute: Any) -> Any:
    def exec_module(module: Any) -> None:
        execute(module)
        module.seed(0)

    return exec_module


def _execute(source: str, filename: str, namespace: dict[str, Any], interactive: bool = False) -> int:
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    try:
        if interactive:
            _execute_cell(source, filename, namespace)
        else:
            exec(compile(source, filename, "exec"), namespace)
    except SystemExit as exit:
        return _exit_code(exit.code)
    except BaseException as error:
        return _failed(error)
    return 0


def _execute_cell(source: str, filename: str, namespace: dict[str, Any]) -> None:
    import ast

    # Not `ast.parse`, whose frame would appear in the traceback of an invalid cell.
    tree: Any = compile(source, filename, "exec", ast.PyCF_ONLY_AST)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, filename, "exec"), namespace)
    if isinstance(last, ast.Expr):
        sys.displayhook(eval(compile(ast.Expression(last.value), filename, "eval"), namespace))


def _exit_code(code: Any) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _failed(error: BaseException) -> int:
    """Print the traceback without our own frames."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames)
    if isinstance(error, MemoryError):
        return MEMORY_EXIT
    if isinstance(error, OSError) and error.errno in _FULL:
        return DISK_EXIT
    return 1


def _one_line(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:500]
    except BaseException:  # the guest's own __str__
        return type(error).__name__


def _report(line: str) -> None:
    data = memoryview(line.encode() + b"\n")
    while data:
        data = data[os.write(REPORT, data) :]


def _flush() -> int:
    code = 0
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException as error:
            code = DISK_EXIT if isinstance(error, OSError) and error.errno in _FULL else 1
    return code


def _end(code: int) -> None:
    """End as an interpreter does (threads, atexit, buffers), but without tearing down modules."""
    try:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        atexit._run_exitfuncs()
    except SystemExit as exit:
        code = _exit_code(exit.code)
    except BaseException as error:
        code = _failed(error)
    os._exit(_flush() or code)
