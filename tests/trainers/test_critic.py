"""Value models: what they learn, what they leave alone, and that a run with one resumes to the same bits."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from ludus.agents.episode import Episode, StopReason
from ludus.agents.models import LoadedModel
from ludus.agents.rollout import EpisodeStart, rollout
from ludus.trainers.algorithms.grpo import accumulate_gradients
from ludus.trainers.batches.bootstrap import bootstraps, next_row
from ludus.trainers.batches.groups import make_groups
from ludus.trainers.batches.minibatch import make_minibatches
from ludus.trainers.config.reading import load_config, parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.critic import Critic
from ludus.trainers.errors import ConfigError
from ludus.trainers.losses.value import value_loss, value_metrics
from ludus.trainers.metrics import read_metrics
from ludus.trainers.run.critic import load_critic, save_critic
from ludus.trainers.run.job import train
from ludus.trainers.run.policy import engine_policy, run_engine, save_policy

from .test_run import Leaves, left, outcome

KINDS = ("head", "model")
every_kind = pytest.mark.parametrize("kind", KINDS)


def with_critic(config: RunConfig, grpo: dict[str, Any] | None = None, **critic: Any) -> RunConfig:
    dump = config.model_dump()
    gae = {"credit": "gae", "loss": "ppo", "kl_coefficient": 0.0, "updates_per_batch": 1}
    return parse_config(
        {**dump, "grpo": {**dump["grpo"], **gae, **(grpo or {})}, "critic": {"learning_rate": 1e-2, **critic}}
    )


@pytest.fixture
def make_critic(policy: LoadedModel, tmp_path: Path) -> Callable[[RunConfig], Critic]:
    """The critic of a run whose primed model is the policy."""

    def make(config: RunConfig) -> Critic:
        save_policy(policy, tmp_path / "primed")
        critic = load_critic(policy, config, tmp_path / "primed")
        assert critic is not None
        return critic

    return make


def played(policy: LoadedModel, config: RunConfig) -> list[Episode]:
    player = engine_policy(run_engine(policy, config), policy, config, config.rollout.temperature)
    starts = [EpisodeStart(seed, seed, sample) for seed in range(2) for sample in range(4)]
    spec = config.played[0].spec
    return rollout(player, spec, starts, config.rollout.limits, config.rollout.concurrency)


def earning(episode: Episode, reward: float) -> Episode:
    return replace(episode, turns=(*episode.turns[:-1], replace(episode.turns[-1], reward=reward)))


@every_kind
def test_a_constant_return_is_learned(
    kind: str, policy: LoadedModel, tiny: RunConfig, make_critic: Callable[[RunConfig], Critic]
) -> None:
    config = with_critic(tiny, kind=kind, max_grad_norm=100.0, schedule="linear")
    critic = make_critic(config)
    episodes = [earning(episode, 0.7) for episode in played(policy, config)]
    groups = make_groups(episodes, config)
    losses = []
    for step in range(40):
        (minibatch,) = make_minibatches([groups], policy.model, None, config, critic)
        update = accumulate_gradients(minibatch, policy.model, config.grpo, 1.0, critic, learns=False)
        critic.clip()
        critic.take_step(step, 40)
        losses.append(update.value_loss)
    assert losses[0] == pytest.approx(0.5 * 0.7**2)
    assert losses[-1] < 0.1 * losses[0]
    assert minibatch.values_S is not None
    assert minibatch.values_S.mean().item() == pytest.approx(0.7, abs=0.15)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def test_only_a_head_with_a_coefficient_moves_the_policy(
    policy: LoadedModel, tiny: RunConfig, make_critic: Callable[[RunConfig], Critic]
) -> None:
    def of(learns: bool = True, **settings: Any) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        config = with_critic(tiny, **settings)
        critic = make_critic(config)
        torch.nn.init.constant_(critic.model.head.weight, 0.1)
        groups = make_groups([earning(e, float(i % 3)) for i, e in enumerate(episodes)], config)
        (minibatch,) = make_minibatches([groups], policy.model, None, config, critic)
        # The same advantages for all, though the critics differ.
        minibatch = replace(minibatch, advantages_S=torch.linspace(-1, 1, len(minibatch.advantages_S)))
        accumulate_gradients(minibatch, policy.model, config.grpo, 1.0, critic, learns)
        return gradients(policy.model), gradients(critic.model)

    episodes = played(policy, with_critic(tiny))
    config = with_critic(tiny)
    groups = make_groups([earning(e, float(i % 3)) for i, e in enumerate(episodes)], config)
    (plain,) = make_minibatches([groups], policy.model, None, config, make_critic(config))
    plain = replace(plain, advantages_S=torch.linspace(-1, 1, len(plain.advantages_S)))
    accumulate_gradients(plain, policy.model, config.grpo, 1.0)
    alone = gradients(policy.model)

    for settings in ({"kind": "model"}, {"kind": "head", "coefficient": 0.0}):
        beside, own = of(**settings)
        assert beside.keys() == alone.keys()
        assert all(torch.equal(beside[name], alone[name]) for name in alone)
        assert own
    moved, _ = of(kind="head", coefficient=0.5)
    more, _ = of(kind="head", coefficient=1.0)
    changed = [name for name in alone if not torch.equal(moved[name], alone[name])]
    assert changed
    for name in changed:  # in proportion to the coefficient
        torch.testing.assert_close(
            more[name] - alone[name], 2 * (moved[name] - alone[name]), rtol=1e-3, atol=1e-5
        )
    for kind in KINDS:  # while the critic leads
        none, own = of(learns=False, kind=kind)
        assert not none
        assert own


def test_value_clipping_takes_the_larger_error() -> None:
    from ludus.trainers.batches.minibatch import Minibatch
    from ludus.trainers.batches.packing import MicroBatch

    nothing = torch.zeros(0)
    token_N = torch.arange(4)
    micro = MicroBatch(nothing, nothing, (), nothing, nothing, nothing, torch.zeros(4), token_N)
    minibatch = Minibatch(
        [],
        nothing,
        torch.tensor([0.3, 0.3, 0.3, 0.0]),  # the last is not trained on
        nothing,
        nothing,
        None,
        nothing,
        nothing,
        values_S=torch.zeros(4),
        targets_S=torch.tensor([1.0, 1.0, 1.0, 50.0]),
    )
    values = torch.tensor([0.1, 0.5, -0.5, 0.0], requires_grad=True)
    loss = value_loss(0.2, minibatch, micro, values)
    loss.backward()
    # Within the clip; beyond it towards the target: no gradient; beyond it away from the target: all of it.
    assert loss.item() == pytest.approx(0.5 * (0.9**2 + 0.8**2 + 1.5**2) / 3)
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx([-0.9 / 3, 0.0, -1.5 / 3, 0.0])
    assert value_loss(0.0, minibatch, micro, values).item() == pytest.approx(
        0.5 * (0.9**2 + 0.5**2 + 1.5**2) / 3
    )
    assert value_metrics([minibatch]) == {"critic/value": 0.0}  # all targets are the same
    varied = replace(minibatch, targets_S=torch.tensor([0.0, 1.0, 2.0, 9.0]))
    good = replace(varied, values_S=torch.tensor([0.5, 1.5, 2.5, -9.0]))
    assert value_metrics([varied])["critic/explained_variance"] == pytest.approx(0.0)
    assert value_metrics([good])["critic/explained_variance"] == pytest.approx(1.0)


@pytest.mark.parametrize("stop", list(StopReason))
def test_only_truncated_episodes_are_bootstrapped(
    stop: StopReason, policy: LoadedModel, tiny: RunConfig, make_critic: Callable[[RunConfig], Critic]
) -> None:
    config = with_critic(tiny)
    critic = make_critic(config)
    torch.nn.init.constant_(critic.model.head.bias, 3.0)
    episode = replace(played(policy, config)[0], stop=stop)
    truncated = stop.value in ("environment:truncated", "limit:turns", "limit:tokens", "limit:time")
    assert bootstraps([episode, replace(episode, turns=())], policy.model, critic, 1024) == [
        3.0 if truncated else 0.0,
        0.0,
    ]


def test_what_followed_is_the_context_of_the_next_turn(policy: LoadedModel, tiny: RunConfig) -> None:
    """Cut off after a turn, the context is that in which the whole episode's next turn was sampled."""
    config = parse_config(
        {
            **tiny.model_dump(),
            "environment": {"id": "ludus/Quest-v0"},
            "rollout": {**tiny.rollout.model_dump(), "max_turns": 3},
        }
    )
    whole = next(episode for episode in played(policy, config) if len(episode.turns) == 3)
    cut = replace(
        whole, turns=whole.turns[:2], final_observation=whole.turns[2].observation, stop=StopReason.TURN_LIMIT
    )
    ids = [token for turn in whole.turns for token in (*turn.prompt_ids, *turn.completion_ids)]
    expected = ids[: len(ids) - len(whole.turns[2].completion_ids)]
    row = next_row(cut, policy.format, longest=torch.inf)
    assert list(row.ids[:-1]) == expected
    assert row.sampled == (False,) * len(expected) + (True,)
    # Where that is too long to be read, the context ends with the last action.
    assert list(next_row(cut, policy.format, longest=len(expected) - 1).ids[:-1]) == [
        token for turn in cut.turns for token in (*turn.prompt_ids, *turn.completion_ids)
    ]


@pytest.fixture(scope="module", params=KINDS)
def short(request: pytest.FixtureRequest) -> RunConfig:
    """A run of four steps, the first of which the critic leads."""
    tiny = load_config(Path(__file__).parents[2] / "configs" / "tiny.toml")
    return with_critic(
        tiny,
        {"steps": 4, "updates_per_batch": 2, "epochs_per_batch": 2, "gae_lambda": 0.95, "warmup_steps": 2},
        kind=request.param,
        lead_steps=1,
        value_clip=0.2,
    )


@pytest.fixture(scope="module")
def whole(short: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    return train(short, run, listener=Leaves(run, *(("grpo", step) for step in (1, 2, 3))))


def with_the_critic(run: Path) -> dict[str, Any]:
    return {**outcome(run), "critic": {path.name: path.read_bytes() for path in critic_files(run)}}


def critic_files(run: Path) -> list[Path]:
    return sorted((run / "models" / "critic").iterdir())


def test_a_run_with_a_critic(whole: Path, short: RunConfig) -> None:
    lines = [line for line in read_metrics(whole) if line["phase"] == "grpo"]
    assert len(lines) == 4
    for line in lines:
        assert {"critic/loss", "critic/value", "critic/explained_variance", "critic/grad_norm"} <= line.keys()
    assert lines[0]["critic/value"] == lines[0]["grad_norm"] == lines[0]["ratio_max_deviation"] == 0.0
    assert all(line["grad_norm"] > 0 for line in lines[1:])
    assert lines[1]["critic/value"] != 0.0
    # The policy warms up when it begins to learn.
    peak = short.grpo.learning_rate
    assert [line["learning_rate"] for line in lines] == [0.0, peak / 2, peak, peak]
    assert short.critic is not None
    names = {path.name for path in critic_files(whole)}
    assert "value_head.safetensors" in names
    assert ("model.safetensors" in names) == (short.critic.kind == "model")


@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)]
)
def test_a_run_with_a_critic_stopped_anywhere_ends_in_the_same_bits(
    whole: Path, short: RunConfig, tmp_path: Path, step: int
) -> None:
    run = shutil.copytree(left(whole, "grpo", step), tmp_path / "run")
    train(short, run, resume=True)
    assert with_the_critic(run) == with_the_critic(whole)


@pytest.mark.slow
def test_a_killed_run_with_a_critic_ends_in_the_same_bits(
    whole: Path, short: RunConfig, tmp_path: Path
) -> None:
    run, written = tmp_path / "run", tmp_path / "config.toml"
    written.write_text(short.to_toml())
    code = (
        "import sys; from ludus.trainers.config.reading import load_config; "
        "from ludus.trainers.run.job import train; train(load_config(sys.argv[1]), sys.argv[2])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(written), str(run)])
    while process.poll() is None and not (run / "checkpoints" / "step-000010").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (run / "models" / "final").exists()
    train(short, run, resume=True)
    assert with_the_critic(run) == with_the_critic(whole)


def test_a_checkpoint_without_its_critic_is_corrupt(whole: Path, short: RunConfig, tmp_path: Path) -> None:
    from ludus.trainers.errors import CheckpointError

    run = shutil.copytree(left(whole, "grpo", 3), tmp_path / "run")
    (run / "checkpoints" / "step-000010" / "critic-model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"critic-model\.safetensors is missing or corrupt"):
        train(short, run, resume=True)


def test_a_trained_critic_can_be_the_next_ones_beginning(
    whole: Path, short: RunConfig, policy: LoadedModel, tmp_path: Path
) -> None:
    assert short.critic is not None
    if short.critic.kind == "head":
        pytest.skip("a head is one of its policy")
    config = with_critic(short, kind="model", path=str(whole / "models" / "critic"))
    critic = load_critic(policy, config, tmp_path)
    assert critic is not None
    saved = safetensors.torch.load_file(whole / "models" / "critic" / "value_head.safetensors")
    assert torch.equal(critic.model.head.weight, saved["weight"])
    assert saved["weight"].abs().sum() > 0
    save_critic(critic, policy, tmp_path / "again")
    for path in critic_files(whole):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_a_value_model_of_another_vocabulary_is_refused_before_priming(
    tiny: RunConfig, tmp_path: Path
) -> None:
    from ludus.agents.models import load_model
    from ludus.trainers.run.policy import initial_model

    other = parse_config({**tiny.model_dump(), "environment": {"id": "ludus/PacManChat-v0", "arguments": {}}})
    folder = initial_model(other, tmp_path / "nowhere")
    assert load_model(folder).tokenizer.get_vocab()
    config = with_critic(tiny, kind="model", path=str(folder))
    with pytest.raises(ConfigError, match=r"its vocabulary \(\d+ ids\) is not the policy's \(\d+ ids\)"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "models" / "primed").exists()
