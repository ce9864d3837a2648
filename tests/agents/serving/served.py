"""Served models for tests: on a port, small and random, or scripted."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ludus.agents.engines.base import Completion, Sampling, Tokens, Told
from ludus.agents.formats.template import TemplateFormat
from ludus.agents.policy import EnginePolicy
from ludus.agents.serving.model import ServedModel
from ludus.agents.small_model import SmallModelShape

TINY = SmallModelShape(hidden=16, layers=1, heads=1, kv_heads=1, head_dim=16, intermediate=16)


@contextmanager
def on_a_port(app: Any) -> Iterator[str]:
    """The URL, up to the version, of an application that is served from a thread."""
    import uvicorn

    from ludus.tools.services.serve import address, listen

    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield f"{address(listening)}/v1"
    finally:
        server.should_exit = True
        thread.join()


class ScriptedSession:
    """Says what a function makes of the text so far, a token at a time."""

    def __init__(self, engine: "ScriptedEngine") -> None:
        self._engine = engine

    async def generate(
        self,
        ids: Sequence[int],
        sampling: Sampling,
        seed: int,
        pictures: Sequence[str] = (),
        told: Told | None = None,
    ) -> Completion:
        engine = self._engine
        engine.prompts.append(tuple(ids))
        before, end = engine.format.text(ids), engine.format.stop_ids[0]
        # A reply that was begun for the model is gone on with.
        begun = before.rpartition("<|im_start|>assistant\n")[2]
        said = (*engine.encode(engine.says(before).removeprefix(begun)), end)[: sampling.max_tokens]
        for id in said:
            await asyncio.sleep(0)
            if told is not None:
                told(Tokens((id,), (-0.5,)))
        finish = "stop" if said[-1] == end else "length"
        return Completion(said, (-0.5,) * len(said), finish, 0)

    def rest(self) -> None:
        pass

    def close(self) -> None:
        self._engine.open -= 1


class ScriptedEngine:
    max_context = 20_000

    def __init__(self, tokenizer: Any, says: Callable[[str], str]) -> None:
        self.format = TemplateFormat(tokenizer)
        self.says, self.open = says, 0
        self.prompts: list[tuple[int, ...]] = []
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def session(self) -> ScriptedSession:
        self.open += 1
        return ScriptedSession(self)

    def close(self) -> None:
        pass


def scripted_model(tokenizer: Any, says: Callable[[str], str], written_calls: str = "") -> tuple[Any, Any]:
    """A served model `scripted`, and its engine."""
    engine = ScriptedEngine(tokenizer, says)
    policy = EnginePolicy(engine, engine.format, written_calls=written_calls)  # type: ignore[arg-type]
    return ServedModel("scripted", policy, slots=4), engine
