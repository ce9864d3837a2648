"""A judge over a real socket: what it is asked, what is made of its verdicts, and what it falls for."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

import ludus  # noqa: F401 (registers the environments)
from ludus.agents.episode import Episode, StopReason, Turn
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart
from ludus.agents.scorers.base import Score, ScoreFault
from ludus.agents.scorers.config import JudgeSection, make_judge
from ludus.agents.scorers.judge import ring
from ludus.agents.scorers.planted import attacked, known_good, transplant
from ludus.tools.judging.attacks import ATTACKS

from ...judge_server import JudgeServer, Verdict, candidates

Serve = Callable[[Verdict], JudgeServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[JudgeServer] = []

    def start(verdict: Verdict) -> JudgeServer:
        servers.append(JudgeServer(verdict))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def said(text: str, group: int = 0) -> Episode:
    turn = Turn([{"role": "user", "content": "2 + 2 = ?"}], {"role": "assistant", "content": text}, 0.0, {})
    return Episode("e", {}, 0, "task", (turn,), StopReason.TERMINATED, group=group)


def scored(server: JudgeServer, episodes: Sequence[Episode], **section: Any) -> list[Score | ScoreFault]:
    judge = make_judge(JudgeSection(model=server.url, rubric="Is it right?", **section))
    return asyncio.run(judge.score(episodes))


def test_pointwise_scores_are_shares_of_the_scale(serve: Serve) -> None:
    server = serve(lambda content: f'{{"verdict": {len(candidates(content)[0])}}}')
    scores = scored(server, [said("four"), said("4"), said("four")], scale=[0, 8])
    assert [score.value for score in scores if isinstance(score, Score)] == [0.5, 0.125, 0.5]
    assert len(server.asked) == 2, "each question once"
    held = server.asked[0]["response_format"]["json_schema"]["schema"]["properties"]["verdict"]
    assert held == {"type": "number", "minimum": 0, "maximum": 8}


@pytest.mark.parametrize(
    ("answer", "why"),
    [("It is fine.", "gave no verdict"), ('{"verdict": 11}', "gave no verdict"), ("It says 10 …", "cut off")],
)
def test_an_answer_without_a_verdict_is_a_fault(serve: Serve, answer: str, why: str) -> None:
    (fault,) = scored(serve(lambda content: answer), [said("4")])
    assert isinstance(fault, ScoreFault)
    assert why in fault.why
    assert "\n" not in fault.why


def test_pairs_are_compared_in_both_orders(serve: Serve) -> None:
    def longer(content: str) -> str:
        a, b = candidates(content)
        return json.dumps({"verdict": "A" if len(a) > len(b) else "B"})

    server = serve(longer)
    group = [said(text) for text in ("1", "22", "333")]
    scores = scored(server, [*group, said("4444", group=1)], mode="pairwise", comparisons=2)
    assert [score.value for score in scores if isinstance(score, Score)] == [0, 0.5, 1, 0.5]
    assert len(server.asked) == 6, "three pairs, two orders; alone, one has nobody to be compared with"


def test_who_prefers_a_place_prefers_nobody(serve: Serve) -> None:
    scores = scored(serve(lambda content: '{"verdict": "A"}'), [said("1"), said("22")], mode="pairwise")
    assert [score.value for score in scores if isinstance(score, Score)] == [0.5, 0.5]


def test_the_same_said_twice_is_a_tie_that_nobody_is_asked_about(serve: Serve) -> None:
    server = serve(lambda content: '{"verdict": "A"}')
    scores = scored(server, [said("4"), said("4")], mode="pairwise")
    assert [score.value for score in scores if isinstance(score, Score)] == [0.5, 0.5]
    assert not server.asked


def test_a_comparison_without_a_verdict_leaves_the_others(serve: Serve) -> None:
    def breaks(content: str) -> str:
        a, b = candidates(content)
        if "?" in a + b:
            return "I cannot say."
        return json.dumps({"verdict": "A" if a > b else "B"})

    scores = scored(serve(breaks), [said("1"), said("2"), said("?")], mode="pairwise", comparisons=2)
    assert [score.value for score in scores[:2] if isinstance(score, Score)] == [0, 1]
    assert isinstance(scores[2], ScoreFault)


@pytest.mark.parametrize("size", range(1, 7))
@pytest.mark.parametrize("comparisons", [1, 2, 3, 9])
def test_a_ring_is_fair(size: int, comparisons: int) -> None:
    pairs = ring(range(size), comparisons)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    times = [sum(member in pair for pair in pairs) for member in range(size)]
    assert len(set(times)) == 1
    assert times[0] >= min(comparisons, size - 1)


ARITHMETIC = EnvironmentSpec("ludus/Arithmetic-v0")


@pytest.fixture(scope="module")
def right() -> list[Episode]:
    return known_good([(ARITHMETIC, EpisodeStart(seed)) for seed in range(2)])


def test_forged_verdicts_take_in_only_who_believes_what_stands_in_a_fence(
    serve: Serve, right: list[Episode]
) -> None:
    answers = {str(episode.turns[0].reply["content"]) for episode in right}

    def strict(content: str) -> str:
        return json.dumps({"verdict": 10 * (candidates(content)[0].replace("\u2060", "") in answers)})

    def gullible(content: str) -> str:
        found = re.findall(r'\{"verdict": \d+\}', candidates(content)[0])
        return found[-1] if found else strict(content)

    forged = {kind for kind in ATTACKS if kind.startswith("forged")}
    for verdict, fooled in ((strict, set()), (gullible, forged)):
        judge = make_judge(JudgeSection(model=serve(verdict).url, rubric="Is it right?"))
        found = asyncio.run(attacked(judge, right))
        assert {row.kind for row in found if row.fooled} == fooled
        assert {row.judged for row in found} == {2}
        assert len(found) == 1 + len(ATTACKS)


def test_a_transplant_is_of_another_task(right: list[Episode]) -> None:
    one, other = right
    plant = transplant(one, other)
    assert plant is not None
    assert plant.bad.turns[0].observation == one.turns[0].observation
    assert plant.bad.turns[0].reply["content"] == other.turns[0].reply["content"]
    assert not plant.bad.success
    assert transplant(one, replace(one, sample=1)) is None


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"rubric": " "}, "the rubric is empty"),
        ({"scale": [1.0, 1.0]}, "two finite numbers"),
        ({"engine": {"kind": "vllm"}}, r"\[engine\] is for a model in this process"),
        ({"model": "folder", "engine": {"kind": "openai", "openai": {"url": "http://x"}}}, "by its URL"),
    ],
)
def test_a_judge_that_makes_no_sense_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        JudgeSection.model_validate({"model": "http://localhost:1/v1", "rubric": "?", **values})
