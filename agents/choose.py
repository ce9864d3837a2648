"""`choose_policy`: a policy from the words that a command line takes."""

from ludus.agents.engines.base import Sampling
from ludus.agents.policy import EnginePolicy, Policy, ScriptedPolicy

SCRIPTED = "scripted:"
URLS = ("http://", "https://")


def choose_policy(
    model: str,
    *,
    temperature: float = 0.0,
    max_tokens: int = 1024,
    seed: int = 0,
    concurrency: int = 64,
    agent: str = "direct",
) -> Policy:
    """
    Args:
        model: `scripted:NAME`, an agent of the environment's own; the URL of a server with OpenAI's form,
            with `#NAME` behind it where it has several models; or a model's folder or name on the hub.
        max_tokens: in one reply.
        seed: of the policy's own randomness.
        concurrency: of requests to a server.
        agent: how the model is used: see `ludus.agents.search`.

    Raises:
        UserError: there is no such model or agent, or the server cannot be used.
    """
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature)
    return _model(model, sampling, seed, concurrency)


def _model(model: str, sampling: Sampling, seed: int, concurrency: int) -> Policy:
    if model.startswith(SCRIPTED):
        return ScriptedPolicy(model.removeprefix(SCRIPTED), seed)
    if model.startswith(URLS):
        from ludus.agents.chat_policy import ChatPolicy
        from ludus.agents.engines.server import OpenAIServer

        return ChatPolicy(OpenAIServer.connect(model, concurrency=concurrency), sampling, seed)
    from ludus.agents.models import load_model  # before torch is imported, for the error that names the extra

    loaded = load_model(model)
    from ludus.agents.engines.embedded import EmbeddedEngine

    return EnginePolicy(EmbeddedEngine(loaded.model), loaded.format, sampling, seed)
