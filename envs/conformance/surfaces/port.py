"""`Port`: an application on a port of this machine, for as long as a surface is open."""

import threading
from typing import Any

from starlette.types import ASGIApp

from ludus.tools.services.serve import address, listen, uvicorn

CLOSING_S = 10.0


class Port:
    """Serves an application in a thread.

    Args:
        app: what is served.
        options: of `uvicorn.Config`.
    """

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        listening = listen("127.0.0.1", 0)
        self.url = address(listening)
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, **options)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listening],), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(CLOSING_S)
