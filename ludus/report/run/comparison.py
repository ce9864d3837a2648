"""Before and after on the held-out tasks, and what follows from it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ludus.agents.episode import Episode
from ludus.agents.evaluate import left_out
from ludus.agents.statistics import Interval, bootstrap_mean
from ludus.report.figures import words
from ludus.report.run.files import Run
from ludus.report.run.pairs import Matched, match
from ludus.tools.wording import number


@dataclass(frozen=True)
class Row:
    """A measure before and after, with 95% intervals, whose unknown ends are NaN."""

    name: str
    kind: Literal["outcome", "achieved", "form"]
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
    success = [float(b.success) - float(a.success) for a, b in matched.pairs]
    rows = [
        Row("Success", "outcome", "percent", _stated(before, "success"), _stated(after, "success"),
            _mean(success)),
        Row("Mean return", "outcome", "", _stated(before, "mean_return"), _stated(after, "mean_return"),
            _mean(matched.gains())),
    ]  # fmt: skip
    names = {name: None for summary in (before, after) if summary for name in summary["reward_terms"]}
    terms = [_term_row(name, run, before, after, matched) for name in names]
    return rows + sorted(terms, key=lambda row: row.kind)


def verdict(run: Run, rows: Sequence[Row]) -> Verdict:
    """The headline and its caveats, including what the results leave out."""
    if not rows:
        return Verdict("Not evaluated yet.", ("There is no evaluation in the run's folder.",))
    found = _one_sided(run, rows[0]) if None in (rows[0].before, rows[0].after) else _two_sided(rows)
    faults = [
        f"Of the {stage} model's evaluation, {missing}."
        for stage, summary in run.evaluation.items()
        if (missing := left_out(summary.get("faults", 0), summary["episodes"], summary.get("refusals", 0)))
    ]
    return replace(found, remarks=(*found.remarks, *faults))


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


def _one_sided(run: Run, success: Row) -> Verdict:
    stage, missing = ("primed", "final") if success.after is None else ("final", "primed")
    known = success.before or success.after
    headline = "No held-out episode was completed."
    if known is not None:
        headline = f"The {stage} model succeeds on {number(known.value, 'percent')} of the held-out tasks."
    if missing == "final" and run.config.get("grpo", {}).get("steps") == 0:
        return Verdict(
            headline, ("This run has no GRPO steps, so there is no second model to compare with.",)
        )
    why = "This run is unfinished" if missing == "final" else "The comparison is one-sided"
    return Verdict(headline, (f"{why}: there is no evaluation of the {missing} model.",))


def _stated(summary: Mapping[str, Any] | None, key: str) -> Interval | None:
    if summary is None or summary[key]["value"] is None:
        return None
    return Interval(**{name: math.nan if value is None else value for name, value in summary[key].items()})


def _term_row(
    name: str,
    run: Run,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    matched: Matched,
) -> Row:
    changes = [b.reward_terms().get(name, 0.0) - a.reward_terms().get(name, 0.0) for a, b in matched.pairs]
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
    whole = [episode for episode in episodes if episode.is_scored]
    if whole:
        return bootstrap_mean([episode.reward_terms().get(name, 0.0) for episode in whole])
    value = summary["reward_terms"].get(name)
    return None if value is None else Interval(value, math.nan, math.nan)


def _mean(values: Sequence[float]) -> Interval | None:
    return bootstrap_mean(values) if values else None
