"""DPO and IPO: exact gradients, exact beginnings, whatever a batch is cut into, and the same bits after a
kill."""

import json
import math
import shutil
from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ludus.agents.models import LoadedModel
from ludus.agents.policy import ScriptedPolicy
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout
from ludus.envs.chat import assistant, user
from ludus.report import write_report
from ludus.tools.errors import DataError
from ludus.trainers.algorithms.preferences import (
    Compared,
    cut,
    log_probabilities,
    require_same,
    team_gradients,
)
from ludus.trainers.batches.pairs import Pair as PairRows
from ludus.trainers.batches.pairs import pack_pairs
from ludus.trainers.config.preferences import PreferencesSection
from ludus.trainers.config.reading import parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.data.pairs import Pair, write_pairs
from ludus.trainers.data.preferences import read_preferences
from ludus.trainers.data.read import Reserved
from ludus.trainers.errors import ConfigError, RunError, TrainingDiverged
from ludus.trainers.losses.preference import batch_loss, log_ratios, preference_loss, preference_metrics
from ludus.trainers.metrics import read_metrics
from ludus.trainers.parallel.team import Team
from ludus.trainers.run.job import train
from ludus.trainers.run.policy import load_beside, load_policy

from ..rounding import likely_gamma
from .test_run import Killed, Leaves, StopAt, left

EXACT = 1e-10
KINDS: dict[str, dict[str, Any]] = {
    "dpo": {"loss": "dpo", "beta": 0.3},
    "smoothed": {"loss": "dpo", "beta": 0.3, "label_smoothing": 0.1},
    "by length": {"loss": "dpo", "beta": 2.0, "length_normalised": True},
    "ipo": {"loss": "ipo", "beta": 0.3},
    "ipo by length": {"loss": "ipo", "beta": 0.3, "length_normalised": True},
    "with sft": {"loss": "dpo", "beta": 0.3, "sft_coefficient": 0.7},
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


# --- exactly, on a policy whose replies can all be listed

WORDS = 3
REPLIES = [reply for length in (1, 2) for reply in product(range(WORDS), repeat=length)]
"""The policy draws each word by a table of the word before; it is told how many to draw."""


def drawn(seed: int) -> Tensor:
    """Logits of the word after each word, and at the beginning, [WORDS + 1, WORDS]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(WORDS + 1, WORDS, generator=generator, dtype=torch.float64)


def log_probability(logits: Tensor, reply: tuple[int, ...]) -> Tensor:
    before = (WORDS, *reply)
    return torch.stack([logits[a].log_softmax(-1)[b] for a, b in zip(before, reply, strict=False)]).sum()


def score_function(logits: Tensor, reply: tuple[int, ...]) -> Tensor:
    """∇ log π(reply): in the row of each word's predecessor, its indicator minus the probabilities."""
    gradient = torch.zeros_like(logits)
    for a, b in zip((WORDS, *reply), reply, strict=False):
        gradient[a] -= logits[a].softmax(-1)
        gradient[a, b] += 1
    return gradient


@every_kind
def test_gradients_are_the_closed_forms(kind: dict[str, Any]) -> None:
    """DPO: -β ((1-ε) σ(-βd) - ε σ(βd)) (∇log π(w) - ∇log π(l)); IPO: 2 (d - 1/2β) times the same."""
    section = PreferencesSection(**kind)
    reference, logits = drawn(0), drawn(1).requires_grad_()
    pairs = [*permutations(REPLIES, 2)]
    sides = torch.stack([torch.stack([log_probability(logits, y) for y in pair]) for pair in pairs])
    before = torch.tensor([[log_probability(reference, y) for y in pair] for pair in pairs]).double()
    lengths = torch.tensor([[len(y) for y in pair] for pair in pairs]).double()
    chosen_tokens = int(lengths[:, 0].sum())
    batch_loss(section, sides, before, lengths, len(pairs), chosen_tokens).backward()

    beta, epsilon = section.beta, section.label_smoothing
    expected = torch.zeros_like(reference)
    table = logits.detach()
    for (chosen, rejected), now, then, tokens in zip(pairs, sides.detach(), before, lengths, strict=True):
        scale = 1 / tokens if section.length_normalised else torch.ones(2)
        ratios = (now - then) * scale
        d = float(ratios[0] - ratios[1])
        if section.loss == "ipo":
            slope = 2 * (d - 1 / (2 * beta))
        else:
            wrong, right = 1 / (1 + math.exp(beta * d)), 1 / (1 + math.exp(-beta * d))
            slope = -beta * ((1 - epsilon) * wrong - epsilon * right)
        better, worse = score_function(table, chosen), score_function(table, rejected)
        expected += slope * (scale[0] * better - scale[1] * worse) / len(pairs)
        expected -= section.sft_coefficient * better / chosen_tokens
    assert logits.grad is not None
    assert (logits.grad - expected).abs().max() < EXACT


def test_the_best_policy_for_known_rewards_is_where_dpo_rests() -> None:
    """Of replies preferred as Bradley and Terry say of rewards r, it is π_ref exp(r / β) up to a factor; IPO
    rests at d = (2p - 1) / 2β for two replies of which the one is preferred with probability p."""
    dpo = PreferencesSection(loss="dpo", beta=0.4)
    reference, rewards = drawn(0)[0], drawn(1)[0]
    best = (reference + rewards / dpo.beta).requires_grad_()
    loss = torch.zeros((), dtype=torch.float64)
    for one, other in permutations(range(WORDS), 2):
        ratios = best.log_softmax(-1)[[one, other]] - reference.log_softmax(-1)[[one, other]]
        loss = loss + (rewards[one] - rewards[other]).sigmoid() * preference_loss(dpo, ratios[None]).sum()
    (gradient,) = torch.autograd.grad(loss, best)
    assert gradient.abs().max() < EXACT

    ipo, p = PreferencesSection(loss="ipo", beta=0.4), 0.7
    d = torch.tensor((2 * p - 1) / (2 * ipo.beta), dtype=torch.float64, requires_grad=True)
    either = preference_loss(ipo, torch.stack([torch.stack([d, 0 * d]), torch.stack([0 * d, d])]))
    (slope,) = torch.autograd.grad(p * either[0] + (1 - p) * either[1], d)
    assert abs(slope) < EXACT


@every_kind
def test_before_any_update_the_loss_is_known(kind: dict[str, Any]) -> None:
    section = PreferencesSection(**{**kind, "sft_coefficient": 0.0})
    logprobs = -torch.rand(7, 2, dtype=torch.float64)
    metrics = preference_metrics(section, logprobs, logprobs, torch.full((7, 2), 3.0).double())
    expected = math.log(2) if section.loss == "dpo" else (1 / (2 * section.beta)) ** 2
    assert metrics["loss"] == expected
    assert (metrics["margin"], metrics["accuracy"]) == (0.0, 0.0)


def test_metrics_tell_the_sides_apart() -> None:
    section = PreferencesSection(beta=0.5, length_normalised=True, sft_coefficient=2.0)
    now, then = torch.tensor([[-4.0, -6.0], [-3.0, -2.0]]), torch.tensor([[-6.0, -4.0], [-3.0, -4.0]])
    tokens = torch.tensor([[2.0, 4.0], [1.0, 1.0]])
    assert log_ratios(section, now, then, tokens).tolist() == [[1.0, -0.5], [0.0, 2.0]]
    metrics = preference_metrics(section, now, then, tokens)
    assert metrics["implicit_reward/chosen"] == 0.25
    assert metrics["implicit_reward/rejected"] == 0.375
    assert metrics["margin"] == -0.125
    assert metrics["accuracy"] == 0.5
    assert (metrics["logprob/chosen"], metrics["logprob/rejected"]) == (-3.5, -4.0)
    assert metrics["sft_loss"] == pytest.approx(7 / 3)
    plain = preference_metrics(section.model_copy(update={"sft_coefficient": 0.0}), now, then, tokens)
    assert metrics["loss"] == pytest.approx(plain["loss"] + 14 / 3)


# --- rows, batches


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pairs: the oracle's replies and wrong ones."""
    spec = EnvironmentSpec("ludus/Arithmetic-v0", {"operations": ["add"], "digits": 2, "phrasing": "bare"})
    starts = [EpisodeStart(seed) for seed in range(12)]
    good = rollout(ScriptedPolicy("oracle"), spec, starts)
    pairs = []
    for episode, other in zip(good, [*good[1:], good[0]], strict=True):
        (turn,), (wrong,) = episode.turns, other.turns
        said = [wrong.reply, user("Sure?"), assistant("1")] if episode.seed % 3 else [wrong.reply]
        pairs.append(Pair(turn.observation, [turn.reply], said, margin=1.0))
    path = tmp_path_factory.mktemp("data") / "pairs.parquet"
    write_pairs(path, pairs)
    return path


def section_of(path: Path, **values: Any) -> PreferencesSection:
    return PreferencesSection(**{"steps": 1, "data": [str(path)], "heldout_share": 0.0, **values})


def rows_of(path: Path, policy: LoadedModel) -> list[PairRows]:
    return [*read_preferences(section_of(path), policy, Reserved()).train]


def test_only_the_agents_tokens_are_scored(policy: LoadedModel, tmp_path: Path) -> None:
    prompt = [user("1 + 1 = ?"), assistant("3"), user("Sure?")]
    more = [assistant("2"), user("1"), assistant("12")]
    write_pairs(tmp_path / "pairs.jsonl", [Pair(prompt, more, [assistant("4")])])
    ((chosen, rejected),) = rows_of(tmp_path / "pairs.jsonl", policy)

    def said(side: Any) -> str:
        (row,) = side
        return "".join(policy.format.decode([i for i, s in zip(row.ids, row.sampled, strict=True) if s]))

    assert said(chosen) == "2<|end|>12<|end|>"
    assert said(rejected) == "4<|end|>"
    (batch,) = pack_pairs([(chosen, rejected)], 1024)
    assert batch.tokens_P2.tolist() == [[sum(chosen[0].sampled), sum(rejected[0].sampled)]]
    # What the sides share is computed once.
    assert batch.micro.tokens < len(chosen[0].ids) + len(rejected[0].ids) - 2


def test_pairs_are_read_dropped_and_held_out_by_their_opening(
    policy: LoadedModel, pairs_file: Path, tmp_path: Path
) -> None:
    data = read_preferences(section_of(pairs_file, heldout_share=0.3), policy, Reserved())
    assert (len(data.train) + len(data.heldout), data.tally.read) == (12, 12)
    assert 0 < len(data.heldout) < 7
    asked = user("1 + 1 = ?")
    pairs = [
        Pair([asked], [assistant("2")], [assistant("3")]),
        Pair([user("2 + 2 = ?")], [assistant("4")], [assistant("5" * 9000)]),
    ]
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    told = str(read_preferences(section_of(tmp_path / "pairs.jsonl"), policy, Reserved()).tally)
    assert "2 pairs read, 1 to train on" in told
    assert "1 longer than the model's context" in told
    reserved = Reserved(openings={pair.dialogues()[0].opening for pair in pairs})
    with pytest.raises(DataError, match=r"nothing is left .* 2 on tasks held out"):
        read_preferences(section_of(tmp_path / "pairs.jsonl"), policy, reserved)


def test_every_pair_is_in_one_batch_of_about_the_same_size() -> None:
    for count, size in ((1, 4), (12, 5), (12, 12), (13, 2)):
        batches = cut(count, size, seed=3)
        assert sorted(index for batch in batches for index in batch) == list(range(count))
        assert max(map(len, batches)) <= size
        assert max(map(len, batches)) - min(map(len, batches)) <= 1


@pytest.mark.parametrize("kind", ["smoothed", "ipo by length", "with sft"])
def test_loss_and_gradients_do_not_depend_on_the_cut(
    policy: LoadedModel, tiny: RunConfig, pairs_file: Path, kind: str
) -> None:
    pairs, section = rows_of(pairs_file, policy), PreferencesSection(**KINDS[kind])
    found: list[tuple[Tensor, list[Tensor]]] = []
    for budget, order in ((1, 1), (150, -1), (100_000, 1)):
        packed = pack_pairs(pairs[::order], budget)
        assert len(packed) == {1: len(pairs), 100_000: 1}.get(budget, len(packed))
        policy.model.zero_grad()
        reference = [torch.full_like(batch.tokens_P2, -20.0) for batch in packed]
        with Team(tiny) as team, team.computing_with(policy):
            logprobs = team_gradients(team, Compared(packed, reference), section)
        gradients = [p.grad.clone() for p in policy.model.parameters() if p.grad is not None]
        places = [index for batch in packed for index in batch.pairs]
        ranks = sorted(range(len(places)), key=lambda at: places[at] * order)
        found.append((logprobs[ranks], gradients))
    scale = max(float(gradient.abs().max()) for gradient in found[0][1])
    bound = likely_gamma(20_000)  # of roundings on the way from tokens to gradients
    for logprobs, gradients in found[1:]:
        assert (logprobs - found[0][0]).abs().max() <= bound * found[0][0].abs().max()
        for one, other in zip(gradients, found[0][1], strict=True):
            assert (one - other).abs().max() <= bound * scale


# --- whole runs


def configured(tiny: RunConfig, folder: Path, **sections: dict[str, Any]) -> RunConfig:
    """A short run from a model that is there."""
    values = tiny.model_dump(exclude_none=True)
    del values["environments"], values["model"]["small"]
    short: dict[str, dict[str, Any]] = {
        "model": {"path": str(folder)},
        "sft": {"steps": 0},
        "grpo": {"steps": 0},
        "evaluation": {"episodes": 2},
        "checkpoint": {"every": 2},
    }
    for name, keys in (*short.items(), *sections.items()):
        values[name] = {**values.get(name, {}), **keys}
    return parse_config(values)


def on_data(tiny: RunConfig, folder: Path, path: Path, **keys: Any) -> RunConfig:
    keys = {"steps": 5, "batch_pairs": 4, "learning_rate": 1e-3, "microbatch_tokens": 200, **keys}
    data = {"data": [str(path)], "heldout_share": 0.2, "heldout_every": 2}
    return configured(tiny, folder, preferences=data | keys)


def outcome(run: Path) -> dict[str, Any]:
    uncounted = ("seconds/", "tokens_per_second", "checksum")
    return {
        "weights": (run / "models" / "final" / "model.safetensors").read_bytes(),
        "metrics": [
            {name: value for name, value in line.items() if not name.startswith(uncounted)}
            for line in read_metrics(run)
        ],
        "evaluation": json.loads((run / "evaluation.json").read_text()),
    }


def lines_of(run: Path) -> list[dict[str, float | str]]:
    return [line for line in read_metrics(run) if line["phase"] == "preferences"]


@pytest.fixture(scope="module")
def config(tiny: RunConfig, tiny_folder: Path, pairs_file: Path) -> RunConfig:
    return on_data(tiny, tiny_folder, pairs_file)


@pytest.fixture(scope="module")
def whole(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    return train(config, run, listener=Leaves(run, *(("preferences", step) for step in (1, 4))))


def test_a_run_on_pairs_begins_at_ln_2_learns_and_is_reported(whole: Path) -> None:
    lines = lines_of(whole)
    assert lines[0]["loss"] == math.log(2)
    assert float(lines[-1]["loss"]) < math.log(2)
    assert float(lines[-1]["accuracy"]) > 0.5
    assert [("heldout_loss" in line) for line in lines] == [False, True, False, True, True]
    assert {path.name for path in (whole / "models").iterdir()} == {"primed", "final"}
    page = write_report(whole).read_text()
    assert "5 steps of DPO on pairs of data" in page
    assert "Implicit rewards" in page


def test_the_stored_reference_is_the_live_one_bit_by_bit(whole: Path, config: RunConfig) -> None:
    final = load_policy(whole / "models" / "final", config)
    reference = load_beside(final, whole / "models" / "primed", config)
    data = read_preferences(config.preferences, final, Reserved())
    stored = json.loads((whole / "reference.json").read_text())
    for pairs, name in ((data.train, "train"), (data.heldout, "heldout")):
        for which in cut(len(pairs), 4, config.run.seed):
            packed = pack_pairs([pairs[index] for index in which], 200)
            order = [which[index] for batch in packed for index in batch.pairs]
            live = torch.cat(log_probabilities(reference, packed)).tolist()
            assert live == [stored[name][index] for index in order]
            assert torch.cat(log_probabilities(final.model, packed)).tolist() != live


@pytest.mark.parametrize("step", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_run_on_pairs_that_was_killed_ends_in_the_same_bits(
    whole: Path, config: RunConfig, tmp_path: Path, step: int
) -> None:
    run = shutil.copytree(left(whole, "preferences", step), tmp_path / "run")
    assert outcome(train(config, run, resume=True)) == outcome(whole)


@pytest.mark.slow
def test_two_workers_begin_at_ln_2_and_learn_the_same(whole: Path, config: RunConfig, tmp_path: Path) -> None:
    both = config.model_copy(update={"run": config.run.model_copy(update={"workers": 2})})
    ours, theirs = (lines_of(run) for run in (train(both, tmp_path / "run"), whole))
    assert ours[0]["loss"] == math.log(2)
    assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], rel=1e-3)


def test_pairs_of_fresh_groups_begin_at_the_known_loss_and_survive_a_kill(
    tiny: RunConfig, tiny_folder: Path, tmp_path: Path
) -> None:
    keys = {"steps": 2, "tasks": 4, "samples": 4, "by": "reward", "loss": "ipo", "beta": 0.2}
    values = configured(tiny, tiny_folder, preferences=keys).model_dump(exclude_none=True)
    del values["environments"]
    config = parse_config({**values, "checkpoint": {"every": 1}})
    run = tmp_path / "whole"
    train(config, run, listener=Leaves(run, ("preferences", 2)))
    lines = lines_of(run)
    assert lines[0]["loss"] == (1 / 0.4) ** 2
    for line in lines:
        assert line["pairs"] == round(4 * (1 - float(line["flat_groups"])))
        assert line["fault_share"] == 0
    assert write_report(run).read_text().count("pairs of what it played") == 1
    assert outcome(train(config, left(run, "preferences", 2), resume=True)) == outcome(run)


def test_with_an_adapter_the_reference_is_the_model_with_it_off(
    tiny: RunConfig, tiny_folder: Path, config: RunConfig, tmp_path: Path
) -> None:
    values = config.model_dump(exclude_none=True)
    del values["environments"]
    values |= {"adapter": {"rank": 2}, "preferences": {**values["preferences"], "steps": 2}}
    run = train(parse_config(values), tmp_path / "run")
    assert lines_of(run)[0]["loss"] == math.log(2)
    base = load_policy(tiny_folder, tiny)
    data = read_preferences(config.preferences, base, Reserved())
    which = cut(len(data.train), 4, config.run.seed)[0]
    packed = pack_pairs([data.train[index] for index in which], 200)
    stored = json.loads((run / "reference.json").read_text())["train"]
    live = torch.cat(log_probabilities(base.model, packed)).tolist()
    assert live == [stored[which[index]] for batch in packed for index in batch.pairs]


# --- what is refused


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"loss": "dop"}, "preferences.loss"),
        ({"beta": 0}, "preferences.beta"),
        ({"label_smoothing": 0.5}, "label_smoothing"),
        ({"loss": "ipo", "label_smoothing": 0.1}, 'is of loss = "dpo"'),
        ({"heldout_share": 0.1}, "heldout_share = 0.1, but there is no data"),
        ({"data": ["a"], "samples": 4}, "samples = 4, but with data nothing is played"),
        ({"samples": 1}, "samples = 1: an episode alone"),
        ({"data": ["a"], "steps": 0}, "steps = 0 leaves preferences out"),
    ],
)
def test_senseless_settings_are_refused_at_load(tiny: RunConfig, keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as refused:
        configured(tiny, Path("there"), preferences={"steps": 2, **keys})
    assert "\n" not in str(refused.value)


def test_pairs_alone_are_enough_to_train_on() -> None:
    values: dict[str, Any] = {
        "model": {"path": "there"},
        "sft": {"steps": 0},
        "grpo": {"steps": 0},
        "preferences": {"steps": 2, "data": ["a"]},
    }
    assert parse_config(values).after_priming["preferences.steps"] == 2
    for section, keys, problem in (
        ("sft", {"steps": 3}, "primes on demonstrations, and there is no"),
        ("grpo", {"steps": 3}, "alone with grpo.steps = 0"),
        ("preferences", {"steps": 3}, "what should the agent be trained on"),
    ):
        with pytest.raises(ConfigError, match=problem):
            parse_config({**values, section: keys})


def test_another_beginning_than_the_reference_stops_the_run() -> None:
    logprobs = torch.zeros(2, 2, dtype=torch.float64)
    require_same(logprobs, logprobs.clone())
    with pytest.raises(TrainingDiverged, match="differ from the reference's by up to 1e-07 nats"):
        require_same(logprobs + 1e-7, logprobs)


def test_a_judge_that_no_environment_knows_is_refused(
    tiny: RunConfig, tiny_folder: Path, tmp_path: Path
) -> None:
    keys = {"steps": 1, "tasks": 1, "samples": 2, "by": "correkt"}
    with pytest.raises(ConfigError, match=r'by = "correkt" is nothing that is earned; did you mean correct'):
        train(configured(tiny, tiny_folder, preferences=keys), tmp_path / "run")
    assert not (tmp_path / "run" / "models").exists()


def test_a_run_whose_files_changed_is_not_resumed(
    tiny: RunConfig, tiny_folder: Path, pairs_file: Path, tmp_path: Path
) -> None:
    own = tmp_path / "pairs.parquet"
    own.write_bytes(pairs_file.read_bytes())
    config = on_data(tiny, tiny_folder, own)
    with pytest.raises(Killed):
        train(config, tmp_path / "run", listener=StopAt("preferences", 3))
    reference = tmp_path / "run" / "reference.json"
    kept = reference.read_text()
    reference.write_text(kept.replace("-", "", 1))
    with pytest.raises(RunError, match=r"reference.json is not what the run wrote there"):
        train(config, tmp_path / "run", resume=True)
    reference.write_text(kept)
    write_pairs(own, [Pair([user("?")], [assistant("1")], [assistant("2")])])
    with pytest.raises(RunError, match=r"the data is not what it was when the run began"):
        train(config, tmp_path / "run", resume=True)


def test_wrong_pairs_are_refused_before_priming(tiny: RunConfig, tiny_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "?", "chosen": "1", "rejected": "1"}\n')
    values = on_data(tiny, tiny_folder, path).model_dump(exclude_none=True)
    del values["environments"]
    values["sft"]["steps"] = 3
    with pytest.raises(DataError, match=r"pairs.jsonl, line 1: chosen and rejected say the same"):
        train(parse_config(values), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
