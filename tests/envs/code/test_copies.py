"""Copies of `ludus/DataAnalysis-v0` continue where they were taken, each with its own notebook."""

import copy
import pickle

import gymnasium
import pytest

import ludus  # noqa: F401 (registers the environments)
from ludus.envs.code.analysis.notebooks import NOTEBOOKS
from ludus.envs.code.analysis.scripted import call


def pickled(env):
    return pickle.loads(pickle.dumps(env))


def restored(env):
    fresh = gymnasium.make(env.spec.id, disable_env_checker=True).unwrapped
    fresh.restore(env.snapshot())
    return fresh


COPIERS = pytest.mark.parametrize("copied", [copy.deepcopy, pickled, restored], ids=lambda how: how.__name__)


@COPIERS
def test_a_copy_of_a_notebook_has_its_variables_and_keeps_its_own(copied):
    env = gymnasium.make("ludus/DataAnalysis-v0", disable_env_checker=True).unwrapped
    env.reset(seed=1)
    env.step(call("python", code="x = 41"))
    twin = copied(env)
    assert said(twin.step(call("python", code="x += 1; x"))) == "42"
    assert said(env.step(call("python", code="x"))) == "41"
    live = NOTEBOOKS.live
    twin.close()
    assert NOTEBOOKS.live == live - 1
    assert said(env.step(call("python", code="x"))) == "41"
    env.close()


def said(answer) -> str:
    return answer[0][-1]["content"]
