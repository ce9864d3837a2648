"""Metrics: exact numbers from a hand-made batch, and a file that a resume continues without duplicates."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ludus.agents.episode import Episode, StopReason
from ludus.trainers.batches.groups import make_groups
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import RunError
from ludus.trainers.metrics import MetricsWriter, episode_metrics, read_metrics

from .conftest import changed


def of_batch(episodes: list[Episode], config: RunConfig) -> dict[str, float]:
    return episode_metrics(episodes, make_groups(episodes, config))


def test_a_batch_by_hand(episode: Callable[..., Episode], tiny: RunConfig) -> None:
    metrics = of_batch(
        [
            episode(1.0, group=0, tokens=2),
            episode(0.0, group=0, tokens=4, finish="length"),
            episode(0.5, group=1, tokens=3),
            episode(0.5, group=1, tokens=3),
        ],
        tiny,
    )
    assert metrics["reward"] == 0.5
    assert metrics["reward_std"] == pytest.approx(0.125**0.5)
    assert metrics["success"] == metrics["terms/correct"] == 0.25
    assert metrics["form/format"] == 1.0
    assert metrics["completion_tokens"] == 3.0
    assert metrics["completion_tokens_max"] == 4
    assert metrics["cut"] == 0.25
    assert metrics["turns"] == 1.0
    assert metrics["flat_groups"] == 0.5
    assert metrics["stop/environment:terminated"] == 1.0
    assert metrics["fault_share"] == 0.0


def test_flat_groups_are_those_that_dynamic_sampling_replaces(
    episode: Callable[..., Episode], tiny: RunConfig
) -> None:
    """Equal returns, but one answer is penalised for its length: the group is not flat."""
    config = changed(changed(tiny, "grpo", loss="dapo", overlong_tokens=4), "rollout", max_tokens=10)
    episodes = [episode(1.0, tokens=5), episode(1.0, tokens=9)]
    assert of_batch(episodes, config)["flat_groups"] == 0.0
    assert of_batch(episodes, tiny)["flat_groups"] == 1.0


def test_a_fault_is_counted_and_is_no_reward(episode: Callable[..., Episode], tiny: RunConfig) -> None:
    metrics = of_batch([episode(1.0), episode(0.0, stop=StopReason.ENVIRONMENT_FAULT)], tiny)
    assert metrics["reward"] == metrics["success"] == 1.0
    assert metrics["fault_share"] == 0.5
    assert metrics["stop/fault:environment"] == 0.5


def test_only_faults_say_nothing_about_the_policy(episode: Callable[..., Episode], tiny: RunConfig) -> None:
    metrics = of_batch([episode(0.0, stop=StopReason.ENGINE_FAULT)], tiny)
    assert metrics == {"stop/fault:engine": 1.0, "fault_share": 1.0, "sampled_tokens": 3}


def board(run: Path, phase: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(run / "tensorboard" / phase))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("loss")]


def test_a_resume_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, "sft") as writer:
        writer.write(1, {"loss": 9.0})
    with MetricsWriter(tmp_path, "grpo") as writer:
        for step in (1, 2, 3):
            writer.write(step, {"loss": float(step), "stop/environment:terminated": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "grpo", "st')  # killed in the middle of a line
    with MetricsWriter(tmp_path, "grpo", completed=1) as writer:
        writer.write(2, {"loss": 20.0})
    lines = [(line["phase"], line["step"], line["loss"]) for line in read_metrics(tmp_path)]
    assert lines == [("sft", 1, 9.0), ("grpo", 1, 1.0), ("grpo", 2, 20.0)]
    assert board(tmp_path, "grpo") == [(1, 1.0), (2, 20.0)]
    assert board(tmp_path, "sft") == [(1, 9.0)]


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with MetricsWriter(tmp_path, "sft") as writer:
        writer._file = full.open("w")
        with pytest.raises(RunError, match=r"metrics.jsonl could not be written: No space left.*--resume"):
            writer.write(1, {"loss": 1.0})
        writer._file = (tmp_path / "metrics.jsonl").open("a")


def test_a_flipped_digit_is_named(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, "sft") as writer:
        writer.write(1, {"loss": 1.5})
        writer.write(2, {"loss": 1.25})
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text().replace("1.25", "1.35"))
    with pytest.raises(
        RunError, match=r"metrics\.jsonl, line 2: not what was written \(its checksum differs\)"
    ):
        read_metrics(tmp_path)


@pytest.mark.parametrize("damage", ['{"phase": "sft", x', "null", "[]", '{"step": 1}', "\udcff"])
def test_a_damaged_line_is_named(tmp_path: Path, damage: str) -> None:
    content = f'{{"phase": "sft", "step": 1}}\n{damage}\n'
    (tmp_path / "metrics.jsonl").write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 2: not a record of a step"):
        read_metrics(tmp_path)
