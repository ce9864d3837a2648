"""Preference pairs: what a file of them says, what is refused, and what groups of episodes give."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.episode import Episode, StopReason
from ludus.agents.policy import ScriptedPolicy
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout
from ludus.agents.store import write_episodes
from ludus.cli import main
from ludus.envs.chat import assistant, system, user
from ludus.tools.errors import DataError
from ludus.trainers.data.group_pairs import Count, contrasts, group_pairs, judge_by
from ludus.trainers.data.pairs import Pair, read_pairs, write_pairs

ASK = [system("Add."), user("1 + 2 = ?")]
CALL = {"id": "a", "type": "function", "function": {"name": "add", "arguments": {"x": 1, "y": [2, "ä"]}}}
CALLING = [
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "a", "content": "3"},
    assistant("3"),
]
TOOL = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {}}}
PAIR = {"prompt": ASK, "chosen": CALLING, "rejected": [assistant("4")], "tools": [TOOL]}


def write_lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def read(path: Path, *rows: Any) -> list[Pair]:
    return [*read_pairs(write_lines(path, *rows))]


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
sides = st.tuples(st.booleans(), texts).map(
    lambda side: [*(CALLING[:2] if side[0] else []), assistant(side[1])]
)


@settings(max_examples=30)  # files are flushed to the disk
@given(
    texts,
    sides,
    sides,
    st.booleans(),
    st.none() | st.floats(0, 1e300),
    st.sampled_from(["", "success"]),
    st.sampled_from([".jsonl", ".parquet"]),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    asked: str,
    chosen: list[Any],
    rejected: list[Any],
    goes_on: bool,
    margin: float | None,
    source: str,
    suffix: str,
) -> None:
    prompt = [user(asked), *([assistant("what?"), user("go")] if goes_on else [])]
    pair = Pair(prompt, chosen, rejected, [TOOL], margin, source)
    path = tmp_path_factory.getbasetemp() / f"pairs{suffix}"
    if chosen == rejected:
        with pytest.raises(DataError, match="say the same"):
            pair.dialogues()
        return
    assert write_pairs(path, [pair, pair]) == 2
    for found in read_pairs(path):
        assert (found.margin, found.source, len(found.prompt)) == (margin, source, len(prompt))
        for ours, theirs in zip(pair.dialogues(), found.dialogues(), strict=True):
            assert (ours.turns, ours.tools, ours.untrained) == (theirs.turns, theirs.tools, theirs.untrained)
            assert ours.untrained == (frozenset({0}) if goes_on else frozenset())


def test_the_forms_that_users_have_say_the_same(tmp_path: Path) -> None:
    """A prompt of its own, in both sides, implied by what they begin with, and as texts."""
    asked, good, bad = user("1 + 2 = ?"), assistant("3"), assistant("4")
    pairs = read(
        tmp_path / "pairs.jsonl",
        {"prompt": [asked], "chosen": [good], "rejected": [bad]},
        {"prompt": [asked], "chosen": [asked, good], "rejected": [asked, bad], "score_chosen": 9.0},
        {"chosen": [asked, good], "rejected": [asked, bad]},
        {"prompt": asked["content"], "chosen": [asked, good], "rejected": [asked, bad]},
        {"prompt": asked["content"], "chosen": "3", "rejected": "4"},
    )
    assert len(pairs) == 5
    assert all(pair == pairs[0] for pair in pairs)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ({**PAIR, "rejected": CALLING}, "chosen and rejected say the same, so neither is better"),
        ({"prompt": ASK, "chosen": "3", "rejected": "3"}, "say the same"),
        ({"prompt": ASK, "choosen": "3", "rejected": "4"}, "there is no chosen; did you mean choosen"),
        ({"messages": ASK}, "there is no chosen; it has messages"),
        ({"chosen": "3", "rejected": "4"}, "there is no prompt, and chosen and rejected do not begin alike"),
        ({**PAIR, "prompt": 3}, "prompt is neither a text nor a list of messages, but '3'"),
        ({**PAIR, "chosen": {"role": "user"}}, "chosen is neither a text nor a list"),
        ({**PAIR, "rejected": [user("?")]}, "rejected has no reply of the assistant"),
        ({**PAIR, "rejected": [assistant("4"), user("?")]}, "rejected: the last message has the role user"),
        ({**PAIR, "chosen": CALLING[:2]}, r"prompt \+ chosen: the last message has the role tool"),
        ({**PAIR, "margin": -1}, "margin is -1, so the rejected one is the better; swap the two"),
        ({**PAIR, "margin": "large"}, "margin is 'large'; it is a finite number"),
        ({**PAIR, "margin": math.nan}, "margin is 'nan'"),
        ({**PAIR, "margin": 10**400}, "margin is '1000"),
        ({**PAIR, "source": 3}, "source is no text"),
        ({**PAIR, "tools": "["}, "tools is a text that is no JSON"),
        ({**PAIR, "tools": [3]}, r"tools\[0\] is no tool"),
        ("[1]", "a JSON list, not an object; write one object a line, with the keys prompt, chosen"),
    ],
)
def test_a_wrong_line_is_named_with_what_is_wrong(tmp_path: Path, line: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as refused:
        read(tmp_path / "pairs.jsonl", PAIR, line)
    assert "pairs.jsonl, line 2" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty: there is no pair"):
        read(tmp_path / "empty.jsonl")
    with pytest.raises(DataError, match="there is no such file"):
        [*read_pairs(tmp_path / "nowhere.jsonl")]
    with pytest.raises(DataError, match=r"written as .jsonl or .parquet"):
        write_pairs(tmp_path / "pairs.csv", [])


# --- groups


def test_the_best_of_a_group_against_its_worst(episode: Callable[..., Episode]) -> None:
    def says(reply: str, reward: float) -> Episode:
        (turn,) = (made := episode(reward)).turns
        return replace(made, turns=(replace(turn, reply=assistant(reply)),))

    group = [says("a", 0.0), says("b", 1.0), says("b", 1.0), says("c", 0.25), says("d", 0.75)]
    by_reward = contrasts(group, judge_by("reward"), most=9)
    told = [(pair.chosen, pair.rejected, pair.margin) for pair in by_reward]
    assert told == [(group[1], group[0], 1.0), (group[4], group[3], 0.5)]
    assert contrasts(group, judge_by("reward")) == by_reward[:1]
    assert contrasts(group, judge_by("reward"), 9, least_margin=0.6) == by_reward[:1]
    assert len(contrasts(group, judge_by("success"), 9)) == 2
    assert not contrasts(group[1:3], judge_by("reward"))
    assert not contrasts(group, judge_by("format"))


def test_pairs_of_an_episode_file_go_on_from_what_its_episodes_share(tmp_path: Path) -> None:
    """Two agents at the same starts, in several turns with tools, beside a fault."""
    spec, starts = EnvironmentSpec("ludus/Weather-v0"), [EpisodeStart(seed) for seed in range(3)]
    good, bad = (rollout(ScriptedPolicy(name), spec, starts) for name in ("oracle", "null"))
    broken = replace(good[0], stop=StopReason.ENGINE_FAULT, fault="gone", success=False)
    path = write_episodes(tmp_path / "episodes.parquet", [*bad, broken, *good])
    count = Count()
    pairs = [*group_pairs(path, "success", count=count)]
    assert (count.groups, count.alike, count.unusable, len(pairs)) == (3, 0, 1, 3)
    for pair, episode in zip(pairs, good, strict=True):
        said = [message for turn in episode.turns for message in (*turn.observation, turn.reply)]
        assert [*pair.prompt, *pair.chosen] == said
        assert pair.prompt == episode.turns[0].observation
        assert (pair.margin, pair.source) == (1.0, "success")
        assert pair.tools
    write_pairs(tmp_path / "pairs.parquet", pairs)
    assert len([*read_pairs(tmp_path / "pairs.parquet")]) == 3
    with pytest.raises(DataError, match=r"no episode has a reward term 'sucess'; did you mean success"):
        [*group_pairs(path, "sucess")]
    with pytest.raises(DataError, match="has no training episodes"):
        [*group_pairs(tmp_path, "success")]


def test_a_run_gives_its_training_episodes_alone(tmp_path: Path) -> None:
    spec = EnvironmentSpec("ludus/Arithmetic-v0")
    (tmp_path / "episodes").mkdir()
    for seed, name in enumerate(("train-000020", "evaluation-final", "rft-000001")):
        starts = [EpisodeStart(seed)]
        episodes = [e for agent in ("null", "oracle") for e in rollout(ScriptedPolicy(agent), spec, starts)]
        write_episodes(tmp_path / "episodes" / f"{name}.parquet", episodes)
    pairs = [*group_pairs(tmp_path, "reward")]
    assert [Path(pair.place.partition(",")[0]).stem for pair in pairs] == ["rft-000001", "train-000020"]


def test_the_command_writes_pairs_and_says_what_became_of_the_groups(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, starts = EnvironmentSpec("ludus/Arithmetic-v0"), [EpisodeStart(seed) for seed in range(3)]
    episodes = [e for agent in ("null", "oracle") for e in rollout(ScriptedPolicy(agent), spec, starts)]
    path = write_episodes(tmp_path / "episodes.parquet", [*episodes, replace(episodes[0], seed=9)])
    assert main(["pairs", str(path), "--out", str(tmp_path / "pairs.jsonl")]) == 0
    assert "3 pairs from 4 groups, 1 of them without a difference by success" in capsys.readouterr().out
    assert len([*read_pairs(tmp_path / "pairs.jsonl")]) == 3
    for words, problem in (
        (["--out", str(tmp_path / "pairs.csv")], "written as .jsonl or .parquet"),
        (["--out", str(tmp_path / "a.jsonl"), "--by", "correkt"], "did you mean correct"),
        (["--out", str(tmp_path / "a.jsonl"), "--least-margin", "2"], "no pairs in 4 groups"),
        (["--out", str(tmp_path / "a.jsonl"), "--least-margin", "nan"], "--least-margin nan"),
        (["--out", str(tmp_path / "a.jsonl"), "--most", "0"], "--most 0"),
        (["--out", str(tmp_path / "nowhere" / "a.jsonl")], "in a folder that exists"),
    ):
        assert main(["pairs", str(path), *words]) > 0
        told = capsys.readouterr().err
        assert problem in told
        assert told.count("\n") == 1
    assert not (tmp_path / "a.jsonl").exists()
