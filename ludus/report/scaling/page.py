"""The report of a measurement: one self-contained page with the figure and its numbers, and the figure as a
PNG."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ludus.agents.scaling.curves import Curve
from ludus.agents.scaling.run import Plan, Settings
from ludus.agents.statistics import plain
from ludus.report.run.configuration import written
from ludus.report.scaling.figure import markup, picture
from ludus.report.templates import render_page
from ludus.tools.files import write_file
from ludus.tools.wording import counted, environment_title

RESULTS, REPORT, PICTURE = "results.json", "report.html", "scaling.png"

_SUBSETS = "the mean over all subsets of the pool, in closed form."
_ABOUT = {
    "single": "One sample of each task, as the model is.",
    "majority": f"The most common answer of k samples: {_SUBSETS}",
    "best-of": f"The sample with the highest score among k: {_SUBSETS}",
    "beam": "The best states so far are continued in several ways each, and the best of those kept.",
    "mcts": "UCT: what looks best so far is tried again, what was tried little as well.",
    "revision": "The model is shown its latest attempt and asked to do the task again.",
}


def write_scaling_report(
    settings: Settings, plan: Plan, curves: Sequence[Curve], folder: Path, notes: Sequence[str] = ()
) -> Path:
    """Write `results.json`, `scaling.png` and `report.html` into a measurement's folder.

    Returns:
        The page.

    Raises:
        OSError: one of them cannot be written.
    """
    numbers = {"settings": asdict(settings), "plan": asdict(plan), "curves": [asdict(one) for one in curves]}
    write_file(folder / RESULTS, json.dumps(plain(numbers), indent=1) + "\n")
    title = f"{environment_title(settings.environment)}, {settings.model}"
    write_file(folder / PICTURE, picture(curves, title))
    page = render_page(
        "scaling/page.html.jinja",
        styles=["bench/page.css", "arena/page.css", "scaling/page.css"],
        settings=settings,
        headline=_headline(curves),
        lede=f"{counted(plan.tasks, 'task')} of {environment_title(settings.environment)}, "
        f"{counted(plan.samples, 'sample')} of each, by {settings.model}.",
        notes=notes,
        figure=markup(curves),
        curves=curves,
        about=_ABOUT,
        facts=_facts(settings),
    )
    return write_file(folder / REPORT, page)


def _headline(curves: Sequence[Curve]) -> str:
    """The best that sees no rewards, against one sample. Where revisions begin is one sample, too, of fewer
    draws."""
    honest = [
        (curve, point)
        for curve in curves
        if not curve.sees_rewards
        for point in curve.points[curve.family == "revision" :]
    ]
    if not honest:
        return "Nothing has been measured yet"
    curve, point = max(honest, key=lambda one: one[1].success.value)
    single = next((one.points[0] for one in curves if one.family == "single"), point)
    if curve.family == "single":
        return f"Nothing beats a single sample, which succeeds {single.success.value:.1%} of the time"
    times = f", at {point.sampled / single.sampled:.1f} times the tokens" if single.sampled else ""
    return (
        f"From {single.success.value:.1%} for one sample to {point.success.value:.1%} with {curve.name}, "
        f"{point.setting}{times}"
    )


def _facts(settings: Settings) -> list[tuple[str, str]]:
    facts = [
        ("Temperature", f"{settings.temperature:g}"),
        ("Tokens in a reply", f"at most {settings.max_tokens:,}"),
        ("First task's seed", str(settings.seed)),
        ("Ludus", settings.ludus),
    ]
    given = {**settings.arguments, **settings.options}
    return facts + [(name, written(value)) for name, value in given.items()]
