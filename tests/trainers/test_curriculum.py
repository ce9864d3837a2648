"""Curricula: levels follow from the history alone, and are kept where they teach."""

from itertools import count
from typing import Any

import pytest

from ludus.agents.rollout import EnvironmentSpec
from ludus.trainers.config.curriculum import CurriculumSection
from ludus.trainers.config.reading import parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.curriculum import LEAST_LEARNABILITY, comparable, level_chances
from ludus.trainers.errors import ConfigError
from ludus.trainers.mixture import Member, Mixture, mixture_of, trained_on
from ludus.trainers.tasks import TaskStream, hold_out_tasks, task_of

from .test_tasks import ID


def config(curriculum: dict[str, Any], **sections: Any) -> RunConfig:
    environment = {
        "id": "ludus/Arithmetic-v0",
        "arguments": {"operations": ["add"]},
        "curriculum": {"difficulty": {"operands": [[0, 9], [0, 19], [0, 49], [0, 99]]}, **curriculum},
    }
    return parse_config({"environment": environment, "evaluation": {"episodes": 16}, **sections})


def level(mixture: Mixture, history: list[dict[str, float | str]]) -> int:
    (chances,) = level_chances(mixture, history).values()
    assert sorted(chances) == [0.0, 0.0, 0.0, 1.0]
    return chances.index(1.0)


def line(level: float, success: float) -> dict[str, float | str]:
    return {"environments/Arithmetic/level": level, "environments/Arithmetic/success": success}


def test_success_is_kept_between_the_bounds() -> None:
    mixture = mixture_of(config({"low": 0.3, "high": 0.7, "window": 2, "start": 1}))
    assert level(mixture, []) == 1
    assert level(mixture, [line(1, 0.9)]) == 1
    assert level(mixture, [line(1, 0.9), line(1, 0.6)]) == 2
    assert level(mixture, [line(1, 0.9), line(1, 0.5)]) == 1  # at the bound is within
    assert level(mixture, [line(1, 0.1), line(1, 0.9), line(1, 0.9)]) == 2
    # What was earned at another level counts no longer.
    assert level(mixture, [line(1, 1.0), line(1, 1.0), line(2, 1.0)]) == 2
    assert level(mixture, [line(1, 1.0), line(2, 0.1), line(2, 0.2)]) == 1
    # A step without the environment changes nothing.
    assert level(mixture, [line(1, 0.9), {"reward": 1.0}, line(1, 0.9), {"reward": 1.0}]) == 2
    assert level(mixture, [line(0, 0.0)] * 5) == 0
    assert level(mixture, [line(3, 1.0)] * 5) == 3


def test_levels_are_drawn_by_how_much_they_teach() -> None:
    mixture = mixture_of(config({"kind": "learnability", "window": 2}))
    name = "environments/Arithmetic/level-{}/flat_groups".format
    (fresh,) = level_chances(mixture, []).values()
    assert fresh == [1.0, 1.0, 1.0, 1.0]
    history: list[dict[str, float | str]] = [
        {name(0): 0.0, name(1): 0.5},
        {name(0): 1.0, name(1): 0.25, name(2): 1.0},
        {name(0): 1.0},
    ]
    (chances,) = level_chances(mixture, history).values()
    assert chances == [LEAST_LEARNABILITY, 0.625, LEAST_LEARNABILITY, 1.0]
    drawn = TaskStream(mixture, 0, "grpo", {}).take(400, {"Arithmetic": chances})
    counts = [sum(task.spec == spec for task in drawn) / 400 for spec in mixture.members[0].specs]
    assert counts == pytest.approx([chance / sum(chances) for chance in chances], abs=0.01)


def test_rewards_are_compared_at_the_same_levels_only() -> None:
    history = [
        {**line(0, 0.9), "reward": 0.9},
        {**line(1, 0.3), "reward": 0.3},
        {**line(1, 0.2), "reward": 0.2},
    ]
    assert comparable(history) == history[1:]
    plain: list[dict[str, float | str]] = [{"reward": 0.9}, {"reward": 0.1}]
    assert comparable(plain) == plain


def test_the_environments_own_levels_are_taken_but_for_what_the_arguments_fix() -> None:
    environment = {"id": "ludus/Arithmetic-v0", "arguments": {"depth": 2}, "curriculum": {}}
    (member,) = mixture_of(parse_config({"environment": environment})).members
    assert [spec.arguments["operands"] for spec in member.specs][:2] == [(0, 9), (0, 49)]
    assert {spec.arguments["depth"] for spec in member.specs} == {2}
    assert member.evaluated == [len(member.specs) - 1]


def test_held_out_tasks_are_at_the_stated_levels() -> None:
    stated = config({"evaluate": [1, 3]})
    mixture = mixture_of(stated)
    held_out = hold_out_tasks(mixture, stated)
    levels = [mixture.members[0].specs.index(task.spec) for task in held_out.evaluation]
    assert levels == [1] * 8 + [3] * 8
    assert {mixture.members[0].specs.index(t.spec) for t in hold_out_tasks(mixture, stated).evaluation} == {
        1,
        3,
    }


@pytest.mark.parametrize(
    ("curriculum", "told"),
    [
        ({"low": 0.7, "high": 0.3}, "low = 0.7 is not below high = 0.3"),
        ({"low": 0.5, "high": 0.5}, "low = 0.5 is not below high = 0.5"),
        ({"low": -0.1}, "environment.curriculum.low = -0.1"),
        ({"high": float("nan")}, "environment.curriculum.high = nan"),
        (
            {"kind": "learnability", "start": 2},
            'start = 2 moves one level at a time, but kind = "learnability"',
        ),
        ({"kind": "sucess"}, "did you mean success"),
        ({"difficulty": {"operands": []}}, "difficulty.operands is empty"),
        ({"evaluate": [1, 1]}, "names a level twice"),
        ({"windw": 3}, "did you mean window"),
    ],
)
def test_a_curriculum_that_makes_no_sense_is_refused_at_load(curriculum: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config(curriculum)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_learnability_needs_groups_that_can_differ() -> None:
    grpo = {"group_size": 1, "advantage": "reinforce_pp", "loss": "ppo"}
    config({"kind": "success"}, grpo=grpo)
    with pytest.raises(ConfigError, match=r"Arithmetic: .*learnability.*grpo.group_size = 1 all are"):
        config({"kind": "learnability"}, grpo=grpo)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        (
            {"id": "ludus/MathTool-v0"},
            "has no levels of difficulty for a curriculum (it does not say what makes its tasks harder)",
        ),
        (
            {"id": "ludus/Arithmetic-v0", "arguments": {"operands": [0, 9], "depth": 1}},
            "has no levels of difficulty for a curriculum (the arguments fix all that it has)",
        ),
        (
            {
                "id": "ludus/Arithmetic-v0",
                "arguments": {"depth": 1},
                "curriculum": {"difficulty": {"depth": [1, 2]}},
            },
            "depth is fixed by the arguments and varied by curriculum.difficulty",
        ),
        (
            {"id": "ludus/Arithmetic-v0", "curriculum": {"difficulty": {"depht": [1, 2]}}},
            "did you mean depth",
        ),
        (
            {"id": "ludus/Arithmetic-v0", "curriculum": {"start": 9}},
            "curriculum.start names level 9, but there are 7 levels, 0 to 6",
        ),
        (
            {"id": "ludus/Arithmetic-v0", "curriculum": {"evaluate": [0, 7]}},
            "curriculum.evaluate names level 7",
        ),
        (
            {"id": "ludus/Arithmetic-v0", "curriculum": {"difficulty": {"digits": [1, 2, 2]}}},
            "level 2 of the curriculum is level 1 again, {'digits': 2}",
        ),
    ],
)
def test_a_curriculum_that_does_not_fit_the_environment_is_refused(
    environment: dict[str, Any], told: str, request: pytest.FixtureRequest
) -> None:
    if environment["id"] == "ludus/MathTool-v0":
        request.getfixturevalue("needs_sandbox")
    with pytest.raises(ConfigError) as refused:
        mixture_of(parse_config({"environment": {"curriculum": {}, **environment}}))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_run_is_measured_elsewhere_at_the_hardest_level_that_it_evaluates() -> None:
    assert [spec.arguments["operands"] for spec in trained_on(config({}))] == [[0, 99]]
    assert [spec.arguments["operands"] for spec in trained_on(config({"evaluate": [0, 2]}))] == [[0, 49]]


def test_a_level_whose_tasks_are_all_held_out_is_refused() -> None:
    easy, hard = (EnvironmentSpec(ID, {"size": size}) for size in (1, 400))
    mixture = Mixture((Member("numbers", 1.0, (easy, hard), CurriculumSection()),))
    (only,) = {task_of(easy.make(), seed) for seed in range(9)}
    first = next(seed for seed in count(2**32) if task_of(hard.make(), seed) == only)
    stated = config({}, evaluation={"episodes": 16, "first_seed": first})
    with pytest.raises(ConfigError, match=r"numbers: all tasks of level 0 \({'size': 1}\) are held out"):
        hold_out_tasks(mixture, stated)
