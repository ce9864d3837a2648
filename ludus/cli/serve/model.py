"""`ludus serve model RUN|PATH`: a model behind OpenAI's chat interface."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ludus.agents.choose import SCRIPTED, URLS, load_policy
from ludus.agents.engines.base import Sampling
from ludus.cli.errors import UsageError
from ludus.cli.models import choose_model
from ludus.cli.serve.access import AccessOptions


@dataclass(frozen=True)
class ServeModel(AccessOptions):
    """Serve a model over HTTP as OpenAI's chat interface does, at /v1/chat/completions and /v1/models.

    It answers by the engine, the chat template and the parsers of tool calls with which `ludus train` and
    `ludus eval` use it. Ctrl-C or SIGTERM ends.
    """

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN|PATH", help_behavior_hint="")]
    """A run (its folder or name), a model's or an adapter's folder, a GGUF file, or a name on the hub."""
    host: Annotated[str, tyro.conf.arg(metavar="HOST")] = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, tyro.conf.arg(metavar="PORT")] = 8000
    """The port; 0 takes a free one."""
    concurrency: int = 64
    """The most replies that are sampled together; further requests wait for a place."""
    max_tokens: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")] = None
    """The most tokens in a reply, where a request does not say. Default: the value that the model's run was
    trained with; for another model, as many as its context has room for."""
    written_calls: Annotated[str, tyro.conf.arg(metavar="FORMAT", help_behavior_hint="")] = ""
    """For a model whose chat template has no tools: list them in the system message, and read calls from the
    text in this format (hermes, mistral, …)."""

    def execute(self) -> int:
        for name, value in (("concurrency", self.concurrency), ("max-tokens", self.max_tokens)):
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value}: must be at least 1")
        if self.model.startswith((*URLS, SCRIPTED)):
            raise UsageError(f"{self.model} is no model here: name a run, or a model's folder")
        from ludus.agents.formats.calls.registry import FORMATS

        if self.written_calls and self.written_calls not in FORMATS:
            raise UsageError(f"--written-calls {self.written_calls}: it is one of {', '.join(FORMATS)}")
        from ludus.tools.services.guard import guarded
        from ludus.tools.services.serve import address, listen, run

        access = self.access(self.host)
        choice = choose_model(self.model)
        listening = listen(self.host, self.port)
        try:
            from ludus.agents.serving.app import chat_app
            from ludus.agents.serving.errors import ApiError
            from ludus.agents.serving.model import ServedModel

            policy = load_policy(
                choice.path,
                Sampling(),
                concurrency=self.concurrency,
                section=choice.engine,
                written_calls=self.written_calls,
                patience_s=0.0,
            )
        except BaseException:
            listening.close()
            raise
        limit = self.max_tokens or (choice.max_tokens if choice.trained else None)
        model = ServedModel(_name(self.model), policy, self.concurrency, limit)
        where = f"{model.name} at {address(listening)}/v1 (Ctrl-C ends)"
        app = guarded(lambda: chat_app(model), access, lambda status, reason: ApiError(status, reason).body)
        run(lambda: app, listening, announcement=where, ending=model.close, lifespan="off")
        return 0


def _name(model: str) -> str:
    """By which clients call it: that of the run, of the folder or file, or on the hub."""
    path = Path(model)
    return path.resolve().name.removesuffix(".gguf") if path.exists() else model
