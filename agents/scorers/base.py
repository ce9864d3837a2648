"""The scorer protocol: finished episodes in, a score or a fault for each out."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from ludus.agents.episode import Episode
from ludus.tools.content import content_key

V = TypeVar("V")


class StepScore(NamedTuple):
    """What a step of a reply is worth."""

    turn: int
    end: int
    """How many characters of what was sampled in the turn there are up to the step's end, at least 1."""
    value: float


@dataclass(frozen=True, slots=True)
class Score:
    """What a scorer gives to an episode."""

    value: float
    """Finite; of the episode as a whole."""
    steps: tuple[StepScore, ...] = ()
    """Of the steps of its replies, where the scorer judges steps; in order."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """How it came about, for people: plain values for JSON."""


@dataclass(frozen=True, slots=True)
class ScoreFault:
    """An episode could not be scored: a server that is down, an answer without a verdict. It is left out, and
    never counts as 0."""

    why: str
    """One line."""


class Scorer(Protocol):
    """A model that scores episodes. What it gives follows from the episodes alone, or a resumed run would not
    end in the same bits."""

    async def score(self, episodes: Sequence[Episode]) -> list[Score | ScoreFault]:
        """A score or a fault for each of a batch of episodes, in their order.

        Args:
            episodes: Finished ones with an outcome (`Episode.is_scored`) and a turn or more. Those with the
                same `group` share a start, so a scorer may compare them.

        Raises:
            UserError: no episode can ever be scored: no access, no such model.
        """
        ...

    def close(self) -> None:
        """Release everything for good. Closing twice is fine."""
        ...


def episode_key(episode: Episode) -> int:
    """A number for what was said in an episode; equal for episodes that no scorer should tell apart."""
    turns = [(turn.observation, turn.reply, turn.prompt_ids, turn.completion_ids) for turn in episode.turns]
    place = [episode.environment, episode.arguments, episode.task, episode.stop, episode.success]
    return content_key([place, turns, episode.final_observation])


class Remembered(Generic[V]):
    """The answers to the last questions, by their content; faults are asked again.

    Args:
        most: How many answers are kept.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._kept: dict[int, V] = {}
        self.asked = 0
        """How many questions were asked."""
        self.known = 0
        """How many were not, since their answers were known, or were asked for in the same batch."""

    async def __call__(
        self,
        keys: Sequence[int],
        ask: Callable[[Sequence[int]], Awaitable[Sequence[V | ScoreFault]]],
    ) -> list[V | ScoreFault]:
        """The answer for each key, in order.

        Args:
            keys: Of the contents of questions.
            ask: Answers the questions with these indices; all of them in one call.
        """
        new: dict[int, int] = {}
        for index, key in enumerate(keys):
            if key not in self._kept:
                new.setdefault(key, index)
        self.asked += len(new)
        self.known += len(keys) - len(new)
        answered = await ask([*new.values()]) if new else ()
        answers: dict[int, V | ScoreFault] = dict(zip(new, answered, strict=True))
        found = [answers[key] if key in answers else self._kept[key] for key in keys]
        self._kept |= {key: value for key, value in answers.items() if not isinstance(value, ScoreFault)}
        while len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]
        return found


class Cached:
    """A scorer that is asked once for episodes in which the same was said; for scorers that look at each
    episode alone."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.remembered: Remembered[Score] = Remembered()

    async def score(self, episodes: Sequence[Episode]) -> list[Score | ScoreFault]:
        async def ask(indices: Sequence[int]) -> list[Score | ScoreFault]:
            return await self._scorer.score([episodes[index] for index in indices])

        return await self.remembered([*map(episode_key, episodes)], ask)

    def close(self) -> None:
        self._scorer.close()
