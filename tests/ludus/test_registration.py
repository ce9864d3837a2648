"""`import ludus`: what it registers, and what it leaves alone."""

import importlib
import subprocess
import sys
import warnings

import gymnasium
import pytest

import ludus
from ludus.cli.environments import environment_class, task_line

HEAVY = ("torch", "transformers", "tokenizers", "numba", "pyarrow", "matplotlib", "pydantic", "rich", "tyro")


def test_importing_loads_nothing_heavy() -> None:
    code = f"import sys, ludus; print([name for name in {HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert loaded.strip() == "[]"


def test_the_command_line_loads_what_is_heavy_only_in_the_commands_that_need_it() -> None:
    code = f"import sys, ludus.cli; print([name for name in {HEAVY[:6]!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert loaded.strip() == "[]"


def test_registering_twice_changes_nothing_and_warns_of_nothing() -> None:
    before = {id: gymnasium.registry[id] for id in ludus.environment_ids()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ludus.register_environments()
        importlib.reload(ludus)
    assert all(gymnasium.registry[id] is spec for id, spec in before.items())


@pytest.mark.parametrize("id", ludus.environment_ids())
def test_every_environment_has_defaults_a_task_line_and_a_spec_that_survives_json(id: str) -> None:
    env = gymnasium.make(id)
    assert env.spec is not None
    assert gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()).id == id
    env.close()
    line = task_line(environment_class(id))
    assert 10 < len(line) <= 200, line


@pytest.mark.parametrize("id", ludus.environment_ids())
def test_an_unknown_argument_is_named_with_the_environment(id: str) -> None:
    with pytest.raises((TypeError, ValueError), match="'no_such_thing'") as refusal:
        gymnasium.make(id, no_such_thing=1)
    assert environment_class(id).__name__ in str(refusal.value)


def test_an_unknown_environment_of_ours_gets_a_suggestion() -> None:
    with pytest.raises(gymnasium.error.NameNotFound, match="Did you mean: `Arithmetic`"):
        gymnasium.make("ludus/Arithmetics-v0")
