"""What a stored step keeps of training: the numbers of models, which nothing else can compute again.

They are in `Turn.training`, one for each completion id unless said otherwise; a name is missing where the
number was not computed, as advantages are in rows without a gradient.

| name | what it is |
|---|---|
| `logprob`, `entropy` | of the policy before the first update, in nats |
| `reference` | the reference's log-probability |
| `teacher` | the teacher's log-probability |
| `reward` | what a scorer of steps gave, times its weight |
| `value` | what the value model expected before the token |
| `bootstrap` | what it expected after the episode: a single number, in the last turn |
| `advantage`, `weight` | as the loss used them |
| `divergence` | from the teacher, over the ids that it holds likeliest |
| `update-K/logprob`, `update-K/entropy`, `update-K/value`, `update-K/divergence` | before the K-th update on the token; only where a batch has several, since the first one is on the policy that played |
"""  # noqa: E501

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from ludus.agents.episode import Episode
from ludus.trainers.batches.groups import Group
from ludus.trainers.batches.layout import Layout, lay_out
from ludus.trainers.batches.minibatch import Minibatch

if TYPE_CHECKING:
    from ludus.trainers.algorithms.grpo import Update

STEP, TOKENIZER = "ludus.step", "ludus.tokenizer"
"""What an episode file's metadata says of the step, and the key of the tokenizer (`tokenizer_key`)."""

BOOTSTRAP, REWARD = "bootstrap", "reward"

Training = dict[str, tuple[float, ...]]


def recorded(
    episodes: Sequence[Episode],
    groups: Sequence[Group],
    parts: Sequence[Sequence[Group]],
    minibatches: Sequence[Minibatch],
    updates: Sequence["Update"],
) -> list[Episode]:
    """The episodes of a step, with what was computed of their tokens.

    Args:
        groups: All of the step.
        parts: Those that were trained on, by minibatch.
        minibatches: One for each part, scored.
        updates: In the order in which they were made: on each minibatch that has a gradient, pass by pass.
    """
    records = {id(episode): tuple(Training() for _ in episode.turns) for episode in episodes}
    for group in groups:
        for episode, trajectory in zip(group.episodes, group.trajectories, strict=True):
            if trajectory.token_rewards_T is not None:
                pieces = trajectory.token_rewards_T.split(trajectory.tokens)
                _fill(records[id(episode)], REWARD, [piece.tolist() for piece in pieces])
    updated = [index for index, minibatch in enumerate(minibatches) if minibatch.micro_batches]
    for index, (part, minibatch) in enumerate(zip(parts, minibatches, strict=True)):
        members = [episode for group in part for episode in group.episodes]
        for episode, bootstrap in zip(members, minibatch.bootstrap_E, strict=False):
            if episode.turns:
                records[id(episode)][-1][BOOTSTRAP] = (bootstrap,)
        layout = lay_out(part)
        passes = [update for update, of in zip(updates, updated * len(updates), strict=False) if of == index]
        for rows, named in _of_rows(layout, minibatch, passes, len(updates) > 1):
            for name, values in named.items():
                for r, pieces in _by_turn(layout, rows, values):
                    record = records[id(members[layout.episode_R[r]])]
                    _fill([record[turn] for turn in layout.turns_R[r]], name, pieces)
    return [
        replace(
            episode,
            turns=tuple(
                replace(turn, training=training)
                for turn, training in zip(episode.turns, records[id(episode)], strict=True)
            ),
        )
        for episode in episodes
    ]


def _of_rows(
    layout: Layout, minibatch: Minibatch, passes: Sequence["Update"], several: bool
) -> Iterable[tuple[Sequence[int], Mapping[str, Tensor | None]]]:
    """Rows, and what was computed of their tokens, in flat order."""
    count = len(minibatch.weights_S)
    yield (
        minibatch.trained,
        {
            "logprob": minibatch.old_logprobs_S,
            "entropy": minibatch.entropy_A[:count],
            "reference": minibatch.reference_logprobs_S,
            "teacher": None if minibatch.lesson is None else minibatch.lesson.logprobs_S,
            "value": minibatch.values_S,
            "advantage": minibatch.advantages_S,
            "weight": minibatch.weights_S,
        },
    )
    yield (
        layout.others(minibatch.trained),
        {"logprob": minibatch.rest_logprobs, "entropy": minibatch.entropy_A[count:]},
    )
    for number, update in enumerate(passes, 1):
        computed = {"divergence": update.divergence_S}
        if several:
            computed |= {"logprob": update.logprobs_S, "entropy": update.entropy_S, "value": update.values_S}
        before = f"update-{number}/" if several else ""
        yield minibatch.trained, {f"{before}{name}": values for name, values in computed.items()}


def _by_turn(
    layout: Layout, rows: Sequence[int], values: Tensor | None
) -> Iterable[tuple[int, list[list[float]]]]:
    """Each row, with the values of each of its turns."""
    if values is None:
        return
    flat, begin = values.tolist(), 0
    for r in rows:
        pieces = []
        for turn in layout.turns_R[r]:
            end = begin + layout.trajectories[layout.episode_R[r]].tokens[turn]
            pieces.append(flat[begin:end])
            begin = end
        yield r, pieces


def _fill(records: Iterable[Training], name: str, pieces: Iterable[Sequence[float]]) -> None:
    for record, piece in zip(records, pieces, strict=True):
        if piece:
            record[name] = tuple(piece)
