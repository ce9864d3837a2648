"""Task streams: what is held out is never trained on; a stream is a pure function of its position."""

from typing import Any

import gymnasium
import pytest

from ludus.agents.rollout import EnvironmentSpec
from ludus.trainers.errors import ConfigError
from ludus.trainers.mixture import Member, Mixture
from ludus.trainers.tasks import Purpose, TaskStream, hold_out, task_of, training_seed


class Numbers(gymnasium.Env[int, int]):
    """Each start is one of `size` tasks."""

    def __init__(self, size: int) -> None:
        self.size = size

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        return 0, {"task": str(self.np_random.integers(self.size))}


ID = "test/Numbers-v0"
gymnasium.register(ID, Numbers, disable_env_checker=True, order_enforce=False)


class Stream(TaskStream):
    """Of one environment: its training seeds."""

    def __init__(
        self, size: int, run_seed: int, purpose: Purpose, held_out: frozenset[str], position: int = 0
    ) -> None:
        mixture = Mixture((Member("numbers", 1.0, (EnvironmentSpec(ID, {"size": size}),)),))
        super().__init__(mixture, run_seed, purpose, {ID: held_out}, position)

    def seeds(self, count: int) -> list[int]:
        return [task.seed for task in self.take(count, {"numbers": [1.0]})]


def test_held_out_tasks_are_distinct_and_never_drawn() -> None:
    env = Numbers(400)
    held_out = hold_out(env, 100)
    assert len(held_out.seeds) == len(held_out.tasks) == 100
    assert {task_of(env, seed) for seed in held_out.seeds} == held_out.tasks
    drawn = Stream(400, 0, "grpo", held_out.tasks).seeds(1000)
    assert not {task_of(env, seed) for seed in drawn} & held_out.tasks
    assert max(drawn) < 2**32 <= min(held_out.seeds)


def test_held_out_tasks_do_not_depend_on_the_run() -> None:
    assert hold_out(Numbers(400), 100) == hold_out(Numbers(400), 100)


def test_a_stream_goes_on_where_its_position_says() -> None:
    held_out = hold_out(Numbers(400), 100).tasks
    whole = Stream(400, 7, "grpo", held_out)
    first, position, second = whole.seeds(50), whole.position, whole.seeds(50)
    assert Stream(400, 7, "grpo", held_out, position).seeds(50) == second
    assert Stream(400, 7, "grpo", held_out).seeds(100) == first + second
    assert Stream(400, 8, "grpo", held_out).seeds(50) != first
    assert Stream(400, 7, "sft", held_out).seeds(50) != first


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
    drawn = Stream(size, 0, "grpo", held_out.tasks).seeds(200)
    assert not {task_of(env, seed) for seed in drawn} & held_out.tasks


def test_a_task_space_that_cannot_be_split() -> None:
    with pytest.raises(ConfigError, match="Numbers always starts the same task"):
        hold_out(Numbers(1), 8)
    assert hold_out(Numbers(1), 0).seeds == ()
