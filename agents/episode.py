"""The result of a rollout: frozen records of episodes, from which every loss can be recomputed."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from ludus.agents.kept import KeptSets
from ludus.agents.picture_ids import pictures_among
from ludus.envs.chat import Chat, Message


class StopReason(StrEnum):
    """Who ended the episode, and why."""

    TERMINATED = "environment:terminated"
    TRUNCATED = "environment:truncated"
    TURN_LIMIT = "limit:turns"
    TOKEN_LIMIT = "limit:tokens"
    TIME_LIMIT = "limit:time"
    ENVIRONMENT_FAULT = "fault:environment"
    ENGINE_FAULT = "fault:engine"
    SCORER_FAULT = "fault:scorer"
    """It was played to its end, but what should have scored it did not."""
    REFUSED = "refusal:server"
    GIVEN_UP = "agent:gave-up"
    """An agent from outside went on to another episode, or left."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One agent action and what the environment answered.

    Scripted agents leave `prompt_ids`, `completion_ids` and `logprobs` empty.
    """

    observation: Chat
    """The messages added since the last action."""
    reply: Message
    """What the agent said, parsed."""
    reward: float
    """The reward of the actor from this action until its next one."""
    reward_terms: dict[str, float]
    prompt_ids: tuple[int, ...] = ()
    """Ids before the completion. On a turn that appends: only those added since the last turn's completion.
    On a fork (and on the first turn): the whole history, rendered anew."""
    completion_ids: tuple[int, ...] = ()
    """The sampled ids, including the end-of-turn token if it was sampled."""
    logprobs: tuple[float, ...] = ()
    """For each completion id, in nats, under the distribution that it was sampled from."""
    finish: Literal["stop", "length", "malformed", ""] = ""
    """`stop`: the end-of-turn token was sampled. `length`: cut off by the token limit. `malformed`: the
    server refused its own model's output, a tool call that it could not read; `reply` is what it shows."""
    fork: bool = False
    """The chat template rewrote the history before this turn, so a new training sequence begins here."""
    generate_seconds: float = 0.0
    step_seconds: float = 0.0
    prompt_tokens: int = 0
    """Tokens that the model read in this turn: the whole context; 0 if not counted. A player that tries
    several lines before it acts counts them all, here and in `completion_tokens`."""
    completion_tokens: int = 0
    """Tokens sampled in this turn."""
    actor: str = ""
    """Who acted; empty if the environment has one player."""
    reasoning_tokens: int = 0
    """Those of `completion_tokens` that the server counts as reasoning."""
    cached_tokens: int = 0
    """Those of `prompt_tokens` that a server, or vLLM, read from a cache."""
    cost: float = 0.0
    """What the server says that the turn cost, in its own currency (credits, mostly US dollars)."""
    vendor: dict[str, Any] = field(default_factory=dict)
    """Fields of the server's message beyond OpenAI's form (reasoning, signatures), which went back to it
    untouched in later turns. Those of tool calls are in `tool_calls`, one dict for each call."""
    anchor: str = ""
    """The key of the state in which the agent acted, `info["anchor"]` as text; empty if the environment gives
    none."""
    training: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """What a training step computed for each completion id, by name (`ludus.trainers.replay.record` has the
    names); empty if none was trained on the turn."""
    kept: KeptSets | None = None
    """The ids that each completion id was drawn among, where sampling left some of the vocabulary out (top-p,
    top-k, min-p) and the engine tells; `logprobs` are of the distribution over them. None: among all."""


@dataclass(frozen=True, slots=True)
class TrainingSequence:
    """A row for the trainer: `ids[t]` was sampled by the policy exactly where `sampled[t]` is true."""

    ids: tuple[int, ...]
    sampled: tuple[bool, ...]
    logprobs: tuple[float, ...]
    """0.0 where not sampled."""
    actor: str = ""
    """Whose tokens were sampled; another actor's are never in the same row."""
    turns: tuple[int, ...] = ()
    """Which turns of the episode the sampled tokens are of, in order."""
    kept: KeptSets | None = None
    """The ids that each sampled token was drawn among, in order; None: among all."""
    pictures: tuple[str, ...] = ()
    """The pictures whose tokens are among the ids (`ludus.agents.picture_ids`), as data URLs."""


@dataclass(frozen=True, slots=True)
class Episode:
    environment: str
    arguments: dict[str, Any]
    """Keyword arguments of `gym.make`."""
    seed: int
    task: str
    """`info["task"]`, a stable and opaque key of the task's content, as text."""
    turns: tuple[Turn, ...]
    """If the environment broke in a step, the last turn is the action on which it broke, with reward 0."""
    stop: StopReason
    success: bool = False
    group: int = 0
    """Episodes of one rollout batch that share one start have the same group number."""
    sample: int = 0
    """Index within its group."""
    weights_version: int = 0
    fault: str = ""
    """What broke, when `stop` is a fault; the server's reason, when it is a refusal."""
    final_observation: Chat = field(default_factory=list)
    task_name: str = ""
    """The task in readable form, if the environment gives one; an agent never sees it."""
    form_terms: tuple[str, ...] = ()
    """The reward terms that judge the form of a reply, according to the environment's rubric."""
    expected: str = ""
    """What would have been right where the episode failed, if the environment tells; no agent sees it."""
    failure: str = ""
    """Why the episode did not succeed, if the environment tells."""
    task_kind: str = ""
    """The kind of task, in environments that have several."""

    @property
    def returns(self) -> dict[str, float]:
        """The return of each actor, in the order of their first turns."""
        totals: dict[str, float] = {}
        for turn in self.turns:
            totals[turn.actor] = totals.get(turn.actor, 0.0) + turn.reward
        return totals

    @property
    def episode_return(self) -> float:
        """The sum of all actors' returns; with one player, its return."""
        return sum(self.returns.values())

    @property
    def is_fault(self) -> bool:
        """Something broke on our side: the environment, the engine, the way to the server, a scorer."""
        return self.stop.startswith("fault:")

    @property
    def is_refusal(self) -> bool:
        """The server would not answer: a content filter, or moderation."""
        return self.stop == StopReason.REFUSED

    @property
    def is_scored(self) -> bool:
        """Its outcome is the policy's own, and counts: neither a fault nor a refusal."""
        return not (self.is_fault or self.is_refusal)

    def reward_terms(self) -> dict[str, float]:
        """Each unweighted term, summed over the turns."""
        totals: dict[str, float] = {}
        for turn in self.turns:
            for name, value in turn.reward_terms.items():
                totals[name] = totals.get(name, 0.0) + value
        return totals

    def row_turns(self) -> list[tuple[int, ...]]:
        """Which turns each row of the episode is of: one row for each actor, and one more for every fork."""
        rows: list[list[int]] = []
        open_rows: dict[str, list[int]] = {}
        for index, turn in enumerate(self.turns):
            row = open_rows.get(turn.actor)
            if row is None or (turn.fork and self._has_ids(row)):
                row = open_rows[turn.actor] = []
                rows.append(row)
            row.append(index)
        return [tuple(row) for row in rows if self._has_ids(row)]

    def _has_ids(self, turns: Iterable[int]) -> bool:
        return any(self.turns[index].prompt_ids or self.turns[index].completion_ids for index in turns)

    def training_sequences(self) -> list[TrainingSequence]:
        """The episode's rows, see `row_turns`. No sampled token is in two rows."""
        return [self._sequence(turns) for turns in self.row_turns()]

    def _sequence(self, turns: tuple[int, ...]) -> TrainingSequence:
        ids: list[int] = []
        sampled: list[bool] = []
        logprobs: list[float] = []
        for turn in (self.turns[index] for index in turns):
            ids += [*turn.prompt_ids, *turn.completion_ids]
            sampled += [False] * len(turn.prompt_ids) + [True] * len(turn.completion_ids)
            logprobs += [0.0] * len(turn.prompt_ids) + list(turn.logprobs)
        actor = self.turns[turns[0]].actor
        kept = [turn.kept for index in turns if (turn := self.turns[index]).kept is not None]
        sets = KeptSets.joined(kept) if kept else None
        shown = (message for turn in self.turns for message in turn.observation)
        pictures = pictures_among(ids, shown)
        return TrainingSequence(tuple(ids), tuple(sampled), tuple(logprobs), actor, turns, sets, pictures)
