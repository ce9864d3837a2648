"""Reward models: what they learn, what their reports say, and that labels are what the policy does from
there."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.models import LoadedModel, ModelLoadError, load_model
from ludus.agents.reward_model import SEPARATOR, load_reward_model, rewards
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.store import read_episodes
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import user
from ludus.envs.rubric import Rubric
from ludus.report import write_report
from ludus.tools.errors import DataError
from ludus.trainers.advantages.process import process_of
from ludus.trainers.advantages.process_model import refuse_other_tokens
from ludus.trainers.algorithms.reward_model import Examples, losses
from ludus.trainers.algorithms.step_labels import label_steps, play_episodes
from ludus.trainers.calibration import report_pairs, report_steps
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.config.reading import parse_config
from ludus.trainers.config.reward_model import RewardModelSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.data.examples import VALUE, PairExample, labelled_rows, step_examples
from ludus.trainers.errors import ConfigError
from ludus.trainers.losses.reward import bradley_terry, step_loss
from ludus.trainers.metrics import read_metrics
from ludus.trainers.models.optimizer import apply_gradients, build_optimizer
from ludus.trainers.parallel.team import Team
from ludus.trainers.run.job import train
from ludus.trainers.run.policy import save_policy
from ludus.trainers.tasks import Task

from .test_run import SECONDS, Leaves, left


class FirstLetter(ChatEnv):
    """Two turns; success is whether the first reply begins with no character: half of the bytes do not."""

    rubric = Rubric({"right": 1.0})
    max_turns = 2

    def start(self, rng: np.random.Generator, options: dict[str, Any]) -> Start:
        return Start([user("Say something.")], "first", "")

    def respond(self, state: str, text: str) -> Outcome:
        if not state:
            return Outcome("<" + text, [user("Go on.")], {})
        right = state[1:2] == "\ufffd"
        return Outcome(state, [], {"right": float(right)}, True, right)


SPEC = EnvironmentSpec("test/FirstLetter-v0")
if SPEC.id not in gymnasium.registry:
    gymnasium.register(SPEC.id, entry_point=FirstLetter)


Configure = Callable[..., RunConfig]


@pytest.fixture
def configure(tiny: RunConfig, tiny_folder: Path) -> Configure:
    """A run on the tiny model, with these keys of `[reward_model]`."""

    def make(environment: dict[str, Any] | None = None, **section: Any) -> RunConfig:
        dump = tiny.model_dump()
        none = {name: {**dump[name], "steps": 0} for name in ("sft", "grpo")}
        model = {"model": {"path": str(tiny_folder)}}
        played = {"environment": environment or dump["environment"]}
        return parse_config(
            {**dump, **none, **model, **played, "reward_model": {"learning_rate": 1e-2, **section}}
        )

    return make


@pytest.fixture
def loaded(tiny_folder: Path) -> LoadedModel:
    """A reward model before it has learned anything."""
    return load_model(tiny_folder, head="reward")


# Losses


@settings(max_examples=30)
@given(
    st.lists(st.tuples(*[st.floats(-20, 20)] * 2, st.floats(0, 2)), min_size=1, max_size=5),
    st.floats(-30, 30),
)
def test_only_differences_of_rewards_count_and_centring_counts_the_rest(
    pairs: list[tuple[float, float, float]], shift: float
) -> None:
    chosen, rejected, margins = torch.tensor(pairs, dtype=torch.float64).T
    plain = bradley_terry(chosen, rejected, margins, 0.0)
    torch.testing.assert_close(bradley_terry(chosen + shift, rejected + shift, margins, 0.0), plain)
    expected = [math.log1p(math.exp(-(c - r - m))) for c, r, m in pairs]
    torch.testing.assert_close(plain, torch.tensor(expected, dtype=torch.float64))
    centred = bradley_terry(chosen, rejected, margins, 0.5) - plain
    torch.testing.assert_close(centred, 0.5 * (chosen + rejected).square())


def test_a_steps_loss_is_least_at_its_label() -> None:
    labels = torch.tensor([0.25, 0.5, 0.9])
    logits = labels.logit().requires_grad_()
    step_loss(logits, labels).sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


# Learning


def test_planted_scores_are_recovered_whatever_the_shift(loaded: LoadedModel) -> None:
    """From 3,000 preferences drawn under Bradley and Terry's model of twelve replies. With so many, an
    estimate of a score is off by some 0.15, against a spread of 1.5, so the best correlation is about
    0.995."""
    rng = np.random.default_rng(3)
    scores = rng.permutation(np.linspace(-2.5, 2.5, 12))
    words = [loaded.format.demonstrate({"role": "assistant", "content": str(17 * n + 10)}) for n in range(12)]
    prompt = loaded.format.first_prompt([user("?")]).ids
    rows = [(*prompt, *ids) for ids in words]
    pairs = []
    for _ in range(3000):
        one, other = rng.choice(12, 2, replace=False)
        if rng.random() > 1 / (1 + math.exp(scores[other] - scores[one])):
            one, other = other, one
        pairs.append(PairExample(rows[one], rows[other], 0.0, b"", (1, 1)))
    section = RewardModelSection(data=["pairs.jsonl"], learning_rate=5e-3)
    optimizer = build_optimizer(loaded.model, section)
    for step in range(75):
        batch = Examples(pairs=pairs[step % 15 * 200 : (step % 15 + 1) * 200])
        losses(loaded, batch, section).mean().backward()
        apply_gradients(optimizer, 1e-2 * (1 - step / 75), 1.0)
    with torch.no_grad():
        found = rewards(loaded.model, rows).numpy()
    assert np.corrcoef(found, scores)[0, 1] >= 0.99


def pairs_by_length(path: Path, count: int = 60) -> str:
    """In which the longer reply is chosen, or the shorter."""
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        for number in range(count):
            short, long = sorted(rng.choice(np.arange(1, 12), 2, replace=False))
            said = {"prompt": f"{number} + 1 = ?", "chosen": "7" * int(long), "rejected": "7" * int(short)}
            file.write(json.dumps({**said, "margin": float(long - short)}) + "\n")
    return str(path)


def test_a_run_is_saved_in_transformers_form_and_resumes_to_the_same_bits(
    configure: Configure, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    config = configure(
        data=[pairs_by_length(tmp_path / "pairs.jsonl")], steps=6, heldout_every=3, margin=0.1, centring=0.01
    )
    whole = tmp_path / "whole"
    train(config, whole, listener=Leaves(whole, ("reward_model", 5)))
    report = json.loads((whole / "reward_model.json").read_text())
    assert report["pairs"] == 6
    assert "cannot be told" in report["length"]
    page = write_report(whole).read_text()
    assert f"Right on {report['accuracy']:.1%} of 6 held-out pairs." in page
    assert "trained with 6 steps to be a reward model (outcome)" in page
    killed = train(config, left(whole, "reward_model", 5), resume=True)
    weights = "models/reward/model.safetensors"
    assert (killed / weights).read_bytes() == (whole / weights).read_bytes()
    lines = [
        [{k: v for k, v in line.items() if not k.startswith(SECONDS)} for line in read_metrics(run)]
        for run in (whole, killed)
    ]
    assert lines[0] == lines[1]
    assert "heldout_loss" in lines[0][2]

    folder = whole / "models" / "reward"
    theirs, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    said = [user("1 + 1 = ?"), {"role": "assistant", "content": "77"}]
    inputs = tokenizer.apply_chat_template(said, return_tensors="pt", return_dict=True)
    ours = load_reward_model(folder)
    assert ours.separator is None
    ids = tuple(inputs["input_ids"][0].tolist())
    other = (*ids, *ids)
    with torch.no_grad():
        assert ours.rewards([other, ids])[1] == pytest.approx(
            theirs(**inputs).logits.item(), rel=1e-4, abs=1e-5
        )


# Labels


def test_labels_are_how_often_the_policy_succeeds_from_there(
    configure: Configure, policy: LoadedModel
) -> None:
    """The first character decides, so that every rollout from a later place ends as its episode did."""
    config = configure({"id": SPEC.id}, kind="process", separator="e", samples=6, rollouts=2)
    section = config.reward_model
    assert section is not None
    with Team(config) as team, team.computing_with(policy):
        episodes = play_episodes(team, [Task(SPEC, 1)], 6, 3.0, lambda episode: None)
        played: list[Any] = []
        labelled = label_steps(team, episodes, policy.format, section, 3.0, played.append)
    assert {episode.success for episode in episodes} == {False, True}
    assert len({tuple(turn.completion_ids for turn in episode.turns) for episode in played}) > 6
    inner = 0
    for before, episode in zip(episodes, labelled, strict=True):
        assert episode.turns[1].training[VALUE][-1] == float(before.success)
        values = [turn.training[VALUE] for turn in episode.turns]
        assert [len(row) for row in values] == [len(turn.completion_ids) for turn in before.turns]
        for turn, row in zip(episode.turns, values, strict=True):
            text = policy.format.parse(turn.completion_ids)["content"]
            assert isinstance(text, str)
            labels = [value for value in row if not math.isnan(value)]
            assert set(labels) == {float(before.success)}
            steps = [piece for piece in text.split("e") if piece.strip()]
            inner += len(labels) - 1
            assert len(labels) <= len(steps) + 1
    assert inner > 0
    (row,) = labelled_rows(labelled[0])
    assert row.ids == labelled[0].training_sequences()[0].ids


def test_a_process_model_is_trained_from_rollouts_and_from_their_file(
    configure: Configure, tmp_path: Path
) -> None:
    config = configure(kind="process", separator="e", tasks=4, samples=3, rollouts=2, steps=3)
    run = train(config, tmp_path / "run")
    assert (run / "models" / "reward" / "config.json").exists()
    model = load_reward_model(run / "models" / "reward")
    assert model.separator == "e"
    (episode, *_) = read_episodes(run / "episodes" / "steps.parquet")
    (steps,) = model.step_values([episode])
    whole = episode.training_sequences()[0].ids
    (reward,) = model.rewards([whole])
    assert steps[-1].value == pytest.approx(1 / (1 + math.exp(-reward)), abs=1e-5), "of all up to there"
    assert "Mean squared error " in write_report(run).read_text()
    process = process_of(GrpoSection(process=str(run / "models" / "reward")), model.loaded.format)
    assert process is not None
    earned = process.rewards(episode)
    assert sum(earned.values) == pytest.approx(steps[-1].value)
    assert earned.token_rewards_T.sum().item() == pytest.approx(steps[-1].value)
    again = configure(kind="process", data=[str(run / "episodes" / "steps.parquet")], steps=2)
    assert (train(again, tmp_path / "again") / "models" / "reward").is_dir()


@pytest.mark.parametrize("separator", [None, ""])
def test_a_reward_model_is_a_term_of_the_reward(
    tiny: RunConfig, loaded: LoadedModel, tmp_path: Path, separator: str | None
) -> None:
    """By [[scorers]], or by its steps; an oracle's answers, which have no ids, are scored as well."""
    torch.manual_seed(0)
    torch.nn.init.normal_(loaded.model.score.weight)
    if separator is not None:
        setattr(loaded.model.config, SEPARATOR, separator)
    save_policy(loaded, tmp_path / "reward")
    dump = tiny.model_dump()
    term = {"name": "liked", "gate": "", "reward_model": {"path": str(tmp_path / "reward")}}
    process = {} if separator is None else {"process": str(tmp_path / "reward"), "process_weight": 0.5}
    grpo = {**dump["grpo"], "steps": 1, **process}
    none = {"sft": {**dump["sft"], "steps": 0}, "evaluation": {"episodes": 0}}
    run = train(parse_config({**dump, **none, "grpo": grpo, "scorers": [term]}), tmp_path / "run")
    (step,) = read_metrics(run)
    assert step["terms/liked"] == pytest.approx(step["scorers/liked/score"])
    assert step["scorers/liked/faults"] == 0
    assert "scorers/liked/misjudged" in step
    if process:
        assert step["process/value"] == pytest.approx(step["terms/liked"]), "one step a reply"


# Reports


@pytest.mark.parametrize(
    ("bias", "told"), [(3.0, "it rewards length"), (-3.0, "it rewards shortness"), (0.0, "no sign that it")]
)
def test_a_model_that_rewards_length_is_named(bias: float, told: str) -> None:
    """Its gap is what is true, noise, and so much for each doubling of the length."""
    rng = np.random.default_rng(1)
    ratios = 2.0 ** rng.uniform(-1.5, 1.5, 400)
    gaps = 1.0 + rng.normal(size=400) + bias * np.log2(ratios)
    report = report_pairs(gaps.tolist(), [(round(1000 * ratio), 1000) for ratio in ratios])
    assert report.length.startswith(told)
    assert sum(bucket.pairs for bucket in report.buckets) == 400
    assert report.accuracy == pytest.approx((gaps > 0).mean())
    first, last = report.buckets[0], report.buckets[-1]
    assert (first.ratio, last.ratio) == ("0 to 0.5", "2 and more")
    assert (last.accuracy - first.accuracy) * bias >= 0


def test_calibration_is_how_far_confidence_and_truth_lie_apart() -> None:
    rng = np.random.default_rng(2)
    strength = rng.uniform(-3, 3, 20_000)
    gaps = np.where(rng.random(20_000) < 1 / (1 + np.exp(-strength)), strength, -strength)
    lengths = [(1, 1)] * 20_000
    report = report_pairs(gaps.tolist(), lengths)
    assert report.calibration_error < 0.02
    assert (
        report.length == "whether it rewards length cannot be told: nearly every chosen one is equally long"
    )
    assert report_pairs((5 * gaps).tolist(), lengths).calibration_error > 0.1
    labels = rng.random(20_000)
    assert report_steps(labels.tolist(), labels.tolist()).calibration_error < 1e-12
    blind = report_steps([0.5] * 20_000, labels.tolist())
    assert blind.brier == pytest.approx(blind.spread, abs=1e-3)


# Bad input


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kind": "outcome"}, "learns from pairs, and there are none"),
        ({"data": ["a"], "rollouts": 3}, 'rollouts is for kind = "process"'),
        ({"kind": "process", "margin": 1.0}, 'margin is for kind = "outcome"'),
    ],
)
def test_what_makes_no_sense_is_refused(configure: Configure, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        configure(**change)
    assert problem in str(refused.value)


def test_an_outcome_model_has_no_steps_and_another_vocabulary_is_refused(
    loaded: LoadedModel, policy: LoadedModel, tmp_path: Path
) -> None:
    torch.nn.init.normal_(loaded.model.score.weight)
    save_policy(loaded, tmp_path / "outcome")
    config = GrpoSection(process=str(tmp_path / "outcome"))
    with pytest.raises(ConfigError, match="is an outcome model, which has no values for steps"):
        process_of(config, policy.format)
    refuse_other_tokens(config, policy)
    policy.tokenizer.add_tokens("another")
    with pytest.raises(ConfigError, match="is not the policy's"):
        refuse_other_tokens(config, policy)


def test_a_reward_model_has_a_run_of_its_own(tiny: RunConfig) -> None:
    with pytest.raises(ConfigError, match=r"in a run of its own: set sft\.steps"):
        parse_config({**tiny.model_dump(), "reward_model": {"data": ["pairs.jsonl"]}})


def test_two_labels_and_no_labels_are_refused(loaded: LoadedModel, tiny_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(tiny_folder, num_labels=2)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "two")
    loaded.tokenizer.save_pretrained(tmp_path / "two")
    with pytest.raises(ModelLoadError, match=r"tells 2 labels apart \(LABEL_0, LABEL_1\).*one number"):
        load_model(tmp_path / "two", head="reward")
    with pytest.raises(ModelLoadError, match="is a language model, which gives no rewards yet"):
        load_reward_model(tiny_folder)


STEPS: list[tuple[Any, str]] = [
    (None, "there are no steps"),
    ([{"turn": 0, "end": 2}], r"steps\[0\] is not"),
    ([{"turn": 1, "end": 2, "value": 1}], "from 0 to 0"),
    ([{"turn": 0, "end": 99, "value": 1}], "ends after 99 characters of reply 0, which has 9"),
    ([{"turn": 0, "end": 2, "value": 1.5}], "a probability, from 0 to 1"),
]


@pytest.mark.parametrize(("steps", "problem"), STEPS)
def test_bad_steps_are_named(loaded: LoadedModel, tmp_path: Path, steps: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        list(step_examples([written(tmp_path, steps)], loaded))


def test_labelled_steps_of_a_file_are_at_their_tokens(loaded: LoadedModel, tmp_path: Path) -> None:
    given = [{"turn": 0, "end": 5, "value": True}, {"turn": 0, "end": 9, "value": 0.25}]
    (row,) = step_examples([written(tmp_path, given)], loaded)
    assert row.labels == (1.0, 0.25)
    first, last = row.places
    assert last == len(row.ids) - 1
    prompt = len(loaded.format.first_prompt([user("1 + 2 = ?")]).ids)
    assert "".join(loaded.format.decode(row.ids[prompt : first + 1])) == "1+2=3"


def written(folder: Path, steps: Any) -> str:
    messages = [user("1 + 2 = ?"), {"role": "assistant", "content": "1+2=3 ok."}]
    (folder / "steps.jsonl").write_text(json.dumps({"messages": messages, "steps": steps}) + "\n")
    return str(folder / "steps.jsonl")
