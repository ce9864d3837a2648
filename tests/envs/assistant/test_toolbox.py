"""What service environments share: renamed and distracting tools, faults, milestones, counted calls."""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ludus.envs.assistant.distractors import DISTRACTORS
from ludus.envs.assistant.service_env import ServiceEnv, WorldState, calling, solves
from ludus.envs.base import Outcome, Start
from ludus.envs.chat import Chat, Reply, content_text, user
from ludus.envs.errors import ArgumentError
from ludus.envs.scripted import ScriptedAgent
from ludus.envs.tool_env import Answer
from ludus.tools.services import Service
from ludus.tools.services.client import ask_json
from ludus.tools.tool import tool


class Shelf(Service):
    """Keeps what is put on it."""

    name = "shelf"
    state: tuple[str, ...] = ()
    app = None

    def __init__(self) -> None:
        super().__init__()
        self.app = Starlette(routes=[Route("/{item}", self.put, methods=["PUT"])])

    async def put(self, request: Request) -> JSONResponse:
        self.state = (*self.state, request.path_params["item"])
        return JSONResponse(len(self.state))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted(WorldState):
    item: str = ""


class Shelves(ServiceEnv):
    max_turns = 20

    def __init__(self, **knobs: Any) -> None:
        super().__init__({"shelf": Shelf()}, {"success": 1.0, "milestones": 0.2}, **knobs)
        self.http = self.connect("shelf")

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        item = f"thing{rng.integers(1000)}"
        self.services["shelf"].state = ()
        return Start([user(self.toolbox.worded(f"{item}: `send_mail` it, then `finish`"))], item, Wanted(
            worlds=self.begin(rng), item=item
        ))  # fmt: skip

    def respond(self, state: Any, text: str) -> Outcome:
        return Outcome(state, [user("Use the tools.")], {"malformed": 1.0})

    @tool
    def send_mail(
        self, state: Any, subject: str, body: str = "nothing", to: Literal["me", "you"] = "me"
    ) -> Answer:
        """Put a thing there; the `subject` is its name. See also `finish`.

        Args:
            subject: which; then call `finish`
            body: more
            to: whom
        """
        number = ask_json(self.http, "PUT", f"/{subject}")
        return Answer(replace(state, item=state.item), f"{number} things, {body}, {to}", {"milestones": 0.5})

    @tool
    def finish(self, state: Any) -> Answer:
        """The end."""
        done = state.item in self.services["shelf"].state
        return Answer(state, "over", {"success": float(done)}, True, done)


class Worker(ScriptedAgent):
    def act(self, observation: Chat, info: dict[str, Any]) -> Reply:
        said = content_text(observation[-1])
        if "things" in said:
            return calling(self.env, ("finish", {}))
        if not said.startswith("Error"):
            self.item = said.partition(":")[0]
        return calling(self.env, ("send_mail", {"subject": self.item}))


def played(env: Shelves, seed: int) -> tuple[float, bool, dict[str, float]]:
    agent = Worker(env)
    observation, info = env.reset(seed=seed)
    total, terms = 0.0, {}
    while "success" not in info:
        observation, reward, _, _, info = env.step(agent.act(observation, info))
        total += reward
        for name, value in info["reward_terms"].items():
            terms[name] = terms.get(name, 0.0) + value
    return total, info["success"], terms


def test_calls_are_counted_and_milestones_are_dropped_unless_asked_for() -> None:
    assert played(Shelves(), 0) == (
        pytest.approx(0.98), True, {"success": 1.0, "calls": 2.0, "tool_errors": 0.0, "malformed": 0.0},
    )  # fmt: skip
    total, _, terms = played(Shelves(milestones=True), 0)
    assert (total, terms["milestones"]) == (pytest.approx(1.08), 0.5)


@pytest.mark.parametrize("names", [True, 2, 3, 4, 5])
def test_other_names_agree_in_schemas_calls_errors_and_texts(names: int) -> None:
    env = Shelves(renamed=names)
    shown = {tool.openai["function"]["name"]: tool.openai["function"] for tool in env.tools}
    naming = env.toolbox.namings["send_mail"]
    assert "send_mail" not in shown
    schema = shown[naming.name]
    assert set(schema["parameters"]["properties"]) == set(naming.arguments.values())
    assert not {"subject", "body", "to"} & set(naming.arguments.values())
    assert schema["parameters"]["required"] == [naming.arguments["subject"]]
    finish = env.toolbox.namings["finish"].name
    assert f"`{naming.arguments['subject']}`" in schema["description"]
    assert f"`{finish}`" in schema["description"]
    assert f"`{finish}`" in schema["parameters"]["properties"][naming.arguments["subject"]]["description"]
    assert not any("Args:" in function["description"] for function in shown.values())
    messages, _ = env.reset(seed=1)
    assert f"`{naming.name}`" in content_text(messages[0])
    assert played(env, 1)[1]

    def answered(name: str, arguments: Any) -> str:
        env.reset(seed=1)
        call = {"id": "a", "function": {"name": name, "arguments": json.dumps(arguments)}}
        return content_text(env.step({"role": "assistant", "content": "", "tool_calls": [call]})[0][0])

    assert f"there is no tool 'send_mail'. There are: {', '.join(shown)}" in answered("send_mail", {}) or (
        "Did you mean" in answered("send_mail", {})
    )
    assert f"the argument '{naming.arguments['subject']}' is missing" in answered(naming.name, {})
    assert "there is no argument 'subject'" in answered(naming.name, {"subject": "x"})
    assert "must be one of 'me', 'you', not 'them'" in answered(
        naming.name, {naming.arguments["subject"]: "x", naming.arguments["to"]: "them"}
    )


def test_names_follow_from_their_seed() -> None:
    names = [tuple(tool.name for tool in Shelves(renamed=seed).tools) for seed in (1, 1, 2, 3, 4, 5, 6)]
    assert names[0] == names[1]
    assert len(set(names)) > 3


@pytest.mark.parametrize("names", range(40))
def test_no_two_tools_or_arguments_are_called_the_same(names: int) -> None:
    env = Shelves(renamed=names, distractors=len(DISTRACTORS))
    offered = [tool.name for tool in env.tools]
    assert len(set(offered)) == len(offered) == 2 + len(DISTRACTORS)
    for naming in env.toolbox.namings.values():
        assert len(set(naming.arguments.values())) == len(naming.arguments)


def test_distractors_answer_and_change_nothing() -> None:
    env = Shelves(distractors=len(DISTRACTORS))
    assert len(DISTRACTORS) >= 12
    env.reset(seed=0)
    before = env.worlds()
    words = {"string": "Arn", "integer": 3}
    for distractor in DISTRACTORS:
        arguments = {
            key: value.get("enum", [words.get(value["type"])])[0]
            for key, value in distractor.parameters["properties"].items()
        }
        call = {"id": "a", "function": {"name": distractor.name, "arguments": arguments}}
        env.reset(seed=0)
        first, _, _, _, info = env.step({"role": "assistant", "content": "", "tool_calls": [call]})
        env.reset(seed=9)
        again = env.step({"role": "assistant", "content": "", "tool_calls": [call]})[0]
        assert first == again
        assert not content_text(first[0]).startswith("Error")
        assert info["reward_terms"]["calls"] == 1.0
    assert env.worlds() == before
    assert played(env, 0)[1]


def test_faults_are_drawn_for_each_episode_and_again_from_a_snapshot() -> None:
    env = Shelves(faults={"refused": 0.5, "seed": 3})
    plays = [played(env, seed) for seed in range(8)]
    assert plays == [played(env, seed) for seed in range(8)]
    assert all(success for _, success, _ in plays)
    assert len({terms["calls"] for *_, terms in plays}) > 1
    env.reset(seed=4)
    taken = pickle.loads(pickle.dumps(env.snapshot()))
    put = calling(env, ("send_mail", {"subject": "x"}))
    first = [env.step(put)[0] for _ in range(5)]
    other = Shelves(faults={"refused": 0.5, "seed": 3})
    other.restore(taken)
    assert [other.step(put)[0] for _ in range(5)] == first


def test_a_proof_plays_beside_the_open_episode() -> None:
    env = Shelves()
    env.reset(seed=0)
    begun = env.start(np.random.default_rng(5), {})
    assert solves(env, begun, Worker(env))
    messages, *_ = env.step(calling(env, ("send_mail", {"subject": "x"})))
    assert content_text(messages[0]).startswith("1 things")


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"distractors": 99}, "distractors=99: give an integer from 0 to"),
        ({"distractors": True}, "distractors=True"),
        ({"renamed": -1}, "renamed=-1"),
        ({"renamed": "yes"}, "renamed='yes'"),
        ({"milestones": "no"}, "milestones='no': give True or False"),
        ({"faults": {"refusd": 0.1}}, "did you mean refused"),
        ({"faults": {"refused": 1.5}}, "1.5 is no share"),
        ({"faults": {"refused": "often"}}, "refused='often' is not a number"),
        ({"faults": 0.1}, "give shares by kind"),
        ({"weights": {"call": 0.0}}, "weights: 'call'"),
        ({"weights": {"milestones": 0.5}}, "weights: 'milestones'"),
    ],
)
def test_wrong_knobs_are_refused_with_what_would_be_right(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        Shelves(**knobs)
