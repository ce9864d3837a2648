"""Configurations: valid ones survive a round trip, invalid ones are refused with a fix."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ludus.trainers.config.model import ModelSection
from ludus.trainers.config.reading import load_config, parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
ENVIRONMENT = {"environment": {"id": "ludus/Arithmetic-v0"}}


def refuse(**sections: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        parse_config({**ENVIRONMENT, **sections})
    message = str(refused.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_configurations_survive_a_round_trip(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    written = tmp_path / "config.toml"
    written.write_text(config.to_toml())
    assert load_config(written) == config


def test_every_field_has_a_description() -> None:
    for section in RunConfig.model_fields.values():
        assert section.description
        for name, field in getattr(section.annotation, "model_fields", {}).items():
            assert field.description, name


def test_nothing_heavy_is_loaded() -> None:
    code = "import sys, ludus.trainers.config; print({'torch', 'transformers', 'pyarrow'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "set()"


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"gpro": {}}, ['"gpro"', "did you mean grpo"]),
        ({"grpo": {"learning_rte": 1.0}}, ['"grpo.learning_rte"', "did you mean learning_rate"]),
        ({"grpo": {"loss": "grp"}}, ["grpo.loss", "dr_grpo", "did you mean grpo"]),
        ({"grpo": {"loss": "pp"}}, ['"pp" is not one of grpo, dr_grpo, dapo, gspo, cispo, ppo']),
        ({"grpo": {"dual_clip": 1.0}}, ["dual_clip = 1 ", "above 1"]),
        ({"grpo": {"dual_clip": 3.0, "loss": "cispo"}}, ["dual_clip = 3", 'loss = "cispo"']),
        ({"grpo": {"kl_schedule": "linear"}}, ['kl_schedule = "linear"', "kl_coefficient = 0"]),
        ({"grpo": {"kl_reset_every": 9}}, ["kl_reset_every = 9", "kl_coefficient = 0"]),
        ({"grpo": {"kl_coefficient": 0.1, "kl_steps": 9}}, ["kl_steps = 9", 'kl_schedule = "constant"']),
        ({"grpo": {"kl_coefficient": 0.1, "kl_schedule": "adaptive"}}, ["needs kl_target"]),
        ({"grpo": {"kl_coefficient": 0.1, "kl_target": 0.1}}, ["kl_target = 0.1", "adaptive"]),
        ({"grpo": {"kl_coefficient": 0.1, "kl_horizon": 3.0}}, ["kl_horizon = 3", "adaptive"]),
        ({"grpo": {"kl_in": "reward"}}, ['kl_in = "reward"', "kl_coefficient = 0"]),
        ({"grpo": {"entropy_schedule": "cosine"}}, ["entropy_schedule", "entropy_coefficient = 0"]),
        ({"grpo": {"entropy_coefficient": 0.1, "entropy_steps": 9}}, ["entropy_steps = 9", "constant"]),
        ({"grpo": {"correction_bound": 3.0}}, ["correction_bound = 3.0", 'correction = "none"']),
        ({"grpo": {"correction_mode": "mask"}}, ["correction_mode = mask", 'correction = "none"']),
        ({"grpo": {"correction": "token", "correction_bound": 1.0}}, ["grpo.correction_bound", "than 1"]),
        ({"grpo": {"correction": "tokens"}}, ["grpo.correction", "did you mean token"]),
        ({"grpo": {"ratio": "row"}}, ["grpo.ratio", "token, sequence"]),
        ({"grpo": {"advantage": "rlo"}}, ["grpo.advantage", "dr_grpo, rloo", "did you mean rloo"]),
        ({"engine": {"kind": "vlm"}}, ["engine.kind", "embedded, vllm, openai"]),
        ({"engine": {"openai": {"ulr": "x"}}}, ['"engine.openai.ulr"', "did you mean url"]),
        (
            {"engine": {"kind": "openai", "openai": {"url": "http://localhost:1"}}},
            ['engine.kind = "openai"', "preferences.steps = 0 and grpo.steps = 0"],
        ),
        ({"grpo": {"steps": -1}}, ["grpo.steps", "-1"]),
        ({"grpo": {"steps": True}}, ["grpo.steps", "integer"]),
        ({"grpo": {"steps": 2.5}}, ["grpo.steps", "2.5"]),
        ({"grpo": {"learning_rate": float("nan")}}, ["grpo.learning_rate"]),
        ({"grpo": {"learning_rate": 0.0}}, ["grpo.learning_rate", "greater than 0"]),
        ({"grpo": {"clip_low": 1.0}}, ["grpo.clip_low", "less than 1"]),
        ({"grpo": {"clip_high": 0.0}}, ["grpo.clip_high"]),
        ({"grpo": {"group_size": 1}}, ["group_size = 1", "advantage 0"]),
        ({"grpo": {"gamma": 0.9}}, ["gamma = 0.9", 'credit = "group"', '"reinforce_pp"']),
        ({"grpo": {"gamma": 0.9, "advantage": "reinforce_pp_baseline"}}, ["gamma = 0.9"]),
        ({"grpo": {"credit": "turn", "advantage": "reinforce_pp"}}, ['"reinforce_pp"', 'credit = "turn"']),
        ({"grpo": {"credit": "anchor", "advantage": "reinforce_pp"}}, ["whitens", 'credit = "anchor"']),
        ({"grpo": {"group_size": 1, "advantage": "reinforce_pp_baseline"}}, ["group_size = 1"]),
        ({"grpo": {"credit": "gae"}}, ['grpo.credit = "gae"', "add [critic]"]),
        ({"critic": {}}, ["[critic]", 'grpo.credit = "group"', "drop [critic]"]),
        ({"grpo": {"credit": "gae", "advantage": "rloo"}}, ['advantage = "rloo"', "value model"]),
        ({"grpo": {"gae_lambda": 0.9}}, ["gae_lambda = 0.9", 'credit = "group"', "drop gae_lambda"]),
        ({"grpo": {"credit": "turn", "gae_whiten": False}}, ["gae_whiten = false", 'credit = "turn"']),
        ({"grpo": {"credit": "gae", "gae_lambda": 1.1}}, ["grpo.gae_lambda = 1.1"]),
        ({"grpo": {"credit": "gae", "dynamic_sampling": True}}, ["dynamic_sampling", "value model"]),
        ({"grpo": {"credit": "gae"}, "critic": {"kind": "haed"}}, ["critic.kind", "did you mean head"]),
        ({"grpo": {"credit": "gae"}, "critic": {"path": "x"}}, ['path = "x"', 'kind = "head"']),
        (
            {"grpo": {"credit": "gae"}, "critic": {"kind": "model", "coefficient": 0.5}},
            ["coefficient = 0.5", 'kind = "model"'],
        ),
        (
            {"grpo": {"credit": "gae", "steps": 5}, "critic": {"lead_steps": 5}},
            ["critic.lead_steps = 5", "grpo.steps = 5"],
        ),
        (
            {"sft": {"data": ["x.jsonl"], "demonstrator": "random"}},
            ["demonstrator = random", "where data takes its place"],
        ),
        ({"grpo": {"dynamic_sampling": True, "advantage": "reinforce_pp"}}, ["dynamic_sampling", "batch"]),
        ({"grpo": {"max_resamples": 5}}, ["max_resamples = 5", "dynamic_sampling = true", "drop"]),
        ({"grpo": {"steps": 0}, "validation": {"every": 5}}, ["validation.every = 5", "grpo.steps = 0"]),
        ({"sft": {"data": "x.jsonl"}}, ["sft.data = 'x.jsonl' is not a list", 'write ["x.jsonl"]']),
        ({"grpo": {"groups": 16, "updates_per_batch": 3}}, ["updates_per_batch = 3", "groups = 16"]),
        ({"grpo": {"overlong_tokens": 65}}, ["overlong_tokens = 65", "max_tokens = 64"]),
        ({"rollout": {"temperature": 0.0}}, ["rollout.temperature"]),
        ({"rollout": {"top_p": 0.0}}, ["rollout.top_p"]),
        ({"rollout": {"top_p": 1.5}}, ["rollout.top_p"]),
        ({"rollout": {"top_k": 1}}, ["top_k = 1", "0 for all"]),
        ({"rollout": {"min_p": 1.0}}, ["rollout.min_p"]),
        ({"rollout": {"max_tokens": 100, "max_episode_tokens": 50}}, ["max_tokens = 100", "50"]),
        ({"evaluation": {"first_seed": 5}}, ["first_seed = 5", "training seeds"]),
        (
            {"environment": {"id": "ludus/Arithmetik-v0"}},
            ["environment.id", "did you mean ludus/Arithmetic-v0"],
        ),
        ({"environment": {}}, ['"environment.id"', "missing"]),
        ({"environment": 3}, ["environment = 3"]),
        ({"run": {"name": "a/b"}}, ["run.name"]),
        ({"run": {"name": ".."}}, ["run.name"]),
        ({"run": {"seed": 2**63}}, ["run.seed"]),
        ({"run": {"threads": 10**11}}, ["run.threads"]),
        ({"evaluation": {"first_seed": 2**63}}, ["evaluation.first_seed"]),
    ],
)
def test_what_is_wrong_is_named_with_its_fix(sections: dict[str, Any], named: list[str]) -> None:
    message = refuse(**sections)
    for part in named:
        assert part in message


@pytest.mark.parametrize(("name", "value"), [("top_p", 0.9), ("top_k", 20), ("min_p", 0.05)])
def test_ids_are_left_out_only_where_the_engine_tells_which(name: str, value: float) -> None:
    rollout = {name: value}
    config = parse_config({"environment": {"id": "ludus/Arithmetic-v0"}, "rollout": rollout})
    assert getattr(config.rollout.sampling(0.7), name) == value
    server = {"kind": "openai", "openai": {"url": "http://localhost:8000/v1"}}
    untrained: Any = {"sft": {"steps": 0}, "grpo": {"steps": 0}, "engine": server}
    assert 'engine.kind = "openai" does not tell which' in refuse(rollout=rollout, **untrained)


def test_several_errors_are_counted() -> None:
    both = refuse(grpo={"steps": -1, "groups": 0})
    assert "grpo.steps" in both
    assert "grpo.groups" in both
    many = refuse(grpo={"steps": -1, "groups": 0, "group_size": 0, "clip_low": 2})
    assert "(and 1 more)" in many


def test_an_unknown_table_is_told_first():
    with pytest.raises(ConfigError, match=r'unknown key "enviroment"; did you mean environment[^;]*$'):
        parse_config({"enviroment": {"id": "ludus/Arithmetic-v0"}})
    with pytest.raises(ConfigError, match=r'unknown key "gpro".*; also, "environment.id" is missing'):
        parse_config({"environment": {}, "gpro": {}})


def test_overrides_are_typed_by_the_field(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[environment]\nid = "ludus/Arithmetic-v0"\n')
    config = load_config(
        path,
        {
            "grpo.learning_rate": "3e-4",
            "run.name": "007",
            "model.path": "someone/model",
            "environment.arguments.digits": "3",
            "environment.arguments.style": "words",
            "grpo.dynamic_sampling": "true",
            "grpo.loss": "dapo",
        },
    )
    assert config.grpo.learning_rate == 3e-4
    assert config.run.name == "007"
    assert config.model.path == "someone/model"
    assert config.environment.arguments == {"digits": 3, "style": "words"}
    assert config.grpo.dynamic_sampling
    with pytest.raises(ConfigError, match=r'"grpo.stepz"; did you mean steps'):
        load_config(path, {"grpo.stepz": "3"})
    with pytest.raises(ConfigError, match=r"grpo\.steps = 'many'"):
        load_config(path, {"grpo.steps": "many"})
    with pytest.raises(ConfigError, match='"id" is a value'):
        load_config(path, {"environment.id.x": "3"})


def test_files_that_are_not_configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "there.toml").write_text("= 3")
    with pytest.raises(ConfigError, match=r"nowhere.toml: no such configuration file; there is .*there.toml"):
        load_config(tmp_path / "nowhere.toml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "there.toml").rename(tmp_path / "configs" / "there.toml")
    with pytest.raises(ConfigError, match=r"no such configuration file; there is configs.there.toml$"):
        load_config(Path("nowhere.toml"))
    with pytest.raises(ConfigError, match=r"there.toml: not valid TOML"):
        load_config(Path("configs/there.toml"))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


def test_half_precision_has_limits_of_its_own_unless_some_are_given() -> None:
    def limits(model: Any, **trust: float) -> tuple[float, float]:
        values = {"environment": {"id": "ludus/Arithmetic-v0"}, "model": model, "trust": trust}
        config = parse_config(values)
        assert parse_config(tomllib.loads(config.to_toml())) == config
        return config.trust.mismatch_mean, config.trust.mismatch_max

    assert limits({}) == (1e-3, 0.1)
    assert limits({"dtype": "bfloat16"}) == limits(ModelSection(dtype="bfloat16")) == (0.02, 2.0)
    assert limits({"dtype": "bfloat16"}, mismatch_mean=0.5) == (0.5, 2.0)
    with pytest.raises(ConfigError, match="trust"):
        parse_config(
            {"environment": {"id": "ludus/Arithmetic-v0"}, "model": {"dtype": "bfloat16"}, "trust": 3}
        )
