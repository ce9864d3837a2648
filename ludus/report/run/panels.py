"""The learning curves: what each shows, its unit, and its metrics."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Literal

from ludus.report.figures import words
from ludus.report.run.files import Metrics, Run, Trained

Colour = Literal["blue", "ochre", "teal", "violet", "rose", "grey"]
Limits = tuple[float, float] | None
CYCLE: tuple[Colour, ...] = ("blue", "ochre", "teal", "violet", "rose", "grey")


@dataclass(frozen=True)
class Line:
    metric: str
    label: str
    colour: Colour


@dataclass(frozen=True)
class Panel:
    title: str
    note: str
    """A sentence: what it is, and what to look for."""
    lines: tuple[Line, ...]
    unit: str = ""
    limits: Limits = None
    """The metric's possible range."""
    from_zero: bool = False
    stacked: bool = False
    exact: bool = False
    """Set, not measured: there is nothing to smooth."""
    heldout: str = ""
    """The outcome (see `comparison`) whose held-out values are marked before and after the steps."""


@dataclass(frozen=True)
class Group:
    title: str
    note: str
    phase: Trained
    panels: tuple[Panel, ...]
    constants: tuple[tuple[str, float, str], ...] = ()
    """Title, value and unit of metrics that never changed, which a sentence tells better than a chart."""


def learning_curves(run: Run) -> list[Group]:
    """The groups of panels for which the run has data; a panel keeps only the lines that exist."""
    achieved = tuple(_term(name, "blue") for name in run.grpo.names("terms/"))
    form = tuple(_term(name, "violet") for name in run.grpo.names("form/"))
    stops = _stacked(
        "Why episodes ended", "Share of the batch by stop reason.", run.grpo.names("stop/"), "percent", (0, 1)
    )
    phases = [name for name in run.grpo.names("seconds/") if name != "seconds/total"]
    seconds = _stacked("Seconds by phase", "Wall time per step.", phases, "s")
    groups = [
        Group("Earned", "Means over the episodes of each training batch.", "grpo", _EARNED),
        Group(
            "Reward terms: what was achieved", "Unweighted, summed over an episode's turns.", "grpo", achieved
        ),
        Group(
            "Reward terms: form of the reply",
            "Shown apart, to reveal a run that only learns the format.",
            "grpo",
            form,
        ),
        Group("By environment", "Each environment's part of the batch.", "grpo", _by_environment(run.grpo)),
        Group(
            "Strength",
            "In games with scripted players, whose strength stays the same, and with past checkpoints.",
            "grpo",
            strength(run.grpo),
        ),
        Group(
            "Validation",
            "On held-out tasks apart from those of the evaluation; the best weights are chosen on them.",
            "grpo",
            _validation(run.grpo),
        ),
        Group(
            "Scorers",
            "Models whose scores are terms of the reward; these stand among what was achieved.",
            "grpo",
            (
                _together(
                    run.grpo,
                    "Planted bad answers taken for good",
                    "Share of pairs in which a known-bad answer is scored no lower than a known-good one.",
                    "scorers/",
                    "misjudged",
                    "percent",
                    (0, 1),
                ),
                _together(
                    run.grpo,
                    "Score before the gate",
                    "Of the episodes that it was asked about.",
                    "scorers/",
                    "score",
                ),
            ),
        ),
        Group("Policy", "How the distribution over tokens changes.", "grpo", _POLICY),
        Group("Teacher", "How far the policy is from it, in nats per token.", "grpo", _teacher(run.grpo)),
        Group("Value model", "What it expects to be earned, beside what was.", "grpo", _CRITIC),
        Group("Episodes", "What is played.", "grpo", (*_EPISODES, stops)),
        Group(
            "Numerical health and speed",
            "Can the figures be trusted, and what did they cost?",
            "grpo",
            (*_HEALTH, seconds),
        ),
        Group(
            "Preferences",
            "Of two replies the better one is made likelier, measured from the model that this began with.",
            "preferences",
            _PREFERENCES,
        ),
        Group(
            "Reward model",
            "Trained on pairs, or on the values of steps.",
            "reward_model",
            _REWARD_MODEL,
        ),
        Group("Rejection sampling", "Each iteration's episodes, and fine-tuning on the best.", "rft", _RFT),
        Group("Priming", "Supervised fine-tuning on demonstrations or data.", "sft", _PRIMING),
    ]
    kept = []
    for group in groups:
        metrics = run.metrics(group.phase)
        panels = [panel for panel in (_existing(p, metrics) for p in group.panels) if panel.lines]
        constant = [panel for panel in panels if _is_constant(panel, metrics)]
        if panels:
            changing = tuple(panel for panel in panels if panel not in constant)
            stated = tuple(
                (_name(panel, line), float(metrics.columns[line.metric][1][0]), panel.unit)
                for panel in constant
                for line in panel.lines
            )
            kept.append(replace(group, panels=changing, constants=stated))
    return kept


def _by_environment(metrics: Metrics) -> tuple[Panel, ...]:
    """What each environment earns, and at which level of difficulty it is played."""
    panels = [
        _together(metrics, title, note, "environments/", figure, unit, limits)
        for figure, title, note, unit, limits in (
            ("success", "Success by environment", "Share of episodes that succeed.", "percent", (0.0, 1.0)),
            ("reward", "Return by environment", "Reward summed over an episode.", "", None),
            (
                "flat_groups",
                "Flat groups by environment",
                "Share of groups that teach nothing: no episode or turn in them did better than another.",
                "percent",
                (0.0, 1.0),
            ),
        )
    ]
    level = _together(
        metrics, "Level of difficulty", "Of the tasks played; 0 is the easiest.", "environments/", "level"
    )
    shares = [name for name in metrics.names("environments/") if name.endswith("/share")]
    parts = [name for name in shares if name.count("/") == 2]
    drawn = [
        _shares(
            f"Levels drawn, {name}",
            [part for part in shares if part.startswith(f"environments/{name}/level-")],
        )
        for name in _names(metrics, "environments/", "level")
    ]
    return (*panels, replace(level, exact=True), *drawn, _shares("Share of groups", parts))


def _teacher(metrics: Metrics) -> tuple[Panel, ...]:
    """The divergence from the teacher: of all tokens, and by their place in the completion."""
    places = sorted(int(name.rpartition("/")[2]) for name in metrics.names("teacher/kl/"))
    lines = _lines([(f"teacher/kl/{place}", f"from token {place}") for place in places])
    return (
        _single(
            "teacher/kl",
            "KL to the teacher",
            "The policy's log-probability of its own tokens less the teacher's; falls as it learns.",
            "nats",
            "violet",
        ),
        Panel(
            "KL to the teacher, by place", "Up to the next of these places in a completion.", lines, "nats"
        ),
        _single(
            "teacher/divergence",
            "Divergence that is descended",
            "Over the teacher's likeliest ids, and all others as one.",
            "nats",
            "violet",
            from_zero=True,
        ),
    )


def strength(metrics: Metrics) -> tuple[Panel, ...]:
    """Of each game the rating, and what is scored against whom: where a line falls that had risen, the policy
    loses to whom it beat before."""
    panels = []
    for game in _names(metrics, "rating/", "elo"):
        rating, score = f"rating/{game}/elo", f"rating/{game}/score/"
        members = metrics.names(f"{score}league-") + metrics.names(f"{score}given-")
        panels += [
            Panel(
                f"Rating, {game}",
                "In Elo points, with the 95% interval, by games with the anchors.",
                (
                    Line(rating, "rating", "blue"),
                    Line(f"{rating}_low", "95% from", "grey"),
                    Line(f"{rating}_high", "to", "grey"),
                ),
            ),
            _scores(
                f"Score against anchors, {game}",
                [name for name in metrics.names(score) if name not in members],
            ),
            _scores(f"Score against past checkpoints, {game}", members),
        ]
    played = [name for name in metrics.names("opponents/") if name.endswith("/score")]
    lines = [(name, name.split("/")[1]) for name in played]
    earned = [name for name in metrics.names("seats/") if name.endswith("/return")]
    seats = [(name, " ".join(name.split("/")[1:3])) for name in earned]
    return (
        *panels,
        Panel(
            "Score in training, by opponent",
            "A win counts 1, a draw ½; against itself, that of the first seat.",
            _lines(lines),
            "percent",
            (0, 1),
            True,
        ),
        Panel("Return by seat", "Reward summed over an episode.", _lines(seats)),
    )


def _scores(title: str, names: Sequence[str]) -> Panel:
    lines = _lines([(name, name.rpartition("/")[2]) for name in names])
    return Panel(title, "A win counts 1, a draw ½.", lines, "percent", (0, 1), True)


def _lines(labelled: Sequence[tuple[str, str]]) -> tuple[Line, ...]:
    """A line for each metric and label."""
    return tuple(Line(*pair, colour) for pair, colour in zip(labelled, cycle(CYCLE), strict=False))


def _validation(metrics: Metrics) -> tuple[Panel, ...]:
    """Held-out tasks while training: all together, and each environment's."""
    several = sorted(
        (name for name in metrics.names("validation/pass@")), key=lambda name: int(name.partition("@")[2])
    )
    labels = ["validation/success", *several]
    passes = tuple(
        Line(name, name.partition("/")[2], colour) for name, colour in zip(labels, cycle(CYCLE), strict=False)
    )
    return (
        _together(metrics, "Success in validation", "", "validation/", "success", "percent", (0, 1)),
        _together(metrics, "Return in validation", "", "validation/", "reward"),
        Panel(
            "One of k samples succeeds",
            "pass@k beside the mean: a policy can gain the one and lose the other.",
            passes if several else (),
            "percent",
            (0, 1),
            True,
        ),
    )


def _names(metrics: Metrics, prefix: str, figure: str) -> list[str]:
    """The environments that have a metric PREFIX NAME/FIGURE."""
    inner = (name.removeprefix(prefix).removesuffix(f"/{figure}") for name in metrics.names(prefix))
    return [
        name
        for name in dict.fromkeys(inner)
        if "/" not in name and f"{prefix}{name}/{figure}" in metrics.columns
    ]


def _together(
    metrics: Metrics,
    title: str,
    note: str,
    prefix: str,
    figure: str,
    unit: str = "",
    limits: Limits = None,
) -> Panel:
    """A line for all environments together, if there is such a metric, and one for each."""
    overall = [Line(prefix + figure, "all", "grey")] if prefix + figure in metrics.columns else []
    each = [
        Line(f"{prefix}{name}/{figure}", name, colour)
        for name, colour in zip(_names(metrics, prefix, figure), cycle(CYCLE), strict=False)
    ]
    return Panel(title, note, (*overall, *each), unit, limits, from_zero=limits is not None)


def _shares(title: str, names: list[str]) -> Panel:
    """Parts of the groups, stacked."""
    lines = tuple(
        Line(name, name.split("/")[-2], colour) for name, colour in zip(names, cycle(CYCLE), strict=False)
    )
    return Panel(title, "Of a step's groups.", lines, "percent", (0, 1), from_zero=True, stacked=True)


def _is_constant(panel: Panel, metrics: Metrics) -> bool:
    lines = [metrics.columns[line.metric][1] for line in panel.lines]
    return not panel.heldout and all(len(values) > 1 and (values == values[0]).all() for values in lines)


def _name(panel: Panel, line: Line) -> str:
    """A panel's title, and the line's if it has its own."""
    return panel.title if line.label in (panel.title, "") else f"{panel.title}, {line.label}"


def _existing(panel: Panel, metrics: Metrics) -> Panel:
    return replace(panel, lines=tuple(line for line in panel.lines if line.metric in metrics.columns))


def _term(metric: str, colour: Colour) -> Panel:
    return _single(metric, words(metric.partition("/")[2]).capitalize(), "", "", colour)


def _stacked(title: str, note: str, names: Iterable[str], unit: str, limits: Limits = None) -> Panel:
    """The parts of a whole, each metric stacked on the one before it."""
    lines = tuple(Line(name, name.partition("/")[2], colour) for name, colour in zip(names, cycle(CYCLE)))
    return Panel(title, note, lines, unit, limits, from_zero=True, stacked=True)


def _single(
    metric: str,
    title: str,
    note: str,
    unit: str = "",
    colour: Colour = "blue",
    *,
    limits: Limits = None,
    from_zero: bool = False,
    heldout: str = "",
) -> Panel:
    return Panel(title, note, (Line(metric, title, colour),), unit, limits, from_zero, heldout=heldout)


_EARNED = (
    _single(
        "reward",
        "Return",
        "Reward summed over an episode; a diamond is a held-out evaluation.",
        heldout="Mean return",
    ),
    _single(
        "success",
        "Success",
        "Share of episodes that succeed; a diamond is a held-out evaluation.",
        "percent",
        limits=(0, 1),
        from_zero=True,
        heldout="Success",
    ),
    _single(
        "reward_std",
        "Spread of returns",
        "Standard deviation over a batch's episodes; no spread, no signal.",
        from_zero=True,
    ),
    _single("process/value", "Value of a step", "What the scorer gives for a step of a reply, on average."),
)
_CRITIC = (
    _single(
        "critic/explained_variance",
        "Explained variance",
        "Of what was earned, by the values: 1 is perfect, 0 no better than the mean, below 0 worse.",
        "",
        "violet",
    ),
    _single(
        "critic/loss", "Value loss", "Half the squared error of the values.", "", "violet", from_zero=True
    ),
    _single("critic/value", "Value, mean", "Over the sampled tokens; near the mean return.", "", "violet"),
    _single("critic/grad_norm", "Gradient norm", "Before clipping.", "", "grey", from_zero=True),
)

_POLICY = (
    _single(
        "entropy",
        "Entropy",
        "Nats per sampled token; a collapse to 0 ends exploration.",
        "nats",
        "teal",
        from_zero=True,
    ),
    _single(
        "kl",
        "KL to the reference",
        "Nats per token: how far the policy has moved from it.",
        "nats",
        "teal",
        from_zero=True,
    ),
    Panel("KL coefficient", "", (Line("kl_coefficient", "", "grey"),), from_zero=True, exact=True),
    Panel("Entropy coefficient", "", (Line("entropy_coefficient", "", "grey"),), from_zero=True, exact=True),
    _single(
        "ratio_mean",
        "Ratio, mean",
        "New over old probability of the sampled tokens; near 1 on policy.",
        "",
        "teal",
    ),
    _single(
        "ratio_max_deviation",
        "Ratio, farthest from 1",
        "Over a batch's tokens and updates; exactly 0 with one update per batch.",
        "",
        "rose",
        from_zero=True,
    ),
    Panel(
        "Clipped tokens",
        "Share whose ratio left the trust region, below and above.",
        (Line("clip_low", "below", "ochre"), Line("clip_high", "above", "blue")),
        "percent",
        (0, 1),
        True,
    ),
    _single("grad_norm", "Gradient norm", "Before clipping.", "", "teal", from_zero=True),
    _single("loss", "Loss", "The surrogate loss; its level says little.", "", "teal"),
    Panel("Learning rate", "", (Line("learning_rate", "", "grey"),), from_zero=True, exact=True),
)
_EPISODES = (
    Panel(
        "Completion length",
        "Tokens per turn, mean and longest.",
        (Line("completion_tokens", "mean", "blue"), Line("completion_tokens_max", "longest", "grey")),
        "tokens",
        None,
        True,
    ),
    _single("turns", "Turns", "Per episode.", "", from_zero=True),
    _single("process/steps", "Steps of a reply", "That the scorer finds, on average.", from_zero=True),
    _single(
        "flat_groups",
        "Flat groups",
        "Share of groups that teach nothing: no episode or turn in them did better than another.",
        "percent",
        limits=(0, 1),
        from_zero=True,
    ),
    _single(
        "anchor/company",
        "Turns with company",
        "Share of turns that the group took in the state of another turn: the others compare episodes alone.",
        "percent",
        limits=(0, 1),
        from_zero=True,
    ),
    _single("anchor/size", "Turns in a state", "That a group took, on average.", from_zero=True),
    _single(
        "fault_share",
        "Faults",
        "Share of episodes that broke on our side, which training leaves out.",
        "percent",
        "rose",
        limits=(0, 1),
        from_zero=True,
    ),
)
_HEALTH = (
    Panel(
        "Engine and trainer",
        "Difference between their log-probabilities for the same tokens, mean and largest.",
        (Line("mismatch_mean", "mean", "blue"), Line("mismatch_max", "largest", "rose")),
        "nats",
        None,
        True,
    ),
    _single(
        "tokens_per_second",
        "Tokens per second",
        "Sampled tokens over the whole step's wall time.",
        "/s",
        "grey",
        from_zero=True,
    ),
)
_PREFERENCES = (
    Panel(
        "Loss",
        "Of a pair, on the batch and on what is never trained on; ln 2 (DPO) at first.",
        (Line("loss", "training", "blue"), Line("heldout_loss", "held out", "ochre")),
        from_zero=True,
    ),
    Panel(
        "Accuracy",
        "Share of pairs whose chosen side gained more than the rejected one; none at first, where both "
        "gained nothing.",
        (Line("accuracy", "training", "blue"), Line("heldout_accuracy", "held out", "ochre")),
        "percent",
        (0, 1),
        True,
    ),
    Panel(
        "Implicit rewards",
        "β times the log-ratio of policy to reference, of either side, and their difference.",
        (
            Line("margin", "margin", "teal"),
            Line("implicit_reward/chosen", "chosen", "blue"),
            Line("implicit_reward/rejected", "rejected", "rose"),
        ),
    ),
    Panel(
        "Log-probability",
        "Of whole sides; where that of the chosen one falls, too, the policy moves to what neither says.",
        (Line("logprob/chosen", "chosen", "blue"), Line("logprob/rejected", "rejected", "rose")),
        "nats",
    ),
    _single("sft_loss", "Loss of the chosen side", "Nats per token.", "nats", "blue", from_zero=True),
    _single("grad_norm", "Gradient norm", "Before clipping.", "", "grey", from_zero=True),
    _single(
        "success",
        "Success while playing",
        "Share of a step's episodes that succeed.",
        "percent",
        limits=(0, 1),
        from_zero=True,
    ),
    _single("reward", "Return while playing", "Reward summed over an episode."),
    _single("pairs", "Pairs", "Of a step.", from_zero=True),
)
_REWARD_MODEL = (
    Panel(
        "Loss",
        "Of a pair or a step, on the batch and on what is never trained on; ln 2 ≈ 0.693 knows nothing.",
        (Line("loss", "training", "blue"), Line("heldout_loss", "held out", "ochre")),
        "nats",
        None,
        True,
    ),
    _single("grad_norm", "Gradient norm", "Before clipping.", "", "grey", from_zero=True),
    _single("tokens_per_second", "Tokens per second", "", "/s", "grey", from_zero=True),
)
_RFT = (
    _single(
        "success",
        "Success while sampling",
        "Share of an iteration's episodes that succeed, before fine-tuning on them.",
        "percent",
        limits=(0, 1),
        from_zero=True,
    ),
    _single("reward", "Return while sampling", "Reward summed over an episode."),
    Panel(
        "Episodes",
        "Those kept to fine-tune on; left out as repeated, or since their task has enough.",
        (
            Line("kept", "kept", "blue"),
            Line("repeated", "repeated", "ochre"),
            Line("surplus", "surplus", "grey"),
        ),
        from_zero=True,
    ),
    _single(
        "unsolved_tasks",
        "Tasks without a success",
        "Nothing of them is trained on.",
        "",
        "rose",
        from_zero=True,
    ),
    _single("loss", "Loss", "Nats per token, on the batch.", "nats", "blue", from_zero=True),
)
_PRIMING = (
    Panel(
        "Loss",
        "Nats per token, on the batch and on what is never trained on.",
        (Line("loss", "training", "blue"), Line("heldout_loss", "held out", "ochre")),
        "nats",
        None,
        True,
    ),
    _single("tokens_per_second", "Tokens per second", "", "/s", "grey", from_zero=True),
)
