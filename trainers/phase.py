"""`TrainingPhase`, shared by the loops of all algorithms: resuming, recording, checkpoints, Ctrl-C."""

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Literal, Self

import torch

from ludus.tools.memory import give_back
from ludus.trainers.config.run import CheckpointSection
from ludus.trainers.errors import TrainingDiverged
from ludus.trainers.listener import Listener
from ludus.trainers.metrics import MetricsWriter, steps_before
from ludus.trainers.models.checkpoint import (
    Progress,
    Trained,
    checkpoints,
    generators,
    load_checkpoint,
    read_progress,
    save_checkpoint,
    set_generators,
)
from ludus.trainers.models.optimizer import Optimizer
from ludus.trainers.tasks import TaskStream


class TrainingPhase:
    """A phase of `total` steps that continues from its last checkpoint, if it has one.

        with TrainingPhase(...) as phase:
            for step in phase.steps():
                phase.finish(step, metrics)

    A step that an alarm stopped before it changed a weight (see `updating`) is as if it had not begun: what
    was trained before it is saved, so that a resumed run takes it again.

    The first Ctrl-C lets the step finish, saves a checkpoint and raises KeyboardInterrupt; a second one
    raises it at once, and the run then resumes from its last checkpoint.

    Args:
        run: The run's folder.
        name: Which phase.
        total: Steps.
        tasks: The stream whose position is part of the state.
        others: What is trained beside the model, by name.
    """

    def __init__(
        self,
        run: Path,
        name: Literal["sft", "rft", "preferences", "grpo", "reward_model"],
        total: int,
        model: torch.nn.Module,
        optimizer: Optimizer,
        tasks: TaskStream,
        config: CheckpointSection,
        listener: Listener,
        others: Mapping[str, Trained] | None = None,
    ) -> None:
        self._run, self._name, self._total = run, name, total
        self._model, self._optimizer, self._tasks = model, optimizer, tasks
        self._config, self._listener, self._others = config, listener, others or {}
        self._interrupted = False
        self._is_intact = True
        """Nothing was trained since the last finished step."""

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        self._done = self._restore()
        give_back()  # what loading took
        # Numbers of checkpoints increase through the whole run.
        self._first = steps_before(self._run, self._name)
        self._writer = MetricsWriter(self._run, self._name, self._done)
        self._in_main_thread = threading.current_thread() is threading.main_thread()
        if self._in_main_thread:
            self._former_handler = signal.signal(signal.SIGINT, self._interrupt)
        self._listener.phase_begun(self._name, self._total, self._done)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._in_main_thread:
            signal.signal(signal.SIGINT, self._former_handler)
        self._writer.close()
        if kind is not None and issubclass(kind, TrainingDiverged):
            self._save_before_step()
        if kind is None:
            self._listener.phase_ended(self._name, time.perf_counter() - self._began)

    @property
    def history(self) -> Sequence[Mapping[str, float | str]]:
        """The metrics of the steps so far, including those before a resume."""
        return self._writer.history

    def steps(self) -> Iterator[int]:
        """The remaining steps, counted from 0."""
        for step in range(self._done, self._total):
            self._done, self._before = step, generators()
            self._position = self._tasks.position
            yield step

    def updating(self) -> None:
        """To be called before a step changes a weight."""
        self._is_intact = False

    def finish(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record a step; write a checkpoint where one is due.

        Raises:
            KeyboardInterrupt: if Ctrl-C was pressed during the step; the step is saved by then.
            RunError: if the disk is full.
        """
        done = step + 1
        self._done, self._is_intact = done, True
        self._position, self._before = self._tasks.position, generators()
        self._writer.write(done, metrics)
        self._listener.progressed(self._name, done, metrics)
        if done % self._config.every == 0 or done == self._total or self._interrupted:
            self._save()
        if self._interrupted:
            raise KeyboardInterrupt(f"stopped after {self._name} step {done} of {self._total}; it is saved")

    def _save(self) -> None:
        give_back()  # what the step took: the pieces that are written come beside
        save_checkpoint(
            self._run / "checkpoints",
            self._first + self._done,
            Progress(self._name, self._done, self._position),
            self._model,
            self._optimizer,
            self._config.keep,
            self._others,
        )

    def _save_before_step(self) -> None:
        """Save the state at the end of the last finished step, if it is still there and not saved yet."""
        saved = checkpoints(self._run / "checkpoints")
        is_saved = bool(saved) and read_progress(saved[-1]).step == self._done
        if self._done and self._is_intact and not is_saved:
            set_generators(self._before)
            self._save()

    def _restore(self) -> int:
        """Steps done."""
        saved = checkpoints(self._run / "checkpoints")
        if not saved or read_progress(saved[-1]).phase != self._name:
            return 0
        progress = load_checkpoint(saved[-1], self._model, self._optimizer, self._others)
        self._tasks.position = progress.position
        self._listener.note(
            f"going on after {self._name} step {progress.step} of {self._total} ({saved[-1].name})"
        )
        return progress.step

    def _interrupt(self, signal_number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            raise KeyboardInterrupt("stopped at once; the run resumes from its last checkpoint")
        self._interrupted = True
        self._listener.note("stopping after this step; Ctrl-C again stops at once")
