"""Scorers: each content is asked for once, and a fault stays one."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from ludus.agents.episode import Episode, StopReason, Turn
from ludus.agents.scorers.base import Cached, Remembered, Score, ScoreFault


def said(text: str, seed: int = 0) -> Episode:
    turn = Turn([{"role": "user", "content": "?"}], {"role": "assistant", "content": text}, 0.0, {})
    return Episode("e", {}, seed, "task", (turn,), StopReason.TERMINATED)


class Lengths:
    """Gives the length of a reply; nothing for an empty one."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    async def score(self, episodes: Sequence[Episode]) -> list[Score | ScoreFault]:
        self.batches.append(len(episodes))
        texts = [str(episode.turns[0].reply["content"]) for episode in episodes]
        return [Score(float(len(text))) if text else ScoreFault("nothing was said") for text in texts]

    def close(self) -> None:
        pass


def test_the_same_is_asked_once_in_one_batch() -> None:
    lengths = Lengths()
    scorer = Cached(lengths)
    episodes = [said("ab"), said("abc"), said("ab"), replace(said("ab"), sample=3, group=2)]
    scores = asyncio.run(scorer.score(episodes))
    assert [score.value for score in scores if isinstance(score, Score)] == [2, 3, 2, 2]
    asyncio.run(scorer.score([said("abc"), said("abcd")]))
    assert lengths.batches == [2, 1]
    assert (scorer.remembered.asked, scorer.remembered.known) == (3, 3)


def test_faults_are_asked_again_and_never_0() -> None:
    lengths = Lengths()
    scorer = Cached(lengths)
    for _ in range(2):
        assert asyncio.run(scorer.score([said("")])) == [ScoreFault("nothing was said")]
    assert lengths.batches == [1, 1]


def test_the_oldest_answers_are_forgotten() -> None:
    remembered: Remembered[int] = Remembered(most=2)
    asked: list[int] = []

    async def ask(indices: Sequence[int]) -> list[int | ScoreFault]:
        asked.extend(indices)
        return [*indices]

    for keys in ([1, 2, 3], [3, 2], [1]):
        asyncio.run(remembered(keys, ask))
    assert len(asked) == 4
