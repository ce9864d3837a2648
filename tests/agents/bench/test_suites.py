"""Which environments a suite means, and with which arguments."""

import pytest

import ludus  # noqa: F401 (registers the environments)
from ludus.agents.bench.suites import SuiteError, choose
from ludus.agents.rollout import EnvironmentSpec

ARITHMETIC = "ludus/Arithmetic-v0"
TRAINED = EnvironmentSpec(ARITHMETIC, {"digits": 1, "phrasing": "bare"})


def test_an_argument_goes_to_every_environment_that_takes_it() -> None:
    chosen = choose(f"{ARITHMETIC},ludus/PacManChat-v0", {"digits": 3})
    assert [spec.arguments for spec in chosen.specs] == [{"digits": 3}, {}]
    with pytest.raises(SuiteError, match="--arg rowz: no environment of the suite takes it"):
        choose(f"{ARITHMETIC},ludus/PacManChat-v0", {"rowz": 3})
    with pytest.raises(SuiteError, match=r"cannot run here: .*'digit'.*did you mean digits"):
        choose(ARITHMETIC, {"digit": 3})


def test_what_a_run_was_trained_on_is_measured_where_it_is_named() -> None:
    chosen = choose(ARITHMETIC, {"digits": 2}, [TRAINED])
    assert [spec.arguments for spec in chosen.specs] == [{"digits": 2, "phrasing": "bare"}]
    (note,) = chosen.notes
    assert note == f"{ARITHMETIC} has the arguments of the model's training: digits=1, phrasing='bare'"
    other = choose("ludus/ArithmeticChallenge-v0", {}, [TRAINED])
    assert (other.specs[0].arguments, other.notes) == ({}, ())


def test_a_suite_keeps_its_own_tasks_and_says_so() -> None:
    chosen = choose("math", {}, [TRAINED])
    assert EnvironmentSpec(ARITHMETIC) in chosen.specs
    (note,) = chosen.notes
    assert "the suite's own tasks" in note
