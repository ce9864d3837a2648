"""`ApiError`: what a request is refused with, in OpenAI's form."""

from typing import Any


class ApiError(Exception):
    """A request that is not answered; the message says in one line what is wrong with it.

    Args:
        status: of HTTP: 400 for a mistake in the request, 404 for what there is not, 500 for ours.
        param: the field that is wrong.
        code: what programs tell errors apart by.
    """

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    @property
    def body(self) -> dict[str, Any]:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}
