"""A run's metrics: one line per step in `metrics.jsonl` and in TensorBoard, and how episodes become
numbers."""

import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from ludus.agents.episode import Episode
from ludus.tools.checksums import KEY, is_damaged, sealed
from ludus.trainers.advantages.anchor import anchor_metrics
from ludus.trainers.batches.groups import Group
from ludus.trainers.curriculum import metric
from ludus.trainers.disk import disk_errors, write_file
from ludus.trainers.errors import RunError
from ludus.trainers.mixture import Mixture

FILE = "metrics.jsonl"
TRAINING_PHASES = ("sft", "rft", "preferences", "grpo", "reward_model")
"""The phases that have steps, in order."""


class MetricsWriter:
    """Appends a phase's steps to `metrics.jsonl` and to `tensorboard/PHASE`.

    Opening it for a phase with `completed` steps drops all later ones: a killed process wrote them after its
    last checkpoint, and they are computed again.
    """

    def __init__(self, run: Path, phase: str, completed: int = 0) -> None:
        self._phase = phase
        self._path = run / FILE
        kept = [
            line for line in read_metrics(run) if line["phase"] != phase or int(line["step"]) <= completed
        ]
        self.history = [line for line in kept if line["phase"] == phase]
        """The lines of the phase so far."""
        write_file(self._path, "".join(json.dumps(sealed(line)) + "\n" for line in kept))
        with disk_errors(self._path):
            self._file = self._path.open("a", encoding="utf-8")
            self._board = SummaryWriter(str(run / "tensorboard" / phase), purge_step=completed + 1)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record a step, counted from 1.

        Raises:
            RunError: if the disk is full.
        """
        line = sealed({"phase": self._phase, "step": step, **metrics})
        self.history.append(line)
        with disk_errors(self._path):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            for name, value in metrics.items():
                self._board.add_scalar(name.replace(":", "-"), value, step)

    def close(self) -> None:
        with disk_errors(self._path):
            self._file.close()
            self._board.close()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_metrics(run: Path) -> list[dict[str, float | str]]:
    """The lines of a run's `metrics.jsonl`, without a last line that a killed process left unfinished.

    Raises:
        RunError: if any other line is not as it was written.
    """
    path = run / FILE
    written = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [_record(path, number, line) for number, line in enumerate(written, 1) if line.endswith(b"\n")]


def steps_before(run: Path, phase: str) -> int:
    """How many steps a run has recorded in the phases that come before this one."""
    earlier = TRAINING_PHASES[: TRAINING_PHASES.index(phase)]
    steps: dict[str, int] = {}
    for line in read_metrics(run):
        if line["phase"] in earlier:
            steps[str(line["phase"])] = int(line["step"])
    return sum(steps.values())


def _record(path: Path, number: int, line: bytes) -> dict[str, float | str]:
    try:
        record = json.loads(line)
        record["phase"], int(record["step"])
    except (ValueError, KeyError, TypeError):
        raise RunError(
            f"{path}, line {number}: not a record of a step (a JSON object with phase and step); the file "
            "was edited or damaged, delete that line"
        ) from None
    if is_damaged(record):
        raise RunError(
            f"{path}, line {number}: not what was written (its checksum differs); the file was edited or "
            "damaged, delete that line"
        )
    record.pop(KEY, None)
    return record


def episode_metrics(episodes: Sequence[Episode], groups: Sequence[Group]) -> dict[str, float]:
    """Metrics of the policy from a batch of training episodes; faults count only in `fault_share` and
    `stop/…`, refusals only in `stop/…`.

    `reward` is the mean return, `reward_std` its standard deviation over episodes and `reward_error` the
    mean's standard error over groups (missing if there is only one group); `terms/NAME` is an unweighted
    reward term, summed over an episode's turns and averaged over episodes; a term that judges the form of a
    reply (`Rubric.form`) is `form/NAME`, apart from what was achieved; `completion_tokens` is per turn and
    `sampled_tokens` of the whole batch, faults included; `cut`
    is the share of completions that the token limit cut off, `prefix_hits` that of the tokens of contexts
    which the engine found in its cache (missing if it counts none); `flat_groups` is the share of groups
    that are flat (`Group.is_flat`), reward shaping included, and `flat_unsolved` the share of those that are,
    though not every episode succeeded. For `anchor/…` see `anchor_metrics`.
    Where a scorer judges the steps of replies, `process/value` is the mean of a step and `process/steps` how
    many a reply has.
    """
    whole = [episode for episode in episodes if episode.is_scored]
    metrics: dict[str, float] = {}
    if whole:
        returns = [episode.episode_return for episode in whole]
        turns = [turn for episode in whole for turn in episode.turns]
        lengths = [len(turn.completion_ids) for turn in turns] or [0]
        metrics["reward"] = statistics.fmean(returns)
        metrics["reward_std"] = statistics.pstdev(returns)
        if len(groups) > 1:
            means = [
                statistics.fmean(episode.episode_return for episode in group.episodes) for group in groups
            ]
            metrics["reward_error"] = statistics.stdev(means) / math.sqrt(len(groups))
        totals = [episode.reward_terms() for episode in whole]
        form = {name for episode in whole for name in episode.form_terms}
        for name in sorted({name for terms in totals for name in terms}):
            kind = "form" if name in form else "terms"
            metrics[f"{kind}/{name}"] = statistics.fmean(terms.get(name, 0.0) for terms in totals)
        metrics["success"] = statistics.fmean(episode.success for episode in whole)
        metrics["completion_tokens"] = statistics.fmean(lengths)
        metrics["completion_tokens_max"] = max(lengths)
        metrics["cut"] = statistics.fmean(turn.finish == "length" for turn in turns) if turns else 0.0
        if hits := sum(turn.cached_tokens for turn in turns):
            metrics["prefix_hits"] = hits / sum(turn.prompt_tokens for turn in turns)
        metrics["turns"] = statistics.fmean(len(episode.turns) for episode in whole)
        metrics.update(_step_metrics(groups))
        metrics["flat_groups"] = statistics.fmean(group.is_flat for group in groups)
        metrics["flat_unsolved"] = statistics.fmean(
            group.is_flat and not all(episode.success for episode in group.episodes) for group in groups
        )
        metrics |= anchor_metrics(trajectory for group in groups for trajectory in group.trajectories)
    for reason, count in sorted(Counter(episode.stop for episode in episodes).items()):
        metrics[f"stop/{reason.value}"] = count / len(episodes)
    metrics["sampled_tokens"] = completion_tokens(episodes)
    metrics["fault_share"] = statistics.fmean(episode.is_fault for episode in episodes)
    return metrics


def _step_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Of the steps that a scorer found in replies; without a scorer there are none."""
    scored = [t for group in groups for t in group.trajectories if t.step_values is not None]
    values = [value for trajectory in scored for value in trajectory.step_values or ()]
    replies = sum(count > 0 for trajectory in scored for count in trajectory.tokens)
    metrics = {"process/steps": len(values) / replies} if replies else {}
    return {**metrics, "process/value": statistics.fmean(values)} if values else metrics


def environment_metrics(mixture: Mixture, groups: Sequence[Group]) -> dict[str, float]:
    """Metrics of each of several environments, or of one at several levels: `environments/NAME/FIGURE`.

    `share` is its share of the groups; `reward`, `success`, `turns` and `flat_groups` are as in
    `episode_metrics`. With a curriculum, `level` is the mean level of its groups; where it draws from all
    levels, `level-N/share` and `level-N/flat_groups` are of the groups at one.
    """
    if mixture.is_single:
        return {}
    metrics: dict[str, float] = {}
    placed = [(group, *mixture.place(group.episodes[0])) for group in groups]
    for member in mixture.members:
        own = [(group, level) for group, of, level in placed if of is member]
        if not own:
            continue
        whole = [episode for group, _ in own for episode in group.episodes]
        figures = {
            "share": len(own) / len(groups),
            "reward": statistics.fmean(episode.episode_return for episode in whole),
            "success": statistics.fmean(episode.success for episode in whole),
            "turns": statistics.fmean(len(episode.turns) for episode in whole),
            "flat_groups": statistics.fmean(group.is_flat for group, _ in own),
        }
        if member.curriculum is not None:
            figures["level"] = statistics.fmean(level for _, level in own)
            if member.curriculum.kind == "learnability":
                for at in sorted({level for _, level in own}):
                    flat = [group.is_flat for group, level in own if level == at]
                    figures[f"level-{at}/share"] = len(flat) / len(own)
                    figures[f"level-{at}/flat_groups"] = statistics.fmean(flat)
        metrics |= {metric(member.name, name): value for name, value in figures.items()}
    return metrics


def completion_tokens(episodes: Sequence[Episode]) -> int:
    return sum(len(turn.completion_ids) for episode in episodes for turn in episode.turns)
