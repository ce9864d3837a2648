"""What reward models are trained on: pairs and labelled steps as rows of tokens.

A line of labelled steps has the columns of a conversation (`ludus.trainers.data.chat`) and

| column | what it holds |
|---|---|
| `steps` | a list of `{"turn": 0, "end": 12, "value": 1.0}`: which reply, counted from 0; how many characters of its content there are up to the step's end; the probability of success from there on, or true and false |

An episode file has them in the column `training` of its turns, by the name `step_value`.
"""  # noqa: E501

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ludus.agents.episode import Episode, StopReason
from ludus.agents.formats.base import ChatFormat, FormatError
from ludus.agents.formats.sampled_text import sampled_text
from ludus.agents.models import LoadedModel, tokenizer_key
from ludus.agents.rendering import render
from ludus.agents.reward_model import Ids, conversation_ids
from ludus.agents.store import file_metadata, is_episode_file, stream_episodes
from ludus.envs.chat import reply_text
from ludus.tools.errors import DataError
from ludus.tools.tables import Row, is_parquet, read_rows
from ludus.trainers.data.chat import COLUMNS, read_dialogue
from ludus.trainers.data.dialogue import Dialogue, opening_key
from ludus.trainers.data.pairs import read_pairs
from ludus.trainers.replay.record import TOKENIZER

VALUE = "step_value"
"""The name in `Turn.training`; not a number where no step ends."""


@dataclass(frozen=True, slots=True)
class PairExample:
    """Two conversations as rows of tokens."""

    chosen: Ids
    rejected: Ids
    margin: float
    opening: bytes
    """A key of what both begin with."""
    lengths: tuple[int, int]
    """Of chosen and rejected: the tokens of the replies that are compared."""

    @property
    def size(self) -> int:
        """The tokens of the longer one."""
        return max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True, slots=True)
class StepExample:
    """A row of tokens with labelled steps."""

    ids: Ids
    places: tuple[int, ...]
    """The token that ends each step."""
    labels: tuple[float, ...]
    opening: bytes

    @property
    def size(self) -> int:
        return len(self.ids)


def pair_examples(sources: Sequence[str], loaded: LoadedModel) -> Iterator[PairExample]:
    """
    Raises:
        DataError: as `read_pairs`; or if the model's tokens do not tell the two apart.
    """
    for source in sources:
        for pair in read_pairs(Path(source)):
            told = pair.dialogues()
            chosen, rejected = (_ids(dialogue, loaded.format) for dialogue in told)
            if chosen == rejected:
                raise DataError(
                    f"{pair.place}: chosen and rejected are the same to this model, whose chat template "
                    "leaves out what distinguishes them; leave the pair out, or take another model"
                )
            lengths = (_replied(told[0], loaded.format), _replied(told[1], loaded.format))
            opening = opening_key(pair.prompt, pair.tools)
            yield PairExample(chosen, rejected, pair.margin or 0.0, opening, lengths)


def step_examples(sources: Sequence[str], loaded: LoadedModel) -> Iterator[StepExample]:
    """
    Raises:
        DataError: a source cannot be read, a row is no conversation with labelled steps, or an episode was
            sampled with another tokenizer.
    """
    for source in sources:
        for episode in _labelled(Path(source), loaded):
            yield from labelled_rows(episode)


def labelled_rows(episode: Episode) -> Iterator[StepExample]:
    """The rows of an episode whose turns have labels, each up to its last labelled step."""
    opening = opening_key(episode.turns[0].observation, ()) if episode.turns else b""
    for turns in episode.row_turns():
        ids: list[int] = []
        found: list[tuple[int, float]] = []
        for turn in (episode.turns[index] for index in turns):
            ids += turn.prompt_ids
            values = turn.training.get(VALUE, ())
            found += [(len(ids) + at, value) for at, value in enumerate(values) if not math.isnan(value)]
            ids += turn.completion_ids
        if found:
            places, labels = zip(*found, strict=True)
            yield StepExample(tuple(ids[: places[-1] + 1]), places, labels, opening)


def with_labels(episode: Episode, labels: Sequence[Mapping[int, float]]) -> Episode:
    """
    Args:
        labels: Of each turn, by the place in its completion of the token that ends the step.
    """
    turns = []
    for turn, of_turn in zip(episode.turns, labels, strict=True):
        values = tuple(of_turn.get(place, math.nan) for place in range(len(turn.completion_ids)))
        turns.append(replace(turn, training={VALUE: values}))
    return replace(episode, turns=tuple(turns))


def _ids(dialogue: Dialogue, chat_format: ChatFormat) -> Ids:
    try:
        return conversation_ids(dialogue.turns, chat_format, dialogue.tools)
    except FormatError as error:
        raise DataError(f"{dialogue.place}: {error}") from None


def _replied(dialogue: Dialogue, chat_format: ChatFormat) -> int:
    replies = (turn.reply for index, turn in enumerate(dialogue.turns) if index not in dialogue.untrained)
    return sum(len(chat_format.demonstrate(reply)) for reply in replies)


def _labelled(path: Path, loaded: LoadedModel) -> Iterator[Episode]:
    count = 0
    if path.is_file() and is_parquet(path) and is_episode_file(path):
        if file_metadata(path).get(TOKENIZER) != tokenizer_key(loaded.tokenizer):
            raise DataError(
                f"{path} has no steps that were labelled with this model's tokenizer; take the "
                "episodes/steps.parquet of a run whose model.path has the same one, or conversations with "
                "labelled steps"
            )
        for episode in stream_episodes(path):
            count += 1
            yield episode
    else:
        for row in read_rows(path, (*COLUMNS, "steps")):
            count += 1
            yield _labelled_dialogue(row, loaded.format)
    if not count:
        raise DataError(f"{path} is empty: there are no labelled steps in it")


def _labelled_dialogue(row: Row, chat_format: ChatFormat) -> Episode:
    dialogue = read_dialogue(row)
    episode = Episode("", {}, 0, "", dialogue.turns, StopReason.TERMINATED)
    try:
        rendered = render(episode, chat_format, dialogue.tools)
    except FormatError as error:
        raise DataError(f"{row.place}: {error}") from None
    labels: list[dict[int, float]] = [{} for _ in rendered.turns]
    given = row.values.get("steps")
    if not isinstance(given, list) or not given:
        raise DataError(
            f'{row.place}: there are no steps, a list of {{"turn": 0, "end": 12, "value": 1.0}}; label some, '
            "or leave the conversation out"
        )
    for number, step in enumerate(given):
        turn, end, value = _step(f"{row.place}: steps[{number}]", step, len(rendered.turns))
        said = reply_text(rendered.turns[turn].reply)
        ids = rendered.turns[turn].completion_ids
        text, complete = sampled_text(chat_format, ids)
        begin = text.find(said)
        if not said or end > len(said) or begin < 0:
            raise DataError(
                f"{row.place}: steps[{number}] ends after {end} characters of reply {turn}, which has "
                f"{len(said)}"
            )
        place = len(ids) - 1 if end == len(said) else bisect_left(complete, begin + end)
        labels[turn][place] = value
    return with_labels(rendered, labels)


def _step(about: str, step: Any, replies: int) -> tuple[int, int, float]:
    """Turn, end and value."""
    if not isinstance(step, Mapping) or not {"turn", "end", "value"} <= step.keys():
        raise DataError(f'{about} is not {{"turn": 0, "end": 12, "value": 1.0}}, but {str(step)[:60]!r}')
    turn, end, value = step["turn"], step["end"], step["value"]
    if not isinstance(turn, int) or not 0 <= turn < replies:
        raise DataError(
            f"{about}: turn is {str(turn)[:60]!r}; it is a reply's number, from 0 to {replies - 1}"
        )
    if not isinstance(end, int) or end < 1:
        raise DataError(f"{about}: end is {str(end)[:60]!r}; it is a number of characters, at least 1")
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise DataError(
            f"{about}: value is {str(value)[:60]!r}; it is a probability, from 0 to 1, or true or false"
        )
    return turn, end, float(value)
