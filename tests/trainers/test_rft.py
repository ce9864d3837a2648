"""Rejection sampling: what is kept, what is refused, and the same bits after a kill."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.agents.episode import Episode, StopReason, Turn
from ludus.agents.kept import KeptSets
from ludus.agents.store import read_episodes
from ludus.report import write_report
from ludus.trainers.algorithms.rft import require_some, rows_of, select
from ludus.trainers.config.reading import load_config, parse_config
from ludus.trainers.config.rft import RftSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError, RunError
from ludus.trainers.listener import Listener
from ludus.trainers.metrics import read_metrics
from ludus.trainers.run.job import train

CONFIG = Path(__file__).parents[2] / "configs" / "tiny.toml"
SECONDS = ("seconds/", "tokens_per_second", "checksum")


def made(
    group: int, reward: float, success: bool, ids: tuple[int, ...] = (1,), fault: bool = False
) -> Episode:
    turn = Turn([], {"role": "assistant", "content": ""}, reward, {}, (9,), ids, (0.0,) * len(ids))
    stop = StopReason.ENVIRONMENT_FAULT if fault else StopReason.TERMINATED
    return Episode("e", {}, group, str(group), (turn,), stop, success, group)


def test_the_best_different_successes_of_each_task_are_kept() -> None:
    episodes = [
        made(0, 0.5, True, (1,)),
        made(0, 1.0, True, (2,)),
        made(0, 1.0, True, (2,)),  # the same tokens again
        made(0, 0.7, True, (3,)),
        made(0, 9.0, False, (4,)),
        made(0, 9.0, True, (5,), fault=True),
        made(0, 9.0, True, ()),  # nothing was sampled
        made(1, 0.9, False),
        made(2, 0.1, True, (6,)),
    ]
    selection = select(episodes, RftSection(iterations=1, keep=2))
    assert [turn.completion_ids for e in selection.kept for turn in e.turns] == [(2,), (3,), (6,)]
    assert (selection.tasks, selection.samples) == (3, 9)
    assert (selection.unsolved, selection.repeated, selection.surplus) == (1, 1, 1)
    bounded = select(episodes, RftSection(iterations=1, only_successes=False, least_reward=0.8))
    assert [e.turns[0].completion_ids for e in bounded.kept] == [(4,), (2,), (1,)]


def test_what_was_kept_becomes_likelier_among_all_ids() -> None:
    episode = made(0, 1.0, True, (3, 4))
    told = replace(episode, turns=(replace(episode.turns[0], kept=KeptSets.of([[3, 5], [4]])),))
    selections = (select([each], RftSection(iterations=1)) for each in (told, episode))
    (among_some,), (among_all,) = map(rows_of, selections)
    assert told.training_sequences()[0].kept is not None
    assert among_some == among_all


EPISODES = st.lists(
    st.builds(made, st.integers(0, 3), st.floats(-1, 1), st.booleans(), st.tuples(st.integers(0, 3))),
    max_size=20,
)


@given(EPISODES, st.integers(1, 3))
def test_what_was_sampled_is_kept_or_counted_as_left_out(episodes: list[Episode], keep: int) -> None:
    selection = select(episodes, RftSection(iterations=1, keep=keep))
    assert len(selection.kept) + selection.repeated + selection.surplus == sum(e.success for e in episodes)
    assert selection.unsolved == len({e.group for e in episodes} - {e.group for e in selection.kept})
    for group in range(4):
        own = [e for e in selection.kept if e.group == group]
        assert len(own) <= keep
        assert len({e.turns[0].completion_ids for e in own}) == len(own)


def test_an_iteration_without_a_success_stops_the_run() -> None:
    section = RftSection(iterations=1, least_reward=0.5)
    with pytest.raises(RunError, match=r"iteration 3: none of 1 episodes on 1 tasks succeeded and earned 0"):
        require_some(select([made(0, 1.0, False)], section), section, 2)


@pytest.mark.parametrize(
    ("rft", "problem"),
    [
        ({"only_successes": False}, "only_successes = false keeps failures too"),
        ({"least_reward": float("nan")}, "least_reward = nan"),
        ({"keep": 0}, "rft.keep"),
        ({"itterations": 1}, "did you mean iterations"),
    ],
)
def test_senseless_settings_are_refused_at_load(tiny: RunConfig, rft: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_config({**tiny.model_dump(exclude_none=True), "rft": {"iterations": 1, **rft}})


class Killed(Exception):
    pass


class Watch(Listener):
    """Keeps what it is told; raises at a step of rejection sampling, or with a note about an iteration."""

    def __init__(self, at: int = 0, note: str = "never") -> None:
        self.told: list[Any] = []
        self._at, self._note = at, note

    def phase_begun(self, phase: str, total: int, completed: int) -> None:
        self.told.append((phase, total))

    def note(self, text: str) -> None:
        self.told.append(text)
        if text.startswith(self._note):
            raise Killed

    def progressed(self, phase: str, completed: int, metrics: Mapping[str, float]) -> None:
        if phase == "rft" and completed == self._at:
            raise Killed


@pytest.fixture(scope="module")
def primed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that succeeds now and then."""
    values = configured(sft={"steps": 80, "demonstrations": 512, "heldout_demonstrations": 4})
    values["evaluation"]["episodes"] = 0
    run = train(parse_config(values), tmp_path_factory.mktemp("runs") / "primed")
    return run / "models" / "primed"


def configured(**sections: dict[str, Any]) -> dict[str, Any]:
    values = load_config(CONFIG).model_dump(exclude_none=True)
    del values["environments"]
    # One digit only, which is soon learned.
    values["environment"]["arguments"] = {"operations": ["add"], "digits": 1, "phrasing": "bare"}
    for name, keys in {"grpo": {"steps": 0}, "evaluation": {"episodes": 8}, **sections}.items():
        values[name] |= keys
    return values


def sampling(primed: Path, grpo_steps: int = 1, **rft: Any) -> RunConfig:
    values = configured(sft={"steps": 0}, grpo={"steps": grpo_steps})
    values["model"] = {"path": str(primed)}
    values["rft"] = {"iterations": 2, "tasks": 16, "samples": 4, "keep": 2, "steps": 3, "batch_episodes": 4}
    values["rft"] |= rft
    return parse_config(values)


def outcome(run: Path) -> dict[str, Any]:
    lines = [
        {name: value for name, value in line.items() if not name.startswith(SECONDS)}
        for line in read_metrics(run)
    ]
    return {
        "weights": (run / "models" / "final" / "model.safetensors").read_bytes(),
        "metrics": lines,
        "evaluation": json.loads((run / "evaluation.json").read_text()),
        "files": {
            str(path.relative_to(run)) for path in run.rglob("*.[psj]*") if "tensorboard" not in str(path)
        },
    }


@pytest.fixture(scope="module")
def whole(primed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A run that was never stopped, and what was told."""
    listener = Watch()
    return train(
        sampling(primed), tmp_path_factory.mktemp("runs") / "whole", listener=listener
    ), listener.told


def test_iterations_are_counted_stored_and_told(whole: tuple[Path, list[Any]]) -> None:
    run, told = whole
    phases = [entry[0] for entry in told if isinstance(entry, tuple)]
    assert phases == ["model", "evaluation-primed", "rft", "grpo", "evaluation-final"]
    assert ("rft", 6) in told
    lines = [line for line in read_metrics(run) if line["phase"] == "rft"]
    assert [(line["step"], line["iteration"]) for line in lines] == [(s, 1 + (s > 3)) for s in range(1, 7)]
    assert ["kept" in line for line in lines] == [True, False, False] * 2
    for number, line in ((1, lines[0]), (2, lines[3])):
        episodes = read_episodes(run / "episodes" / f"rft-{number:06d}.parquet")
        assert (line["tasks"], line["samples"]) == (16, 64) == (16, len(episodes))
        assert line["success"] == sum(e.success for e in episodes) / 64
        assert line["kept"] + line["repeated"] + line["surplus"] == sum(e.success for e in episodes)
        assert any(
            str(entry).startswith(f"RFT iteration {number}: {line['kept']:.0f} of 64") for entry in told
        )
    first, second = (read_episodes(run / "episodes" / f"rft-{n:06d}.parquet") for n in (1, 2))
    assert {e.seed for e in first}.isdisjoint(e.seed for e in second)
    held_out = {e.task for e in read_episodes(run / "episodes" / "evaluation-final.parquet")}
    assert held_out.isdisjoint(e.task for e in (*first, *second))
    assert (run / "models" / "rft" / "model.safetensors").exists()
    shutil.copytree(run, run.parent / "shown")
    page = write_report(run.parent / "shown").read_text()
    assert "trained by rejection sampling in 2 iterations of 3 steps" in page
    assert "Tasks without a success" in page


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "kill",
    [
        pytest.param({"note": "RFT iteration 1"}, marks=slow),  # sampled and stored, no step yet
        {"at": 1},  # before the first checkpoint
        {"note": "RFT iteration 2"},  # between two checkpoints, the second iteration sampled
        pytest.param({"at": 5}, marks=slow),
        pytest.param({"at": 6}, marks=slow),  # the last step, before its checkpoint
    ],
)
def test_a_run_killed_while_sampling_ends_in_the_same_bits(
    primed: Path, whole: tuple[Path, list[Any]], tmp_path: Path, kill: dict[str, Any]
) -> None:
    with pytest.raises(Killed):
        train(sampling(primed), tmp_path / "run", listener=Watch(**kill))
    train(sampling(primed), tmp_path / "run", resume=True)
    assert outcome(tmp_path / "run") == outcome(whole[0])


def test_without_grpo_its_model_is_the_final_one(primed: Path, tmp_path: Path) -> None:
    run = train(sampling(primed, grpo_steps=0, iterations=1), tmp_path / "run")
    assert {path.name for path in (run / "models").iterdir()} == {"primed", "final"}
    assert json.loads((run / "evaluation.json").read_text()).keys() == {"primed", "final"}
    weights = [(run / "models" / stage / "model.safetensors").read_bytes() for stage in ("primed", "final")]
    assert weights[0] != weights[1]


def test_an_iteration_whose_episodes_are_gone_is_named(primed: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(sampling(primed), tmp_path / "run", listener=Watch(at=3))
    (tmp_path / "run" / "episodes" / "rft-000001.parquet").unlink()
    with pytest.raises(RunError, match=r"rft-000001.parquet is gone"):
        train(sampling(primed), tmp_path / "run", resume=True)
