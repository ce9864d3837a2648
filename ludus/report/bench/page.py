"""A benchmark's report: one self-contained page with the figures, what went wrong, and all episodes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ludus.agents.bench.directory import REPORT
from ludus.agents.bench.metrics import Figures
from ludus.agents.bench.outcome import Outcome, Row
from ludus.agents.bench.result import Result
from ludus.agents.evaluate import left_out
from ludus.report.bench.records import records
from ludus.report.templates import render_page
from ludus.tools.files import write_file
from ludus.tools.wording import counted, environment_title, number

COLOURS = (("null", "grey"), ("random", "ochre"), ("oracle", "teal"))
_INTERVALS = (
    "Each figure is a mean over tasks; the small print is its 95% interval. Repeats of a task are not "
    "independent, so intervals cluster by task: a bootstrap over tasks and, for shares, Wilson's interval at "
    "the effective sample size. The scripted agents below each row played the same tasks, once each."
)


@dataclass(frozen=True)
class Mark:
    """A task's square in the row of tasks."""

    shade: str
    """0 to 3 by the share of successes; x if all episodes are faults."""
    title: str
    number: int
    """Of its first episode."""


@dataclass(frozen=True)
class ShownEnvironment:
    name: str
    label: str
    hash: str
    figures: Figures
    kinds: tuple[tuple[str, Figures], ...]
    baselines: tuple[tuple[str, Figures], ...]
    success_svg: Markup
    marks: tuple[Mark, ...]
    marks_label: str
    voted: str | None
    """The note on maj@k for this environment, if there were repeats."""


def write_bench_report(outcome: Outcome) -> Path:
    """Write `report.html` into the run's folder, from its journal only.

    Raises:
        OSError: it cannot be written.
    """
    return write_file(outcome.folder.path / REPORT, render(outcome))


def render(outcome: Outcome) -> str:
    folder, settings = outcome.folder, outcome.folder.settings
    starts = folder.tasks.starts
    results: dict[int, list[Result]] = defaultdict(list)
    for result in outcome.results:
        results[starts[result.task][0]].append(result)
    numbers: dict[int, int] = {}
    for number_, result in enumerate(outcome.results):
        numbers.setdefault(result.task, number_)
    environments = [
        _environment(row, results[which], numbers, settings.repeats) for which, row in enumerate(outcome.rows)
    ]
    names = [environment.name for environment in environments]
    by_place = {(result.task, result.sample): result for result in outcome.results}
    listed = records(folder.episodes(), by_place, [names[which] for which, _ in starts])
    return render_page(
        "bench/page.html.jinja",
        styles=["bench/page.css", "bench/browser.css"],
        scripts=["bench/browser.js"],
        settings=settings,
        repeats=settings.repeats,
        hash=folder.tasks.digest,
        headline=_headline(outcome),
        lede=_lede(outcome),
        facts=_facts(outcome),
        notes=outcome.notes,
        environments=environments,
        timed=any(row.figures.completion_tokens > 0 for row in outcome.rows),
        priced=outcome.cost is not None,
        baseline_colours=COLOURS,
        intervals_note=_INTERVALS,
        index=Markup(listed.index),
        chunks=[Markup(chunk) for chunk in listed.chunks],
        footer=(
            f"Written by ludus {settings.ludus} from the files of {folder.path.name}; begun on "
            f"{folder.begun}. This page is one file and loads nothing from elsewhere."
        ),
    )


def _environment(
    row: Row, results: Sequence[Result], numbers: Mapping[int, int], repeats: int
) -> ShownEnvironment:
    voted = None
    if repeats > 1:
        voted = (
            "maj@k votes over final answers"
            if row.figures.majority is not None
            else "no final answer to vote on, so no maj@k"
        )
    marks = _marks(results, numbers)
    return ShownEnvironment(
        name=environment_title(row.tasks.label),
        label=row.tasks.label,
        hash=row.tasks.digest,
        figures=row.figures,
        kinds=tuple(row.kinds.items()),
        baselines=tuple(row.baselines.items()),
        success_svg=_forest(row),
        marks=marks,
        marks_label=f"{sum(mark.shade == '3' for mark in marks)} of {len(marks)} tasks always succeeded",
        voted=voted,
    )


def _marks(results: Sequence[Result], numbers: Mapping[int, int]) -> tuple[Mark, ...]:
    by_task: dict[int, list[Result]] = defaultdict(list)
    for result in results:
        by_task[result.task].append(result)
    marks = []
    for task in sorted(by_task):
        whole = [result for result in by_task[task] if result.is_scored]
        won = sum(result.success for result in whole)
        share = won / len(whole) if whole else 0.0
        shade = "x" if not whole else "0" if not won else "3" if share == 1 else "1" if share < 0.5 else "2"
        marks.append(Mark(shade, f"{by_task[task][0].key[:80]}: {won} of {len(whole)}", numbers[task]))
    return tuple(marks)


def _forest(row: Row) -> Markup:
    """Success on an axis from 0 to 1: the model as a point with its interval, the baselines as ticks."""

    def x(value: float) -> str:
        return f"{2 + 96 * value:.2f}%"

    parts = [Markup('<line class="axis" x1="2%" x2="98%" y1="50%" y2="50%"/>')]
    for name, colour in COLOURS:
        if name in row.baselines and row.baselines[name].tasks:
            at = x(row.baselines[name].success.value)
            parts.append(
                Markup('<line class="tick c-{}" x1="{}" x2="{}" y1="15%" y2="85%"/>').format(colour, at, at)
            )
    success = row.figures.success
    if row.figures.tasks:
        parts.append(
            Markup('<line class="interval c-blue" x1="{}" x2="{}" y1="50%" y2="50%"/>').format(
                x(success.low), x(success.high)
            )
        )
        parts.append(
            Markup('<circle class="point c-blue" cx="{}" cy="50%" r="5.5"/>').format(x(success.value))
        )
    spoken = f"success {number(success.value, 'percent')}; " + "; ".join(
        f"{name} {number(figures.success.value, 'percent')}" for name, figures in row.baselines.items()
    )
    return Markup('<svg class="dumbbell" role="img" aria-label="{}">{}</svg>').format(
        spoken, Markup("").join(parts)
    )


def _headline(outcome: Outcome) -> str:
    shares = [row.figures.success.value for row in outcome.rows if row.figures.tasks]
    if not shares:
        return f"{outcome.folder.settings.model} has no result yet"
    mean = number(sum(shares) / len(shares), "percent")
    over = "" if len(shares) == 1 else f", the mean over {len(shares)} environments"
    return f"{outcome.folder.settings.model} succeeds on {mean} of its tasks{over}"


def _lede(outcome: Outcome) -> str:
    settings = outcome.folder.settings
    tasks, scored = (sum(getattr(row.figures, name) for row in outcome.rows) for name in ("tasks", "scored"))
    faults, refusals = (
        sum(getattr(row.figures, name) for row in outcome.rows) for name in ("faults", "refusals")
    )
    most = "" if scored == tasks * settings.repeats else "up to "
    repeats = f", each {most}{settings.repeats} times" if settings.repeats > 1 else ""
    missing = left_out(faults, len(outcome.results), refusals)
    played = f"{counted(scored, 'episode')} of {counted(tasks, 'task')}{repeats}."
    return f"{played} {missing}." if missing else played


def _facts(outcome: Outcome) -> list[tuple[str, str, str]]:
    folder, settings = outcome.folder, outcome.folder.settings
    sampled = sum(result.completion_tokens for result in outcome.results)
    read = sum(result.prompt_tokens for result in outcome.results)
    facts = [
        ("Model", settings.model, ""),
        ("Agent", settings.agent, ""),
        ("Task list", folder.tasks.digest, "figures with the same hash are comparable"),
        ("Repeats", str(settings.repeats), f"episode{'s' * (settings.repeats > 1)} per task"),
        ("Seed", str(settings.seed), "for the model's own randomness"),
        ("Begun", folder.begun, ""),
        ("Versions", ", ".join(f"{name} {version}" for name, version in folder.versions.items()), ""),
    ]
    if settings.max_tokens and not settings.model.startswith("scripted:"):
        how = "greedy" if settings.temperature == 0 else f"temperature {settings.temperature}"
        facts.insert(2, ("Sampling", how, f"at most {settings.max_tokens} tokens per reply"))
        facts.append(("Tokens", f"{sampled:,} sampled", f"{read:,} read"))
    return facts
