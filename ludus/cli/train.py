"""`ludus train CONFIG`: prime, train with GRPO, evaluate, report."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from ludus.agents.evaluate import left_out
from ludus.cli.environments import make, require_chat
from ludus.cli.errors import UsageError
from ludus.cli.runs import CONFIG, RUNS, resume_command


@dataclass(frozen=True)
class Train:
    """Train a policy: prime it on the oracle's demonstrations, train it with GRPO, evaluate it before and
    after on held-out tasks, and write the report.

    Every key of the configuration is an option too, with a value as in TOML:
    --grpo.steps 50 --environment.arguments.max_turns 4. A run that was interrupted or killed continues with
    --resume.
    """

    config: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CONFIG")]
    """The run's configuration, a TOML file: for example configs/arithmetic.toml."""
    resume: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """Continue from the run's last checkpoint. Give the run's own configuration, runs/NAME/config.toml;
    changes to it are refused, but for the limits of [trust]."""
    name: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """Name of the run, instead of the configuration's run.name."""
    directory: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Where the run is written. Default: runs/NAME; for --resume with a run's own config.toml, its folder."""
    overrides: tyro.conf.Suppress[dict[str, str]] = field(default_factory=dict)

    def overridden(self, overrides: Mapping[str, str]) -> "Train":
        """The same command with `--dotted.key value` options."""
        return replace(self, overrides=dict(overrides))

    def execute(self) -> int:
        from ludus.trainers.config.reading import load_config

        overrides = dict(self.overrides)
        if self.name is not None:
            overrides["run.name"] = self.name
        config = load_config(self.config, overrides)
        for played in config.played:
            env = make(played.id, played.arguments)
            require_chat(env)
            env.close()
        directory = self._run_directory(config.run.name)

        from ludus.cli.progress import watch

        try:
            with watch(config, directory) as listener:
                from ludus.trainers.run.job import train

                train(config, directory, self.resume, listener)
        except (KeyboardInterrupt, OSError) as interruption:
            interruption.add_note(_how_to_go_on(directory))
            raise

        from ludus.report import write_report

        for line in outcome(directory):
            print(line)
        try:
            print(f"report: {write_report(directory)}")
        except (KeyboardInterrupt, OSError) as interruption:
            interruption.add_note(f"the run itself is finished, `ludus view {directory}` writes its report")
            raise
        return 0

    def _run_directory(self, name: str) -> Path:
        if self.directory is not None:
            if self.directory.exists() and not self.directory.is_dir():
                raise UsageError(f"--directory {self.directory} is a file: name a folder")
            return self.directory
        if self.resume and self.config.name == CONFIG:
            return self.config.parent
        return RUNS / name


def _how_to_go_on(directory: Path) -> str:
    if not (directory / CONFIG).is_file():
        return "nothing had been trained yet"
    return f"what was trained is kept, go on with {resume_command(directory)}"


def outcome(directory: Path) -> list[str]:
    """A finished run's results, primed → final, for a person; empty if it evaluated nothing."""
    path = directory / "evaluation.json"
    if not path.is_file():
        return []
    evaluation: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    lines = []
    for key, title in (("success", "success"), ("mean_return", "return")):
        stages = [
            f"{stage} {summary[key]['value']:.3f} [{summary[key]['low']:.3f}, {summary[key]['high']:.3f}]"
            for stage, summary in evaluation.items()
            if summary is not None and summary[key]["value"] is not None
        ]
        lines.append(f"{title:<8} {' → '.join(stages)}")
    for stage, summary in evaluation.items():
        if summary is None:
            continue
        if missing := left_out(summary["faults"], summary["episodes"], summary.get("refusals", 0)):
            lines.append(f"{stage}: {missing}")
    return lines
