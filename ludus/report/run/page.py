"""The report's page: from the collected data to one HTML file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from typing import Any, get_args

from markupsafe import Markup

from ludus.agents.statistics import Interval
from ludus.report.run.charts import Chart, axis_range, chart, dumbbell, gauge
from ludus.report.run.comparison import Row, Verdict
from ludus.report.run.configuration import readable, written
from ludus.report.run.files import Run, Trained
from ludus.report.run.gifs import Gif
from ludus.report.run.models import Model
from ludus.report.run.pairs import HELDOUT_RULE, TRAINING_RULE, Pair, heldout_pairs, match, training_pairs
from ludus.report.run.panels import Group, learning_curves
from ludus.report.run.series import curve, heldout_marks
from ludus.report.run.smoothing import FEWEST
from ludus.report.run.trust import KINDS, Check, Trust, verdict_on
from ludus.report.templates import render_page
from ludus.report.transcript import SHADES, Decode, ShownEpisode, show
from ludus.tools.wording import counted, duration, number

SECTIONS = {
    "samples": "Several samples of a task",
    "environment": "By environment",
    "achieved": "Reward terms: what was achieved",
    "form": "Reward terms: form of the reply",
}
"""The kinds of measures below the outcome."""
ALGORITHMS = {
    "gae": "PPO",
    "teacher": "on-policy distillation",
    "anchor": "GiGPO",
    "rloo": "RLOO",
    "reinforce_pp": "REINFORCE++",
    "reinforce_pp_baseline": "REINFORCE++",
}
"""By credit or advantage; what is not among them is of GRPO's kind."""
PACKAGES = ("ludus", "gymnasium", "numpy", "torch", "transformers")


@dataclass(frozen=True)
class Tile:
    row: Row
    svg: Markup
    low: str
    high: str


@dataclass(frozen=True)
class ShownPair:
    kind: str
    count: int
    left: ShownEpisode | None
    right: ShownEpisode | None


@dataclass(frozen=True)
class DrawnPanel:
    title: str
    note: str
    chart: Chart


@dataclass(frozen=True)
class DrawnGroup:
    title: str
    note: str
    resting: str
    """The text in a chart's corner while the pointer is elsewhere."""
    panels: tuple[DrawnPanel, ...]
    constants: str


@dataclass(frozen=True)
class Gathered:
    """Everything that the page is made from."""

    run: Run
    rows: Sequence[Row]
    verdict: Verdict
    trust: Trust | None
    model: Model
    decode: Decode | None
    gifs: Sequence[Gif]
    notes: Sequence[str]


def render(gathered: Gathered) -> str:
    """The whole page. The template engine escapes the text of episodes; the page allows only its own script
    and loads nothing."""
    run, rows, model, decode = gathered.run, gathered.rows, gathered.model, gathered.decode
    trust = gathered.trust
    return render_page(
        "run/page.html.jinja",
        environment=run.environment,
        name=_setting(run, "run", "name", run.directory.name),
        verdict=gathered.verdict,
        lede=_lede(run, model),
        tiles=[_tile(row) for row in rows if row.kind == "outcome" and (row.before or row.after)],
        tasks=_tasks(run),
        facts=_facts(run, model),
        notes=[*run.notes, *_alarm_note(trust), *gathered.notes],
        groups=[_draw(group, run, rows) for group in learning_curves(run)],
        curves_note=_curves_note(run),
        rows=[
            (kind, [(row, _row_chart(row)) for row in members])
            for kind, members in ((k, list(m)) for k, m in groupby(rows, key=lambda row: row.kind))
        ],
        titles=SECTIONS,
        heldout_note=(
            "95% intervals: Wilson's for success, percentile bootstrap over tasks for the rest. The change "
            "is taken task by task, so its interval can be narrower than the two suggest. Reward terms are "
            "unweighted and summed over an episode's turns."
        ),
        gifs=gathered.gifs,
        trust=trust,
        trusted="" if trust is None else verdict_on(trust),
        trust_note="" if trust is None else _trust_note(trust),
        checks=_checks(trust),
        heldout=[_pair(pair, decode) for pair in heldout_pairs(match(run.primed, run.final))],
        heldout_rule=HELDOUT_RULE,
        training=[_pair(pair, decode) for pair in training_pairs(run.early, run.late)],
        training_rule=TRAINING_RULE,
        early_title=f"Step {run.early_step:,}",
        late_title=f"Step {run.late_step:,}",
        shades=[f"{least:g}" for least in SHADES],
        configuration=readable(run.config),
        footer=(
            f"Written by ludus {_version('ludus')} on {datetime.now():%d %B %Y} from the files of "
            f"{run.directory.name}. This page is one file and loads nothing from elsewhere."
        ),
    )


def _draw(group: Group, run: Run, rows: Sequence[Row]) -> DrawnGroup:
    metrics = run.metrics(group.phase)
    panels = tuple(
        DrawnPanel(
            panel.title,
            panel.note,
            chart(
                panel,
                [curve(panel, line, metrics) for line in panel.lines],
                group.phase,
                heldout_marks(panel, rows, run.grpo.steps),
            ),
        )
        for panel in group.panels
    )
    constants = "; ".join(f"{title} {number(value, unit)}" for title, value, unit in group.constants)
    return DrawnGroup(group.title, group.note, f"step {metrics.steps:,}", panels, constants)


def _tile(row: Row) -> Tile:
    low, high = _axis(row)
    ends = ("0%", "100%") if row.unit == "percent" else (number(low), number(high))
    return Tile(row, _dumbbell(row, low, high), *ends)


def _row_chart(row: Row) -> Markup:
    known = [e for e in (row.before, row.after) if e is not None and math.isfinite(e.low)]
    return _dumbbell(row, *_axis(row)) if known else Markup("")


def _axis(row: Row) -> tuple[float, float]:
    if row.unit == "percent":
        return 0.0, 1.0
    return axis_range([e for e in (row.before, row.after) if e is not None and math.isfinite(e.low)])


def _dumbbell(row: Row, low: float, high: float) -> Markup:
    spoken = "; ".join(
        f"{stage} {number(i.value, row.unit)}, from {number(i.low, row.unit)} to {number(i.high, row.unit)}"
        for stage, i in (("primed", row.before), ("final", row.after))
        if i is not None
    )
    return dumbbell(_finite(row.before), _finite(row.after), low, high, f"{row.name}: {spoken}")


def _finite(interval: Interval | None) -> Interval | None:
    return interval if interval is not None and math.isfinite(interval.low) else None


def _alarm_note(trust: Trust | None) -> list[str]:
    if trust is None or not trust.alarm:
        return []
    return [f"{verdict_on(trust)} Its cause and fix are below, under Trust."]


def _trust_note(trust: Trust) -> str:
    return (
        f"The worst value of all steps up to {trust.step}, against its limit. How near: the ratio of the "
        "two, on a bar whose line is the limit; where it has ticks, each is a factor of ten."
    )


def _checks(trust: Trust | None) -> list[tuple[str, list[tuple[Check, Markup]]]]:
    """Under each heading, the checks that apply."""
    groups = [] if trust is None else trust.by_kind
    return [(KINDS[kind], [(check, _gauge(check)) for check in checks]) for kind, checks in groups]


def _gauge(check: Check) -> Markup:
    # Log-probabilities lie decades from their limits; shares, counts and multiples do not.
    decades = 6 if check.unit == "nats" else 0
    return gauge(check.nearness, decades, f"{check.name}: {check.distance}")


def _pair(pair: Pair, decode: Decode | None) -> ShownPair:
    left = None if pair.left is None else show(pair.left, decode)
    right = None if pair.right is None else show(pair.right, decode)
    return ShownPair(pair.kind, pair.count, left, right)


def _lede(run: Run, model: Model) -> str:
    what = model.name
    if model.parameters:
        what += f" ({model.parameters / 1e6:.1f} million parameters)" if model.parameters >= 1e5 else ""
    did = []
    if run.sft.steps:
        agent = _setting(run, "sft", "demonstrator", "oracle")
        shown = "data" if _setting(run, "sft", "data", []) else f"demonstrations of the {agent} agent"
        did.append(f"primed with {run.sft.steps:,} steps of supervised fine-tuning on {shown}")
    if run.rft.steps:
        rounds = int(run.rft.columns["iteration"][1].max())
        did.append(f"trained by rejection sampling in {rounds:,} iterations of {_rft_steps(run)} steps")
    if run.preferences.steps:
        loss = str(_setting(run, "preferences", "loss", "dpo")).upper()
        of_what = "data" if _setting(run, "preferences", "data", []) else "what it played"
        did.append(f"trained with {run.preferences.steps:,} steps of {loss} on pairs of {of_what}")
    if run.grpo.steps:
        planned = int(_setting(run, "grpo", "steps", run.grpo.steps))
        of = f" of {planned:,}" if planned > run.grpo.steps else ""
        is_taught = _setting(run, "grpo", "credit", "group") == "teacher"
        by = "what a teacher says of its tokens" if is_taught else "what episodes earned"
        did.append(f"trained with {run.grpo.steps:,}{of} steps of {_algorithm(run)} on {by}")
    if run.reward_model.steps:
        kind = _setting(run, "reward_model", "kind", "outcome")
        did.append(f"trained with {counted(run.reward_model.steps, 'step')} to be a reward model ({kind})")
    return f"{what}, {', then '.join(did)}." if did else f"{what}. Nothing has been trained yet."


def _algorithm(run: Run) -> str:
    """What the field calls it; the loss is among the facts."""
    credit, advantage = (str(_setting(run, "grpo", key, "")) for key in ("credit", "advantage"))
    return ALGORITHMS.get(credit) or ALGORITHMS.get(advantage) or "GRPO"


def _facts(run: Run, model: Model) -> list[tuple[str, str, str]]:
    facts = [
        (
            "Run time",
            duration((run.ended - run.started).total_seconds()),
            f"from {run.started:%d %B %Y, %H:%M}",
        ),
        ("Seed", str(_setting(run, "run", "seed", "–")), ""),
        ("Model", model.name, model.shape),
        *_environments(run),
        *_data(run),
    ]
    if run.grpo.steps:
        groups, size = _setting(run, "grpo", "groups", None), _setting(run, "grpo", "group_size", None)
        if groups and size:
            facts.append(("Episodes per step", f"{groups * size:,}", f"{groups} starts × {size}"))
        credit = _setting(run, "grpo", "credit", "group")
        facts.append(("Loss", str(_setting(run, "grpo", "loss", "–")), f"credit by {credit}"))
    if run.evaluation:
        temperature = _setting(run, "evaluation", "temperature", 0.0)
        how = "greedy" if temperature == 0 else f"temperature {temperature}"
        facts.append(("Held-out tasks", str(_tasks(run)), f"never trained on; {how}"))
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES if _version(name))
    facts.append(("Versions", versions, "when this page was written"))
    return facts


def _environments(run: Run) -> list[tuple[str, str, str]]:
    """The arguments of one environment, or name, arguments and part of each of several."""
    played = run.environments
    whole = sum(table.get("weight", 1.0) for table in played)
    facts = []
    for table in played:
        arguments = written(table.get("arguments", {}))[1:-1] or "the defaults"
        curriculum = table.get("curriculum")
        notes = [f"{number(table.get('weight', 1.0) / whole, 'percent')} of the groups"] * (len(played) > 1)
        notes += [f"levels moved by {curriculum.get('kind', 'success')}"] if curriculum else []
        name = table.get("name") or table["id"]
        label = "Environment arguments" if len(played) == 1 else f"Environment {name}"
        facts.append((label, arguments, "; ".join(notes)))
    return facts


def _rft_steps(run: Run) -> int:
    return int(_setting(run, "rft", "steps", 0))


def _data(run: Run) -> list[tuple[str, str, str]]:
    """What became of the conversations of a user's data."""
    data = run.data
    if not data:
        return []
    dropped = [f"{count:,} {reason}" for reason, count in data["dropped"].items()]
    note = f"{data['held_out']:,} held out" + (f"; dropped {', '.join(dropped)}" if dropped else "")
    return [("Conversations", f"{data['trained']:,} of {data['read']:,}", note)]


def _curves_note(run: Run) -> str:
    how = "Point at a chart, or focus it and use the arrow keys, to read a step off all of them."
    if max(run.metrics(phase).points for phase in get_args(Trained)) < FEWEST:
        return f"One dot per step. The run is too short for smoothing and a confidence band. {how}"
    return (
        "Dots: single steps. Line: local linear regression over a rolling window, whose width "
        "is chosen by cross-validation for each curve. Band: the 95% confidence interval of the line, from "
        f"the scatter within the window. {how}"
    )


def _tasks(run: Run) -> int:
    summary: dict[str, Any] = run.evaluation.get("final") or run.evaluation.get("primed") or {}
    return int(summary.get("episodes", 0)) // int(_setting(run, "evaluation", "samples", 1))


def _setting(run: Run, section: str, key: str, default: Any) -> Any:
    return run.config.get(section, {}).get(key, default)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
