"""A process in which another library answers questions: `python child.py GUEST`, a line of JSON in, one out.

GUEST is a file with a function `answer(question)`. It is run as a file, and neither of the two imports
anything of the project, so that a process has what the library needs and no more.
"""

import json
import os
import resource
import runpy
import sys
from typing import Any

MEMORY = 4 << 30
"""Bytes of address space."""
REFUSED = (
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"),
    *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "ctypes.dlopen"),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"),
)
"""What nothing in here needs once the library is loaded, by the names of Python's audit events."""


def main(guest: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the library prints is none
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answer = runpy.run_path(guest)["answer"]
    sys.addaudithook(_refuse)
    for line in sys.stdin:
        seconds, question = json.loads(line)
        _allow(seconds)
        try:
            said = json.dumps({"is": answer(question)})
        except Exception as error:
            said = json.dumps({"error": f"{type(error).__name__}: {error}"[:500]})
        print(said, file=answers, flush=True)


def _allow(seconds: int) -> None:
    """The kernel ends this process when it has computed for so much longer, also inside C code. Processor
    time, so that a busy machine is no reason."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    writes = event == "open" and (
        arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if isinstance(arguments[2], int) else False
    )
    if writes or event in REFUSED:
        raise PermissionError(f"{event} is refused here")


if __name__ == "__main__":
    main(sys.argv[1])
