"""Applications on a real port: `listen` and `run`."""

import errno
import signal
import socket
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp

from ludus.tools.errors import UserError

try:
    import uvicorn
    from uvicorn.supervisors import Multiprocess
except ModuleNotFoundError as error:
    raise UserError(
        f"serving needs {error.name}, which is not installed: pip install 'ludus[serve]'"
    ) from error

GRACE_S = 1
"""How long pending calls may take when the server is told to stop; a fault can delay one by an hour."""


class _Server(uvicorn.Server):
    """Tells who wants to know of it that it ends, before it waits for pending calls."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], object]) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; `port` 0 takes a free port.

    Raises:
        UserError: the port is in use or not permitted, or the host is not one of this machine's.
    """
    if not 0 <= port < 2**16:
        raise UserError(f"cannot listen on {host}:{port}: give a --port from 1 to 65535 (0 takes a free one)")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port}: {_cause(error)}") from None
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise UserError(f"cannot listen on {host}:{port}: {_cause(error)}") from None
    listening.setblocking(False)
    return listening


def address(listening: socket.socket) -> str:
    """`http://host:port` of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(
    app: Callable[[], ASGIApp],
    listening: socket.socket,
    workers: int = 1,
    announcement: str = "",
    ending: Callable[[], object] = lambda: None,
    **options: Any,
) -> None:
    """Serve an application until Ctrl-C or SIGTERM, which stops it cleanly.

    Args:
        app: makes it; with several workers, each worker calls this, so it must be picklable.
        workers: the number of processes.
        announcement: printed as soon as a signal would stop the server cleanly.
        ending: called when the server stops, to cut short what would take longer than the grace; with one
            worker.
        options: of `uvicorn.Config`.
    """
    config = uvicorn.Config(
        app,
        factory=True,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
        workers=workers,
        **{"ws": "none", **options},
    )
    server = _Server(config, ending)

    def end(*_: Any) -> None:
        server.should_exit = True

    # For the time before and after uvicorn's own handlers: once shut down, it sends itself the signal again,
    # which must not look like a failure.
    previous = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        supervisor = Multiprocess(config, [listening]) if workers > 1 else None
        if announcement:
            print(announcement, flush=True)
        if supervisor is None:
            server.run([listening])
        else:
            supervisor.run()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        listening.close()


def _cause(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use: end what listens there, or give another --port (0 takes a free one)"
    if error.errno == errno.EACCES:
        return "the port is for the system's own services: give a --port above 1023"
    return f"{error.strerror}: give a --host of this machine, such as 127.0.0.1"
