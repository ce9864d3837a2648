"""The rows that a run computes: demonstrations as they are, and episodes as long as they may become."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import count, groupby
from random import Random

from ludus.agents.episode import TrainingSequence
from ludus.agents.models import LoadedModel
from ludus.agents.picture_ids import FIRST, id_of, key_and_place, key_of, shown_by
from ludus.trainers.algorithms.sft import demonstrate
from ludus.trainers.batches.pairs import Pair
from ludus.trainers.config.run import RunConfig
from ludus.trainers.curriculum import all_levels
from ludus.trainers.data.preferences import read_preferences
from ludus.trainers.data.read import Reserved, read_data
from ludus.trainers.mixture import Mixture
from ludus.trainers.tasks import Purpose, Task, TaskStream

Rows = Sequence[TrainingSequence]

_AGENTS = ("oracle", "random", "null")
"""Scripted agents whose episodes are looked at: some end them soon, some play until a limit."""
_DEMONSTRATIONS = 128
"""At most. They are packed into micro-batches of the same number of tokens, so further ones add nothing."""


def fine_tuned_on(config: RunConfig, policy: LoadedModel, mixture: Mixture) -> Rows:
    """A batch of priming: the first demonstrations, or the longest rows of the data.

    Raises:
        DataError: as `read_data`.
    """
    sft = config.sft
    if sft.data:
        rows = read_data(sft, policy).train
        longest = sorted(range(len(rows)), key=lambda index: -len(rows[index].ids))
        return [rows[index] for index in longest[: sft.batch_episodes]]
    count = min(sft.demonstrations, sft.batch_episodes, _DEMONSTRATIONS)
    return demonstrate(_tasks(config, mixture, "sft", count), policy.format, config)


def sampled(
    config: RunConfig, policy: LoadedModel, mixture: Mixture, groups: int, size: int, context: int
) -> Rows:
    """Groups of a step, in order: `size` rows from each of `groups` starts, with the prompts of the
    environments' own episodes, and completions as long as they may become.

    Args:
        context: The most tokens of a row.
    """
    random, words = Random(config.run.seed), policy.format.vocab_size
    limit = min(context, config.rollout.max_episode_tokens)

    def longest(task: Task) -> Rows:
        played = [demonstrate([task], policy.format, by) for by in _by_agents(config, task)]
        return max(played, key=lambda rows: sum(len(row.ids) for row in map(_longest, rows)))

    def _longest(row: TrainingSequence) -> TrainingSequence:
        return stretched(row, config.rollout.max_tokens, limit, lambda: random.randrange(words))

    starts = [longest(task) for task in _tasks(config, mixture, "grpo", groups)]
    numbers = count()
    return [
        with_own_pictures(_longest(row), next(numbers), row.sampled.index(True))
        for rows in starts
        for _ in range(size)
        for row in rows
    ]


def with_own_pictures(row: TrainingSequence, number: int, begin: int) -> TrainingSequence:
    """The row with pictures that rows of other numbers do not have, from a token on: what is seen after a
    reply depends on it."""
    if not row.pictures:
        return row
    own = {key_of(url): url + " " * number for url in row.pictures}  # the same pixels

    def renamed(id: int) -> int:
        key, place = key_and_place(id)
        return id_of(key_of(own[key]), place)

    ids = tuple(renamed(id) if id >= FIRST and at >= begin else id for at, id in enumerate(row.ids))
    return replace(row, ids=ids, pictures=shown_by(ids, (*row.pictures, *own.values())))


def preferred(config: RunConfig, policy: LoadedModel, sampled: Rows) -> list[Pair]:
    """A batch of preferences: the longest pairs of the data, or a step's episodes two by two.

    Raises:
        DataError: as `read_preferences`.
    """
    section = config.preferences
    if not section.data:
        most = section.tasks * section.most
        pairs: list[Pair] = [([a], [b]) for a, b in zip(sampled[::2], sampled[1::2], strict=False)]
        return pairs[:most]
    data = read_preferences(section, policy, Reserved()).train
    longest = sorted(data, key=lambda pair: -sum(len(row.ids) for side in pair for row in side))
    return longest[: section.batch_pairs]


def of_length(length: int, sampled: int) -> TrainingSequence:
    """A row of ids, the last `sampled` of which are a policy's."""
    sampled = min(sampled, length - 1)
    marks = (False,) * (length - sampled) + (True,) * sampled
    return TrainingSequence((0,) * length, marks, (0.0,) * length)


def stretched(
    row: TrainingSequence, completion: int, limit: int, word: Callable[[], int]
) -> TrainingSequence:
    """The row with completions of so many tokens, in as many turns as a limit leaves.

    Args:
        limit: The completion that reaches so many tokens is the last, and ends there.
        word: An id that is sampled.
    """
    ids: list[int] = []
    marks: list[bool] = []
    for is_sampled, run in groupby(zip(row.ids, row.sampled, strict=True), key=lambda token: token[1]):
        added = [word() for _ in range(completion)] if is_sampled else [id for id, _ in run]
        if len(ids) + len(added) > limit and any(marks):
            added = added[: max(0, limit - len(ids))]
        ids += added
        marks += [is_sampled] * len(added)
        if len(ids) >= limit and any(marks):
            break
    pictures = shown_by(ids, row.pictures)
    return TrainingSequence(tuple(ids), tuple(marks), (0.0,) * len(ids), pictures=pictures)


def _tasks(config: RunConfig, mixture: Mixture, purpose: Purpose, count: int) -> list[Task]:
    stream = TaskStream(mixture, config.run.seed, purpose, {})
    try:
        return stream.take(count, all_levels(mixture))
    finally:
        stream.close()


def _by_agents(config: RunConfig, task: Task) -> Iterator[RunConfig]:
    """The configuration with each of the agents as demonstrator."""
    with closing(task.spec.make()) as env:
        scripted = getattr(env.unwrapped, "scripted", {})
    for name in _AGENTS:
        if name in scripted:
            yield config.model_copy(update={"sft": config.sft.model_copy(update={"demonstrator": name})})
