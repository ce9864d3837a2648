"""The reference of a run: the policy that divergence is measured from."""

from pathlib import Path

import torch
from transformers import PreTrainedModel

from ludus.agents.models import LoadedModel
from ludus.tools.files import remove_folder
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import RunError
from ludus.trainers.run.directory import reference_folder, reference_folders
from ludus.trainers.run.policy import load_beside, save_policy


class Reference:
    """The model that GRPO starts from or, with `grpo.kl_reset_every`, the policy as it was at the last
    multiple of it.

    At a reset the policy is kept whole in the run's folder and read back from there, as a resumed run reads
    it: both go on with the same bits.
    """

    def __init__(self, policy: LoadedModel, config: RunConfig, run: Path, start: Path) -> None:
        self._policy, self._config, self._run, self._start = policy, config, run, start
        self._model: PreTrainedModel | None = None
        self._taken = 0

    def at(self, step: int) -> PreTrainedModel:
        """The reference of a step, counted from 0. To be called in every step, before its update.

        Raises:
            RunError: if the reference of an earlier step is gone, or the disk is full.
        """
        every = self._config.grpo.kl_reset_every
        taken = step - step % every if every else 0
        if self._model is None or taken != self._taken:
            self._model, self._taken = self._load(taken, step), taken
        return self._model

    def _load(self, taken: int, step: int) -> PreTrainedModel:
        folder = reference_folder(self._run, taken) if taken else self._start
        if taken and taken == step and not folder.exists():
            save_policy(self._policy, folder)
            self._forget(taken)
        if not folder.exists():
            raise RunError(
                f"{folder} is gone: the policy after step {taken}, from which divergence is measured. "
                "Nothing can make it again; copy it back, or begin a new run"
            )
        with torch.random.fork_rng():  # making the model draws numbers, in a resumed run at another time
            return load_beside(self._policy, folder, self._config)

    def _forget(self, taken: int) -> None:
        """Remove what no checkpoint on disk can need any more."""
        config = self._config
        needed = taken - config.grpo.kl_reset_every - config.checkpoint.every * config.checkpoint.keep
        for step, folder in reference_folders(self._run):
            if step < needed:
                remove_folder(folder)
