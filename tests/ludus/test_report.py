"""The report, on runs whose episodes were played in the real environments and went through the real files."""

import base64
import errno
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from PIL import Image

from ludus.agents.episode import Episode, StopReason, Turn
from ludus.agents.evaluate import summarise
from ludus.agents.formats.base import ChatFormat
from ludus.agents.models import load_format
from ludus.agents.policy import ScriptedPolicy
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout
from ludus.agents.small_model import SmallModelShape, build_small_model
from ludus.agents.store import read_episodes, write_episodes
from ludus.envs.chat import Message, image_part, text_part, tool_result
from ludus.report import write_report
from ludus.report.run.configuration import written
from ludus.report.run.curves import draw_curves
from ludus.report.run.files import read_run
from ludus.report.run.gifs import LARGEST
from ludus.report.run.page import render
from ludus.report.run.pairs import heldout_pairs, match
from ludus.report.run.write import gather
from ludus.report.transcript import shade
from ludus.tools.checksums import sealed
from ludus.tools.errors import UserError
from ludus.tools.wording import number
from ludus.trainers.config.reading import parse_config

ARITHMETIC = EnvironmentSpec("ludus/Arithmetic-v0", {"digits": 1})
PACMAN = EnvironmentSpec("ludus/PacManChat-v0", {"max_turns": 12})


def play(spec: EnvironmentSpec, agent: str, seeds: range, form: ChatFormat, sureness: float) -> list[Episode]:
    """A scripted agent's episodes, with its replies' ids, and log-probabilities drawn from a fixed seed."""
    episodes = rollout(ScriptedPolicy(agent), spec, [EpisodeStart(seed, i) for i, seed in enumerate(seeds)])
    return [tokenised(episode, form, sureness) for episode in episodes]


def tokenised(episode: Episode, form: ChatFormat, sureness: float) -> Episode:
    rng = np.random.default_rng(episode.seed)

    def turn(played: Turn) -> Turn:
        text = {"role": "user", "content": played.reply["content"]}
        ids = (*form.first_prompt([text]).ids[1:-2], form.stop_ids[0])  # without the role before and after
        logprobs = tuple(-rng.exponential(1 / sureness, len(ids)))
        return replace(played, completion_ids=ids, logprobs=logprobs, prompt_ids=(0,), finish="stop")

    return replace(episode, turns=tuple(turn(played) for played in episode.turns))


def metrics(phase: str, steps: int) -> list[dict[str, float | str]]:
    """Lines such as the trainer writes: noisy, rising."""
    rng = np.random.default_rng(7)
    lines = []
    for step in range(1, steps + 1):
        done = 1 - math.exp(-2.5 * step / steps)
        values = sft_line(step, done, rng) if phase == "sft" else grpo_line(step, done, rng)
        lines.append({"phase": phase, "step": step, **{name: float(value) for name, value in values.items()}})
    return lines


def sft_line(step: int, done: float, rng: np.random.Generator) -> dict[str, float]:
    line = {"loss": 3.4 - 3.2 * done + rng.normal(0, 0.05), "tokens_per_second": rng.normal(9000, 300)}
    return {**line, "heldout_loss": 3.5 - 3.2 * done} if step % 10 == 0 else line


def grpo_line(step: int, done: float, rng: np.random.Generator) -> dict[str, float]:
    success = float(np.clip(rng.normal(0.3 + 0.5 * done, 0.06), 0, 1))
    line = {
        "reward": 0.2 + success,
        "reward_std": rng.normal(0.4, 0.05),
        "success": success,
        "terms/correct": success,
        "terms/closeness": min(1.0, success + 0.1),
        "form/format": min(1.0, rng.normal(0.7 + 0.3 * done, 0.02)),
        "form/malformed": 0.1 * (1 - done),
        "completion_tokens": rng.normal(18, 2),
        "completion_tokens_max": rng.normal(40, 1),
        "turns": 1.0,
        "flat_groups": float(np.clip(rng.normal(0.3 + 0.2 * done, 0.05), 0, 1)),
        "stop/environment:terminated": 0.98 if step % 3 == 0 else 1.0,
        "fault_share": 0.0,
        "entropy": rng.normal(0.5 - 0.35 * done, 0.02),
        "kl": 0.2 * done + abs(rng.normal(0, 0.01)),
        "mismatch_mean": rng.normal(1e-7, 1e-8),
        "mismatch_max": rng.normal(2e-6, 2e-7),
        "loss": rng.normal(0, 0.01),
        "grad_norm": rng.normal(0.6, 0.1),
        "ratio_mean": 1.0,
        "ratio_max_deviation": 0.0,
        "clip_low": abs(rng.normal(0, 0.002)),
        "clip_high": abs(rng.normal(0, 0.004)),
        "learning_rate": 1e-3 * (1 - done),
        "tokens_per_second": rng.normal(8000, 400),
        "seconds/rollout": rng.normal(0.24, 0.01),
        "seconds/train": rng.normal(0.16, 0.01),
        "seconds/total": rng.normal(0.4, 0.02),
    }
    return {**line, "stop/fault:environment": 0.02} if step % 3 == 0 else line


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = SmallModelShape(hidden=16, layers=1, heads=1, kv_heads=1, head_dim=16, intermediate=16)
    return build_small_model([ARITHMETIC], shape, cache_directory=tmp_path_factory.mktemp("models"))


def make_run(folder: Path, model: Path, spec: EnvironmentSpec, tasks: int = 40, steps: int = 60) -> Path:
    """A finished run: the primed model plays at random on two tasks of three, the final one on one of six."""
    form = load_format(model)
    config = parse_config(
        {
            "run": {"name": folder.name, "seed": 3},
            "environment": {"id": spec.id, "arguments": spec.arguments},
            "grpo": {"steps": steps, "groups": 16},
            "evaluation": {"episodes": tasks},
        }
    )
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    lines = metrics("sft", 50) + metrics("grpo", steps)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seeds = range(2**32, 2**32 + tasks)
    good = play(spec, "oracle", seeds, form, 12.0)
    poor = play(spec, "random", seeds, form, 1.5)
    primed = [good[i] if i % 3 == 1 else poor[i] for i in range(tasks)]
    final = [poor[i] if i % 6 == 4 else good[i] for i in range(tasks)]
    write_episodes(folder / "episodes" / "evaluation-primed.parquet", primed)
    write_episodes(folder / "episodes" / "evaluation-final.parquet", final)
    write_episodes(folder / "episodes" / "train-000001.parquet", play(spec, "random", range(8), form, 1.5))
    write_episodes(
        folder / "episodes" / f"train-{steps:06d}.parquet", play(spec, "oracle", range(8, 16), form, 12.0)
    )
    summaries = {"primed": summarise(primed).to_dict(), "final": summarise(final).to_dict()}
    (folder / "evaluation.json").write_text(json.dumps(summaries))
    for stage in ("primed", "final"):
        (folder / "models" / stage).mkdir(parents=True)
        for file in model.iterdir():
            (folder / "models" / stage / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "sums", model, ARITHMETIC)


@pytest.fixture
def run(tmp_path: Path, finished: Path) -> Path:
    """A copy of a finished run, to be damaged."""
    return shutil.copytree(finished, tmp_path / "sums")


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, and the text outside style and script."""

    def __init__(self, run: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.source = render(gather(run))
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br", "path", "line", "circle"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in {"style", "script"}:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="session")
def page(finished: Path) -> Page:
    """Of the finished run as it is."""
    return Page(finished)


def evaluation(run: Path) -> dict[str, Any]:
    return json.loads((run / "evaluation.json").read_text())


def rewrite_evaluations(run: Path, primed: list[Episode], final: list[Episode]) -> None:
    write_episodes(run / "episodes" / "evaluation-primed.parquet", primed)
    write_episodes(run / "episodes" / "evaluation-final.parquet", final)
    summaries = {"primed": summarise(primed).to_dict(), "final": summarise(final).to_dict()}
    (run / "evaluation.json").write_text(json.dumps(summaries))


def test_the_report_states_what_the_evaluation_found(finished: Path, page: Page) -> None:
    for stage in ("primed", "final"):
        success, earned = evaluation(finished)[stage]["success"], evaluation(finished)[stage]["mean_return"]
        for end in ("value", "low", "high"):
            assert f"{100 * success[end]:.1f}%" in page.text
            assert f"{earned[end]:.3f}" in page.text
    assert "Held-out success rose from 32.5% to 85.0%." in page.text
    assert "The 95% intervals do not overlap." in page.text
    assert "learning_rate" in page.text
    assert "seed 4294967296" in page.text or "solved" in page.text


def test_the_report_is_one_file_that_loads_nothing(page: Page) -> None:
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert page.all("link") == []
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "data", "action", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:"))
    assert "@import" not in page.source
    assert "url(" not in page.source


def test_the_pages_own_script_is_the_one_that_its_policy_allows(page: Page) -> None:
    text = page.source
    script = text[text.rindex("<script>") + len("<script>") : text.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_curves_are_a_picture(run: Path) -> None:
    write_report(run)
    picture = Image.open(run / "curves.png")
    assert picture.width > 1000
    assert picture.getextrema() != ((255, 255), (255, 255), (255, 255), (255, 255))


def test_every_metric_is_drawn_or_stated(page: Page) -> None:
    charts = " ".join(attributes["aria-label"] or "" for attributes in page.all("svg"))
    for title in (
        "Return",
        "Success",
        "Correct",
        "Format",
        "Malformed",
        "Entropy",
        "KL",
        "Clipped",
        "Flat groups",
    ):
        assert f"{title}" in charts
    for title in ("Completion length", "Engine and trainer", "Tokens per second", "Seconds by phase", "Loss"):
        assert title in charts
    assert "The same at every step: Turns 1.00; Faults 0." in page.text
    assert "Ratio, mean 1.00" in page.text


def test_form_terms_stand_apart_from_what_was_achieved(page: Page) -> None:
    text = page.text
    achieved = text.index("Reward terms: what was achieved")
    form = text.index("Reward terms: form of the reply")
    table = text[form : text.index("One game") if "One game" in text else text.index("Learning curves", form)]
    assert "format" in table
    assert "malformed" in table
    assert "correct" not in table
    assert "correct" in text[achieved:form]


def test_a_run_that_only_learned_the_format_is_called_one(run: Path) -> None:
    episodes = read_episodes(run / "episodes" / "evaluation-primed.parquet")

    def scored(episode: Episode, form: float) -> Episode:
        terms = {"correct": 0.0, "closeness": 0.1, "format": form, "malformed": 1 - form}
        turn = replace(episode.turns[0], reward_terms=terms, reward=0.1 * form)
        return replace(episode, turns=(turn,), success=False)

    rewrite_evaluations(run, [scored(e, 0.0) for e in episodes], [scored(e, 1.0) for e in episodes])
    text = Page(run).text
    assert "Only the form of the replies changed (format, malformed)" in text
    assert "success rose" not in text


def test_overlapping_intervals_are_not_called_an_improvement(run: Path) -> None:
    episodes = read_episodes(run / "episodes" / "evaluation-primed.parquet")
    better = [replace(episodes[0], success=True), *episodes[1:]]
    rewrite_evaluations(run, episodes, better)
    text = Page(run).text
    assert "the difference may be chance" in text
    assert "rose" not in text[: text.index("Values that differ from the default")]


def test_a_model_that_got_worse_is_said_to_have(run: Path) -> None:
    files = [run / "episodes" / f"evaluation-{stage}.parquet" for stage in ("primed", "final")]
    primed, final = (read_episodes(file) for file in files)
    rewrite_evaluations(run, final, primed)
    assert "Held-out success fell from 85.0% to 32.5%." in Page(run).text


def test_what_the_figures_leave_out_stands_beside_them(run: Path) -> None:
    files = [run / "episodes" / f"evaluation-{stage}.parquet" for stage in ("primed", "final")]
    primed, final = map(read_episodes, files)
    broken = [replace(episode, stop=StopReason.ENVIRONMENT_FAULT, fault="gone") for episode in final[:3]]
    rewrite_evaluations(run, primed, [*broken, *final[3:]])
    said = (
        f"Of the final model's evaluation, 3 of {len(final)} episodes ({3 / len(final):.1%}) ended in a fault"
    )
    assert any(said in remark for remark in gather(run).verdict.remarks)


# What a model or an environment says is text, whatever it contains.

HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<svg/onload=alert(1)>",
    "</style></pre></div></article><iframe src=//evil>",
    "{{ 7*7 }} {% for x in y %}",
    "<!-- ]]> &amp; &lt;",
    "\u202egnp.exe \x00 \x1b[31m \x85",
)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_stays_text(run: Path, hostile: str, model: Path) -> None:
    form = load_format(model)
    episodes = read_episodes(run / "episodes" / "evaluation-final.parquet")

    def spoiled(episode: Episode) -> Episode:
        ids = form.first_prompt([{"role": "user", "content": hostile}]).ids[1:-2]
        turn = replace(
            episode.turns[0],
            observation=[{"role": "user", "content": hostile}, {"role": hostile, "content": hostile}],
            reply={"role": "assistant", "content": hostile},
            reward_terms={hostile: 1.0, "correct": 0.0},
            completion_ids=ids,
            logprobs=(-1.0,) * len(ids),
        )
        plain = replace(turn, completion_ids=(), logprobs=())
        return replace(
            episode,
            task=hostile,
            turns=(turn, plain),
            final_observation=[{"role": "user", "content": hostile}],
        )

    fault = replace(spoiled(episodes[0]), stop=StopReason.ENVIRONMENT_FAULT, fault=hostile)
    rewrite_evaluations(run, [spoiled(e) for e in episodes], [spoiled(e) for e in episodes])
    write_episodes(run / "episodes" / "train-000060.parquet", [fault])
    lines = (
        (run / "metrics.jsonl").read_text()
        + json.dumps({"phase": "grpo", "step": 61, f"terms/{hostile}": 1.0})
        + "\n"
    )
    lines += json.dumps({"phase": "grpo", "step": 62, f"terms/{hostile}": 2.0, f"stop/{hostile}": 0.5}) + "\n"
    (run / "metrics.jsonl").write_text(lines)
    config = tomllib.loads((run / "config.toml").read_text())
    config["environment"]["arguments"] = {"note": hostile}
    (run / "config.toml").write_text(tomli_w.dumps(config))

    page = Page(run)
    assert len(page.all("script")) == 1
    assert {name for name, _ in page.elements}.isdisjoint(
        {"img", "iframe", "object", "embed", "form", "base"}
    )
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
    if hostile.isprintable():
        assert hostile in page.text
    assert not any(
        0x202A <= ord(character) <= 0x202E or character in "\x00\x1b\x85" for character in page.text
    )


def test_images_of_an_episode_are_in_the_page(run: Path) -> None:
    plot = image_part(b"\x89PNG")
    episodes = read_episodes(run / "episodes" / "evaluation-final.parquet")
    plotted = [replace(e, final_observation=[tool_result({}, [text_part("plot"), plot])]) for e in episodes]
    rewrite_evaluations(run, plotted, plotted)
    images = [attributes["src"] for attributes in Page(run).all("img")]
    assert plot["image_url"]["url"] in images


# Incomplete runs.


def test_an_unfinished_run_says_so(run: Path) -> None:
    (run / "evaluation.json").write_text(json.dumps({"primed": evaluation(run)["primed"]}))
    (run / "episodes" / "evaluation-final.parquet").unlink()
    shutil.rmtree(run / "models" / "final")
    page = Page(run)
    assert "This run is unfinished: there is no evaluation of the final model." in page.text
    assert "The primed model succeeds on 32.5% of the held-out tasks." in page.text
    assert "not reached yet" in page.text


def test_a_run_without_grpo_says_so(run: Path) -> None:
    config = tomllib.loads((run / "config.toml").read_text())
    config["grpo"]["steps"] = 0
    (run / "config.toml").write_text(tomli_w.dumps(config))
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics("sft", 50)))
    (run / "evaluation.json").write_text(json.dumps({"primed": evaluation(run)["primed"]}))
    for file in (run / "episodes").glob("train-*"):
        file.unlink()
    (run / "episodes" / "evaluation-final.parquet").unlink()
    page = Page(run)
    assert "This run ends with priming" in page.text
    assert "unfinished" not in page.text
    assert "Priming" in page.text
    assert "early and late" not in page.text


@pytest.mark.parametrize("steps", [0, 1, 2, 7, 8])
def test_a_run_of_a_few_steps_has_a_report(run: Path, steps: int) -> None:
    for name in ("evaluation.json", "episodes", "models"):
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    lines = [line for phase in ("sft", "grpo") for line in metrics(phase, steps)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = Page(run)
    assert "Not evaluated yet." in page.text
    assert ("Nothing has been trained yet" in page.text) == (steps == 0)
    assert draw_curves(read_run(run), [], "").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, "steps of GRPO on what episodes earned"),
        ({"credit": "teacher"}, "steps of on-policy distillation on what a teacher says of its tokens"),
        ({"credit": "gae"}, "steps of PPO"),
        ({"credit": "anchor", "advantage": "rloo"}, "steps of GiGPO"),
        ({"advantage": "reinforce_pp"}, "steps of REINFORCE++"),
    ],
)
def test_the_algorithm_and_who_demonstrated_are_named(run: Path, keys: dict[str, str], told: str) -> None:
    config = tomllib.loads((run / "config.toml").read_text())
    config["grpo"] |= keys
    config["sft"]["demonstrator"] = "random"
    (run / "config.toml").write_text(tomli_w.dumps(config))
    text = Page(run).text
    assert told in text
    assert "on demonstrations of the random agent" in text


def test_an_empty_text_is_seen_in_the_configuration() -> None:
    assert written({"separator": "", "kind": "process"}) == '{separator = "", kind = process}'


def test_a_configuration_alone_has_a_report(run: Path) -> None:
    for path in run.iterdir():
        if path.name != "config.toml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "Not evaluated yet." in Page(run).text


def test_the_torn_last_line_of_a_killed_run_is_left_out(run: Path) -> None:
    whole = Page(run).text
    file = run / "metrics.jsonl"
    file.write_bytes(file.read_bytes() + b'{"phase": "grpo", "step": 61, "rew')
    text = Page(run).text
    assert "The last line of metrics.jsonl is torn" in text
    assert "step 60" in text
    assert "step 61" not in text
    assert "is torn" not in whole


@pytest.mark.parametrize(
    "line", ['{"phase": "grpo", "st', "[1, 2]", '{"step": 3}', "null", '{"phase": "grpo", "step": "x"}']
)
def test_a_corrupt_line_that_is_not_the_torn_last_is_an_error(run: Path, line: str) -> None:
    file = run / "metrics.jsonl"
    good = file.read_text().splitlines()
    for position in (3, len(good)):
        file.write_text("\n".join([*good[:position], line, *good[position:]]) + "\n")
        with pytest.raises(
            UserError, match=rf"metrics\.jsonl, line {position + 1}: not a metrics record.*delete"
        ) as error:
            write_report(run)
        assert "\n" not in str(error.value)


def test_a_step_done_again_after_a_resume_counts_once(run: Path) -> None:
    file = run / "metrics.jsonl"
    before = read_run(run).grpo.columns["reward"]
    again = json.loads(file.read_text().splitlines()[-1])
    file.write_text(file.read_text() + json.dumps({**again, "reward": 77.0}) + "\n")
    steps, values = read_run(run).grpo.columns["reward"]
    assert list(steps) == list(before[0])
    assert values[-1] == 77.0


def test_parts_of_a_whole_that_a_step_does_not_mention_are_zero(run: Path) -> None:
    steps, faults = read_run(run).grpo.columns["stop/fault:environment"]
    assert len(steps) == 60
    assert set(faults) == {0.0, 0.02}


@pytest.mark.parametrize("value", ["NaN", "null", '"much"', "true", "Infinity"])
def test_values_that_are_no_numbers_are_gaps(run: Path, value: str) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write(f'{{"phase": "grpo", "step": 61, "reward": {value}, "success": 0.5}}\n')
    assert not re.search(r"\bnan\b", Page(run).source.split("<body>")[1].split("<script>")[0], re.IGNORECASE)
    steps, _ = read_run(run).grpo.columns["reward"]
    assert steps[-1] == 60


def test_what_is_no_run_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder.*ludus train"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"not a run, there is no config\.toml in it.*ludus train"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["config.toml", "evaluation.json", "episodes/evaluation-final.parquet"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe{", b"[[", b"x = 1", b'{"primed": {}}'])
def test_a_corrupt_file_is_named(run: Path, name: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    with pytest.raises(UserError, match=Path(name).name) as error:
        write_report(run)
    assert "\n" not in str(error.value)
    assert not (run / "report.html").exists()


def test_a_full_disk_leaves_the_old_report(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = run / "report.html"
    report.write_bytes(b"the old one")

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="the disk is full; free some space"):
        write_report(run)
    assert report.read_bytes() == b"the old one"
    assert not list(run.glob(".*"))


# Trust: what was checked at every step.


def checked(name: str, **changes: Any) -> dict[str, Any]:
    """A check as it stands in `trust.json`, far from its limit."""
    plain = {
        "name": name, "kind": "numerics", "holds": f"what {name} says", "unit": "nats", "bound": "most",
        "limit": 1e-3, "warns": False, "steps": 60, "worst": 1e-6, "worst_step": 12,
        "detail": "position 8-15", "alarms": 0, "message": "",
    }  # fmt: skip
    return {**plain, **changes}


def write_trust(run: Path, *checks: dict[str, Any], alarm: str = "") -> None:
    record = sealed({"step": "GRPO step 60", "alarm": alarm, "checks": list(checks)})
    (run / "trust.json").write_text(json.dumps(record), encoding="utf-8")


def test_checks_that_held_are_summed_up_and_listed(run: Path) -> None:
    assert "Trust" not in Page(run).text
    share = {"kind": "data", "unit": "percent", "limit": 0.2, "worst": 0.15, "worst_step": 7, "detail": ""}
    write_trust(
        run,
        checked("mismatch_mean"),
        checked("tokens", kind="identity", limit=0, worst=0, unit="tokens"),
        checked("fault_share", **share),
        checked("critic_loss", steps=0, worst=None, worst_step=None),
        checked("collapse", limit=None),
    )
    page = Page(run)
    assert (
        "All 3 checks that apply held at every step; the closest to its limit was fault_share: 15.0% at "
        "step 7, limit ≤\N{NO-BREAK SPACE}20.0%."
    ) in page.text
    for said in (
        "what mismatch_mean says",
        "≤\N{NO-BREAK SPACE}0.0010 nats",
        "1.0e−6 nats",
        "step 12, position 8-15",
    ):
        assert said in page.text
    assert "These do not apply to this run: critic_loss." in page.text
    assert "Switched off: collapse." in page.text
    gauges = [svg["aria-label"] for svg in page.all("svg") if (svg["class"] or "").startswith("gauge")]
    assert gauges == [
        "mismatch_mean: 1e3× below",
        "tokens: exact",
        "fault_share: 1.33× below",
    ]
    assert "alarm" not in page.text.lower()


def test_the_alarm_that_stopped_a_run_stands_out(run: Path) -> None:
    (run / "evaluation.json").write_text(json.dumps({"primed": evaluation(run)["primed"]}))
    write_trust(
        run,
        checked("flat_groups", kind="data", warns=True, alarms=3, message="all are flat: <raise> them"),
        checked("mismatch_mean", worst=0.01, alarms=1, message="the engine computes something else"),
        checked("loss"),
        alarm="mismatch_mean",
    )
    page = Page(run)
    # At the top of the page, and in its place.
    assert page.text.count("mismatch_mean stopped the run at GRPO step 60.") == 2
    assert "Alarm, mismatch_mean" in page.text
    assert "the engine computes something else" in page.text
    assert "Warning, flat_groups" in page.text
    assert "all are flat: <raise> them" in page.text
    badges = [span["class"] for span in page.all("span") if "badge" in (span.get("class") or "")]
    assert badges.count("badge bad") >= 1
    assert "warning × 3" in page.text
    assert sum(svg["class"] == "gauge beyond" for svg in page.all("svg")) == 1
    assert write_report(run).is_file()


def test_warnings_are_said_to_be_ones(run: Path) -> None:
    write_trust(run, checked("loss"), checked("flat_groups", warns=True, alarms=1, message="all are flat"))
    text = Page(run).text
    assert "None of the 2 checks that apply stopped the run; a warning came from flat_groups." in text
    assert "stopped the run at" not in text


def test_an_alarm_beside_another_or_before_a_resume_is_no_warning(run: Path) -> None:
    rung = [checked(name, worst=0.01, alarms=1, message=f"{name} is off") for name in ("bias", "mean")]
    write_trust(run, *rung, alarm="mean")
    text = Page(run).text
    assert "mean stopped the run at GRPO step 60." in text
    assert text.index("Alarm, mean") < text.index("Alarm, bias")
    write_trust(run, *rung, checked("drift", warns=True, alarms=2, message="longer"))
    text = Page(run).text
    assert "bias, mean stopped the run, which was then resumed; a warning came from drift." in text
    assert text.count("Alarm, ") == 2
    assert text.count("Warning, ") == 1


def test_a_value_that_is_no_number_is_beyond_its_limit(run: Path) -> None:
    write_trust(run, checked("loss", worst="nan", alarms=1, message="not finite"), alarm="loss")
    gauges = [svg["aria-label"] for svg in Page(run).all("svg") if svg["class"] == "gauge beyond"]
    assert gauges == ["loss: beyond"]


def test_a_run_whose_checks_were_not_reached_says_so(run: Path) -> None:
    write_trust(run, checked("loss", steps=0, worst=None, worst_step=None))
    assert "No check has been measured yet." in Page(run).text


@pytest.mark.parametrize("content", [b"", b"\xff\xfe{", b"[]", b"null", b'{"checks": [{}]}'])
def test_a_damaged_trust_file_is_one_clear_line(run: Path, content: bytes) -> None:
    (run / "trust.json").write_bytes(content)
    with pytest.raises(UserError, match=r"trust\.json: not what the run wrote there.*delete it") as error:
        write_report(run)
    assert "\n" not in str(error.value)
    assert not (run / "report.html").exists()


def test_a_value_changed_on_the_disk_is_never_shown(run: Path) -> None:
    write_trust(run, checked("loss", worst=0.25, alarms=1, message="too much"))
    file = run / "trust.json"
    file.write_text(file.read_text().replace("0.25", "0.00"))
    with pytest.raises(UserError, match=r"trust\.json"):
        write_report(run)


# Tokens and episodes.


def test_tokens_are_shaded_and_keep_their_values(run: Path, model: Path) -> None:
    text = Page(run).source
    pair = heldout_pairs(
        match(*(read_episodes(run / "episodes" / f"evaluation-{s}.parquet") for s in ("primed", "final")))
    )[0]
    assert pair.right is not None
    turn = pair.right.turns[0]
    for id, logprob, piece in zip(
        turn.completion_ids, turn.logprobs, load_format(model).decode(turn.completion_ids), strict=True
    ):
        shown = f'class="t{shade(logprob)}" data-l="{number(logprob)}" data-i="{id}">{escape(piece)}</i>'
        assert shown in text


def test_the_weights_are_not_needed(run: Path) -> None:
    for file in (run / "models").rglob("*.safetensors"):
        file.unlink()
    assert 'class="tokens"' in Page(run).source


def test_without_a_tokenizer_replies_are_text(run: Path) -> None:
    shutil.rmtree(run / "models")
    page = Page(run)
    assert "replies are shown as text, without tokens" in page.text
    assert not any(attributes.get("class") == "tokens" for attributes in page.all("div"))
    assert "<answer>" in page.text


def test_cut_off_completions_forks_and_faults_are_flagged(run: Path) -> None:
    file = run / "episodes" / "train-000060.parquet"
    episodes = read_episodes(file)
    turn = replace(episodes[0].turns[0], finish="length", fork=True)
    fault = replace(episodes[1], stop=StopReason.ENGINE_FAULT, fault="the engine ran out of slots")
    write_episodes(file, [replace(episodes[0], turns=(turn,)), fault, *episodes[2:]])
    write_episodes(run / "episodes" / "train-000001.parquet", [fault])
    page = Page(run)
    assert "cut off: the completion reached the token limit" in page.text
    assert "fork: the chat template rewrote the history" in page.text
    assert "fault, on our side and never counted as a reward: the engine ran out of slots" in page.text


def test_the_page_stays_small_whatever_was_said(run: Path, model: Path) -> None:
    form = load_format(model)
    ids = form.first_prompt([{"role": "user", "content": "12 + (3 * 4) = 24\n" * 40}]).ids[1:-2]

    def long(episode: Episode) -> Episode:
        message: Message = {"role": "user", "content": "so long " * 5_000}
        turn = replace(
            episode.turns[0], observation=[message], completion_ids=ids, logprobs=(-0.5,) * len(ids)
        )
        return replace(episode, turns=(turn,) * 60)

    stages = ("evaluation-primed", "evaluation-final", "train-000001", "train-000060")
    for stage in stages:
        file = run / "episodes" / f"{stage}.parquet"
        write_episodes(file, [long(episode) for episode in read_episodes(file)[:3]])
    page = Page(run)
    assert len(page.source) < 4_000_000
    assert "turns not shown" in page.text
    assert "more tokens, not shown" in page.text
    assert "more characters, not shown" in page.text


def test_importing_the_report_loads_no_model_library() -> None:
    code = "import sys, ludus.report; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Games.


def test_two_gifs_of_one_game(tmp_path: Path, model: Path) -> None:
    run = make_run(tmp_path / "maze", model, PACMAN, tasks=12)
    write_report(run)
    page = Page(run)
    images = [attributes["src"] or "" for attributes in page.all("img")]
    assert [image.split(",")[0] for image in images] == ["data:image/gif;base64"] * 2
    for image, name in zip(images, ("before.gif", "after.gif"), strict=True):
        content = (run / name).read_bytes()
        assert base64.b64decode(image.split(",")[1]) == content
        assert len(content) <= LARGEST
        assert getattr(Image.open(run / name), "n_frames", 1) > 1


def test_an_environment_that_changed_since_has_no_gifs_but_a_note(tmp_path: Path, model: Path) -> None:
    run = make_run(tmp_path / "maze", model, PACMAN, tasks=6)
    for stage in ("primed", "final"):
        file = run / "episodes" / f"evaluation-{stage}.parquet"
        episodes = read_episodes(file)
        write_episodes(
            file, [replace(e, turns=(replace(e.turns[0], reward=123.0), *e.turns[1:])) for e in episodes]
        )
    page = Page(run)
    assert page.all("img") == []
    assert "No pictures of games" in page.text


@pytest.mark.parametrize("kind", ["outcome", "process"])
def test_the_run_of_a_reward_model_has_a_report(tmp_path: Path, kind: str) -> None:
    keys = {"kind": kind, "data": ["there.jsonl"]}
    table = {"model": {"path": "there"}, "reward_model": keys, "sft": {"steps": 0}, "grpo": {"steps": 0}}
    (tmp_path / "config.toml").write_text(parse_config(table).to_toml(), encoding="utf-8")
    losses = [
        {"phase": "reward_model", "step": step, "loss": 0.7 / step, "heldout_loss": 0.8 / step}
        for step in range(1, 9)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(sealed(line)) + "\n" for line in losses))
    page = Page(tmp_path)
    assert "Not finished yet." in page.text
    assert "Trained on pairs, or on the values of steps." in page.text
    assert draw_curves(read_run(tmp_path), [], "")
