"""Episodes in a benchmark's journal: the fields of `Episode` in each line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ludus.agents.episode import Episode, StopReason, Turn
from ludus.agents.journal import fields_of, line_of, read_fields

_TURN_FIELDS = tuple(Turn.__slots__)
_EPISODE_FIELDS = tuple(name for name in Episode.__slots__ if name not in ("turns", "stop"))


def encode(episode: Episode) -> bytes:
    """A journal line, with its line break."""
    return line_of(fields_of_episode(episode))


def fields_of_episode(episode: Episode) -> dict[str, Any]:
    """An episode as plain values."""
    fields: dict[str, Any] = {name: getattr(episode, name) for name in _EPISODE_FIELDS}
    fields["stop"] = episode.stop.value
    fields["turns"] = [{name: getattr(turn, name) for name in _TURN_FIELDS} for turn in episode.turns]
    return fields


def decode(line: bytes) -> Episode | None:
    """The episode of a line; None where the line is damaged."""
    fields = fields_of(line)
    return None if fields is None else episode_of_fields(fields)


def read_journal(path: Path) -> Iterator[Episode]:
    """The intact episodes of a journal, in the order written."""
    yield from map(episode_of_fields, read_fields(path))


def episode_of_fields(fields: dict[str, Any]) -> Episode:
    """The episode that `fields_of_episode` wrote, read from JSON."""
    turns = tuple(
        Turn(**{**turn, **{name: tuple(turn[name]) for name in ("prompt_ids", "completion_ids", "logprobs")}})
        for turn in fields["turns"]
    )
    forms = tuple(fields.get("form_terms", ()))
    return Episode(**{**fields, "stop": StopReason(fields["stop"]), "turns": turns, "form_terms": forms})
