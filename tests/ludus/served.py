"""The real `ludus serve`, for as long as a test needs it."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

MAIN = "import sys; from ludus.cli import main; sys.exit(main())"


@contextmanager
def served(what: str, *words: object, ending: int = signal.SIGTERM) -> Iterator[str]:
    """The URL of `ludus serve WHAT`, which exits with 0 and says nothing on a signal."""
    command = [sys.executable, "-c", MAIN, "serve", what, "--port", "0", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert " at " in line, process.stderr.read()
        yield line.split(" at ")[1].split()[0]
        process.send_signal(ending)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()
