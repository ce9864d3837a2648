"""The judge of surfaces finds every planted difference, and none where there is none."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from ludus.cli import main
from ludus.envs.conformance.surfaces import Comparison, Copies, Direct, Lost, Seen, Session, Surface, compare
from ludus.envs.conformance.surfaces.all import surface
from ludus.envs.conformance.surfaces.policy import KINDS, reply
from ludus.envs.conformance.surfaces.surface import DirectSession, make_chat
from ludus.envs.faults import EnvironmentFault
from ludus.registration import environment_ids
from ludus.tools.errors import UserError

RUN_PROGRAMS = ("ludus.envs.code.", "ludus.envs.math.mathtool.")
NUMBERED = [id for id in environment_ids() if id.replace("-v", "Chat-v") in environment_ids()]
"""Environments with numbered actions, which have a form in words."""
ECHOING = "echoing:Echoing-v0"


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    folder = str(Path(__file__).parent)
    sys.path.insert(0, folder)
    yield
    sys.path.remove(folder)


def test_the_policy_is_a_pure_function_of_the_seed() -> None:
    def said() -> list[Any]:
        return [
            reply(kind, seed, member, turn, ["<answer>4</answer>"], [])
            for kind in KINDS
            for seed in (1, 2)
            for member in (0, 1)
            for turn in range(3)
        ]

    first = said()
    assert repr(first) == repr(said())
    assert len(set(map(repr, first))) > len(first) // 2


def test_copies_out_of_a_pickle_play_the_same() -> None:
    found = compare(Copies(), ECHOING)
    assert found.same, found
    assert found.episodes >= 2 * 2 * len(KINDS)
    assert found.steps > found.episodes
    assert not found.left_out


@pytest.mark.slow  # starts a process
def test_through_mcp_nothing_differs_but_what_it_lacks() -> None:
    pytest.importorskip("mcp", reason="needs mcp: pip install 'ludus[serve]'")
    through = surface("mcp")
    try:
        found = compare(through, ECHOING, seeds=(11,))
    finally:
        through.close()
    assert found.same, found
    for reason in found.left_out:
        assert reason.startswith(
            ("anchor: ", "roles: ", "several calls in one reply", "halves of", "what is no")
        )


class Planted(Surface):
    """A surface with one thing wrong."""

    name = "planted"

    def __init__(self, wrong: str) -> None:
        self.wrong = wrong
        self.started: list[int] = []

    def open(self, id: str, arguments: Mapping[str, Any]) -> Session:
        return _Planted(self, make_chat(id, arguments))


class _Planted(DirectSession):
    def __init__(self, surface: Planted, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.surface, self.over, self.last = surface, "no episode", None

    @property
    def tools(self) -> list[dict[str, Any]]:
        return super().tools[self.surface.wrong == "tools" :]

    def reset(self, seed: int) -> Seen:
        self.surface.started.append(seed)
        moved = self.surface.wrong == "seed" and len(self.surface.started) > 4
        self.over, self.last = "", super().reset(seed + moved)
        return self.last

    def step(self, reply: Any) -> Seen:
        wrong = self.surface.wrong
        if self.over and wrong != self.over:
            raise Lost(self.over)
        if self.over:
            return Seen([], "", None, 0.0)
        try:
            seen = super().step(reply)
        except EnvironmentFault:
            if wrong == "a fault as reward 0":
                return Seen([], "", None, 0.0, terminated=True)
            self.over = "after a fault"
            raise
        except gymnasium.error.ResetNeeded:
            raise Lost("the episode is over") from None
        match wrong:
            case "reward":
                return replace(seen, reward=(seen.reward or 0.0) + 1e-12)
            case "a term":
                return replace(seen, terms={name: value for name, value in seen.terms.items() if value})
            case "truncated":
                return replace(seen, terminated=seen.terminated or seen.truncated, truncated=False)
            case "an id":
                return replace(seen, messages=[{**message, "tool_call_id": ""} for message in seen.messages])
            case "unicode":
                return replace(seen, messages=[_ascii(message) for message in seen.messages])
            case "success":
                return replace(seen, success=bool(seen.success))
        return seen

    def cut(self) -> None:
        self.over = "a connection that is lost"


def _ascii(message: Any) -> Any:
    content = message["content"]
    return (
        message
        if isinstance(content, list)
        else {**message, "content": content.encode("ascii", "replace").decode()}
    )


@pytest.mark.parametrize(
    ("wrong", "fact"),
    [
        ("seed", "contents"), ("reward", "reward"), ("a term", "terms"), ("truncated", "truncated"),
        ("an id", "roles"), ("unicode", "contents"), ("success", "success"), ("tools", "tools"),
        ("a fault as reward 0", "fault"), ("after a fault", "fault"), ("a connection that is lost", "told"),
    ],
)  # fmt: skip
def test_a_planted_difference_is_found(wrong: str, fact: str) -> None:
    found = compare(Planted(wrong), ECHOING)
    assert fact in {difference.fact for difference in found.differences}, found
    assert f", {fact}: " in str(found)


def test_nothing_is_found_where_nothing_is_planted() -> None:
    found = compare(Planted(""), ECHOING)
    assert found.same, found
    assert isinstance(found, Comparison)


def test_what_cannot_be_carried_is_counted_with_its_reason() -> None:
    class OnlyTexts(Planted):
        lacks = {"roles": "ids are not carried"}  # noqa: RUF012

        def refuses(self, reply: Any) -> str:
            return "" if isinstance(reply, str) else "a text is needed"

    found = compare(OnlyTexts("an id"), ECHOING, members=4)
    assert found.same, found
    assert found.left_out["roles: ids are not carried"] > 0
    assert found.left_out["a text is needed"] > 0


def test_what_is_no_surface_is_one_line() -> None:
    with pytest.raises(UserError, match="there is no surface 'mpc': did you mean mcp"):
        surface("mpc")


def test_the_command_line_holds_an_environment_against_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", ECHOING, "--surface", "copies", "--arg", "tries=2"]) == 0
    assert "Echoing-v0 through copies: the same, 24 episodes" in capsys.readouterr().out
    assert main(["check", ECHOING, "--surface", "cpies"]) == 1
    assert "error: there is no surface 'cpies': did you mean copies?" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["copies", "mcp"])
@pytest.mark.parametrize("id", [id for id in environment_ids() if id not in NUMBERED])
def test_every_environment_is_the_same_through(name: str, id: str, request: pytest.FixtureRequest) -> None:
    if str(gymnasium.spec(id).entry_point).startswith(RUN_PROGRAMS):
        request.getfixturevalue("needs_sandbox")
    through = surface(name)
    try:
        found = compare(through, id, seeds=(11,))
    finally:
        through.close()
    assert found.same, found


def test_what_is_not_a_chat_is_one_line() -> None:
    with pytest.raises(UserError, match=r"ludus/TicTacToe-v0 takes numbered actions.* use a chat form"):
        compare(Direct(), "ludus/TicTacToe-v0")
