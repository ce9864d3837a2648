"""The league of a run: its past checkpoints on disk, and those that play beside the policy in memory."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ludus.agents.engines.base import Engine
from ludus.agents.models import LoadedModel, load_tokenizer, tokenizer_key
from ludus.agents.policy import EnginePolicy
from ludus.tools.files import remove_folder
from ludus.trainers.config.opponents import OpponentsSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError, RunError
from ludus.trainers.opponents import given_members, members_at
from ludus.trainers.run.directory import league_folder, league_folders
from ludus.trainers.run.policy import engine_policy, load_beside, run_engine, save_policy


@dataclass(frozen=True)
class League:
    """Which models are its members, and where.

    Like a reference, a member is kept whole in the run's folder and read back from there, as a resumed run
    reads it: both go on with the same bits. Who is a member follows from the step alone.
    """

    policy: LoadedModel
    """In training."""
    section: OpponentsSection
    config: RunConfig
    run: Path
    """The run's folder."""
    start: Path
    """The model that GRPO begins with, the first member."""

    def at(self, step: int) -> dict[str, Path]:
        """The members of a step, counted from 0, by name. To be called in every step, before its update: the
        policy joins where it is due.

        Raises:
            RunError: a member is gone, or the disk is full.
        """
        steps = members_at(step, self.section.league)
        if step and step == steps[-1] and not league_folder(self.run, step).exists():
            save_policy(self.policy, league_folder(self.run, step))
            self._forget(step)
        members = {
            f"league-{joined:06d}": league_folder(self.run, joined) if joined else self.start
            for joined in steps
        }
        for folder in members.values():
            if not folder.exists():
                raise RunError(
                    f"{folder} is gone, a member of the league that training plays against. Nothing can make "
                    "it again; copy it back, or begin a new run"
                )
        return {**members, **given_members(self.section.league)}

    def _forget(self, step: int) -> None:
        """Remove what no checkpoint on disk can need any more."""
        config = self.config.checkpoint
        first = max(0, step - config.every * config.keep)
        needed = {
            joined for past in range(first, step + 1) for joined in members_at(past, self.section.league)
        }
        for joined, folder in league_folders(self.run):
            if joined < step and joined not in needed:
                remove_folder(folder)


def refuse_other_vocabularies(policy: LoadedModel, section: OpponentsSection) -> None:
    """
    Raises:
        ConfigError: a model of the league's folder has another tokenizer than the policy.
    """
    key = tokenizer_key(policy.tokenizer)
    for folder in given_members(section.league).values():
        if tokenizer_key(load_tokenizer(folder)) != key:
            raise ConfigError(
                f"opponents.league.folder: {folder} has another vocabulary than the policy, so that ids mean "
                "something else: take checkpoints of runs with the same tokenizer"
            )


class FrozenPolicies:
    """The models that play beside the policy: each loaded when it is first asked for, with an engine of its
    own."""

    def __init__(self, policy: LoadedModel, config: RunConfig) -> None:
        self._policy, self._config = policy, config
        self._loaded: dict[Path, tuple[LoadedModel, Engine]] = {}

    def players(
        self, members: Mapping[str, Path], asked: Collection[str], temperature: float
    ) -> dict[str, EnginePolicy]:
        """Those that are asked for, by name; to be followed by `sleep` once they have played.

        Args:
            members: All names that may be asked for, each with its folder; what was loaded from others is
                dropped.
            asked: Names.
            temperature: Of sampling.
        """
        for folder in self._loaded.keys() - set(members.values()):
            self._loaded.pop(folder)[1].close()
        players = {}
        for name in sorted(members.keys() & set(asked)):
            model, engine = self._load(members[name])
            engine.wake()
            players[name] = engine_policy(engine, model, self._config, temperature)
        return players

    def sleep(self) -> None:
        """Give back the memory that only sampling needs."""
        for _, engine in self._loaded.values():
            engine.sleep()

    def close(self) -> None:
        for _, engine in self._loaded.values():
            engine.close()
        self._loaded.clear()

    def _load(self, folder: Path) -> tuple[LoadedModel, Engine]:
        if folder not in self._loaded:
            with torch.random.fork_rng():  # making the model draws numbers, in a resumed run at another time
                model = load_beside(self._policy, folder, self._config)
            frozen = replace(self._policy, model=model.requires_grad_(False))
            self._loaded[folder] = frozen, run_engine(frozen, self._config)
        return self._loaded[folder]
