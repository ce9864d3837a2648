"""Policies: they map an episode's messages to the next action."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

import gymnasium

from ludus.agents.conversation import Conversation
from ludus.agents.engines.base import Completion, Engine, Sampling
from ludus.agents.formats.base import ChatFormat
from ludus.agents.kept import KeptSets
from ludus.agents.written_calls import WrittenCalls
from ludus.envs.chat import Chat
from ludus.envs.scripted import ScriptedAgent


@dataclass(frozen=True, slots=True)
class Action:
    """A player's action in one turn. Scripted players set only `reply`."""

    reply: Any
    """The argument of `env.step`: an assistant message or a text; in a native environment, its own action."""
    prompt_ids: tuple[int, ...] = ()
    completion_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    kept: KeptSets | None = None
    """The ids that each completion id was drawn among, see `Completion`."""
    finish: Literal["stop", "length", "malformed", ""] = ""
    """`length`: cut off. `malformed`: the server refused its own model's output."""
    fork: bool = False
    weights_version: int = 0
    prompt_tokens: int | None = None
    """Number of tokens read and, in `completion_tokens`, sampled for this action. None: as many as there are
    ids."""
    completion_tokens: int | None = None
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    cost: float = 0.0
    vendor: dict[str, Any] = field(default_factory=dict)
    """See `Turn` for these four."""
    model_seconds: float | None = None
    """The time that the model took, if the player knows it: without waiting for a server that limits
    requests, and without attempts that failed. None: all the time that the action took."""
    is_partial: bool = False
    """The reply goes on with the next `act`, and the environment hears nothing yet: see `ByStep`."""

    @property
    def is_empty(self) -> bool:
        """The context had no room left for an answer."""
        return self.finish == "length" and not (self.completion_ids or self.completion_tokens)


class Player(Protocol):
    """One policy in one episode."""

    async def act(self, observation: Any, info: dict[str, Any]) -> Action:
        """The action that answers what `reset` or `step` just returned.

        Raises:
            EngineFault: what computes the answers broke.
            ServerRefusal: it will not answer this conversation.
        """
        ...

    def close(self) -> None:
        """Release the episode's resources."""
        ...


@runtime_checkable
class BranchingPlayer(Player, Protocol):
    """A player that can be continued in several ways, as search over turns requires."""

    def branch(self, seed: int) -> "BranchingPlayer":
        """Another player at the same point of the episode, with its own random choices. Works even after this
        player is closed."""
        ...


@runtime_checkable
class RestingPlayer(Player, Protocol):
    """A player whom others need not wait for while it is not its turn, as in games."""

    def rest(self) -> None:
        """Others act until the next `act`."""
        ...


class Policy(Protocol):
    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> Player:
        """A player for one episode in `env`; its choices depend only on `seed` and its observations."""
        ...


def derive_seed(*parts: int) -> int:
    """A seed in [0, 2**63) that depends on every part and on their order; the same in every process."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def tool_schemas(env: gymnasium.Env[Any, Any]) -> list[dict[str, Any]]:
    """An environment's tools in OpenAI's form, as chat formats expect them; empty if it has none."""
    return [tool.openai for tool in getattr(env.unwrapped, "tools", ())]


@dataclass(frozen=True)
class ScriptedPolicy:
    """One of the environment's own scripted agents: `null`, `random`, `oracle` or a cheater."""

    name: str
    seed: int = 0

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> "ScriptedPlayer":
        """
        Raises:
            KeyError: the environment has no scripted agent of that name.
        """
        agents: dict[str, type[ScriptedAgent]] = dict(getattr(env.unwrapped, "scripted", {}))
        if self.name not in agents:
            id = env.spec.id if env.spec else type(env.unwrapped).__name__
            raise KeyError(f"{id} has no scripted agent {self.name!r}; it has {', '.join(agents) or 'none'}")
        return ScriptedPlayer(agents[self.name](env, derive_seed(self.seed, seed)))


class ScriptedPlayer:
    def __init__(self, agent: ScriptedAgent) -> None:
        self._agent = agent
        self._begun = False

    async def act(self, observation: Any, info: dict[str, Any]) -> Action:
        """Never waits: a rollout plays such an episode in one thread."""
        if not self._begun:
            self._agent.begin()
            self._begun = True
        return Action(reply=self._agent.act(observation, info))

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class EnginePolicy:
    """A language model behind an engine.

    A turn's sampling seed is `derive_seed(policy seed, player seed, turn)`.
    """

    engine: Engine
    format: ChatFormat
    sampling: Sampling = field(default_factory=Sampling)
    """If `stop_ids` is empty, the format's are used."""
    seed: int = 0
    written_calls: str = ""
    """For models whose chat template has no place for tools: the format of `ludus.agents.formats.calls` in
    which the system message lists them and replies are read."""

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> "EnginePlayer":
        return EnginePlayer(self, tool_schemas(env), seed)


class EnginePlayer:
    """Plays one episode with a session of the engine."""

    def __init__(self, policy: EnginePolicy, tools: Sequence[Any], seed: int) -> None:
        sampling = policy.sampling
        if not sampling.stop_ids:
            sampling = replace(sampling, stop_ids=tuple(policy.format.stop_ids))
        self._sampling = sampling
        self._policy = policy
        self._seeds = (policy.seed, seed)
        self._session = policy.engine.session()
        self._tools = tools
        form = policy.written_calls
        self._written = WrittenCalls(form, tools) if form and tools else None
        self._conversation = Conversation(policy.format, () if self._written else tools)
        self._turn = 0
        self.opening: tuple[tuple[int, ...], ...] = ()
        """See `EpisodeStart`."""

    async def act(self, observation: Chat, info: dict[str, Any]) -> Action:
        written = self._written
        if written is not None:
            observation = written.observe(observation) if self._turn else written.introduce(observation)
        heard, prompt = self._conversation.hear(observation)
        completion = await self._complete(heard)
        reply = heard.format.parse(completion.ids, heard.tools)
        self._conversation = heard.say(reply, completion.ids)
        if written is not None:
            reply = written.read(reply)
        self._turn += 1
        return Action(
            reply=reply,
            prompt_ids=tuple(prompt.ids),
            completion_ids=completion.ids,
            logprobs=completion.logprobs,
            kept=completion.kept,
            finish=completion.finish,
            fork=prompt.fork,
            weights_version=completion.weights_version,
            prompt_tokens=len(heard.context),
            completion_tokens=len(completion.ids),
            cached_tokens=completion.cached_tokens,
        )

    async def _complete(self, heard: Conversation) -> Completion:
        left = len(self.opening) - self._turn
        given = self.opening[self._turn] if left > 0 else ()
        before = (0.0,) * len(given)
        if left > 1:
            return Completion(given, before, "stop", self._policy.engine.weights_version)
        sampling = replace(self._sampling, max_tokens=self._sampling.max_tokens - len(given))
        seed = derive_seed(*self._seeds, self._turn)
        sampled = await self._session.generate((*heard.context, *given), sampling, seed, heard.pictures)
        if not given:
            return sampled
        return replace(sampled, ids=(*given, *sampled.ids), logprobs=(*before, *sampled.logprobs), kept=None)

    def rest(self) -> None:
        self._session.rest()

    def branch(self, seed: int) -> "EnginePlayer":
        twin = EnginePlayer(self._policy, self._tools, seed)
        twin._conversation, twin._turn = self._conversation, self._turn
        return twin

    def close(self) -> None:
        self._session.close()
