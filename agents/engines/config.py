"""`EngineSection`: the `[engine]` table of a configuration. `make_engine`: the engine that it asks for."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ludus.agents.engines.base import Engine
from ludus.agents.models import LoadedModel, count_words
from ludus.tools.section import Section


class OpenAISection(Section):
    """A server with OpenAI's interface that takes and gives token ids, such as vLLM's."""

    url: str = ""
    """The server's URL, such as `http://localhost:8000/v1`, followed by `#NAME` if it has several models."""
    processed_logprobs: bool = False
    """Its log-probabilities are those of the distribution that it samples from: vLLM with
    `--logprobs-mode processed_logprobs`. Temperatures other than 0 and 1 need it."""


class VllmSection(Section):
    """vLLM in this process."""

    cache_gib: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Gibibytes for keys and values, taken when the engine is made. While they are full, further episodes
    wait, or are computed again from their start."""


class EngineSection(Section):
    """What computes completions."""

    kind: Literal["embedded", "vllm", "openai"] = "embedded"
    """`embedded`: this process, with the trainer's own weights. `vllm`: vLLM in this process, with the
    trainer's weights. `openai`: a server, with weights of its own, so it can be evaluated but not trained."""
    max_context: Annotated[int, Field(ge=0)] = 0
    """Prompt and completion together, in tokens; 0: the limit of the model or the server."""
    stop_tokens: list[str] = Field(default_factory=list)
    """Tokens that end a reply, beside those that the model's chat template, its tokenizer and its
    `generation_config.json` name."""
    openai: OpenAISection = OpenAISection()
    """The server of `kind = "openai"`."""
    vllm: VllmSection = VllmSection()
    """The memory of `kind = "vllm"`."""

    @property
    def is_trainable(self) -> bool:
        """Whether it samples from weights that a trainer can change."""
        return self.kind != "openai"

    @property
    def records_kept(self) -> bool:
        """Whether its completions tell which ids each token was drawn among."""
        return self.kind == "embedded"

    @model_validator(mode="after")
    def _sections_have_a_use(self) -> Self:
        if self.kind == "openai" and not self.openai.url:
            raise ValueError(
                'kind = "openai" needs a server: set openai.url, such as http://localhost:8000/v1'
            )
        if self.kind != "openai" and self.openai != OpenAISection():
            raise ValueError(f'[engine.openai] belongs to kind = "openai", not to "{self.kind}"; drop one')
        if self.kind != "vllm" and self.vllm != VllmSection():
            raise ValueError(f'[engine.vllm] belongs to kind = "vllm", not to "{self.kind}"; drop one')
        return self


def make_engine(
    section: EngineSection, model: LoadedModel, *, concurrency: int = 64, patience_s: float = 2.0
) -> Engine:
    """The engine that a configuration asks for.

    Args:
        model: whose weights an engine in this process samples from; a server has its own.
        concurrency: how many sequences are computed together, or requests are in flight.
        patience_s: how long an engine in this process waits for a session that is away; see `EmbeddedEngine`.

    Raises:
        EngineError: the engine cannot run this model, or not with this `max_context`, or is not installed.
        UserError: the server cannot be used.
    """
    match section.kind:
        case "embedded":
            from ludus.agents.engines.embedded import EmbeddedEngine

            context, words = section.max_context or None, count_words(model.tokenizer)
            return EmbeddedEngine(model.model, concurrency, context, patience_s, words)
        case "vllm":
            from ludus.agents.engines.vllm.engine import VllmEngine

            return VllmEngine(
                model.model,
                concurrency,
                section.max_context or None,
                patience_s,
                section.vllm.cache_gib,
                count_words(model.tokenizer),
            )
        case "openai":
            from ludus.agents.engines.openai import OpenAIEngine
            from ludus.agents.engines.server import OpenAIServer

            options: dict[str, Any] = {"max_context": section.max_context} if section.max_context else {}
            server = OpenAIServer.connect(section.openai.url, concurrency=concurrency, **options)
            return OpenAIEngine(server, section.openai.processed_logprobs)
