"""`chat_app`: a served model over HTTP, as `/v1/chat/completions` and `/v1/models`."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ludus.agents.serving.errors import ApiError
from ludus.agents.serving.model import Asked, Heard, Reply, ServedModel
from ludus.agents.serving.reading import Reading
from ludus.agents.serving.request import read_request
from ludus.agents.serving.wire import Wire

T = TypeVar("T")
_GONE = 499
"""The status of an answer that nobody reads, as nginx has it."""


def chat_app(model: ServedModel) -> Starlette:
    """The application."""
    born = int(time.time())

    def described() -> dict[str, Any]:
        return {
            "id": model.name,
            "object": "model",
            "created": born,
            "owned_by": "ludus",
            "max_model_len": model.max_context,
        }

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [described()]})

    async def one_model(request: Request) -> Response:
        name = request.path_params["name"]
        if name != model.name:
            raise ApiError(
                404, f"there is no model {name!r} here: it is {model.name!r}", "model", "model_not_found"
            )
        return JSONResponse(described())

    async def chat_completions(request: Request) -> Response:
        asked = model.hear(read_request(await request.body()))
        wire = Wire(
            model.name,
            model.policy.format,
            asked.prompt_ids,
            asked.request.logprobs,
            asked.request.return_token_ids,
            asked.request.stream and asked.request.stream_options.include_usage,
        )
        if asked.request.stream:
            return StreamingResponse(_events(asked, wire), media_type="text/event-stream")
        replies = await _unless_gone(request, _all(asked))
        if replies is None:
            return Response(status_code=_GONE)
        return JSONResponse(wire.completion([(reply, reading.tokens) for reply, reading in replies]))

    return Starlette(
        routes=[
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", one_model),
            Route("/v1/chat/completions", chat_completions, methods=["POST"]),
        ],
        exception_handlers={ApiError: _refused, HTTPException: _no_such_route, Exception: _broken},
    )


async def _all(asked: Asked) -> list[tuple[Reply, Reading]]:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asked.reply(number)) for number in range(asked.request.n)]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """What the work gives; None where the client goes away before that, which ends the work."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait([working, gone], return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _events(asked: Asked, wire: Wire) -> AsyncIterator[bytes]:
    """Server-sent events, of all replies as they come. Whoever stops reading ends the work."""
    numbers = range(asked.request.n)
    chunks: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def tell(number: int) -> Reply:
        def hear(heard: Heard) -> None:
            if (chunk := wire.heard(number, heard)) is not None:
                chunks.put_nowait(chunk)

        try:
            reply, _ = await asked.reply(number, hear)
            chunks.put_nowait(wire.ended(number, reply))
            return reply
        finally:
            chunks.put_nowait(None)

    tasks = [asyncio.ensure_future(tell(number)) for number in numbers]
    try:
        for number in numbers:
            yield _event(wire.begun(number))
        for _ in numbers:
            while (chunk := await chunks.get()) is not None:
                yield _event(chunk)
        await asyncio.wait(tasks)
        # All are asked for what went wrong, else asyncio says that nobody did.
        if failures := [error for task in tasks if (error := task.exception()) is not None]:
            raise failures[0]
        replies = [task.result() for task in tasks]
        if wire.usage_in_chunks:
            yield _event(wire.usage(replies))
        yield b"data: [DONE]\n\n"
    except ApiError as error:
        yield _event(error.body)
    finally:
        for task in tasks:
            task.cancel()


def _event(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body, error.status)


async def _broken(_: Request, error: Exception) -> Response:
    """A bug, whose traceback the server logs."""
    return JSONResponse(ApiError(500, f"the server failed ({type(error).__name__})").body, 500)


async def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    there = "there are POST /v1/chat/completions and GET /v1/models"
    refusal = ApiError(error.status_code, f"no {request.method} {request.url.path} here: {there}")
    return JSONResponse(refusal.body, refusal.status)
