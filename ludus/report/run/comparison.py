"""Before and after on the held-out tasks, and what follows from it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal

from ludus.agents.episode import Episode
from ludus.agents.evaluate import left_out
from ludus.agents.statistics import Interval, bootstrap_mean
from ludus.report.figures import words
from ludus.report.run.files import Run
from ludus.report.run.pairs import Key, Matched, match, task_key
from ludus.tools.wording import counted, number
from ludus.trainers.config.evaluation import ValidationSection


@dataclass(frozen=True)
class Row:
    """A measure before and after, with 95% intervals, whose unknown ends are NaN."""

    name: str
    kind: Literal["outcome", "samples", "environment", "achieved", "form"]
    unit: str
    before: Interval | None
    after: Interval | None
    change: Interval | None
    """After minus before, as a mean over the tasks that both played."""

    @property
    def apart(self) -> bool:
        """Whether both intervals are known and do not overlap."""
        if self.before is None or self.after is None:
            return False
        return self.before.high < self.after.low or self.after.high < self.before.low

    @property
    def way(self) -> str:
        """`rose` or `fell`, for a row known on both sides."""
        assert self.before is not None
        assert self.after is not None
        return "rose" if self.after.value > self.before.value else "fell"


@dataclass(frozen=True)
class Verdict:
    headline: str
    remarks: tuple[str, ...]
    """Caveats that readers need to judge the headline."""


def compare(run: Run) -> list[Row]:
    """Success and return from the run's evaluation, then every reward term from the episodes."""
    before, after = run.evaluation.get("primed"), run.evaluation.get("final")
    if before is None and after is None:
        return []
    matched = match(run.primed, run.final)
    success = matched.by_task(lambda episode: float(episode.success))
    rows = [
        Row("Success", "outcome", "percent", _stated(before, "success"), _stated(after, "success"),
            _mean(success)),
        Row("Mean return", "outcome", "", _stated(before, "mean_return"), _stated(after, "mean_return"),
            _mean(matched.gains())),
    ]  # fmt: skip
    names = {name: None for summary in (before, after) if summary for name in summary["reward_terms"]}
    rows += _by_samples(before, after) + _by_environment(before, after)
    terms = [_term_row(name, run, before, after, matched) for name in names]
    return rows + sorted(terms, key=lambda row: row.kind)


def _by_samples(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[Row]:
    """pass@k, where tasks were played several times."""
    stages = [{} if summary is None else summary.get("pass_at", {}) for summary in (before, after)]
    numbers = sorted({int(k) for shares in stages for k in shares} - {1})
    rows = []
    for k in numbers:
        first, last = (
            _interval(shares[str(k)]["estimate"]) if str(k) in shares else None for shares in stages
        )
        rows.append(Row(f"pass@{k}", "samples", "percent", first, last, None))
    return rows


def _by_environment(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[Row]:
    """Success and return of each of several environments or levels."""
    stages = [{} if summary is None else summary.get("environments", {}) for summary in (before, after)]
    names = dict.fromkeys(name for environments in stages for name in environments)
    rows = []
    for name in names:
        for title, key, unit in (("Success", "success", "percent"), ("Mean return", "mean_return", "")):
            first, last = (_stated(environments.get(name), key) for environments in stages)
            rows.append(Row(f"{title}, {name}", "environment", unit, first, last, None))
    return rows


def verdict(run: Run, rows: Sequence[Row]) -> Verdict:
    """The headline and its caveats, including what the results leave out."""
    if "reward_model" in run.config:
        return _of_reward_model(run.worth)
    if not rows and not run.environments:
        return _by_loss(run)
    if not rows:
        return Verdict("Not evaluated yet.", ("There is no evaluation in the run's folder.",))
    found = _one_sided(run, rows[0]) if None in (rows[0].before, rows[0].after) else _two_sided(rows)
    faults = [
        f"Of the {stage} model's evaluation, {missing}."
        for stage, summary in run.evaluation.items()
        if (missing := left_out(summary.get("faults", 0), summary["episodes"], summary.get("refusals", 0)))
    ]
    return replace(found, remarks=(*found.remarks, *_best(run), *faults))


def _best(run: Run) -> list[str]:
    """How the best weights of the validation do on the evaluation's tasks."""
    best = _stated(run.evaluation.get("best"), "success")
    if best is None:
        return []
    chosen = ValidationSection(**run.config["validation"]).best_metric.partition("/")[2]
    validated = run.grpo.columns.get(f"validation/{chosen}")
    when = f" of step {int(validated[0][int(validated[1].argmax())])}" if validated else ""
    share, low, high = (number(value, "percent") for value in (best.value, best.low, best.high))
    return [f"The weights{when}, best in validation by {chosen}, succeed on {share} ({low} to {high})."]


def _two_sided(rows: Sequence[Row]) -> Verdict:
    success, reward = rows[0], rows[1]
    assert success.before is not None
    assert success.after is not None
    before, after = number(success.before.value, "percent"), number(success.after.value, "percent")
    remarks = []
    if success.apart:
        headline = f"Held-out success {success.way} from {before} to {after}."
        remarks.append("The 95% intervals do not overlap.")
    elif reward.apart and reward.before is not None and reward.after is not None:
        values = f"from {number(reward.before.value)} to {number(reward.after.value)}"
        headline = f"Mean return on held-out tasks {reward.way} {values}."
        remarks.append(
            f"The 95% intervals of the return do not overlap; those of success ({before} and {after}) do."
        )
    else:
        headline = f"Held-out success: {before} before, {after} after."
        remarks.append("The 95% intervals of success and of return overlap: the difference may be chance.")
    form = [row.name for row in rows if row.kind == "form" and row.apart]
    if form and not success.apart and not any(row.apart for row in rows if row.kind == "achieved"):
        remarks.append(
            f"Only the form of the replies changed ({', '.join(form)}): what they achieve did not, "
            "as far as the intervals show."
        )
    return Verdict(headline, tuple(remarks))


def _by_loss(run: Run) -> Verdict:
    """Of a run on data alone, which has nothing to play."""
    remarks = ("There is no environment to evaluate the model in.",)
    last, unit = (run.preferences, "per pair") if run.preferences.steps else (run.sft, "in nats per token")
    if "heldout_loss" not in last.columns:
        return Verdict("Trained on data; none of it is held out.", remarks)
    points = [*zip(*last.columns["heldout_loss"], strict=True)]
    change = ", ".join(
        f"{number(loss)} after {counted(int(step), 'step')}"
        for step, loss in dict.fromkeys((points[0], points[-1]))
    )
    return Verdict(f"Held-out loss, {unit}: {change}.", remarks)


def _of_reward_model(worth: Mapping[str, Any]) -> Verdict:
    if not worth:
        return Verdict("Not finished yet.", ("There is no reward_model.json in the run's folder.",))
    calibration = f"Calibration error {number(worth['calibration_error'])}."
    if "pairs" not in worth:
        steps, error = counted(worth["steps"], "held-out step"), number(worth["brier"])
        knows_nothing = f"The labels' mean as the value of every step has {number(worth['spread'])}."
        return Verdict(f"Mean squared error {error} on {steps}.", (knows_nothing, calibration))
    buckets = [
        f"{number(bucket['accuracy'], 'percent')} of {bucket['pairs']:,} at {bucket['ratio']}"
        for bucket in worth["buckets"]
    ]
    return Verdict(
        f"Right on {number(worth['accuracy'], 'percent')} of {counted(worth['pairs'], 'held-out pair')}.",
        (
            f"Held-out loss {number(worth['log_loss'])} nats per pair; who knows nothing has ln 2 ≈ 0.693.",
            calibration,
            f"By the chosen reply's length over the rejected one's: {', '.join(buckets)}.",
            f"Length: {worth['length']}.",
        ),
    )


def _one_sided(run: Run, success: Row) -> Verdict:
    stage, missing = ("primed", "final") if success.after is None else ("final", "primed")
    known = success.before or success.after
    headline = "No held-out episode was completed."
    if known is not None:
        headline = f"The {stage} model succeeds on {number(known.value, 'percent')} of the held-out tasks."
    earlier = (("rft", "iterations"), ("preferences", "steps"))
    planned = [run.config.get(table, {}).get(key, 0) for table, key in earlier]
    if missing == "final" and not any(planned) and run.config.get("grpo", {}).get("steps") == 0:
        return Verdict(
            headline, ("This run ends with priming, so there is no second model to compare with.",)
        )
    why = "This run is unfinished" if missing == "final" else "The comparison is one-sided"
    return Verdict(headline, (f"{why}: there is no evaluation of the {missing} model.",))


def _stated(summary: Mapping[str, Any] | None, key: str) -> Interval | None:
    if summary is None or summary[key]["value"] is None:
        return None
    return _interval(summary[key])


def _interval(stated: Mapping[str, float | None]) -> Interval:
    return Interval(**{name: math.nan if value is None else value for name, value in stated.items()})


def _term_row(
    name: str,
    run: Run,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    matched: Matched,
) -> Row:
    changes = matched.by_task(lambda episode: episode.reward_terms().get(name, 0.0))
    return Row(
        name=words(name),
        kind="form" if name in run.form_terms else "achieved",
        unit="",
        before=_term(name, run.primed, before),
        after=_term(name, run.final, after),
        change=_mean(changes),
    )


def _term(name: str, episodes: Sequence[Episode], summary: Mapping[str, Any] | None) -> Interval | None:
    """From the episodes or, if none are stored, the summary's mean without an interval."""
    if summary is None:
        return None
    tasks: dict[Key, list[float]] = {}
    for episode in episodes:
        if episode.is_scored:
            tasks.setdefault(task_key(episode), []).append(episode.reward_terms().get(name, 0.0))
    if tasks:
        return bootstrap_mean([fmean(values) for values in tasks.values()])
    value = summary["reward_terms"].get(name)
    return None if value is None else Interval(value, math.nan, math.nan)


def _mean(values: Sequence[float]) -> Interval | None:
    return bootstrap_mean(values) if values else None
