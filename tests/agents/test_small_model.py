"""The small model: the same bytes for the same arguments, and a tokenizer that suits its environments."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from ludus.agents.formats.small import CONTROL_TOKENS
from ludus.agents.models import load_model
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.small_model import SmallModelError, SmallModelShape, build_small_model, play_texts

SPECS = (EnvironmentSpec("ludus/Arithmetic-v0"), EnvironmentSpec("ludus/PacManChat-v0"))
TINY = SmallModelShape(hidden=32, layers=1, heads=2, kv_heads=1, head_dim=16, intermediate=32)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_small_model(SPECS, cache_directory=tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


def test_transformers_loads_it(folder, tokenizer):
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert type(model).__name__ == "Qwen3ForCausalLM"
    assert 1_000_000 < model.num_parameters() < 1_300_000
    assert len(tokenizer) <= 512
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.convert_tokens_to_ids("<|end|>")
    assert model.config.max_position_embeddings == 4096
    assert tokenizer.chat_template


@pytest.mark.slow
def test_same_bytes_in_another_process_with_another_hash_seed_and_more_threads(tmp_path):
    script = (
        "import sys; from ludus.agents.rollout import EnvironmentSpec as S;"
        "from ludus.agents.small_model import build_small_model as b;"
        "print(b([S('ludus/ArithmeticChallenge-v0')], cache_directory=sys.argv[1]))"
    )
    settings = {"PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "2", "RAYON_NUM_THREADS": "3"}
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "there")],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    there = Path(output.stdout.strip())
    here = build_small_model(
        [EnvironmentSpec("ludus/ArithmeticChallenge-v0")], cache_directory=tmp_path / "here"
    )
    assert there.name == here.name
    assert digests(there) == digests(here)
    assert output.stderr == ""


def test_found_again_and_apart_by_arguments(tmp_path):
    spec = SPECS[:1]
    first = build_small_model(spec, TINY, cache_directory=tmp_path)
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    assert build_small_model(spec, TINY, cache_directory=tmp_path) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp
    other = build_small_model(spec, TINY, seed=1, cache_directory=tmp_path)
    assert other != first
    assert digests(other)["model.safetensors"] != digests(first)["model.safetensors"]
    assert digests(other)["tokenizer.json"] == digests(first)["tokenizer.json"]
    assert sorted(tmp_path.iterdir()) == sorted([first, other])


def test_another_version_of_an_environment_makes_another_model(tmp_path, monkeypatch):
    first = build_small_model(SPECS[:1], TINY, cache_directory=tmp_path / "cache")
    changed = tmp_path / "folder"
    changed.mkdir()
    (changed / "arithmetic.py").write_text("# another version")
    monkeypatch.setattr(
        sys.modules["ludus.envs.math.arithmetic.environment"], "__file__", str(changed / "arithmetic.py")
    )
    assert build_small_model(SPECS[:1], TINY, cache_directory=tmp_path / "cache") != first


def test_a_model_that_is_there_is_found_without_playing(tmp_path, monkeypatch):
    first = build_small_model(SPECS[:1], TINY, cache_directory=tmp_path)
    monkeypatch.setattr("ludus.agents.small_model.play_texts", None)
    assert build_small_model(SPECS[:1], TINY, cache_directory=tmp_path) == first


def test_leaves_the_callers_generator_alone(tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    build_small_model(SPECS[:1], TINY, cache_directory=tmp_path)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("limit", [2_000, 40_000])
def test_a_full_disk_is_explained_and_leaves_nothing_behind(tmp_path, files_at_most, limit):
    refused = pytest.raises(SmallModelError, match=f"cannot be written to {tmp_path}.*XDG_CACHE_HOME")
    with refused, files_at_most(limit):
        build_small_model(SPECS[:1], TINY, cache_directory=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_is_no_folder_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SmallModelError, match="cannot be written to"):
        build_small_model(SPECS[:1], TINY, cache_directory=tmp_path / "file" / "models")


def test_the_cache_stands_where_the_system_wants_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build_small_model(SPECS[:1], TINY).parent == tmp_path / "ludus" / "models"


def test_a_home_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = build_small_model(SPECS[:1], TINY)
    assert folder.parent == tmp_path / f"ludus-{os.getuid()}" / "models"
    assert build_small_model(SPECS[:1], TINY) == folder


@given(st.text())
def test_any_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert tokenizer.decode(ids) == text
    assert not set(ids) & set(tokenizer.all_special_ids)


@given(st.integers(0, 10**12))
def test_digits_are_one_id_each(tokenizer, number):
    assert len(tokenizer.encode(str(number))) == len(str(number))
    assert len(tokenizer.encode(f"<answer>{number}</answer>")) == len(str(number)) + 2


def test_every_byte_has_an_id(tokenizer):
    vocabulary = tokenizer.get_vocab()
    assert [tokenizer.convert_ids_to_tokens(id) for id in range(6)] == list(CONTROL_TOKENS)
    assert sum(len(token) == 1 for token in vocabulary) == 256


def test_arithmetic_prompts_are_short(folder):
    chat_format = load_model(folder).format
    env = gymnasium.make("ludus/Arithmetic-v0").unwrapped
    lengths = [len(chat_format.first_prompt(env.reset(seed=seed)[0]).ids) for seed in range(1000, 1200)]
    assert sum(lengths) / len(lengths) <= 30
    assert max(lengths) <= 36


def test_cells_of_a_grid_are_one_id_each(tokenizer):
    env = gymnasium.make("ludus/PacManChat-v0").unwrapped
    for seed in range(2000, 2020):
        text = env.reset(seed=seed)[0][-1]["content"]
        rows = [line for line in text.splitlines() if line.startswith("# ")]
        assert len(rows) >= 7
        assert len(tokenizer.encode("\n".join(rows))) == sum(len(row.split()) for row in rows) + len(rows) - 1


def test_what_the_environments_say_needs_few_bytes(folder, tokenizer):
    for spec in SPECS:
        texts = sorted(set(play_texts(spec)))
        tokens = sum(len(tokenizer.encode(text)) for text in texts)
        assert tokens < 0.6 * sum(len(text.encode()) for text in texts), spec


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (SmallModelShape(layers=0), "layers = 0"),
        (SmallModelShape(heads=3), "kv_heads = 2 .* divide heads = 3"),
        (SmallModelShape(head_dim=31), "head_dim = 31 .* even"),
        (SmallModelShape(vocabulary=100), "vocabulary = 100 .* at least 300"),
    ],
)
def test_impossible_shapes_are_named(shape, message, tmp_path):
    with pytest.raises(SmallModelError, match=message):
        build_small_model(SPECS, shape, cache_directory=tmp_path)


@pytest.mark.parametrize("id", ["CartPole-v1", "ludus/PacMan-v0"])
def test_a_native_environment_is_refused(id, tmp_path):
    with pytest.raises(SmallModelError, match=f"{id} is not a chat environment"):
        build_small_model([EnvironmentSpec(id)], TINY, cache_directory=tmp_path)


def test_an_environment_without_scripted_agents_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ludus.envs.math.arithmetic.environment.Arithmetic.scripted", {})
    with pytest.raises(SmallModelError, match=r"has no scripted agent 'null'.*it has: none"):
        build_small_model(SPECS[:1], TINY, cache_directory=tmp_path)
