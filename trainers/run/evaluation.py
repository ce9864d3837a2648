"""The evaluations of a run: held-out tasks, played by the primed and by the final model."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from ludus.agents.evaluate import summarise
from ludus.agents.rollout import EpisodeStart, rollout
from ludus.agents.store import write_episodes
from ludus.tools.checksums import is_damaged, sealed
from ludus.trainers.config.run import RunConfig
from ludus.trainers.disk import disk_errors, write_file
from ludus.trainers.errors import RunError
from ludus.trainers.listener import Listener, Phase, counter, phase
from ludus.trainers.run.policy import engine_policy, load_policy, run_engine
from ludus.trainers.tasks import HeldOut

Stage = Literal["primed", "final"]


def evaluate(stage: Stage, config: RunConfig, run: Path, held_out: HeldOut, listener: Listener) -> None:
    """Play the held-out tasks with a saved model; store the episodes, and a summary in `evaluation.json`."""
    record = run / "evaluation.json"
    summaries = _summaries(record)
    count = min(config.evaluation.episodes, len(held_out.seeds))
    if stage in summaries or not count:
        return
    name: Phase = "evaluation-primed" if stage == "primed" else "evaluation-final"
    with phase(listener, name, count):
        policy = load_policy(run / "models" / stage, config)
        with closing(run_engine(policy, config)) as engine:
            episodes = rollout(
                engine_policy(engine, policy, config, config.evaluation.temperature),
                config.environment.spec,
                [EpisodeStart(seed, group=index) for index, seed in enumerate(held_out.seeds[:count])],
                config.rollout.limits,
                config.rollout.concurrency,
                counter(listener, name),
            )
        summary = summarise(episodes)
        path = run / "episodes" / f"{name}.parquet"
        with disk_errors(path):
            write_episodes(path, episodes)
        write_file(record, json.dumps({**summaries, stage: sealed(summary.to_dict())}, indent=1))
        success, earned = summary.success, summary.mean_return
        listener.note(
            f"{stage}: success {success.value:.3f} ({success.low:.3f} to {success.high:.3f}), mean return "
            f"{earned.value:.3f} ({earned.low:.3f} to {earned.high:.3f}) on {summary.scored} held-out tasks"
            f"{f'; {summary.left_out}' if summary.left_out else ''}"
        )


def _summaries(record: Path) -> dict[str, Any]:
    try:
        summaries = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    except ValueError as error:
        raise RunError(f"{record}: not valid JSON ({error}); {_AGAIN}") from None
    if not isinstance(summaries, dict) or not all(
        isinstance(summary, dict) for summary in summaries.values()
    ):
        raise RunError(f"{record}: not the summaries of primed and final; {_AGAIN}")
    if any(map(is_damaged, summaries.values())):
        raise RunError(f"{record}: a summary is not what was written (its checksum differs); {_AGAIN}")
    return summaries


_AGAIN = "it was edited or damaged; delete it and evaluate again with --resume"
