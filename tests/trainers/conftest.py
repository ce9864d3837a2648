"""A small model, and episodes made by hand."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ludus.agents.episode import Episode, StopReason, Turn
from ludus.agents.models import LoadedModel
from ludus.trainers.config.reading import load_config, parse_config
from ludus.trainers.config.run import RunConfig

CONFIGS = Path(__file__).parents[2] / "configs"


def changed(config: RunConfig, section: str, **values: Any) -> RunConfig:
    """The configuration with other values in one of its sections."""
    dump = config.model_dump()
    return parse_config({**dump, section: {**dump[section], **values}})


@pytest.fixture(scope="session")
def tiny() -> RunConfig:
    return load_config(CONFIGS / "tiny.toml")


@pytest.fixture(scope="session")
def tiny_folder(tiny: RunConfig) -> Path:
    from ludus.trainers.run.policy import initial_model

    return Path(initial_model(tiny, Path("nowhere")))


@pytest.fixture(scope="session")
def pristine(tiny: RunConfig, tiny_folder: Path) -> LoadedModel:
    from ludus.trainers.run.policy import load_policy

    return load_policy(tiny_folder, tiny)


@pytest.fixture
def policy(pristine: LoadedModel) -> LoadedModel:
    """Fresh weights for each test: copied, which takes a tenth of the time of loading and trying them."""
    from ludus.trainers.models.forward import way_of

    model, tokenizer = copy.deepcopy((pristine.model, pristine.tokenizer))
    way_of.assume(model, way_of(pristine.model))
    return replace(pristine, model=model, tokenizer=tokenizer)


@pytest.fixture
def episode() -> Callable[..., Episode]:
    def make(
        reward: float,
        group: int = 0,
        tokens: int = 3,
        stop: StopReason = StopReason.TERMINATED,
        finish: str = "stop",
        sample: int = 0,
    ) -> Episode:
        turn = Turn(
            observation=[{"role": "user", "content": "1 + 1 = ?"}],
            reply={"role": "assistant", "content": "2"},
            reward=reward,
            reward_terms={"correct": float(reward > 0.5), "format": 1.0},
            prompt_ids=(10, 11, 12),
            completion_ids=tuple(range(20, 20 + tokens)),
            logprobs=(-1.0,) * tokens,
            finish=finish,  # type: ignore[arg-type]
        )
        broken = stop in (StopReason.ENVIRONMENT_FAULT, StopReason.ENGINE_FAULT)
        return Episode(
            environment="ludus/Arithmetic-v0",
            arguments={},
            seed=0,
            task="1+1",
            turns=(turn,),
            form_terms=("format",),
            stop=stop,
            success=reward > 0.5 and not broken,
            group=group,
            sample=sample,
            fault="the server died" if broken else "",
        )

    return make
