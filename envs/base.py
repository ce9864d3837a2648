"""`ChatEnv`: a language environment written as two pure functions, `start` and `respond`."""

import secrets
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, ClassVar, Self

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from ludus.envs import spaces
from ludus.envs.arguments import as_choice, as_seed, refuse_unknown_arguments, refuse_unknown_options
from ludus.envs.chat import (
    Chat,
    Message,
    Reply,
    as_reply,
    assistant,
    reply_text,
    reply_tool_calls,
    tool_result,
    transcript,
)
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.tools.content import NoContentKey, content_key
from ludus.tools.tool import Tool


@dataclass(frozen=True, slots=True)
class Start:
    """What a seed determines."""

    messages: Chat
    task: str
    """A name of the task's content, for people and records: the same content has the same name. The agent is
    never shown it, since it may say what the answer is."""
    state: Any
    kind: str = ""
    """Which of the environment's kinds of task it is; empty if there is only one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reply led to. `terms` are unweighted; a term that is absent is 0."""

    state: Any
    messages: Chat
    terms: dict[str, float]
    terminated: bool = False
    success: bool = False
    failure: str = ""
    """What is still wrong, if the episode ends here without success: for people and records."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an episode was judged, in words for people and records; the agent is never shown it."""

    expected: str = ""
    """What is right."""
    failure: str = ""
    """Why the episode failed; empty while it is open, and after a success."""


def task_key(name: str) -> int:
    """The key by which `info["task"]` names a task: a number below 2⁶³ that says nothing about it.

    A number, because Gymnasium's vector wrappers make arrays and tensors of what is in `info`.
    """
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class ChatEnv(gymnasium.Env[Chat, Reply]):
    """Base class of the language environments.

    A subclass gives `rubric`, `max_turns`, `scripted` and two pure functions: `start(rng, options)` and
    `respond(state, text)`. States are immutable, so a snapshot costs nothing and everything about an episode
    follows from (arguments, seed, options, replies). Both functions return fresh messages: callers keep them.

    `start` may draw from `rng` in any way; nothing else is random. `respond` gets the reply's text, which is
    empty when the reply has none or is not a reply at all, and answers it with a message, never with an
    exception.

    A reply that calls tools where `tools` is empty is answered call by call with `tool` messages, so that the
    conversation stays valid for every chat API, and counts as an empty text.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 1}  # noqa: RUF012 (gymnasium's form)
    tools: tuple[Tool, ...] = ()
    option_names: ClassVar[frozenset[str]] = frozenset()
    """Keys that `reset(options=…)` knows; any other is refused."""
    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]]
    rubric: Rubric
    max_turns: int
    _spec: EnvSpec | None = None
    _made_with: tuple[tuple[Any, ...], dict[str, Any]]
    task_name: str
    """`Start.task` of the open episode, for records."""
    task_kind: str
    """`Start.kind` of the open episode, for records."""

    @abstractmethod
    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start: ...

    @abstractmethod
    def respond(self, state: Any, text: str) -> Outcome: ...

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        refuse_unknown_arguments(cls, kwargs)
        env = super().__new__(cls)
        env._made_with = (args, kwargs)
        return env

    def __init__(self, render_mode: str | None = None) -> None:
        if render_mode is not None:
            as_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self.observation_space = spaces.Chat()
        self.action_space = spaces.Reply()
        self._rng = np.random.Generator(np.random.PCG64(0))
        self._turn = 0
        self._open = False
        self._state: Any = None
        self.task_name = self.task_kind = self._failure = ""
        self._task = 0
        self._anchor: int | None = None
        self._messages: tuple[Message, ...] = ()

    def answer(self, state: Any, action: Reply) -> Outcome:
        """What a whole reply leads to: its text goes to `respond`, its tool calls are refused."""
        refused = [] if isinstance(action, str) else refused_tool_calls(action)
        if not refused:
            return self.respond(state, reply_text(action))
        outcome = self.respond(state, "")
        return replace(outcome, messages=[*refused, *outcome.messages])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Chat, dict[str, Any]]:
        """Begin an episode: a pure function of the arguments, `seed` and `options`.

        Without a seed it goes on with the instance's own generator (seeded by the operating system when there
        was no seed before).

        Returns:
            The first messages, and `info` with `task`, the task's opaque key (see `task_key`), and `anchor`,
            the state's (see `anchor`).

        Raises:
            ArgumentError: for a seed that is not an integer ≥ 0, or an option that the environment does not
                know.
        """
        if seed is not None:
            self._seed(seed)
        elif self._np_random is None:
            self._seed(secrets.randbits(63))
        if options:
            refuse_unknown_options(options, sorted(self.option_names))
        begun = self.start(self._rng, options or {})
        self._turn, self._open = 0, True
        self.task_name, self._task = begun.task, task_key(begun.task)
        self._stand_in(begun.state)
        self.task_kind, self._failure = begun.kind, ""
        if self.render_mode is not None:
            self._messages = _copied(begun.messages)
        return begun.messages, self._info_keys()

    def step(self, action: Reply) -> tuple[Chat, float, bool, bool, dict[str, Any]]:
        """Answer a reply, whatever it is.

        Returns:
            The messages added; the rubric's sum; whether the task ended; whether `max_turns` cut it off; and
            `info` with `task`, `anchor`, `reward_terms` (every term, unweighted) and, when the episode ends,
            `success`.

        Raises:
            gymnasium.error.ResetNeeded: when no episode is open.
            EnvironmentFault: when something on the environment's side broke.
        """
        if not self._open:
            raise gymnasium.error.ResetNeeded(
                "no episode is open (it ended or never began): call reset() before step()"
            )
        action = as_reply(action)
        outcome = self.answer(self._state, action)
        messages = outcome.messages
        if outcome.state is not self._state:
            self._stand_in(outcome.state)
        self._turn += 1
        terminated = outcome.terminated
        truncated = not terminated and self._turn >= self.max_turns
        terms, weights = outcome.terms, self.rubric.weights
        if len(terms) != len(weights):
            terms = {**dict.fromkeys(weights, 0.0), **terms}
        info = self._info_keys()
        info["reward_terms"] = terms
        if terminated or truncated:
            self._open = False
            info["success"] = outcome.success
            if not outcome.success:
                cut = f"no end within {self.max_turns} replies" if truncated else ""
                why = outcome.failure or (self.unfinished(outcome.state) if truncated else "")
                self._failure = ": ".join(filter(None, (cut, why)))
        if self.render_mode is not None:
            self._messages += (assistant(reply_text(action)), *_copied(messages))
        return messages, self.rubric(terms), terminated, truncated, info

    def anchor(self, state: Any) -> int:
        """The key of a state of the open task: a number below 2⁶³, the same for states in which the same may
        follow, however they were reached, and another for states in which something else may.

        `info["anchor"]` is made from it and the task's key, so that credit can compare the actions that were
        taken in the same state. By default it is the key of the whole content. Override it where a state
        holds what does not matter (counters, a history), where it is large, or where its content cannot be
        told: `return content_key((state.room, state.carried))`. What the task's name says already need not
        be in it, nor how many replies are left before `max_turns`, which cuts an episode off wherever it
        stands.

        Raises:
            NoContentKey: there is no key for the state; `info` then has no `anchor`.
        """
        return content_key(state)

    def _stand_in(self, state: Any) -> None:
        self._state = state
        try:
            self._anchor = self._task ^ self.anchor(state)
        except NoContentKey:
            # No key is better than a wrong one. The conformance suite says what is missing.
            self._anchor = None

    def _info_keys(self) -> dict[str, Any]:
        """The keys that every `info` has."""
        if self._anchor is None:
            return {"task": self._task}
        return {"task": self._task, "anchor": self._anchor}

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        """The arguments that make tasks harder, in the order in which a curriculum raises them, each with its
        values, easiest first."""
        return {}

    def expected(self, state: Any) -> str:
        """What is right, in words; empty if there are none for it."""
        return ""

    def unfinished(self, state: Any) -> str:
        """What is still missing where the replies have run out, in words; empty if nothing can be named."""
        return ""

    @property
    def verdict(self) -> Verdict:
        """How the episode that has just ended was judged, or the open one stands."""
        return Verdict(self.expected(self._state), self._failure)

    def render(self) -> Any:
        """The conversation so far: `ansi`, as text; `rgb_array`, its end as a picture, uint8 (480, 640, 3).
        Without a `render_mode`: None, and gymnasium's warning."""
        if self.render_mode is None:
            gymnasium.logger.warn(
                f"render() needs a mode: make the environment with one of {self.metadata['render_modes']}"
            )
            return None
        if self.render_mode == "ansi":
            return transcript(list(self._messages))
        from ludus.envs.conversation_picture import conversation_picture

        return conversation_picture(self._messages)

    def snapshot(self) -> Any:
        """The whole episode as an opaque value; cheap, because states are immutable. It can be pickled.

        Gymnasium's wrappers pass no method on: call `env.unwrapped.snapshot()`, `env.unwrapped.restore(…)`.
        """
        task = (self.task_name, self.task_kind, self._failure, self._anchor)
        return (self._state, task, self._turn, self._open, self._messages)

    def restore(self, snapshot: Any) -> None:
        """Go back to where `snapshot` was taken, in this instance or in another one with the same
        arguments."""
        self._state, task, self._turn, self._open, self._messages = snapshot
        self.task_name, self.task_kind, self._failure, self._anchor = task
        self._task = task_key(self.task_name)

    @property
    def spec(self) -> EnvSpec | None:
        """How `gymnasium.make` made the instance. `max_episode_steps` is `max_turns`, for those who read the
        limit there; the limit is the environment's own, so `make` adds no `TimeLimit`."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = with_step_limit(spec, self.max_turns)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy is made with the same arguments and brought to the same place, so that it never shares a
        connection, a thread or a program with the original."""
        args, kwargs = self._made_with
        return _made_again, (type(self), args, kwargs, self._spec, self.snapshot(), self._stream())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # States are immutable: they are shared, not copied.
        made_again, arguments = self.__reduce__()
        return made_again(*arguments)

    def _stream(self) -> tuple[int | None, Mapping[str, Any]] | None:
        """The generator's seed and state; None where nothing has been drawn yet."""
        if self._np_random is None:
            return None
        return self._np_random_seed, self._rng.bit_generator.state

    def _seed(self, seed: int) -> None:
        seed = as_seed(seed)
        self._rng.bit_generator.state = stream_of(seed)
        self._np_random = self._rng
        self._np_random_seed = seed


def stream_of(seed: int) -> dict[str, Any]:
    """The state of a PCG64 for a seed, from its hash: a tenth of the time that numpy's SeedSequence takes."""
    digest = blake2b(b"%d" % seed, digest_size=32).digest()
    return {
        "bit_generator": "PCG64",
        # The increment of a PCG must be odd.
        "state": {
            "state": int.from_bytes(digest[:16], "little"),
            "inc": int.from_bytes(digest[16:], "little") | 1,
        },
        "has_uint32": 0,
        "uinteger": 0,
    }


def with_step_limit(spec: EnvSpec | None, steps: int | None) -> EnvSpec | None:
    """The spec with the environment's own limit, where it has none."""
    if spec is None or spec.max_episode_steps is not None:
        return spec
    limited = copy(spec)
    limited.max_episode_steps = steps
    return limited


def _made_again(
    cls: type[ChatEnv],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    spec: EnvSpec | None,
    snapshot: Any,
    stream: tuple[int | None, dict[str, Any]] | None,
) -> Any:
    env = cls(*args, **kwargs)
    env.spec = spec
    env.restore(snapshot)
    if stream is not None:
        env._np_random_seed, env._rng.bit_generator.state = stream
        env._np_random = env._rng
    return env


def _copied(messages: Chat) -> tuple[Message, ...]:
    return tuple(message.copy() for message in messages)


def refused_tool_calls(reply: Any) -> Chat:
    """The answers to a reply's tool calls where there are no tools."""
    refusal = "Error: there are no tools here. Answer in text."
    return [tool_result(call, refusal) for call in reply_tool_calls(reply)]
