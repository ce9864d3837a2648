"""The conformance suite passes a good environment and finds every planted violation."""

import itertools
import random
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest

from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import user
from ludus.envs.conformance import CHECKS, check
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.tools.errors import UserError


class Silent(ScriptedAgent):
    def act(self, observation: Any, info: dict[str, Any]) -> str:
        return ""


class Guessing(ScriptedAgent):
    def begin(self) -> None:
        self.rng = random.Random(self.seed)

    def act(self, observation: Any, info: dict[str, Any]) -> str:
        return str(self.rng.randrange(10_000))


class Solving(ScriptedAgent):
    def begin(self) -> None:
        self.number: int | None = None

    def act(self, observation: Any, info: dict[str, Any]) -> str:
        if self.number is None:
            self.number = int(observation[0]["content"].split()[-1])
        return str(2 * self.number)


class Parroting(ScriptedAgent):
    def act(self, observation: Any, info: dict[str, Any]) -> str:
        return observation[-1]["content"].split()[-1]


class Double(ChatEnv):
    """Double a number.

    ## Task
    A number is to be doubled, in three tries.

    ## Observation
    `Chat`: the number, then whether the reply was right.

    ## Actions
    `Reply`: digits.

    ## Rewards
    - `correct`: 1 if it is the double; weight 1.
    - `malformed`: 1 if the reply is no number; weight -0.1.

    ## End of episode
    Terminates when right, is truncated after three replies.

    ## Arguments
    - `highest`: of the numbers.
    - `render_mode`: `ansi` or None.

    ## Version history
    - v0: first version.
    """

    rubric = Rubric({"correct": 1.0, "malformed": -0.1})
    max_turns = 3
    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = {
        "null": Silent,
        "random": Guessing,
        "oracle": Solving,
        "cheater-parrot": Parroting,
    }

    def __init__(self, highest: int = 10_000, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.highest = highest

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        number = 1 + int(rng.integers(self.highest))
        return Start([user(f"Double {number}")], f"2*{number}", number)

    def respond(self, state: Any, text: str) -> Outcome:
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            return Outcome(state, [user("Digits, please.")], {"correct": 0.0, "malformed": 1.0})
        right = int(text) == 2 * state
        said = user("Yes." if right else "No.")
        return Outcome(state, [said], {"correct": float(right), "malformed": 0.0}, right, right)


def report(environment: Any, *names: str, **arguments: Any) -> Any:
    return check(environment, episodes=20, only=names, **arguments)


def test_a_good_environment_conforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In its own module, since other processes import it.
    source = Path(__file__).read_text()
    (tmp_path / "doubling.py").write_text(source[: source.index("def report(")])
    monkeypatch.syspath_prepend(tmp_path)
    import doubling  # type: ignore[import-not-found]

    gymnasium.register("mine/Double-v0", "doubling:Double")
    try:
        for environment in (doubling.Double, "doubling:mine/Double-v0"):
            found = check(environment, episodes=20, highest=5_000)
            assert found.passed, str(found)
            assert [outcome.name for outcome in found.checks] == list(CHECKS)
            assert "conforms" in str(found)
    finally:
        del gymnasium.registry["mine/Double-v0"]


class Undocumented(Double):
    """Double a number."""


class TermNotDocumented(Double):
    __doc__ = (Double.__doc__ or "").replace("`correct`", "right")


class ArgumentNotDocumented(Double):
    __doc__ = (Double.__doc__ or "").replace("`highest`", "the highest")


class ObservationOutside(Double):
    def respond(self, state: Any, text: str) -> Outcome:
        outcome = super().respond(state, text)
        return Outcome(state, [{"role": "user", "content": 7}], outcome.terms, True)  # type: ignore[typeddict-item]


class DrawsInAnySize(Double):
    def render(self) -> Any:
        return super().render()[: 100 + self._turn]


class DrawsByPlaying(Double):
    def render(self) -> Any:
        self._turn += 1
        return super().render()


class NeverDraws(Double):
    def __init__(self, highest: int = 10_000) -> None:
        super().__init__()
        self.highest = highest


class SharesData(Double):
    said: ClassVar[dict] = {}

    def reset(self, **kwargs: Any) -> Any:
        messages, info = super().reset(**kwargs)
        self.said.update(info)
        return messages, self.said


class FavouriteNumber(ScriptedAgent):
    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        return 7


class PlaysOutside(Double):
    scripted: ClassVar = {**Double.scripted, "cheater-parrot": FavouriteNumber}


class UnseededSpace(gymnasium.spaces.Discrete):
    def sample(self, mask: Any = None, probability: Any = None) -> Any:
        return np.int64(time.perf_counter_ns() % int(self.n))


class UnseededActions(Double):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = UnseededSpace(10_000)  # type: ignore[assignment]


def with_info(**changes: Any) -> type[Double]:
    """Changes what `step` puts into info; `...` takes a key away."""

    class Changed(Double):
        def step(self, action: Any) -> Any:
            *rest, info = super().step(action)
            info.update(changes)
            return (*rest, {key: value for key, value in info.items() if value is not ...})

    return Changed


class NoTask(Double):
    def reset(self, **kwargs: Any) -> Any:
        return super().reset(**kwargs)[0], {}


class OtherReward(Double):
    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        return observation, reward + 0.001, *rest


class NoRubric(Double):
    rubric = None  # type: ignore[assignment]

    def step(self, action: Any) -> Any:
        self.rubric = Double.rubric
        try:
            return super().step(action)
        finally:
            del self.rubric


class TermWithoutWeight(Double):
    def step(self, action: Any) -> Any:
        observation, reward, *rest, info = super().step(action)
        return observation, reward, *rest, {**info, "reward_terms": {**info["reward_terms"], "style": 0.0}}


class NotFinite(Double):
    rubric = Rubric({**Double.rubric.weights, "oddness": 0.0})

    def step(self, action: Any) -> Any:
        observation, reward, *rest, info = super().step(action)
        return observation, reward, *rest, {**info, "reward_terms": {"oddness": float("inf")}}


class TruncatedSingleTurn(Double):
    max_turns = 1


class TruncatesEarly(Double):
    def step(self, action: Any) -> Any:
        observation, reward, terminated, _, info = super().step(action)
        self._open = False
        return observation, reward, terminated, not terminated, {**info, "success": False}


class BothEnds(Double):
    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated or truncated, terminated or truncated, info


class NeverEnds(Double):
    max_turns = 10**9


class IgnoresItsLimit(Double):
    def step(self, action: Any) -> Any:
        self._turn = 0
        self.played = getattr(self, "played", 0) + 1
        result = super().step(action)
        if self.played % 7 == 0 and not result[2]:
            self._open = False
            return (*result[:3], True, {**result[4], "success": False})
        return result


class StepsWithoutReset(Double):
    def step(self, action: Any) -> Any:
        if not self._open:
            self.reset(seed=0)
        return super().step(action)


class RaisesOnNone(Double):
    def step(self, action: Any) -> Any:
        return super().step(action if isinstance(action, str) else action["content"])


class SaysNothing(Double):
    def respond(self, state: Any, text: str) -> Outcome:
        outcome = super().respond(state, text)
        return Outcome(state, [], outcome.terms, outcome.terminated, outcome.success)


class PaysForNonsense(Double):
    rubric = Rubric({"correct": 1.0, "malformed": 0.0})


class BreaksOnLength(Double):
    def respond(self, state: Any, text: str) -> Outcome:
        if len(text) > 10_000:
            raise RecursionError("too deep")
        return super().respond(state, text)


class DropsToolCalls(Double):
    def step(self, action: Any) -> Any:
        return super().step(action if isinstance(action, str) else "")


class TakesAnyMove(gymnasium.Env):
    action_space = gymnasium.spaces.Discrete(3)
    observation_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return 0, {"task": "any"}

    def step(self, action: Any) -> Any:
        return 0, 0.0, True, False, {"task": "any", "reward_terms": {}, "success": False}


class GlobalNumpy(Double):
    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        number = int(np.random.randint(self.highest))
        return Start([user(f"Double {number}")], f"2*{number}", number)


class SeedsGlobals(Double):
    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        random.seed(int(rng.integers(9)))
        return super().start(rng, options)


class Clock(Double):
    def respond(self, state: Any, text: str) -> Outcome:
        outcome = super().respond(state, text)
        return Outcome(state, [user(f"{time.perf_counter_ns()}")], outcome.terms, outcome.terminated)


class Entropy(Double):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=time.perf_counter_ns() if seed is None else seed, options=options)


class SharedByInstances(Double):
    number: ClassVar[int] = 0

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        start = super().start(rng, options)
        SharedByInstances.number = start.state
        return start

    def respond(self, state: Any, text: str) -> Outcome:
        return super().respond(SharedByInstances.number, text)


class SharedByThreads(Double):
    number: ClassVar[int] = 0

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        SharedByThreads.number = int(rng.integers(self.highest))
        time.sleep(1e-4)
        number = SharedByThreads.number
        return Start([user(f"Double {number}")], f"2*{number}", number)


class NoSnapshot(gymnasium.Wrapper):
    @property
    def unwrapped(self) -> Any:
        return self

    @property
    def scripted(self) -> Any:
        return Double.scripted


class ForgetsTheTurn(Double):
    def snapshot(self) -> Any:
        state, task, *_ = super().snapshot()
        return (state, task, 0, True, ())


class MutableState(Double):
    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        start = super().start(rng, options)
        return Start(start.messages, start.task, [start.state, 0])

    def respond(self, state: Any, text: str) -> Outcome:
        state[1] += 1
        outcome = super().respond(state[0], text)
        return Outcome(state, [user(f"try {state[1]}")], outcome.terms, outcome.terminated, outcome.success)


class UnpicklableSnapshot(Double):
    def snapshot(self) -> Any:
        taken = super().snapshot()
        return lambda: taken

    def restore(self, snapshot: Any) -> None:
        super().restore(snapshot())


class GymnasiumText(gymnasium.ObservationWrapper):
    """Gymnasium's own Text, which AsyncVectorEnv with shared memory decodes once, when it is constructed."""

    def __init__(self) -> None:
        super().__init__(Double())
        self.observation_space = gymnasium.spaces.Text(40, charset="Double0123456789 YesN.oigtpla,")
        self.action_space = gymnasium.spaces.Discrete(9)

    def observation(self, observation: Any) -> str:
        return observation[-1]["content"]


class CountsInstances(Double):
    instances: ClassVar[Any] = itertools.count()

    def reset(self, **kwargs: Any) -> Any:
        messages, info = super().reset(**kwargs)
        return [*messages, user(f"instance {next(self.instances)}")], info


class Failing(ScriptedAgent):
    def act(self, observation: Any, info: dict[str, Any]) -> str:
        return "1"


def with_agents(**agents: type[ScriptedAgent]) -> type[Double]:
    renamed = {name.replace("_", "-"): agent for name, agent in agents.items()}

    class Changed(Double):
        scripted: ClassVar = {**Double.scripted, **renamed}

    return Changed


class WithoutCheater(Double):
    scripted: ClassVar = {name: Double.scripted[name] for name in ("null", "random", "oracle")}


class PaysTheParrot(Double):
    """The cheater never succeeds and yet earns more than the oracle."""

    rubric = Rubric({"correct": 1.0, "malformed": -0.1, "echo": 1.0})

    def respond(self, state: Any, text: str) -> Outcome:
        outcome = super().respond(state, text)
        echoed = float(text == str(state) or text == "No.")
        return Outcome(
            state,
            outcome.messages,
            {**outcome.terms, "echo": 5 * echoed},
            outcome.terminated,
            outcome.success,
        )


@pytest.mark.parametrize(
    ("environment", "name", "words"),
    [
        (ObservationOutside, "gymnasium", "not within the observation space"),
        (SharesData, "gymnasium", "share an object"),
        (Undocumented, "documentation", "lacks the sections Task, Observation"),
        (TermNotDocumented, "documentation", "Rewards does not name correct"),
        (ArgumentNotDocumented, "documentation", "Arguments does not name highest"),
        (ObservationOutside, "spaces", "is not in Chat"),
        (DrawsInAnySize, "rendering", "of one size in an episode"),
        (DrawsByPlaying, "rendering", "drawn as ansi: the truncated of step"),
        (NeverDraws, "rendering", "cannot be had"),
        (PlaysOutside, "spaces", "plays 7, which is not in Reply"),
        (UnseededActions, "spaces", "do not follow from its seed"),
        (NoTask, "info", 'info["task"] is None after reset'),
        (with_info(task="other"), "info", "changes from"),
        (with_info(reward_terms=...), "info", "give a dict of named terms"),
        (with_info(success=False), "info", "is there before the end"),
        (with_info(success=...), "info", "is missing at the end"),
        (OtherReward, "rewards", "come to"),
        (NoRubric, "rewards", "there is no rubric"),
        (TermWithoutWeight, "rewards", "'style' has no weight"),
        (NotFinite, "rewards", "give a finite number"),
        (TruncatedSingleTurn, "limits", "a single turn was truncated"),
        (TruncatesEarly, "limits", "truncated after 1 of max_turns = 3"),
        (BothEnds, "limits", "terminated and truncated"),
        (NeverEnds, "limits", "without an end"),
        (IgnoresItsLimit, "limits", "the limit is max_turns = 3"),
        (StepsWithoutReset, "limits", "ResetNeeded"),
        (RaisesOnNone, "malformed replies", "raises TypeError"),
        (SaysNothing, "malformed replies", "gets no explanation"),
        (PaysForNonsense, "malformed replies", "small penalty"),
        (BreaksOnLength, "malformed replies", "too deep"),
        (DropsToolCalls, "malformed replies", "answer each by its id"),
        (TakesAnyMove, "malformed replies", "raises no ValueError"),
        (GlobalNumpy, "seeds", "reset twice"),
        (SeedsGlobals, "seeds", "global generator"),
        (Clock, "seeds", "the observation of step 1"),
        (Entropy, "seeds", "reset(seed=0) and then reset()"),
        (SharedByInstances, "instances", "beside other instances"),
        (SharedByThreads, "threads", "in a thread"),
        (lambda: NoSnapshot(Double()), "snapshots", "no snapshot()"),
        (ForgetsTheTurn, "snapshots", "restored in the same instance"),
        (MutableState, "snapshots", "restored in the same instance"),
        (UnpicklableSnapshot, "snapshots", "pickle"),
        (GymnasiumText, "vectors", "AsyncVectorEnv with shared memory"),
        (CountsInstances, "vectors", "the environments alone"),
        (with_agents(oracle=Failing), "scripted agents", "the oracle must always succeed"),
        (with_agents(null=Solving), "scripted agents", "null must not succeed"),
        (with_agents(cheater_solver=Solving), "scripted agents", "cheater-solver must not succeed"),
        (PaysTheParrot, "scripted agents", "cheater-parrot must not earn as much"),
        (WithoutCheater, "scripted agents", "no scripted agent cheater-…"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_planted_violations_are_found(environment: Any, name: str, words: str) -> None:
    (found,) = report(environment, name).checks
    assert not found.passed, found
    assert words in found.detail


PROCESS_BOUND = """
from doubling import *

class HashOrder(Double):
    def start(self, rng, options):
        number = 1 + int(rng.integers(self.highest))
        words = " ".join({f"word{i}" for i in range(30)})
        return Start([user(f"{words} {number}")], f"2*{number}", number)
"""


def test_the_order_of_sets_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(__file__).read_text()
    (tmp_path / "doubling.py").write_text(source[: source.index("def report(")])
    (tmp_path / "bound.py").write_text(PROCESS_BOUND)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "doubling", raising=False)
    import bound  # type: ignore[import-not-found]

    (found,) = report(bound.HashOrder, "processes").checks
    assert not found.passed
    assert "order of a set" in found.detail


def test_what_other_processes_cannot_make_is_found() -> None:
    (found,) = report(lambda: Double(), "processes").checks
    assert not found.passed
    assert "pickle" in found.detail


class NoAnchor(Double):
    def step(self, action: Any) -> Any:
        *outcome, info = super().step(action)
        del info["anchor"]
        return *outcome, info


class Counts(Double):
    """Its state counts the tries, and something follows from that; its key does not."""

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        begun = super().start(rng, options)
        return Start(begun.messages, begun.task, (begun.state, 0))

    def respond(self, state: Any, text: str) -> Outcome:
        number, tries = state
        outcome = super().respond(number, text)
        return replace(outcome, state=(number, tries + 1), messages=[user(f"Try {tries + 1}.")])

    def anchor(self, state: Any) -> int:
        return int(state[0])


class Lambda(Double):
    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        begun = super().start(rng, options)
        return Start(begun.messages, begun.task, print)

    def respond(self, state: Any, text: str) -> Outcome:
        return Outcome(state, [user("No.")], {})


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (NoAnchor, r'info\["anchor"\] is None: give the state\'s key'),
        (
            Counts,
            r"the states after \d and \d steps have the same info.*put into anchor\(\) what they",
        ),
        (
            Lambda,
            r"a builtins.builtin_function_or_method has no content .*; override anchor\(state\)",
        ),
    ],
)
def test_keys_of_states_are_checked(environment: Any, said: str) -> None:
    (found,) = report(environment, "anchors").checks
    assert not found.passed
    assert re.search(said, found.detail), found.detail
    (found,) = report(Double, "anchors").checks
    assert found.passed
    assert not found.detail.endswith(" 0 compared with another of the same key")


def test_a_report_says_what_failed() -> None:
    found = report(Undocumented, "documentation", "info")
    assert not found.passed
    assert [outcome.name for outcome in found.failures] == ["documentation"]
    lines = str(found).splitlines()
    assert lines[0] == "Undocumented: 1 of 2 checks failed"
    assert lines[1].startswith("FAILED  documentation")
    assert lines[2].startswith("ok      info")


def test_unknown_checks_and_environments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no check 'sped'; the checks are gymnasium"):
        check(Double, only=("sped",))
    with pytest.raises(gymnasium.error.Error, match="Nowhere"):
        check("ludus/Nowhere-v0")


class NeedsAPackage(Double):
    def respond(self, state: Any, text: str) -> Outcome:
        raise UserError("'pandas' is not installed here: pip install 'ludus[code]'")


def test_what_this_machine_lacks_is_told_and_is_no_finding() -> None:
    with pytest.raises(UserError, match=r"ludus\[code\]"):
        check(NeedsAPackage)
