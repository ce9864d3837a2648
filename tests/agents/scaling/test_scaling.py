"""A whole measurement, of policies whose chances are known."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest

from ludus.agents.engines.base import EngineFault
from ludus.agents.episode import Episode
from ludus.agents.policy import Action
from ludus.agents.scaling.curves import Curve, Outcomes, curves, difference_at_equal_tokens
from ludus.agents.scaling.methods import Revision, Search
from ludus.agents.scaling.revision import FAILED, REQUEST
from ludus.agents.scaling.run import TRIALS, Listener, Plan, Settings, scaling
from ludus.agents.scorers.base import Score, ScoreFault
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import Chat, assistant, content_text, user
from ludus.envs.rubric import Rubric
from ludus.tools.errors import UserError


class Riddle(ChatEnv):
    """`steps` letters, one a turn; each right one earns its share, and a wrong one ends the episode."""

    scripted: ClassVar[Any] = {}
    rubric = Rubric({"right": 1.0})
    max_turns = 9

    def __init__(self, steps: int = 1, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.steps = steps

    def start(self, rng: Any, options: Any) -> Start:
        return Start([user(f"Riddle {rng.integers(10**6)}?")], f"riddle {rng.integers(10**9)}", 0)

    def respond(self, state: int, text: str) -> Outcome:
        right = text == "<answer>a</answer>"
        done = right and state + 1 == self.steps
        return Outcome(
            state + 1,
            [user("Yes." if right else "No.")],
            {"right": right / self.steps},
            done or not right,
            done,
        )


gymnasium.register("tests/Riddle-v0", entry_point=Riddle)

Say = Callable[[Random, Chat], str]


@dataclass(frozen=True)
class Model:
    """Replies with `say`; reading a message costs ten tokens, a reply one."""

    say: Say
    asked: list[Chat] = field(default_factory=list)

    def player(self, env: Any, seed: int) -> "ModelPlayer":
        return ModelPlayer(self, seed)


@dataclass
class ModelPlayer:
    model: Model
    seed: int
    history: Chat = field(default_factory=list)
    turn: int = 0

    async def act(self, observation: Chat, info: dict[str, Any]) -> Action:
        await asyncio.sleep(0)
        self.history = [*self.history, *observation]
        self.model.asked.append(self.history)
        letter = self.model.say(Random(f"{self.seed} {self.turn}"), self.history)
        if letter == "!":
            raise EngineFault("gone")
        reply = assistant(f"<answer>{letter}</answer>")
        tokens = {"prompt_tokens": 10 * len(self.history), "completion_tokens": 1}
        self.history, self.turn = [*self.history, reply], self.turn + 1
        return Action(reply, (1,), (2,), (-1.0,), "stop", **tokens)  # type: ignore[arg-type]

    def branch(self, seed: int) -> "ModelPlayer":
        return ModelPlayer(self.model, seed, self.history, self.turn)

    def close(self) -> None:
        pass


CHANCES = {"a": 0.5, "b": 0.3, "c": 0.2}


def some(random: Random, history: Chat) -> str:
    return random.choices([*CHANCES], [*CHANCES.values()])[0]


@dataclass
class Judge:
    """Counts the right letters, for 7 tokens; of episodes with an answer in `hated`, there is no score."""

    hated: str = ""
    seen: int = 0

    async def score(self, episodes: Sequence[Episode]) -> list[Score | ScoreFault]:
        self.seen += len(episodes)
        return [self._one(episode) for episode in episodes]

    def _one(self, episode: Episode) -> Score | ScoreFault:
        texts = [content_text(turn.reply) for turn in episode.turns]
        if any(f"<answer>{letter}</answer>" in texts for letter in self.hated):
            return ScoreFault("no verdict")
        return Score(float(texts.count("<answer>a</answer>")), details={"tokens": 7})

    def close(self) -> None:
        pass


def settings_of(steps: int = 1, **changes: Any) -> Settings:
    given = {
        "environment": "tests/Riddle-v0",
        "arguments": {"steps": steps},
        "model": "model",
        "temperature": 1.0,
    }
    rest = {"max_tokens": 9, "seed": 100, "options": {}, "ludus": "0"}
    return Settings(**{**given, **rest, **changes})


def measured(found: Sequence[Outcomes], curve: str) -> Outcomes:
    return next(one for one in found if one.curve == curve)


def test_curves_of_known_chances(tmp_path: Path) -> None:
    """200 tasks × 5 samples: standard errors are below 0.036."""
    found = scaling(settings_of(), Plan(200, 5), tmp_path, lambda: Model(some), {"judge": Judge()})
    assert measured(found, "single sample").success_TP.mean() == pytest.approx(0.5, abs=0.1)
    best = [1 - 0.5**k for k in range(1, 6)]
    for by in ("reward", "judge"):
        assert measured(found, f"best of n by {by}").success_TP.mean(axis=0) == pytest.approx(best, abs=0.1)
    vote = measured(found, "majority vote")
    assert vote.success_TP.mean(axis=0) == pytest.approx(
        [majority_of_chances(k) for k in range(1, 6)], abs=0.1
    )
    assert (vote.sampled_TP == np.arange(1, 6)).all()
    assert (vote.read_TP == 10 * np.arange(1, 6)).all()
    assert (measured(found, "best of n by judge").judged_TP == 7 * np.arange(1, 6)).all()
    drawn = {curve.name: curve for curve in curves(found)}
    assert [name for name, curve in drawn.items() if curve.sees_rewards] == ["best of n by reward"]
    for point in drawn["best of n by judge"].points:
        assert point.success.low < point.success.value < point.success.high
    over = drawn["best of n by judge"].points[2].over_majority
    assert over.value == pytest.approx(best[2] - vote.success_TP[:, 2].mean(), abs=0.1)
    assert over.excludes_zero


def majority_of_chances(k: int) -> float:
    total = 0.0
    for answers in product(CHANCES, repeat=k):
        counts = {answer: answers.count(answer) for answer in answers}
        tied = [answer for answer, count in counts.items() if count == max(counts.values())]
        chance = float(np.prod([CHANCES[answer] for answer in answers]))
        total += chance * ("a" in tied) / len(tied)
    return total


def test_equal_tokens_are_a_mixture_of_the_budgets_around() -> None:
    def of(success: Any, tokens: Any) -> Outcomes:
        shape = np.array(success, float), np.array(tokens, float)
        return Outcomes("x", "beam", "", ("",) * shape[0].shape[1], (1, 2), *shape, shape[1], shape[1])

    vote = of([[0.0, 1.0], [0.5, 0.5]], [[10, 20], [10, 20]])
    one = of([[1.0], [1.0]], [[12.5], [12.5]])
    assert difference_at_equal_tokens(one, 0, vote).value == pytest.approx(((1 - 0.25) + 0.5) / 2)
    beyond = of([[1.0], [1.0]], [[25], [25]])
    assert np.isnan(difference_at_equal_tokens(beyond, 0, vote).value)


PLAN = Plan(
    6, 3, 2, (Search("beam", 2, "judge"), Search("mcts", 4, "judge")),
    (Revision(False, 2), Revision(True, 2)), 4,
)  # fmt: skip


class Killed(Listener):
    def __init__(self, after: int) -> None:
        self.after = after

    def played(self, method: str, episode: Episode) -> None:
        self.after -= 1
        if not self.after:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Curve, ...]]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, curves(scaling(settings_of(3), PLAN, folder, lambda: Model(some), {"judge": Judge()}))


@pytest.mark.parametrize("after", [5, 30, 60])
def test_a_killed_measurement_goes_on_and_ends_the_same(
    tmp_path: Path, whole: tuple[Path, tuple[Curve, ...]], after: int
) -> None:
    folder, drawn = whole
    with pytest.raises(KeyboardInterrupt):
        scaling(
            settings_of(3), PLAN, tmp_path / "cut", lambda: Model(some), {"judge": Judge()}, Killed(after)
        )
    with open(tmp_path / "cut" / TRIALS, "ab") as journal:
        journal.write(b"torn")
    more = Killed(-1)
    resumed = scaling(settings_of(3), PLAN, tmp_path / "cut", lambda: Model(some), {"judge": Judge()}, more)
    assert curves(resumed) == drawn
    trials = (folder / TRIALS).read_text().count('"method"')
    assert after - 1 - more.after == trials  # nothing was played twice

    def none() -> Any:
        raise AssertionError("a finished measurement loads no model")

    assert curves(scaling(settings_of(3), PLAN, tmp_path / "cut", none, {"judge": Judge()})) == drawn


def test_searches_are_guided_by_a_scorer_and_count_what_it_costs(tmp_path: Path) -> None:
    """A wrong letter loses, and the judge counts right ones: the search loses only where all samples are
    wrong."""
    judge = Judge()
    plan = Plan(40, 1, 1, (Search("beam", 4, "judge"), Search("mcts", 40, "judge")))
    found = scaling(settings_of(4), plan, tmp_path, lambda: Model(some), {"judge": judge})
    assert measured(found, "single sample").success_TP.mean() < 0.2
    for curve in ("beam search by judge", "tree search by judge"):
        one = measured(found, curve)
        assert one.success_TP.mean() > 0.6
        assert not one.sees_rewards
        assert (one.judged_TP % 7 == 0).all()
    spent = sum(
        measured(found, curve).judged_TP.sum() for curve in ("beam search by judge", "tree search by judge")
    )
    assert spent + measured(found, "best of n by judge").judged_TP.sum() == 7 * judge.seen


def test_what_a_scorer_cannot_score_is_a_fault_and_no_zero(tmp_path: Path) -> None:
    plan, judge = Plan(20, 2, 1, (Search("beam", 2, "judge"),)), Judge(hated="b")
    found = scaling(settings_of(), plan, tmp_path, lambda: Model(some), {"judge": judge})
    for curve in ("best of n by judge", "beam search by judge"):
        assert 0 < len(measured(found, curve).tasks) < 20
    assert len(measured(found, "single sample").tasks) == 20
    # Asked again where it has recovered, all count.
    found = scaling(settings_of(), plan, tmp_path, lambda: Model(some), {"judge": Judge()})
    assert [len(one.tasks) for one in found] == [20] * len(found)
    with pytest.raises(UserError, match="the scorer other scored nothing: no verdict"):
        scaling(settings_of(), Plan(20, 2), tmp_path, lambda: Model(some), {"other": Judge(hated="abc")})
    with pytest.raises(
        UserError, match="beam-2 goes by 'judge', which is no scorer: name 'reward' or one of"
    ):
        scaling(settings_of(), plan, tmp_path, lambda: Model(some))


def test_a_revision_shows_the_attempt_and_who_is_told_stops(tmp_path: Path) -> None:
    """The model is wrong at first, right once it is asked to check, and wrong again after that."""

    def say(random: Random, history: Chat) -> str:
        before = content_text(history[-1])
        return "a" if before.endswith(REQUEST) and "<answer>b" in content_text(history[-2]) else "b"

    model = Model(say)
    plan = Plan(3, 1, 1, (), (Revision(False, 2), Revision(True, 2)))
    found = scaling(settings_of(), plan, tmp_path, lambda: model)
    plain, told = measured(found, "revision"), measured(found, "revision by feedback")
    assert plain.success_TP.tolist() == [[0, 1, 0]] * 3
    assert told.success_TP.tolist() == [[0, 1, 1]] * 3
    assert plain.sampled_TP.tolist() == [[1, 2, 3]] * 3
    assert told.sampled_TP.tolist() == [[1, 2, 2]] * 3
    assert plain.read_TP.tolist() == [[10, 40, 70]] * 3
    assert told.sees_rewards
    assert not plain.sees_rewards
    shown = [[content_text(message) for message in chat[1:]] for chat in model.asked if len(chat) > 1]
    assert ["<answer>b</answer>", REQUEST] in shown
    assert ["<answer>b</answer>", f"No.\n\n{FAILED.format(reward=0)} {REQUEST}"] in shown


def test_a_model_that_no_longer_answers_ends_the_measurement(tmp_path: Path) -> None:
    def broken(random: Random, history: Chat) -> str:
        return "!"

    with pytest.raises(UserError, match="model no longer answers; the last of 8 faults: gone"):
        scaling(settings_of(), Plan(9, 2, concurrency=2), tmp_path, lambda: Model(broken))
    found = scaling(settings_of(), Plan(9, 2), tmp_path, lambda: Model(some))
    assert len(measured(found, "single sample").tasks) == 9
    with pytest.raises(UserError, match=r"holds another measurement \(temperature 1.0, not 0.5\)"):
        scaling(settings_of(temperature=0.5), Plan(9, 2), tmp_path, lambda: Model(some))


def test_a_fault_leaves_its_task_out_of_that_curve(tmp_path: Path) -> None:
    def shaky(random: Random, history: Chat) -> str:
        return "!" if random.random() < 0.1 else "a"

    found = scaling(settings_of(), Plan(20, 2), tmp_path, lambda: Model(shaky))
    single = measured(found, "single sample")
    assert 0 < len(single.tasks) < 20
    assert (single.success_TP == 1).all()
