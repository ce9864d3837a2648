"""Several environments at once: which one a group is of, what is held out, figures by environment."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.agents.episode import Episode
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.store import read_episodes, write_episodes
from ludus.envs.math.arithmetic.environment import Arithmetic
from ludus.trainers.batches.groups import make_groups
from ludus.trainers.config.environment import EnvironmentSection
from ludus.trainers.config.reading import load_config, parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.curriculum import all_levels
from ludus.trainers.errors import ConfigError
from ludus.trainers.metrics import environment_metrics
from ludus.trainers.mixture import Member, Mixture, mixture_of
from ludus.trainers.tasks import TaskStream, hold_out_tasks, pick, task_of

SUMS = {"id": "ludus/Arithmetic-v0", "name": "sums", "arguments": {"operations": ["add"]}}
PRODUCTS = {"id": "ludus/Arithmetic-v0", "name": "products", "arguments": {"operations": ["multiply"]}}
WEATHER = {"id": "ludus/Weather-v0", "arguments": {"narrow": True}}


def mixture(*tables: dict[str, Any], **sections: Any) -> RunConfig:
    return parse_config({"environments": list(tables), "evaluation": {"episodes": 30}, **sections})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "Add [environment] with an id, [[environments]] for several"),
        (
            {"environment": {"id": "ludus/Arithmetic-v0"}, "environments": [WEATHER]},
            "give one of the two",
        ),
        ({"environments": [{**SUMS, "weight": 0}]}, "environments.0.weight = 0: input should be greater"),
        (
            {"environments": [{**SUMS, "weight": -1.5}]},
            "environments.0.weight = -1.5: input should be greater",
        ),
        ({"environments": [{**SUMS, "weight": float("nan")}]}, "environments.0.weight = nan"),
        ({"environments": [SUMS, {**PRODUCTS, "name": "sums"}]}, '2 of them are called "sums"'),
        ({"environments": [WEATHER, WEATHER]}, '2 of them are called "Weather"'),
        ({"environments": [{**SUMS, "wieght": 1}]}, '"environments.0.wieght"; did you mean weight'),
        ({"environments": [{"name": "sums"}]}, '"environments.0.id" is missing'),
        ({"environments": [{**SUMS, "id": "ludus/Arithmetik-v0"}]}, "did you mean ludus/Arithmetic-v0"),
        ({"environments": [{**SUMS, "name": "a/b"}]}, "environments.0.name"),
    ],
)
def test_a_mixture_that_makes_no_sense_is_refused_in_one_line(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(values)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_same_tasks_twice_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"sums and again both play ludus/Arithmetic-v0 with the arguments"):
        mixture_of(mixture(SUMS, {**SUMS, "name": "again"}))


def test_what_cannot_be_made_is_named_by_its_table() -> None:
    with pytest.raises(ConfigError, match=r"\[environments.1\] ludus/Weather-v0 cannot be made .*colour"):
        mixture_of(mixture(SUMS, {**WEATHER, "arguments": {"colour": "red"}}))
    with pytest.raises(ConfigError, match=r"environments.0.id = ludus/PacMan-v0 does not observe messages"):
        mixture_of(mixture({"id": "ludus/PacMan-v0"}))


def test_difficulties_that_are_no_mapping_are_named() -> None:
    class Listed(Arithmetic):
        difficulties: Any = ("digits", "operands")

    gymnasium.register("mine/Listed-v0", Listed)
    config = mixture({"id": "mine/Listed-v0", "curriculum": {}})
    with pytest.raises(
        ConfigError, match=r"gives its difficulties as \('digits', 'operands'\); they are a map"
    ):
        mixture_of(config)


def test_figures_are_called_by_the_id_without_namespace_and_version() -> None:
    for id, title in (("mine:mine/Base-v0", "Base"), ("ludus/Weather-v0", "Weather"), ("Base-v12", "Base")):
        assert EnvironmentSection.model_construct(id=id).title == title


def test_why_an_environment_cannot_be_made_is_told_once() -> None:
    with pytest.raises(ConfigError, match="colour") as refused:
        mixture_of(mixture({**WEATHER, "arguments": {"colour": "red"}}))
    assert "was raised from the environment creator" not in str(refused.value)


@pytest.mark.parametrize(
    "sections", [{"evaluation": {"episodes": 2}}, {"validation": {"every": 1, "tasks": 2}}]
)
def test_no_environment_is_left_out_of_the_figures(sections: dict[str, Any]) -> None:
    config = mixture(SUMS, PRODUCTS, WEATHER, **sections)
    with pytest.raises(ConfigError, match="= 2 is less than one for each of the 3 environments and levels"):
        hold_out_tasks(mixture_of(config), config)


def test_a_mixture_survives_a_round_trip_and_takes_overrides_by_number(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(mixture(SUMS, {**WEATHER, "curriculum": {"low": 0.2}}).to_toml())
    assert load_config(path) == mixture(SUMS, {**WEATHER, "curriculum": {"low": 0.2}})
    changed = load_config(path, {"environments.1.weight": "3.5", "environments.0.name": "plus"})
    assert [(table.title, table.weight) for table in changed.environments] == [
        ("plus", 1.0),
        ("Weather", 3.5),
    ]
    with pytest.raises(ConfigError, match=r'there are 2 tables, numbered from 0, not "2"'):
        load_config(path, {"environments.2.weight": "3.5"})
    with pytest.raises(ConfigError, match=r"say of which table, as in --environments.0.weight"):
        load_config(path, {"environments.weight": "3.5"})


def simple(*weights: float) -> Mixture:
    return Mixture(
        tuple(
            Member(str(n), weight, (EnvironmentSpec("ludus/Arithmetic-v0", {"digits": n + 1}),))
            for n, weight in enumerate(weights)
        )
    )


def names(drawn: Any, of: Mixture) -> list[str]:
    return [next(m.name for m in of.members if task.spec in m.specs) for task in drawn]


def test_the_environment_of_a_group_is_a_pure_function_of_seed_step_and_position() -> None:
    whole = simple(2.0, 1.0, 1.0)
    stream = TaskStream(whole, 7, "grpo", {})
    first = stream.take(12, all_levels(whole), step=3)
    position = stream.position
    more = stream.take(6, all_levels(whole), step=3, first=12)
    again = TaskStream(whole, 7, "grpo", {}).take(18, all_levels(whole), step=3)
    assert again == first + more
    assert TaskStream(whole, 7, "grpo", {}, position).take(6, all_levels(whole), 3, 12) == more
    assert names(TaskStream(whole, 7, "grpo", {}).take(12, all_levels(whole), step=4), whole) != names(
        first, whole
    )
    assert names(TaskStream(whole, 8, "grpo", {}).take(12, all_levels(whole), step=3), whole) != names(
        first, whole
    )


def test_every_step_holds_each_environment_in_proportion() -> None:
    whole = simple(2.0, 1.0, 1.0)
    total: Counter[str] = Counter()
    for step in range(20):
        counts = Counter(names(TaskStream(whole, 0, "grpo", {}).take(32, all_levels(whole), step), whole))
        assert abs(counts["0"] - 16) <= 3
        assert abs(counts["1"] - 8) <= 3
        total += counts
    assert abs(total["0"] - 320) <= 10
    assert abs(total["2"] - 160) <= 10


@given(st.lists(st.floats(0, 10), min_size=1, max_size=6), st.floats(0, 1, exclude_max=True))
def test_a_weight_of_zero_is_never_picked(weights: list[float], quantile: float) -> None:
    if sum(weights) > 0:
        assert weights[pick(weights, quantile)] > 0


def test_what_is_held_out_is_shared_evenly_and_trained_on_by_no_entry_of_the_same_environment() -> None:
    config = mixture(
        {**SUMS, "arguments": {"operations": ["add"], "operands": [0, 30]}, "weight": 5.0},
        {**SUMS, "name": "smaller", "arguments": {"operations": ["add"], "operands": [0, 20]}},
        WEATHER,
        validation={"every": 1, "tasks": 12},
        sft={"heldout_demonstrations": 6},
    )
    whole = mixture_of(config)
    held_out = hold_out_tasks(whole, config)
    assert Counter(names(held_out.evaluation, whole)) == {"sums": 10, "smaller": 10, "Weather": 10}
    assert Counter(names(held_out.validation, whole)) == {"sums": 4, "smaller": 4, "Weather": 4}
    assert Counter(names(held_out.demonstrations, whole)) == {"sums": 2, "smaller": 2, "Weather": 2}
    keys = held_out.keys["ludus/Arithmetic-v0"]
    contents = [
        task_of(task.spec.make(), task.seed)
        for task in (*held_out.evaluation, *held_out.validation)
        if task.spec.id == "ludus/Arithmetic-v0"
    ]
    assert len(set(contents)) == len(contents) == 28
    assert keys == set(contents)
    drawn = TaskStream(whole, 0, "grpo", held_out.keys).take(200, all_levels(whole))
    trained = {task_of(t.spec.make(), t.seed) for t in drawn if t.spec.id == "ludus/Arithmetic-v0"}
    assert not trained & keys


def test_figures_are_given_by_environment(episode: Any, tiny: RunConfig, tmp_path: Path) -> None:
    whole = mixture_of(mixture({**SUMS, "arguments": {"operands": (0, 9)}}, PRODUCTS))
    sums, products = (member.specs[0] for member in whole.members)

    def played(spec: EnvironmentSpec, reward: float, group: int, sample: int) -> Episode:
        made = episode(reward, group, sample=sample)
        return replace(made, environment=spec.id, arguments=spec.arguments)

    episodes = [
        played(sums, 1.0, 0, 0),
        played(sums, 0.0, 0, 1),
        played(products, 0.0, 1, 0),
        played(products, 0.0, 1, 1),
        played(sums, 1.0, 2, 0),
        played(sums, 1.0, 2, 1),
    ]
    write_episodes(tmp_path / "episodes.parquet", episodes)
    stored = read_episodes(tmp_path / "episodes.parquet")
    for found in (episodes, stored):  # what is stored has lists for tuples
        metrics = environment_metrics(whole, make_groups(found, tiny))
        assert metrics == {
            "environments/sums/share": pytest.approx(2 / 3),
            "environments/sums/reward": 0.75,
            "environments/sums/success": 0.75,
            "environments/sums/turns": 1.0,
            "environments/sums/flat_groups": 0.5,
            "environments/products/share": pytest.approx(1 / 3),
            "environments/products/reward": 0.0,
            "environments/products/success": 0.0,
            "environments/products/turns": 1.0,
            "environments/products/flat_groups": 1.0,
        }
