"""Distillation: what is descended is the divergence, exactly; a teacher of other words is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ludus.agents.engines.base import EngineError
from ludus.agents.episode import Episode, TrainingSequence
from ludus.agents.models import LoadedModel, count_words, load_model
from ludus.agents.rollout import EpisodeStart, rollout
from ludus.report.run.files import read_run
from ludus.report.run.panels import learning_curves
from ludus.trainers.advantages.credit import assign_credit
from ludus.trainers.algorithms.grpo import Update, accumulate_gradients
from ludus.trainers.batches.groups import make_groups
from ludus.trainers.batches.minibatch import Minibatch, make_minibatches, minibatch_metrics
from ludus.trainers.batches.packing import MicroBatch
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.config.reading import parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError, RunError
from ludus.trainers.losses import divergence as divergences
from ludus.trainers.losses.divergence import divergence_loss, likeliest_ids
from ludus.trainers.metrics import read_metrics
from ludus.trainers.models.head import output_head
from ludus.trainers.plan.models import source_of
from ludus.trainers.plan.plan import Work, plan
from ludus.trainers.plan.rows import of_length
from ludus.trainers.replay.replay import replay
from ludus.trainers.run.job import computing, train
from ludus.trainers.run.policy import engine_policy, load_policy, run_engine, save_policy
from ludus.trainers.teachers.lesson import Likeliest
from ludus.trainers.teachers.load import load_teacher, refuse_other_teacher

from ..agents.test_openai_engine import Loopback, http, loopback  # noqa: F401  # a fixture
from ..rounding import likely_gamma
from .conftest import changed
from .processes import PROCESSES, Process, batches
from .test_run import Leaves, left, outcome

BETAS = (1.0, 0.0, 0.3)


def distilled(
    config: RunConfig, teacher: Path | str, grpo: dict[str, Any] | None = None, **keys: Any
) -> RunConfig:
    dump = config.model_dump(exclude_none=True)
    own = {
        "credit": "teacher",
        "loss": "dapo",
        "group_size": 1,
        "kl_coefficient": 0.0,
        "updates_per_batch": 1,
    }
    dump["grpo"] |= {**own, **(grpo or {})}
    return parse_config({**dump, "distillation": {"teacher": str(teacher), **keys}})


@pytest.fixture
def other(policy: LoadedModel, tiny: RunConfig, tiny_folder: Path, tmp_path: Path) -> Path:
    """Another model of the same words, and opinions of its own."""
    teacher, generator = load_policy(tiny_folder, tiny), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in teacher.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    save_policy(teacher, tmp_path / "teacher")
    return tmp_path / "teacher"


def played(policy: LoadedModel, config: RunConfig, count: int = 6) -> list[Episode]:
    player = engine_policy(run_engine(policy, config), policy, config, config.rollout.temperature)
    starts = [EpisodeStart(seed, seed) for seed in range(count)]
    return rollout(player, config.played[0].spec, starts, config.rollout.limits, config.rollout.concurrency)


def prepared(policy: LoadedModel, config: RunConfig, episodes: list[Episode]) -> Minibatch:
    with computing(config):
        teacher = load_teacher(policy, config)
        groups = make_groups(episodes, config)
        return make_minibatches([groups], policy.model, None, config, teacher=teacher)[0]


def gradients(policy: LoadedModel, config: RunConfig, minibatch: Minibatch) -> tuple[Update, list[Tensor]]:
    policy.model.zero_grad()
    with computing(config):
        update = accumulate_gradients(minibatch, policy.model, config.grpo, config.rollout.temperature)
    return update, [p.grad.clone() for p in policy.model.parameters() if p.grad is not None]


def closed_form(q: Tensor, p: Tensor, beta: float) -> Tensor:
    """From probabilities [M, C]."""
    if beta == 1:
        return (q * (q / p).log()).sum(1)
    if beta == 0:
        return (p * (p / q).log()).sum(1)
    m = beta * p + (1 - beta) * q
    return (beta * p * (p / m).log() + (1 - beta) * q * (q / m).log()).sum(1)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("count", [5, 10**6], ids=["likeliest", "all"])
def test_the_gradient_is_that_of_the_divergence(
    beta: float, count: int, policy: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64, of hidden states and of the output embedding, in several chunks; over all words and, where
    some are likeliest, over these and all others as one."""
    model, words, temperature = policy.model.double(), count_words(policy.tokenizer), 0.7
    monkeypatch.setattr(divergences, "CHUNK", 3 * words)
    generator = torch.Generator().manual_seed(0)
    head = output_head(model)
    width, tokens = head.linear.in_features, 7
    hidden, teacher_hidden = torch.randn(2, tokens, width, generator=generator, dtype=torch.float64)
    ids_NK, logprobs_NC = likeliest_ids(model, teacher_hidden, count, words, temperature)
    assert ids_NK.shape[1] == min(count, words)
    nothing, weights = torch.zeros(0), torch.rand(tokens, generator=generator, dtype=torch.float64)
    every = torch.arange(tokens)
    micro = MicroBatch(nothing, nothing, (), every, every, every, every, every)
    hidden.requires_grad_()
    loss, apart_N = divergence_loss(
        Likeliest(ids_NK, logprobs_NC, words, beta), weights, micro, model, hidden, temperature
    )
    found = torch.autograd.grad(loss, [hidden, head.linear.weight])

    def among(states: Tensor) -> Tensor:
        p = (head(states)[:, :words] / temperature).softmax(1)
        chosen = p.gather(1, ids_NK.long())
        others = p.scatter(1, ids_NK.long(), 0.0).sum(1, keepdim=True)
        return chosen if count > words else torch.cat([chosen, others], 1)

    expected_N = closed_form(among(hidden), among(teacher_hidden).detach(), beta)
    expected = torch.autograd.grad((weights * expected_N).sum(), [hidden, head.linear.weight])
    torch.testing.assert_close(apart_N, expected_N.detach(), rtol=0, atol=1e-10)
    for gradient, true in zip(found, expected, strict=True):
        assert true.abs().max() > 1e-3
        torch.testing.assert_close(gradient, true, rtol=0, atol=1e-10)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.name)
def test_sampled_tokens_descend_the_reverse_divergence_of_the_visited_states(process: Process) -> None:
    """On average over all episodes: Σ_s visits(s) ∇KL(policy(s) || teacher(s)), to 1e-10."""
    batch = batches(process.name, 1)
    teacher = process.logprobs(process.policy(seed=1))
    own = process.logprobs(batch.theta)

    def credit(paths: list[Any], config: GrpoSection) -> list[Tensor]:
        apart = [(own - teacher)[list(path.choices)] for path in paths]
        return assign_credit([p.trajectory().charged(d) for p, d in zip(paths, apart, strict=True)], config)

    config = GrpoSection(credit="teacher", loss="dr_grpo", group_size=1)
    found = process.max_tokens * batch.gradient(config, batch.advantages_N(config, credit))
    chances = process.probabilities(batch.theta)
    states = [state for state, _ in process.choices]
    visits = dict.fromkeys(states, 0.0)
    for path, chance in zip(process.paths, chances.tolist(), strict=True):
        for choice in path.choices:
            visits[states[choice]] += chance
    leaf = batch.theta.clone().requires_grad_()
    logprobs = process.logprobs(leaf)
    weighed = torch.tensor([visits[state] for state in states], dtype=torch.float64)
    divergence = (weighed * logprobs.exp() * (logprobs - teacher)).sum()
    (true,) = torch.autograd.grad(divergence, leaf)
    assert true.abs().max() > 1e-3
    torch.testing.assert_close(-found, true, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("top_k", "beta"), [(0, 1.0), *product((8, 10**6), BETAS)])
def test_a_policy_learns_nothing_from_itself(
    top_k: int, beta: float, policy: LoadedModel, tiny: RunConfig, tmp_path: Path
) -> None:
    """Exactly: in several micro-batches, at another temperature."""
    save_policy(policy, tmp_path / "self")
    config = changed(
        distilled(tiny, tmp_path / "self", {"microbatch_tokens": 64}, top_k=top_k, beta=beta),
        "rollout",
        temperature=0.8,
    )
    minibatch = prepared(policy, config, played(policy, config))
    update, found = gradients(policy, config, minibatch)
    assert len(minibatch.micro_batches) > 2
    assert len(found) > 5
    assert all(not gradient.any() for gradient in found)
    assert minibatch_metrics([minibatch], config)["teacher/kl"] == 0.0
    if update.divergence_S is not None:
        assert not update.divergence_S.any()


@pytest.mark.parametrize("keys", [{}, {"top_k": 8, "beta": 0.3}], ids=["sampled", "likeliest"])
def test_the_gradient_does_not_depend_on_the_cut(
    keys: dict[str, Any], policy: LoadedModel, tiny: RunConfig, other: Path
) -> None:
    whole = distilled(tiny, other, {"microbatch_tokens": 10**6}, **keys)
    cut = distilled(tiny, other, {"microbatch_tokens": 1}, **keys)
    episodes = played(policy, whole)
    together, apart = (prepared(policy, config, episodes) for config in (whole, cut))
    assert len(together.micro_batches) == 1 < len(apart.micro_batches)
    (one, first), (several, second) = (
        gradients(policy, config, minibatch) for config, minibatch in ((whole, together), (cut, apart))
    )
    assert one.loss == pytest.approx(several.loss, rel=1e-4, abs=1e-6)
    dealt = [replace(apart, micro_batches=apart.micro_batches[start::2]) for start in (0, 1)]
    parts = [gradients(policy, cut, part)[0] for part in dealt]  # as workers share a minibatch
    assert (parts[0] + parts[1]).loss == pytest.approx(several.loss, rel=1e-4, abs=1e-6)
    if several.divergence_S is not None:
        added = (parts[0] + parts[1]).divergence_S
        assert added is not None
        assert torch.equal(added, several.divergence_S)
    for gradient, again in zip(first, second, strict=True):
        scale = max(gradient.norm().item(), again.norm().item())
        assert (gradient - again).norm().item() <= likely_gamma(10**6) * max(scale, 1e-3)


def test_a_policy_comes_nearer_to_its_teacher(policy: LoadedModel, tiny: RunConfig, other: Path) -> None:
    config = distilled(tiny, other, top_k=8)
    optimizer = torch.optim.SGD(policy.model.parameters(), lr=0.5)
    apart = []
    for _ in range(4):
        minibatch = prepared(policy, config, played(policy, config, 8))
        gradients(policy, config, minibatch)
        optimizer.step()
        apart.append(minibatch_metrics([minibatch], config)["teacher/kl"])
    assert apart[-1] < apart[0]


SHORT = {"steps": 3, "groups": 4, "store_every": 1, "updates_per_batch": 2, "epochs_per_batch": 2}


@pytest.mark.parametrize(
    ("keys", "grpo"),
    [
        ({}, {**SHORT, "group_size": 2}),
        ({"top_k": 6, "beta": 0.4}, SHORT),
        pytest.param(
            {"top_k": 6}, {**SHORT, "updates_per_batch": 1, "epochs_per_batch": 1}, marks=pytest.mark.slow
        ),
    ],
    ids=["sampled", "mix", "one update"],
)
def test_a_run_resumes_to_the_same_bits_and_is_computed_again(
    keys: dict[str, Any], grpo: dict[str, Any], tiny: RunConfig, other: Path, tmp_path: Path
) -> None:
    config = changed(distilled(tiny, other, grpo, **keys), "sft", steps=2, demonstrations=16)
    config = changed(changed(config, "evaluation", episodes=4), "checkpoint", every=1)
    whole = tmp_path / "whole"
    train(config, whole, listener=Leaves(whole, ("grpo", 2)))
    assert outcome(train(config, left(whole, "grpo", 2), resume=True)) == outcome(whole)
    for step in (1, 2, 3):
        assert [figure for figure in replay(whole, step).figures() if not figure.is_equal] == []
    beside = replay(whole, 1, ["dr_grpo", "credit=turn"] if not keys else []).others
    assert len(beside) == (0 if keys else 2)
    lines = [line for line in read_metrics(whole) if line["phase"] == "grpo"]
    assert all({"teacher/kl", "teacher/kl/1", "teacher/kl/2", "loss"} <= line.keys() for line in lines)
    assert all(("teacher/divergence" in line) == bool(keys) for line in lines)
    titles = [group.title for group in learning_curves(read_run(whole))]
    assert "Teacher" in titles


def test_a_plan_counts_the_teacher(
    tiny: RunConfig, other: Path, tiny_folder: Path, policy: LoadedModel
) -> None:
    rows = [replace(of_length(40, 24), ids=tuple(range(3, 43)))] * 4
    work = Work(source_of(tiny_folder), 0, 4096, rows, rows)
    alone = changed(changed(tiny, "sft", steps=0), "evaluation", episodes=0)
    planned = plan(distilled(alone, other, top_k=8), work)
    for phase in planned.phases:
        counted = phase.parts.get("teacher", 0)
        own = sum(parameter.nbytes for parameter in policy.model.parameters())
        assert counted == pytest.approx(
            own if phase.name in ("rollout", "scoring", "update") else 0, rel=0.01
        )
    assert plan(distilled(alone, "http://localhost:1/v1"), work).run.parts.get("teacher", 0) == 0


def rewritten(folder: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a model with another tokenizer.json."""
    target.mkdir()
    for file in folder.iterdir():
        if file.is_file() and file.name != "checksums.json":
            (target / file.name).write_bytes(file.read_bytes())
    words = json.loads((target / "tokenizer.json").read_text())
    change(words)
    (target / "tokenizer.json").write_text(json.dumps(words))
    return target


def test_a_teacher_of_other_words_is_refused(
    policy: LoadedModel, tiny: RunConfig, other: Path, tmp_path: Path
) -> None:
    """As many words, two of which changed places; another template; before priming."""

    def swap(tokenizer: dict[str, Any]) -> None:
        vocabulary = tokenizer["model"]["vocab"]
        vocabulary["1"], vocabulary["2"] = vocabulary["2"], vocabulary["1"]

    swapped = rewritten(other, tmp_path / "swapped", swap)
    assert len(load_model(swapped).tokenizer) == len(policy.tokenizer)
    config = distilled(tiny, swapped)
    with pytest.raises(
        ConfigError, match=r"2 of [\d,]+ ids mean something else, the first of them \d+, '[12]'"
    ):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "models").exists()

    told = load_policy(other, tiny)
    told.tokenizer.chat_template = "{{ messages }} "
    save_policy(told, tmp_path / "told")
    config = distilled(tiny, tmp_path / "told")
    assert config.distillation is not None
    with pytest.raises(ConfigError, match="its chat template is not the policy's"):
        refuse_other_teacher(policy, config.distillation, config)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"distillation": None}, "needs a teacher"),
        ({"grpo": {"credit": "group", "group_size": 4}}, "does not ask"),
        ({"grpo": {"advantage": "rloo"}}, "thinks of it alone"),
        ({"grpo": {"gamma": 0.9}}, "thinks of it alone"),
        ({"grpo": {"dynamic_sampling": True}}, "compares with a teacher"),
        ({"grpo": {"overlong_tokens": 4}}, "does not look at"),
        ({"rollout": {"top_p": 0.9}}, "judges the whole distribution"),
        ({"distillation": {"teacher": "x", "beta": 0.5}}, "take top_k = 64, or drop beta"),
        ({"distillation": {"teacher": "http://x/v1", "top_k": 4}}, "needs a teacher in this process"),
        ({"distillation": {"teacher": "http://x/v1"}, "rollout": {"temperature": 0.9}}, "at temperature 1"),
        (
            {"distillation": {"teacher": "x", "top_k": 4}, "grpo": {"correction": "token"}},
            "is about advantages",
        ),
    ],
)
def test_what_does_not_go_together_is_one_line(
    changes: dict[str, Any], expected: str, tiny: RunConfig
) -> None:
    values = distilled(tiny, "x").model_dump(exclude_none=True)
    for table, keys in changes.items():
        values[table] = None if keys is None else {**values[table], **keys}
    with pytest.raises(ConfigError, match=expected) as refused:
        parse_config({table: keys for table, keys in values.items() if keys is not None})
    assert "\n" not in str(refused.value)


# A teacher behind a server


class Served:
    """Answers as vLLM does, with the numbers of a model in this process."""

    def __init__(self, teacher: LoadedModel, server: Loopback) -> None:
        self.teacher, self.server = teacher, server
        server.respond = self.respond
        self.template = self.spelling = self.gives = True

    def respond(self, number: int, body: Any) -> bytes:
        choice: dict[str, Any] = {"index": 0, "text": "", "finish_reason": "length"}
        if "messages" in body:
            ids = [*self.teacher.format.first_prompt(body["messages"]).ids]
            return http({"choices": [choice], "prompt_token_ids": ids if self.template else ids[1:]})
        if self.gives:
            choice["prompt_logprobs"] = self.entries(body["prompt"])
        return http({"choices": [choice]})

    @torch.no_grad()
    def entries(self, ids: list[int]) -> list[Any]:
        logprobs = self.teacher.model(torch.tensor([ids])).logits[0].log_softmax(1)
        texts = [self.teacher.tokenizer.decode([id]) for id in ids]
        if not self.spelling:
            texts = [text[::-1] + "x" for text in texts]
        return [None] + [
            {str(id): {"logprob": logprobs[place, id].item(), "rank": 1, "decoded_token": text}}
            for place, (id, text) in enumerate(zip(ids[1:], texts[1:], strict=True))
        ]


@pytest.fixture
def served(loopback: Loopback, other: Path) -> Served:  # noqa: F811
    return Served(load_model(other), loopback)


def test_a_served_teacher_gives_the_lesson_of_its_model(
    served: Served,
    policy: LoadedModel,
    tiny: RunConfig,
    other: Path,
) -> None:
    rows = [row for episode in played(policy, tiny) for row in episode.training_sequences()]
    rows.append(TrainingSequence((4, 5), (False, False), (0.0, 0.0)))
    lessons = []
    for teacher in (served.server.url, other):
        config = distilled(tiny, teacher)
        made = load_teacher(policy, config)
        assert made is not None
        lessons.append(made.lesson(rows).logprobs_S)
    torch.testing.assert_close(*lessons, rtol=0, atol=1e-4)
    asked = {id for body in served.server.bodies if "messages" not in body for id in body["prompt"]}
    assert asked >= {*policy.tokenizer.get_vocab().values()}


@pytest.mark.parametrize(
    ("lacks", "kind", "expected"),
    [
        ("gives", EngineError, "answers without the log-probabilities of its prompt"),
        ("spelling", ConfigError, "its tokenizer is another"),
        ("template", ConfigError, "its chat template is another"),
    ],
)
def test_a_served_teacher_that_cannot_be_trusted_is_refused(
    lacks: str,
    kind: type[Exception],
    expected: str,
    served: Served,
    policy: LoadedModel,
    tiny: RunConfig,
) -> None:
    setattr(served, lacks, False)
    with pytest.raises(kind, match=expected) as refused:
        load_teacher(policy, distilled(tiny, served.server.url))
    assert "\n" not in str(refused.value)


def test_a_served_teacher_that_falls_silent_ends_the_step(
    served: Served,
    policy: LoadedModel,
    tiny: RunConfig,
) -> None:
    config = distilled(tiny, served.server.url)
    teacher = load_teacher(policy, config)
    assert teacher is not None
    served.server.respond = lambda number, body: http({"error": {"message": "out of memory"}}, status=400)
    rows = [row for episode in played(policy, tiny, 1) for row in episode.training_sequences()]
    with pytest.raises(RunError, match=r"the teacher gave no lesson \(.*continue with --resume"):
        teacher.lesson(rows)
