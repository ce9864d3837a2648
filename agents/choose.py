"""`choose_policy`: a policy from the options of a command line."""

import datetime
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ludus.agents.engines.base import Sampling
from ludus.agents.engines.options import SERVED_MAX_TOKENS
from ludus.agents.instructed import Instructed
from ludus.agents.policy import EnginePolicy, Policy, ScriptedPolicy
from ludus.agents.search.beam import Beam
from ludus.agents.search.best_of_n import BestOfN
from ludus.agents.search.majority import Majority
from ludus.agents.search.mcts import MCTS
from ludus.agents.search.react import ReAct
from ludus.tools.errors import UserError

if TYPE_CHECKING:
    from ludus.agents.engines.config import EngineSection
    from ludus.agents.engines.options import ServerListener, ServerOptions

SCRIPTED = "scripted:"
URLS = ("http://", "https://")

_SEARCHES: Mapping[str, tuple[Callable[[Policy, int], Policy], int]] = {
    "best-of": (lambda policy, n: BestOfN(policy, n), 8),
    "majority": (lambda policy, n: Majority(policy, n), 8),
    "beam": (lambda policy, n: Beam(policy, width=n, samples=n), 4),
    "mcts": (lambda policy, n: MCTS(policy, simulations=n), 32),
}
"""By name: how to make the agent from a policy and a number, and the default number."""
SEE_REWARDS = ("best-of", "beam", "mcts")
"""The agents that look at the rewards of copies of the environment."""
AGENTS = "direct, react, best-of-N, majority-N, beam-N or mcts-N"


class AgentError(UserError):
    """No agent has this name, or it cannot use this model."""

    exit_code = 2


def choose_policy(
    model: str,
    *,
    temperature: float = 0.0,
    max_tokens: int = SERVED_MAX_TOKENS,
    seed: int = 0,
    concurrency: int = 64,
    agent: str = "direct",
    system: str = "",
    engine: "EngineSection | None" = None,
    server: "ServerOptions | None" = None,
    written_calls: str = "",
    listener: "ServerListener | None" = None,
    day: datetime.date | None = None,
    patience_s: float = 2.0,
) -> Policy:
    """
    Args:
        model: `scripted:NAME`, an agent of the environment's own; the URL of a server with OpenAI's form,
            followed by `#NAME` if it has several models; or a model's folder or name on the hub.
        max_tokens: in one reply.
        seed: of the policy's own randomness.
        concurrency: how many episodes are played at once.
        agent: how the model is used: `direct`, `react`, `best-of-8`, `majority-8`, `beam-4`, `mcts-32`. See
            `ludus.agents.search` for what their figures mean.
        system: stands at the beginning of the system message.
        engine: the engine for a model's folder or name; embedded if None.
        server: how a server is asked.
        written_calls: see `ChatPolicy` and `EnginePolicy`.
        listener: is told what a server's client has to tell.
        day: what a local model's chat template tells it, if it tells the date; today if None.
        patience_s: how long a local model waits for a player that is away before it answers the others.

    Raises:
        AgentError: no agent has this name, or it needs differing samples or players that branch, which the
            model does not give.
        UserError: the model cannot be found, or the server cannot be used.
    """
    use = choose_agent(agent, model, temperature)
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature)
    if model.startswith(URLS):
        policy = _served(model, sampling, seed, concurrency, server, written_calls, listener)
    elif model.startswith(SCRIPTED):
        policy = ScriptedPolicy(model.removeprefix(SCRIPTED), seed)
    else:
        policy = load_policy(
            model,
            sampling,
            seed,
            concurrency=concurrency,
            section=engine,
            written_calls=written_calls,
            day=day,
            patience_s=patience_s,
        )
    return use(Instructed(policy, system) if system else policy)


def choose_agent(agent: str, model: str, temperature: float) -> Callable[[Policy], Policy]:
    """The policy that an agent of this name makes from a policy.

    Raises:
        AgentError: see `choose_policy`.
    """
    if agent == "direct":
        return lambda policy: policy
    if agent == "react":
        return ReAct
    named = re.fullmatch(r"(.+?)(?:-(\d+))?", agent)
    if named is None or named[1] not in _SEARCHES or named[2] == "0":
        raise AgentError(f"there is no agent {agent!r} for a model: take {AGENTS}")
    make, default = _SEARCHES[named[1]]
    number = int(named[2] or default)
    is_scripted = model.startswith(SCRIPTED)
    if temperature == 0 and not is_scripted:
        raise AgentError(
            f"{agent} at temperature 0 would play the same line again and again: give --temperature 1"
        )
    if is_scripted and named[1] in ("beam", "mcts"):
        raise AgentError(
            f"{agent} continues a player in several ways, which {model} cannot: take best-of-{number}"
        )
    return lambda policy: make(policy, number)


def _served(
    model: str,
    sampling: Sampling,
    seed: int,
    concurrency: int,
    options: "ServerOptions | None",
    written_calls: str,
    listener: "ServerListener | None",
) -> Policy:
    from ludus.agents.chat_policy import ChatPolicy
    from ludus.agents.engines.server import OpenAIServer

    server = OpenAIServer.connect(model, options=options, listener=listener, concurrency=concurrency)
    return ChatPolicy(server, sampling, seed, written_calls=written_calls)


def load_policy(
    model: str,
    sampling: Sampling,
    seed: int = 0,
    *,
    concurrency: int = 64,
    section: "EngineSection | None" = None,
    written_calls: str = "",
    day: datetime.date | None = None,
    patience_s: float = 2.0,
) -> EnginePolicy:
    """A model by its folder or its name on the hub; the arguments are those of `choose_policy`.

    Raises:
        UserError: it cannot be found, loaded or computed.
    """
    from ludus.agents.engines.config import EngineSection, make_engine
    from ludus.agents.models import load_model

    section = section or EngineSection()
    loaded = load_model(model, stop_tokens=section.stop_tokens, day=day)
    engine = make_engine(section, loaded, concurrency=concurrency, patience_s=patience_s)
    return EnginePolicy(engine, loaded.format, sampling, seed, written_calls)
