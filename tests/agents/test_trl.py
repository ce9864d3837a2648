"""TRL's interfaces as they are met without it: by its sampling alone, which is scripted here. The real
trainer: `in_trl.py`, in the interpreter that `.ci/surface.sh start trl` makes."""

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import pytest
from transformers.utils import get_json_schema

from ludus.agents.episode import StopReason
from ludus.agents.formats.byte_level import byte_of_character
from ludus.agents.formats.small import CHAT_TEMPLATE, CONTROL_TOKENS, TOOL_TOKENS
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.small_model import small_tokenizer
from ludus.agents.trl import dataset, environment_factory, reward, rollout_func
from ludus.agents.trl.rollouts import Rollouts
from ludus.cli import main
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import user
from ludus.envs.conformance.surfaces import compare
from ludus.envs.conformance.surfaces.all import surface
from ludus.envs.faults import EnvironmentFault
from ludus.envs.rubric import Rubric
from ludus.tools.errors import UserError

HERE = Path(__file__).parent
PYTHON = os.environ.get("LUDUS_TEST_TRL")
ECHOING = "echoing:Echoing-v0"
COUNTING = "ludus-test/Counting-v0"
TOKENS = (*CONTROL_TOKENS, *TOOL_TOKENS)
BYTES = sorted(byte_of_character())
REWRITING = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content if loop.last else m.content | upper }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


class Counting(ChatEnv):
    """Tells how many replies there were; ends at `stop`, breaks at `break`."""

    rubric = Rubric({"said": 1.0, "odd": -0.25})
    max_turns = 4

    def start(self, rng: Any, options: Any) -> Start:
        return Start([user(f"count from {rng.integers(100)}")], "count", 0)

    def respond(self, state: int, text: str) -> Outcome:
        if text == "break":
            raise EnvironmentFault("the wire is cut")
        if text == "bug":
            raise KeyError("bug")
        known = text in ("more", "stop")
        terms = {"said": float(known), "odd": float(not known)}
        return Outcome(state + 1, [user(f"{state + 1}: {text}")], terms, text == "stop", text == "stop")


gymnasium.register(COUNTING, entry_point=Counting, disable_env_checker=True, order_enforce=False)


@pytest.fixture(autouse=True)
def without_trl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE.parent / "envs")
    for module in ("starts", "rollouts", "tools", "surface"):
        monkeypatch.setattr(f"ludus.agents.trl.{module}.require_trl", lambda: None)


@pytest.fixture
def play() -> Iterator[Callable[..., Any]]:
    """Plays what is said to each of the seeds; gives the batch, and the contexts of each call of the
    sampling."""
    opened: list[Rollouts] = []

    def played(
        said: dict[int, list[str]], most: int = 10_000, template: str = CHAT_TEMPLATE, logprobs: bool = False
    ) -> tuple[dict[str, Any], list[list[list[int]]]]:
        tokenizer = small_tokenizer(TOKENS, [*TOKENS, *BYTES], template, 10_000)
        end = tokenizer.eos_token_id
        calls: list[list[list[int]]] = []

        def sample(contexts: list[list[int]], *_: Any) -> Any:
            calls.append(contexts)
            sampled = []
            for context in contexts:
                turn = context.count(tokenizer.convert_tokens_to_ids("<|assistant|>")) - 1
                seed = next(seed for seed, shown in first.items() if context[: len(shown)] == shown)
                sampled.append([*tokenizer(said[seed][turn])["input_ids"], end, 77, 78])
            return sampled, [[-0.5] * len(ids) for ids in sampled] if logprobs else None

        first = {}
        env = gymnasium.make(COUNTING)
        for seed in said:
            shown = tokenizer.apply_chat_template(env.reset(seed=seed)[0], add_generation_prompt=True)
            first[seed] = shown["input_ids"]
        rollouts = Rollouts(EnvironmentSpec(COUNTING))
        opened.append(rollouts)
        prompts = [[{"role": "user", "content": "", "seed": seed}] for seed in said for _ in range(2)]
        return rollouts(prompts, trainer(tokenizer, sample, most)), calls

    yield played
    for rollouts in opened:
        rollouts.close()


def trainer(tokenizer: Any, sample: Any, most: int) -> Any:
    """What of GRPOTrainer is used."""
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(max_position_embeddings=20_000))
    return SimpleNamespace(
        processing_class=tokenizer,
        model=SimpleNamespace(generation_config=None, config=config),
        max_completion_length=most,
        _generate_single_turn=sample,
    )


def earned(batch: dict[str, Any]) -> list[float | None]:
    return reward(completions=[None] * len(batch["episode"]), episode=batch["episode"])


def test_rows_are_what_was_shown_and_sampled_id_by_id(play: Any) -> None:
    batch, calls = play({1: ["more", "no such word", "stop"], 2: ["stop"]}, logprobs=True)
    assert [len(contexts) for contexts in calls] == [4, 2, 2]  # together, while they go on
    for member in range(2):
        prompt, completion, mask = (
            batch[key][member] for key in ("prompt_ids", "completion_ids", "env_mask")
        )
        assert prompt == calls[0][member]
        last = calls[2][member]
        assert prompt + completion == [*last, *completion[len(last) - len(prompt) :]]
        sampled = bytes(id - len(TOKENS) for id, own in zip(completion, mask, strict=True) if own and id >= 9)
        assert len(sampled) == len("more" + "no such word" + "stop")
        assert completion[-1] == calls[0][0][-2]  # the end of a turn: what was sampled after it is left out
        assert batch["logprobs"][member] == [-0.5 if own else 0.0 for own in mask]
    assert batch["prompt_ids"][0] == batch["prompt_ids"][1] != batch["prompt_ids"][2]
    # The malformed reply was answered, and charged.
    assert earned(batch) == [1.75, 1.75, 1.0, 1.0]
    assert "no such word" in batch["episode"][0].turns[2].observation[0]["content"]


def test_a_fault_is_left_out_of_baseline_and_loss(play: Any) -> None:
    metrics: dict[str, float] = {}
    batch, _ = play({1: ["more", "break"], 2: ["stop"]})
    assert batch["logprobs"] is None
    assert earned(batch) == [None, None, 1.0, 1.0]
    assert batch["env_mask"][0] == [0]
    assert len(batch["completion_ids"][0]) == 1
    reward(completions=[None] * 4, episode=batch["episode"], log_metric=metrics.__setitem__)
    assert metrics == {"success": 1.0, "left_out": 0.5}
    with pytest.raises(UserError, match="none of 2 episodes can be trained on: the wire is cut"):
        play({1: ["break"]})


def test_what_a_template_rewrites_is_left_out_with_the_reason(play: Any) -> None:
    batch, _ = play({1: ["more", "stop"], 2: ["stop"]}, template=REWRITING)
    assert earned(batch) == [None, None, 1.0, 1.0]
    with pytest.raises(UserError, match="the chat template rewrote what the model had seen"):
        play({1: ["more", "stop"]}, template=REWRITING)


def test_an_episode_ends_where_its_tokens_do(play: Any) -> None:
    batch, _ = play({1: ["more"] * 4}, most=20)
    (episode, _) = batch["episode"]
    assert episode.stop == StopReason.TOKEN_LIMIT
    assert len(batch["completion_ids"][0]) <= 20
    assert earned(batch) == [float(len(episode.turns))] * 2


def test_a_dataset_says_which_starts() -> None:
    pytest.importorskip("datasets", reason="needs datasets: pip install 'ludus[data]'")
    rows = dataset("ludus/Arithmetic-v0", [3, 4])
    env = gymnasium.make("ludus/Arithmetic-v0")
    for row, seed in zip(rows, (3, 4), strict=True):
        messages, _ = env.reset(seed=seed)
        assert [(one["role"], one["content"]) for one in row["prompt"]] == [
            (one["role"], one["content"]) for one in messages
        ]
        assert row["prompt"][0]["seed"] == seed


@pytest.mark.parametrize("prompt", ["a text", [], [{"role": "user", "content": "x"}], [{"seed": "7"}]])
def test_a_prompt_without_the_key_is_one_line(prompt: Any) -> None:
    with pytest.raises(UserError, match=r"first message has no 'seed'.*: make the dataset by"):
        Rollouts(EnvironmentSpec(COUNTING))([prompt], trainer(None, None, 1))


def test_what_cannot_be_used_is_one_line() -> None:
    for made in (rollout_func, environment_factory):
        with pytest.raises(UserError, match="ludus/TicTacToe-v0 takes numbered actions"):
            made("ludus/TicTacToe-v0")
    with pytest.raises(UserError, match=r"ludus/Arithmetic-v0 has no tools.*rollout_func"):
        environment_factory("ludus/Arithmetic-v0")


@pytest.mark.parametrize("id", ["ludus/Weather-v0", "ludus/Calendar-v0", "ludus/MarketChat-v0", ECHOING])
def test_tools_are_methods_whose_schema_transformers_reads(id: str) -> None:
    factory = environment_factory(id)
    env = gymnasium.make(id)
    for tool in env.unwrapped.tools:
        read, ours = get_json_schema(getattr(factory(), tool.name))["function"], tool.openai["function"]
        assert (read["name"], read["description"]) == (ours["name"], ours["description"])
        assert read["parameters"].get("required", []) == ours["parameters"]["required"]
        found, wanted = read["parameters"]["properties"], ours["parameters"]["properties"]
        assert {name: one["description"] for name, one in found.items()} == {
            name: one.get("description") for name, one in wanted.items()
        }
        for name, one in wanted.items():
            kept = {key: value for key, value in one.items() if key in ("type", "enum", "items")}
            assert "anyOf" in one or kept.items() <= found[name].items()


def prompt_of(id: str, seed: int) -> Any:
    messages = gymnasium.make(id).reset(seed=seed)[0]
    return [{**message, "seed": seed if place == 0 else None} for place, message in enumerate(messages)]


def test_calls_and_the_last_reply_reach_the_environment() -> None:
    played = environment_factory(ECHOING)()
    played.reset(prompt=prompt_of(ECHOING, 5), other="column")
    assert played.say(text="é") == "é\n\n1 times"
    assert played.look() == "here\n[image]\n\n1 times"
    assert played.say(texts="é").startswith("Error: say: ")
    direct = gymnasium.make(ECHOING)
    direct.reset(seed=5)
    completion = [{"role": "tool", "content": "x"}, {"role": "assistant", "content": "again é"}]
    (value,) = reward(completions=[completion], environments=[played])
    assert value == pytest.approx(2 / 3 - 7e-7 - 0.1)
    assert reward(
        completions=[[{"role": "assistant", "content": "", "tool_calls": [{}]}]], environments=[played]
    )


def test_tools_of_an_episode_that_is_over_are_refused() -> None:
    played = environment_factory(ECHOING, tries=1)()
    played.reset(prompt=prompt_of(ECHOING, 5))
    played.look()
    with pytest.raises(ValueError, match="the episode is over"):
        played.look()


@pytest.mark.parametrize("error", [EnvironmentFault("cut"), KeyError("bug")])
def test_what_breaks_in_a_tool_is_no_reward(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(reply: Any) -> Any:
        raise error

    played = environment_factory(ECHOING)()
    played.reset(prompt=prompt_of(ECHOING, 5))
    monkeypatch.setattr(played._env, "step", broken)
    with pytest.raises(type(error)):
        played.look()
    if isinstance(error, EnvironmentFault):
        assert reward(completions=[[]], environments=[played]) == [None]
    else:
        with pytest.raises(KeyError, match="bug"):
            reward(completions=[[]], environments=[played])


def test_a_prompt_of_other_arguments_is_refused() -> None:
    played = environment_factory(ECHOING)()
    with pytest.raises(UserError, match="is not how echoing:Echoing-v0 begins with seed 5"):
        played.reset(prompt=[{**message, "seed": 5} for message in prompt_of(ECHOING, 6)])


def test_nothing_differs_through_rollout_func() -> None:
    through = surface("trl")
    found = compare(through, ECHOING, seeds=(11,), members=1, kinds=("oracle", "malformed", "calls"))
    assert found.same, found
    assert all(
        reason.startswith(("anchor: ", "roles: ", "what is no reply", "a call whose form", "halves of"))
        for reason in found.left_out
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("id", [ECHOING, "ludus/Arithmetic-v0", "ludus/Weather-v0"])
def test_nothing_differs_in_whole_episodes(id: str) -> None:
    found = compare(surface("trl"), id, seeds=(11,), members=2)
    assert found.same, found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_holds_where_trl_is_installed(tmp_path: Path) -> None:
    if not PYTHON:
        reason = "needs TRL: run `.ci/surface.sh start trl` and what it prints"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    # Not from the clone, where Python would find folders in the place of packages.
    command: Sequence[Any] = [PYTHON, "-m", "pytest", "--rootdir", HERE.parents[1], "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, HERE / "in_trl.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE.parent / "envs")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]


@pytest.mark.skipif(find_spec("trl") is not None, reason="TRL is installed here")
def test_where_trl_is_missing_one_line_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    told = "this needs trl, which is not installed: pip install 'ludus[trl]'"
    assert main(["check", "ludus/Arithmetic-v0", "--surface", "trl"]) == 1
    assert capsys.readouterr().err == f"error: {told}\n"
    for made in (rollout_func, environment_factory):
        with pytest.raises(UserError, match="this needs trl, which is not installed"):
            made("ludus/Weather-v0")
