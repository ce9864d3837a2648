"""`Judge`: a language model scores episodes by a rubric, one by one or in pairs."""

import asyncio
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import gymnasium

from ludus.agents.engines.base import EngineFault, ServerRefusal
from ludus.agents.episode import Episode
from ludus.agents.policy import EnginePolicy, Player, Policy
from ludus.agents.scorers.base import Remembered, Score, ScoreFault
from ludus.agents.scorers.transcript import played, task_of
from ludus.envs.chat import reply_text
from ludus.tools.content import content_key
from ludus.tools.judging.prompt import MOST, Message, judge_messages, pair_messages
from ludus.tools.judging.verdict import TIE, A, Form, Scale, agreed

Verdict = float | str


class Judge:
    """A scorer, see `Scorer`. Each question is asked once; its seed follows from its text.

    Args:
        name: Of the model, for messages.
        policy: The model, behind whatever engine.
        rubric: What is judged.
        form: `Scale`: each episode by itself; its score goes from 0, the scale's lower end, to 1.
            `PREFERENCE`: episodes of a group in pairs; a score is the share of its comparisons that an
            episode wins, ties counted half.
        comparisons: With how many others of its group an episode is compared, at least.
        most: Characters of a message.
    """

    def __init__(
        self, name: str, policy: Policy, rubric: str, form: Form, comparisons: int = 3, most: int = MOST
    ) -> None:
        self._name, self._policy, self._rubric = name, policy, rubric
        self._form, self._comparisons, self._most = form, comparisons, most
        self.remembered: Remembered[Verdict] = Remembered()

    async def score(self, episodes: Sequence[Episode]) -> list[Score | ScoreFault]:
        """
        Raises:
            UserError: the server cannot be used.
        """
        if isinstance(self._form, Scale):
            return await self._one_by_one(episodes, self._form)
        return await self._in_pairs(episodes)

    def close(self) -> None:
        if isinstance(self._policy, EnginePolicy):
            self._policy.engine.close()

    async def _one_by_one(self, episodes: Sequence[Episode], form: Scale) -> list[Score | ScoreFault]:
        questions = [
            judge_messages(self._rubric, form, task_of(episode), played(episode), self._most)
            for episode in episodes
        ]
        return [
            verdict
            if isinstance(verdict, ScoreFault)
            else Score(form.share(float(verdict)), details={"verdict": verdict})
            for verdict in await self._verdicts(questions)
        ]

    async def _in_pairs(self, episodes: Sequence[Episode]) -> list[Score | ScoreFault]:
        """Each with the next ones of its group, the first following the last: what a place in the group could
        do for an episode is the same for all. The same said twice is a tie, and nobody is asked."""
        pairs = [pair for group in _groups(episodes) for pair in ring(group, self._comparisons)]
        said = [played(episode) for episode in episodes]
        asked = [(a, b) for a, b in pairs if said[a] != said[b]]
        questions = [
            pair_messages(self._rubric, task_of(episodes[a]), said[first], said[second], self._most)
            for a, b in asked
            for first, second in ((a, b), (b, a))
        ]
        verdicts = await self._verdicts(questions)
        found = dict(zip(asked, zip(verdicts[::2], verdicts[1::2], strict=True), strict=True))
        wins: list[list[float]] = [[] for _ in episodes]
        faults: list[ScoreFault | None] = [None] * len(episodes)
        for a, b in pairs:
            first, swapped = found.get((a, b), (TIE, TIE))
            fault = next((verdict for verdict in (first, swapped) if isinstance(verdict, ScoreFault)), None)
            if fault is not None:
                faults[a] = faults[b] = fault
                continue
            better = agreed(str(first), str(swapped))
            won = 0.5 if better == TIE else float(better == A)
            wins[a].append(won)
            wins[b].append(1.0 - won)
        return [
            # Alone in its group, an episode is as good as what it is compared with.
            fault if fault is not None and not won else Score(fmean(won or [0.5]), details={"won": won})
            for won, fault in zip(wins, faults, strict=True)
        ]

    async def _verdicts(self, questions: Sequence[list[Message]]) -> list[Verdict | ScoreFault]:
        keys = [content_key(question) for question in questions]

        async def ask(indices: Sequence[int]) -> list[Verdict | ScoreFault]:
            # All sessions are there before the first is asked, so that an engine's batches follow from them.
            players = [self._policy.player(gymnasium.Env(), keys[index]) for index in indices]
            if isinstance(self._policy, EnginePolicy):
                self._policy.engine.wake()
            try:
                asked = zip(players, indices, strict=True)
                return list(await asyncio.gather(*(self._ask(player, questions[i]) for player, i in asked)))
            finally:
                for player in players:
                    player.close()
                if isinstance(self._policy, EnginePolicy):
                    self._policy.engine.sleep()

        return await self.remembered(keys, ask)

    async def _ask(self, player: Player, question: Any) -> Verdict | ScoreFault:
        about = f"the judge {self._name}"
        try:
            action = await player.act(question, {})
        except (EngineFault, ServerRefusal) as fault:
            return ScoreFault(f"{about}: {fault}")
        finally:
            player.close()
        if action.is_empty:
            return ScoreFault(f"{about}: what it should read is too long for it: lower max_characters")
        text = reply_text(action.reply)
        if action.finish == "length":  # what stands last may be a verdict that it quotes
            return ScoreFault(f"{about}: its answer was cut off: raise max_tokens")
        verdict = self._form.read(text)
        if verdict is None:
            said = " ".join(text.split())[-60:]
            return ScoreFault(f"{about} gave no verdict, {self._form.asked}; its answer ends with {said!r}")
        return verdict


def ring(members: Sequence[int], comparisons: int) -> list[tuple[int, int]]:
    """Pairs in which each member is with the next `comparisons` / 2 (rounded up) ones, the first following
    the last; each pair once."""
    size = len(members)
    pairs = {
        frozenset((members[i], members[(i + ahead) % size])): (members[i], members[(i + ahead) % size])
        for ahead in range(1, min(-(-comparisons // 2), size // 2) + 1)
        for i in range(size)
    }
    return [pair for pair in pairs.values() if pair[0] != pair[1]]


def _groups(episodes: Sequence[Episode]) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for index, episode in enumerate(episodes):
        groups.setdefault(episode.group, []).append(index)
    return list(groups.values())
