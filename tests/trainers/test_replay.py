"""A stored step computed again: equal to the log for every algorithm; what is missing is one line."""

import csv
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import gymnasium
import pyarrow.parquet as pq
import pytest
import torch

from ludus.agents.models import LoadedModel
from ludus.agents.store import file_metadata, read_episodes, write_episodes
from ludus.cli import main
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import user
from ludus.envs.rubric import Rubric
from ludus.tools.checksums import sealed_text
from ludus.trainers.algorithms import grpo
from ludus.trainers.batches.packing import pack
from ludus.trainers.batches.scoring import score_rows
from ludus.trainers.config.reading import parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import RunError
from ludus.trainers.listener import Listener
from ludus.trainers.mixture import mixture_of
from ludus.trainers.parallel.team import Team
from ludus.trainers.replay.compare import Figure, beside
from ludus.trainers.replay.replay import replay
from ludus.trainers.run.directory import primed_folder, step_file
from ludus.trainers.run.job import computing, run_grpo
from ludus.trainers.run.policy import save_policy
from ludus.trainers.tasks import hold_out_tasks

Train = Callable[..., Path]
ID = "example/Chatter-v0"
SEVERAL = {"updates_per_batch": 2, "epochs_per_batch": 2, "learning_rate": 2e-3}
CRITIC = {"credit": "gae", "loss": "ppo"}
slow = pytest.mark.slow


class Chatter(ChatEnv):
    """Pays for different characters; the length of a reply says whether it was the last."""

    rubric = Rubric({"characters": 0.1})
    max_turns = 3

    def start(self, rng: Any, options: Any) -> Start:
        number = int(rng.integers(10_000))
        return Start([user(f"Say something about {number}.")], f"chatter:{number}", number)

    def respond(self, state: Any, text: str) -> Outcome:
        said = {"characters": float(len(set(text)) % 5)}
        return Outcome(state, [user("Go on.")], said, terminated=len(text) % 3 == 0)


ALGORITHMS: dict[str, dict[str, Any]] = {
    "grpo": {},
    "dr_grpo": {"loss": "dr_grpo", **SEVERAL},
    "dapo": {
        "loss": "dapo",
        "clip_high": 0.28,
        "dynamic_sampling": True,
        "overlong_tokens": 4,
        "overlong_filter": True,
        "rollout": {"max_tokens": 60, "max_turns": 1},
        **SEVERAL,
    },
    "gspo": {"loss": "gspo", "clip_low": 3e-4, "clip_high": 4e-4, **SEVERAL},
    "cispo": {"loss": "cispo", "clip_low": 1e-3, "clip_high": 1e-3, **SEVERAL},
    "rloo": {"loss": "dapo", "advantage": "rloo", "dual_clip": 1.001, **SEVERAL},
    "reinforce++": {"loss": "ppo", "advantage": "reinforce_pp", "gamma": 0.99, **SEVERAL},
    "reinforce++ baseline": {"loss": "ppo", "advantage": "reinforce_pp_baseline"},
    "ppo": {**CRITIC, "gae_lambda": 0.95, "epochs_per_batch": 2, "critic": {"kind": "head"}},
    "ppo with a model": {
        **CRITIC,
        "gamma": 0.9,
        "rollout": {"max_turns": 2},
        "critic": {"kind": "model", "value_clip": 0.01, "lead_steps": 1},
        **SEVERAL,
    },
    "turn": {"credit": "turn", "gamma": 0.9, **SEVERAL},
    "anchor": {"credit": "anchor", "gamma": 0.9, "updates_per_batch": 2},
    "kl in the loss": {
        "kl_coefficient": 0.2,
        "kl_estimator": "k1",
        "kl_schedule": "adaptive",
        "kl_target": 0.01,
        **SEVERAL,
    },
    "kl in the reward": {"kl_coefficient": 0.2, "kl_in": "reward", "advantage": "reinforce_pp", **SEVERAL},
    "correction of tokens": {"correction": "token", "correction_bound": 1.0000001},
    "correction of sequences": {
        "correction": "sequence",
        "correction_mode": "mask",
        "correction_bound": 1.0000001,
        **SEVERAL,
    },
    "correction by means": {"correction": "geometric", "kl_coefficient": 0.1},
    "entropy bonus": {"entropy_coefficient": 0.1, "entropy_schedule": "linear", **SEVERAL},
    "top-p": {"kl_coefficient": 0.1, "entropy_coefficient": 0.1, "rollout": {"top_p": 0.8}, **SEVERAL},
    "process rewards": {"process": "trainers_test_steps:halves", "process_weight": 0.3, **SEVERAL},
}
"""Settings of `[grpo]`, and of other tables."""
QUICK = ("grpo", "gspo", "rloo", "reinforce++", "ppo", "kl in the reward", "top-p", "process rewards")


@pytest.fixture
def trained(
    policy: LoadedModel, tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Train]:
    """Makes runs of two steps, both stored."""
    (tmp_path / "trainers_test_steps.py").write_text(
        "def halves(text, episode, turn):\n"
        "    half = len(text) // 2\n"
        "    return [(half, 0.1), (len(text), float(len(text)))] if half else []\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    gymnasium.register(ID, Chatter, disable_env_checker=True)

    def make(name: str = "run", **settings: Any) -> Path:
        critic = {"critic": settings.pop("critic")} if "critic" in settings else {}
        rollout = {"max_tokens": 6, **settings.pop("rollout", {})}
        grpo = {
            "steps": 2,
            "groups": 4,
            "group_size": 3,
            "store_every": 1,
            "updates_per_batch": 1,
            "kl_coefficient": 0.0,
            "microbatch_tokens": 64,
            **settings,
        }
        values = tiny.model_dump(exclude_none=True)
        values |= {"environment": {"id": ID}, "evaluation": {"episodes": 1}, "sft": {"steps": 0}, **critic}
        values["trust"] |= {
            "ratio_spread": 10.0,
            "effective_samples": 0.01,
            "clip_share": 1.0,
            "mask_share": 1.0,
        }
        values["grpo"] |= grpo
        values["rollout"] |= rollout
        config, run = parse_config(values), tmp_path / name
        run.mkdir()
        (run / "config.toml").write_text(sealed_text(config.to_toml()))
        save_policy(policy, primed_folder(run))
        mixture = mixture_of(config)
        with computing(config), Team(config) as team:
            held_out = hold_out_tasks(mixture, config)
            run_grpo(team, config, run, mixture, held_out, Listener(), primed_folder(run))
        return run

    yield make
    gymnasium.registry.pop(ID)


def unequal(figures: list[Figure]) -> list[Figure]:
    return [figure for figure in figures if not figure.is_equal]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=slow) for name in ALGORITHMS]
)
def test_every_algorithm_is_recomputed_as_it_was_logged(name: str, trained: Train) -> None:
    run = trained(**ALGORITHMS[name])
    steps = [replay(run, step) for step in (1, 2)]
    for found in steps:
        assert unequal(found.figures()) == []
        assert {"entropy", "mismatch_mean"} <= found.own.metrics.keys()
    first = steps[0]
    assert {"loss", "ratio_mean", "policy_kl"} <= first.own.metrics.keys()
    assert first.stored.named["advantage"].nan_to_num().abs().max() > 0.01


@pytest.mark.parametrize("skipped", [{1}, {2, 3}, {1, 2, 3, 4}], ids=str)
@pytest.mark.parametrize("settings", [{}, SEVERAL], ids=("one", "several"))
def test_updates_that_were_skipped_are_recomputed(
    skipped: set[int], settings: dict[str, Any], trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their number, counted from 1 over both steps."""

    def clip(*arguments: Any) -> float:
        norm = true_clip(*arguments)
        return math.inf if next(calls) in skipped else norm

    calls, true_clip = count(1), grpo.clip_gradients
    monkeypatch.setattr(grpo, "clip_gradients", clip)
    run = trained(**settings, max_skipped=9)
    assert [unequal(replay(run, step).figures()) for step in (1, 2)] == [[], []]


def test_a_step_without_any_group_to_train_on_has_its_lines(
    trained: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def respond(self: Chatter, state: Any, text: str) -> Outcome:
        return Outcome(state, [], {"characters": 1.0}, terminated=True)

    monkeypatch.setattr(Chatter, "respond", respond)
    run = trained(dynamic_sampling=True, **SEVERAL)
    assert main(["losses", str(run)]) == 0
    capsys.readouterr()
    assert main(["losses", str(run), "--tokens"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 1


def test_a_stored_step_has_what_its_tokens_were_drawn_among(
    trained: Train, policy: LoadedModel, tiny: RunConfig
) -> None:
    """From its file and the weights that played it come the log-probabilities that it was trained with."""
    weights = {name: value.clone() for name, value in policy.model.state_dict().items()}
    run = trained(rollout={"min_p": 0.3, "temperature": 0.9}, kl_coefficient=0.1)
    policy.model.load_state_dict(weights)
    stored = [e for e in read_episodes(step_file(run, 1)) if any(turn.training for turn in e.turns)]
    logged = [p for e in stored for turn in e.turns for p in turn.training["logprob"]]
    rows = [row for e in stored for row in e.training_sequences()]
    untold = [replace(row, kept=None) for row in rows]
    with computing(tiny):
        again, among_all = (score_rows(policy.model, each, pack(each, 64), 0.9)[0] for each in (rows, untold))
    assert again.tolist() == pytest.approx(logged, abs=1e-6)
    assert (again - among_all).mean() > 0.1


def test_what_differs_from_the_log_is_found(trained: Train, capsys: pytest.CaptureFixture[str]) -> None:
    """An advantage that was not that of the rewards, a log-probability that was not the policy's, a loss that
    was not logged so."""
    run = trained(**SEVERAL, loss="dr_grpo")
    file = step_file(run, 2)
    episodes, metadata = read_episodes(file), file_metadata(file)

    def with_first_turn(**changes: Any) -> set[str]:
        first = episodes[0]
        write_episodes(
            file,
            [replace(first, turns=(replace(first.turns[0], **changes), *first.turns[1:])), *episodes[1:]],
            metadata,
        )
        return {figure.name for figure in unequal(replay(run, 2).figures())}

    assert with_first_turn() == set()
    turn = episodes[0].turns[0]
    assert with_first_turn(reward=turn.reward + 0.01) >= {"|advantage|", "loss"}
    moved = tuple(value + 0.01 for value in turn.training["update-2/logprob"])
    changed = with_first_turn(training={**turn.training, "update-2/logprob": moved})
    assert "loss" in changed
    assert "|advantage|" not in changed
    assert main(["losses", str(run)]) == 1
    assert "not equal to the log: loss" in capsys.readouterr().out


def test_other_algorithms_stand_beside_it(trained: Train, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(**SEVERAL)
    others = ("dapo", "gspo,clip_low=3e-4,clip_high=4e-4", "advantage=rloo", "credit=turn,gamma=0.9", "cispo")
    found = replay(run, 2, others)
    own, *rest = (beside(each, found.own) for each in (found.own, *found.others.values()))
    assert own.correlation == pytest.approx(1.0)
    assert all(0.1 < other.correlation < 1.0 - 1e-6 for other in rest)
    dapo, gspo, rloo, _, cispo = rest
    assert dapo.advantage == pytest.approx(own.advantage)  # by the same advantages, over all tokens alike
    assert rloo.advantage != pytest.approx(own.advantage)
    assert gspo.clip_low + gspo.clip_high > own.clip_low + own.clip_high > 0
    assert cispo.with_gradient > own.with_gradient  # which has none where it is clipped
    assert main(["losses", str(run), "--step", "2", "--loss", *others]) == 0
    out = capsys.readouterr().out
    assert "equal to the log, to rounding" in out
    assert "correlation of gradients" in out


def test_the_same_algorithm_beside_itself_is_the_same(trained: Train) -> None:
    """A run by `dapo`, and one by `grpo` asked for `dapo` on that run's episodes."""
    run = trained(**SEVERAL, loss="dapo")
    found = replay(run, 2, ("dapo", "grpo"))
    assert torch.equal(found.others["dapo"].gradient_F, found.own.gradient_F)
    assert found.others["dapo"].metrics == {
        name: value for name, value in found.own.metrics.items() if name in found.others["dapo"].metrics
    }
    assert not torch.equal(found.others["grpo"].gradient_F, found.own.gradient_F)


def test_every_token_has_its_line(trained: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(**SEVERAL)
    files = [tmp_path / f"out/tokens{suffix}" for suffix in (".parquet", ".csv", ".jsonl")]
    for file in files:
        assert main(["losses", str(run), "--step", "2", "--loss", "dapo", "--out", str(file)]) == 0
    rows = pq.read_table(files[0]).to_pylist()
    assert [json.loads(line) for line in files[2].read_text().splitlines()] == rows
    with files[1].open(newline="") as opened:
        assert [line["text"] for line in csv.DictReader(opened)] == [row["text"] for row in rows]
    found, episodes = replay(run, 2, ("dapo",)), read_episodes(step_file(run, 2))
    sampled = [id for episode in episodes for turn in episode.turns for id in turn.completion_ids]
    for update in (1, 2):
        lines = [row for row in rows if row["update"] == update]
        assert [line["id"] for line in lines] == sampled
        logprobs = [
            value
            for episode in episodes
            for turn in episode.turns
            for value in turn.training[f"update-{update}/logprob"]
        ]
        assert [line["logprob"] for line in lines] == logprobs
    for prefix, metrics in (("", found.own.metrics), ("dapo/", found.others["dapo"].metrics)):
        # Two minibatches, each updated on twice.
        assert sum(row[f"{prefix}loss"] for row in rows) / 4 == pytest.approx(metrics["loss"], abs=1e-6)
    capsys.readouterr()
    assert main(["losses", str(run), "--step", "2", "--tokens"]) == 0
    printed = capsys.readouterr()
    header, *lines = printed.out.splitlines()
    assert header.split("\t")[:8] == [
        "episode",
        "group",
        "sample",
        "turn",
        "position",
        "update",
        "id",
        "text",
    ]
    assert len(lines) == len(rows)
    assert all(line.count("\t") == header.count("\t") for line in lines)
    assert printed.err == "equal to the log, to rounding\n"


def test_rows_without_a_gradient_lack_what_no_update_computed(
    trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a group is flat for the run's own credit, but not for another, its tokens have log-probabilities
    of the policy that played alone."""

    def respond(self: Chatter, state: Any, text: str) -> Outcome:
        return Outcome(state, [], {"characters": float(len(set(text)) * (state % 2))}, terminated=True)

    monkeypatch.setattr(Chatter, "respond", respond)
    run = trained(**SEVERAL)
    found = replay(run, 1)
    assert unequal(found.figures()) == []
    assert found.own.weights_F.isnan().any()
    with pytest.raises(RunError, match="needs the policy's log-probabilities after a batch's first update"):
        replay(run, 1, ("advantage=reinforce_pp",))


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("kl_coefficient=0.1", "needs the reference's log-probabilities of"),
        ("credit=gae", 'grpo.credit = "gae" needs a value model'),
        ("dappo", "did you mean dapo?"),
        ("groups=2", "groups is about how the step was played and trained, which is over"),
        ("gama=2", "gama is no key of [grpo]; did you mean gamma"),
        ("dapo,clip_low=2", "grpo.clip_low"),
    ],
)
def test_an_algorithm_that_cannot_be_computed_is_one_line(
    trained: Train, capsys: pytest.CaptureFixture[str], wanted: str, said: str
) -> None:
    run = trained(steps=1)
    assert main(["losses", str(run), "--loss", wanted]) in (1, 2)
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_bad_files_are_one_line(trained: Train, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(steps=1)
    file = step_file(run, 1)
    good, episodes, metadata = file.read_bytes(), read_episodes(file), file_metadata(file)

    def refused(*options: str) -> str:
        assert main(["losses", str(run), *options]) in (1, 2)
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert captured.out == ""
        return captured.err

    assert "step 7 of" in (line := refused("--step", "7"))
    assert "is not stored; these are: 1" in line
    assert "tokens are written to a file that ends with .parquet, .csv, .jsonl" in refused("--out", "x.txt")

    file.write_bytes(good[: len(good) // 2])
    assert "train-000001.parquet is damaged or no Parquet file" in refused()

    table = pq.read_table(file_of(good, run))
    pq.write_table(table.replace_schema_metadata({"ludus.episodes": "99"}), file)
    assert "is an episode file of version 99" in refused()
    older = Path(__file__).parents[1] / "agents/data/episodes-6.parquet"
    file.write_bytes(older.read_bytes())
    assert "is of version 6, which lacks what training computed of each token" in refused()
    write_episodes(file, episodes, {**metadata, "ludus.tokenizer": "0" * 16})
    assert "was written with another tokenizer or chat template than" in refused()
    write_episodes(file, episodes, {**metadata, "ludus.step": "3"})
    assert "holds step 3, not step 1" in refused()
    write_episodes(file, episodes)
    assert "was not stored by a training step" in refused()
    short = replace(episodes[0].turns[0], logprobs=())
    write_episodes(file, [replace(episodes[0], turns=(short,)), *episodes[1:]], metadata)
    assert "does not have one number for each of its sampled tokens" in refused()

    file.write_bytes(good)
    assert main(["losses", str(run)]) == 0
    capsys.readouterr()
    metrics = run / "metrics.jsonl"
    metrics.write_text("")
    assert "has no step 1: it was stopped or killed before it was recorded" in refused()
    file.unlink()
    assert "has no stored episodes of a GRPO step" in refused()


def file_of(content: bytes, folder: Path) -> Path:
    path = folder / "copy.parquet"
    path.write_bytes(content)
    return path
