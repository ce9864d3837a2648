"""What was played and scored for a measurement, kept line by line in a journal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ludus.agents.bench.journal import episode_of_fields, fields_of_episode
from ludus.agents.episode import Episode
from ludus.agents.journal import line_of, read_fields

POOL = "samples"
"""The method of the episodes that the model plays as it is."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A method, used once on one task."""

    method: str
    episode: Episode
    judged: int = 0
    """Tokens that scorers spent on it."""

    @property
    def sampled(self) -> int:
        """Tokens that the model sampled, in lines that were given up, too."""
        return sum(turn.completion_tokens for turn in self.episode.turns)

    @property
    def read(self) -> int:
        """Tokens that the model read, each time anew."""
        return sum(turn.prompt_tokens for turn in self.episode.turns)


@dataclass(frozen=True, slots=True)
class Scored:
    """What a scorer said of an episode of the pool."""

    scorer: str
    seed: int
    sample: int
    value: float
    tokens: int


Place = tuple[str, int, int]
"""Method or scorer, the task's seed, and which of its samples."""


@dataclass
class Record:
    """All that is known so far; of what was done again after a fault, the last."""

    trials: dict[Place, Trial] = field(default_factory=dict)
    scores: dict[Place, Scored] = field(default_factory=dict)

    def add(self, entry: Trial | Scored) -> None:
        if isinstance(entry, Trial):
            self.trials[entry.method, entry.episode.seed, entry.episode.sample] = entry
        else:
            self.scores[entry.scorer, entry.seed, entry.sample] = entry


def encode(entry: Trial | Scored) -> bytes:
    """A journal line."""
    if isinstance(entry, Scored):
        return line_of({name: getattr(entry, name) for name in Scored.__slots__})
    episode = fields_of_episode(entry.episode)
    return line_of({"method": entry.method, "judged": entry.judged, "episode": episode})


def read_record(path: Path) -> Record:
    """What a journal holds; nothing if it does not exist."""
    record = Record()
    for entry in _entries(read_fields(path)):
        record.add(entry)
    return record


def _entries(lines: Iterator[Mapping[str, Any]]) -> Iterator[Trial | Scored]:
    for fields in lines:
        if "method" in fields:
            yield Trial(fields["method"], episode_of_fields(fields["episode"]), fields["judged"])
        else:
            yield Scored(**fields)
