"""The evaluations of a run: held-out tasks, played by the primed, the best and the final model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ludus.agents.episode import Episode
from ludus.agents.evaluate import Summary, summarise
from ludus.agents.store import write_episodes
from ludus.tools.checksums import is_damaged, sealed
from ludus.trainers.config.run import RunConfig
from ludus.trainers.disk import disk_errors, write_file
from ludus.trainers.errors import RunError
from ludus.trainers.listener import Listener, Phase, counter, phase
from ludus.trainers.mixture import Mixture
from ludus.trainers.parallel.team import Team
from ludus.trainers.run.policy import load_policy
from ludus.trainers.tasks import Task
from ludus.trainers.validation import play_tasks

Stage = Literal["primed", "best", "final"]
_PHASES: dict[Stage, Phase] = {
    "primed": "evaluation-primed",
    "best": "evaluation-best",
    "final": "evaluation-final",
}


def evaluate(
    stage: Stage,
    team: Team,
    config: RunConfig,
    run: Path,
    mixture: Mixture,
    tasks: Sequence[Task],
    listener: Listener,
) -> None:
    """Play the held-out tasks with a saved model; store the episodes, and a summary in `evaluation.json`."""
    record = run / "evaluation.json"
    summaries = _summaries(record)
    if stage in summaries or not tasks:
        return
    name, samples = _PHASES[stage], config.evaluation.samples
    with phase(listener, name, len(tasks) * samples):
        policy = load_policy(run / "models" / stage, config)
        with team.computing_with(policy):
            temperature = config.evaluation.temperature
            episodes = play_tasks(team, tasks, samples, temperature, counter(listener, name))
        summary = summarise(episodes)
        parts = _by_environment(episodes, mixture)
        path = run / "episodes" / f"{name}.parquet"
        with disk_errors(path):
            write_episodes(path, episodes)
        written = summary.to_dict()
        if parts:
            written["environments"] = {title: part.to_dict() for title, part in parts.items()}
        write_file(record, json.dumps({**summaries, stage: sealed(written)}, indent=1))
        listener.note(
            f"{_told(stage, summary)} on {summary.scored // samples} held-out tasks"
            f"{f'; {summary.left_out}' if summary.left_out else ''}"
        )
        for title, part in parts.items():
            listener.note(_told(f"{stage}, {title}", part))


def _told(what: str, summary: Summary) -> str:
    success, earned = summary.success, summary.mean_return
    passes = [f"pass@{k} {share.estimate.value:.3f}" for k, share in summary.pass_at.items() if k > 1]
    return (
        f"{what}: success {success.value:.3f} ({success.low:.3f} to {success.high:.3f}), "
        f"{''.join(f'{told}, ' for told in passes)}mean return "
        f"{earned.value:.3f} ({earned.low:.3f} to {earned.high:.3f})"
    )


def _by_environment(episodes: Sequence[Episode], mixture: Mixture) -> dict[str, Summary]:
    """A summary of each environment and, where one is evaluated at several levels, of each of these."""
    if mixture.is_single:
        return {}
    parts: dict[str, list[Episode]] = {}
    for episode in episodes:
        member, level = mixture.place(episode)
        parts.setdefault(member.name, []).append(episode)
        if len(member.evaluated) > 1:
            parts.setdefault(f"{member.name}, level {level}", []).append(episode)
    return {name: summarise(own) for name, own in parts.items()}


def _summaries(record: Path) -> dict[str, Any]:
    try:
        summaries = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    except ValueError as error:
        raise RunError(f"{record}: not valid JSON ({error}); {_AGAIN}") from None
    if not isinstance(summaries, dict) or not all(
        isinstance(summary, dict) for summary in summaries.values()
    ):
        raise RunError(f"{record}: not the summaries of primed and final models; {_AGAIN}")
    if any(map(is_damaged, summaries.values())):
        raise RunError(f"{record}: a summary is not what was written (its checksum differs); {_AGAIN}")
    return summaries


_AGAIN = "it was edited or damaged; delete it and evaluate again with --resume"
