"""GRPOTrainer itself: run by `test_trl.py` where TRL is installed."""

import re
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import qwen3_chat_template

from ludus.agents.formats.byte_level import byte_of_character
from ludus.agents.small_model import small_tokenizer
from ludus.agents.trl import dataset, environment_factory, reward, rollout_func
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import user
from ludus.envs.rubric import Rubric
from ludus.tools.errors import UserError

PAGE = Path(__file__).parents[2] / "docs" / "surfaces" / "trl.md"
ECHOING = "echoing:Echoing-v0"
LETTERS = "ludus-test/Letters-v0"
TINY = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 8192, "tie_word_embeddings": False,
}  # fmt: skip


class Letters(ChatEnv):
    """Pays for the share of the lower half of the bytes in each of two replies."""

    rubric = Rubric({"low": 0.5})
    max_turns = 2

    def start(self, rng: Any, options: Any) -> Start:
        return Start([user(f"{rng.integers(10)}")], "letters", None)

    def respond(self, state: None, text: str) -> Outcome:
        return Outcome(state, [user("and?")], {"low": sum(one < "@" for one in text) / max(1, len(text))})


gymnasium.register(LETTERS, entry_point=Letters, disable_env_checker=True, order_enforce=False)


@pytest.fixture(scope="module", autouse=True)
def quiet() -> None:
    warnings.filterwarnings("ignore", message=".*experimental feature")
    torch.set_num_threads(1)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `model` of the page: random weights, of bytes, with Qwen3's template."""
    monkeypatch.chdir(tmp_path)
    end, pad = "<|im_end|>", "<|endoftext|>"
    control = (end, pad, "<|im_start|>", "<tool_call>", "</tool_call>", "<think>", "</think>")
    tokens = [*control, *sorted(byte_of_character())]
    made = small_tokenizer(control, tokens, qwen3_chat_template, 8192)
    made.eos_token, made.pad_token = end, pad
    ids = {"eos_token_id": made.eos_token_id, "pad_token_id": made.pad_token_id, "bos_token_id": None}
    torch.manual_seed(0)
    Qwen3ForCausalLM(Qwen3Config(vocab_size=len(made), **TINY, **ids)).save_pretrained("model")
    made.save_pretrained("model")
    return tmp_path / "model"


def settings(**further: Any) -> GRPOConfig:
    return GRPOConfig(
        "out", use_cpu=True, bf16=False, report_to="none", save_strategy="no", logging_steps=1,
        disable_tqdm=True,
        **{"per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 24, **further},
    )  # fmt: skip


def logged(trainer: GRPOTrainer, name: str) -> list[float]:
    return [line[name] for line in trainer.state.log_history if name in line]


class Scripted(GRPOTrainer):
    """Samples what a script says, each member of a batch the next of its replies in turn."""

    def script(self, replies: list[list[str]]) -> None:
        self.replies, self.turn, self.members = replies, 0, list(range(len(replies)))

    def _generate_single_turn(self, prompt_ids: Any, *_: Any, **__: Any) -> Any:
        texts = [said[self.turn] for said in self.replies if len(said) > self.turn]
        self.turn += 1
        assert len(texts) == len(prompt_ids)
        return [self._tokenizer(text + self._tokenizer.eos_token)["input_ids"] for text in texts], None


def test_a_model_learns_from_whole_replies(model: Path) -> None:
    trainer = GRPOTrainer(
        model="model",
        reward_funcs=reward,
        train_dataset=dataset(LETTERS, range(32)),
        rollout_func=rollout_func(LETTERS),
        args=settings(
            max_steps=30, learning_rate=3e-2, lr_scheduler_type="constant", beta=0.0,
            per_device_train_batch_size=32, num_generations=16,
        ),
    )  # fmt: skip
    trainer.processing_class.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    trainer.train()
    rewards = logged(trainer, "reward")
    assert len(rewards) == 30
    assert sum(rewards[-5:]) > 1.5 * sum(rewards[:5])
    assert set(logged(trainer, "left_out")) == {0.0}


def test_tools_are_called_by_their_loop_and_the_last_reply_arrives(model: Path) -> None:
    call = '<tool_call>\n{"name": "say", "arguments": {"text": "é"}}\n</tool_call>'
    trainer = Scripted(
        model="model",
        reward_funcs=reward,
        train_dataset=dataset(ECHOING, range(8)),
        environment_factory=environment_factory(ECHOING, tries=6),
        args=settings(max_steps=1, learning_rate=1e-2, max_completion_length=2000),
    )
    trainer.script([[call, "again é"], ["again"], [call, call, "x"], ["<tool_call>not JSON</tool_call>"]] * 2)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    assert logged(trainer, "tools/call_frequency") == [0.75]
    assert logged(trainer, "tools/failure_frequency") == [0.0]
    assert logged(trainer, "left_out") == [0.0]
    expected = (2 / 3 + 1 / 3 + 1 + 1 / 3) / 4
    assert logged(trainer, "reward")[0] == pytest.approx(expected, abs=1e-4)
    assert any(not torch.equal(before[name], value) for name, value in trainer.model.named_parameters())


def examples() -> list[str]:
    return re.findall(r"<!-- example -->\s*```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("place", range(2))
def test_the_pages_examples_run_as_they_stand(model: Path, place: int) -> None:
    program = examples()[place]
    assert len(program.strip().splitlines()) <= 15
    scope: dict[str, Any] = {}
    exec(compile(program, str(PAGE), "exec"), scope)
    assert logged(scope["trainer"], "train_loss")
    assert logged(scope["trainer"], "left_out")[-1] == 0.0


def test_another_version_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: {"trl": "1.17.0"}[name])
    with pytest.raises(UserError, match=r"trl 1\.17\.0 is installed, and .* as of 1\.16: pip install"):
        rollout_func("ludus/Arithmetic-v0")
