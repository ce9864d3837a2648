"""Task streams: what is held out is never trained on; a stream is a pure function of its position."""

from typing import Any

import gymnasium
import pytest

from ludus.trainers.errors import ConfigError
from ludus.trainers.tasks import TaskStream, hold_out, task_of, training_seed


class Numbers(gymnasium.Env[int, int]):
    """Each start is one of `size` tasks."""

    def __init__(self, size: int) -> None:
        self.size = size

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        return 0, {"task": str(self.np_random.integers(self.size))}


def test_held_out_tasks_are_distinct_and_never_drawn() -> None:
    env = Numbers(400)
    held_out = hold_out(env, 100)
    assert len(held_out.seeds) == len(held_out.tasks) == 100
    assert {task_of(env, seed) for seed in held_out.seeds} == held_out.tasks
    drawn = TaskStream(env, 0, "grpo", held_out.tasks).take(1000)
    assert not {task_of(env, seed) for seed in drawn} & held_out.tasks
    assert max(drawn) < 2**32 <= min(held_out.seeds)


def test_held_out_tasks_do_not_depend_on_the_run() -> None:
    assert hold_out(Numbers(400), 100) == hold_out(Numbers(400), 100)


def test_a_stream_goes_on_where_its_position_says() -> None:
    env = Numbers(400)
    held_out = hold_out(env, 100).tasks
    whole = TaskStream(env, 7, "grpo", held_out)
    first, position, second = whole.take(50), whole.position, whole.take(50)
    assert TaskStream(env, 7, "grpo", held_out, position).take(50) == second
    assert TaskStream(env, 7, "grpo", held_out).take(100) == first + second
    assert TaskStream(env, 8, "grpo", held_out).take(50) != first
    assert TaskStream(env, 7, "sft", held_out).take(50) != first


def test_training_seeds_are_a_pure_function() -> None:
    assert training_seed(3, "sft", 10) == training_seed(3, "sft", 10)
    seeds = {
        training_seed(run, purpose, position)
        for run in range(10)
        for purpose in ("sft", "grpo")
        for position in range(50)
    }
    assert len(seeds) == 1000


@pytest.mark.parametrize(("size", "count"), [(100, 512), (50, 45), (2, 1), (600, 512)])
def test_of_few_tasks_about_half_are_held_out(size: int, count: int) -> None:
    env = Numbers(size)
    held_out = hold_out(env, count)
    assert 0.4 * size <= len(held_out.tasks) <= 0.6 * size
    assert len(held_out.tasks) <= count
    assert {task_of(env, seed) for seed in held_out.seeds} == held_out.tasks
    drawn = TaskStream(env, 0, "grpo", held_out.tasks).take(200)
    assert not {task_of(env, seed) for seed in drawn} & held_out.tasks


def test_a_task_space_that_cannot_be_split() -> None:
    with pytest.raises(ConfigError, match="Numbers always starts the same task"):
        hold_out(Numbers(1), 8)
    assert hold_out(Numbers(1), 0).seeds == ()
