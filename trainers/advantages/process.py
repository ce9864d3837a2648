"""Process rewards: a scorer gives each step of a reply a value, earned at the token that ends the step."""

import importlib
import math
import os
import sys
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Protocol

import torch
from torch import Tensor

from ludus.agents.episode import Episode
from ludus.agents.formats.base import ChatFormat
from ludus.agents.formats.sampled_text import sampled_text
from ludus.trainers.advantages.process_model import ProcessModelScorer
from ludus.trainers.advantages.registry import SCORERS
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.errors import ConfigError, RunError


class ProcessScorer(Protocol):
    """A function that judges the steps of one reply. Its answer may depend on nothing but its arguments, or a
    resumed run would not end in the same bits."""

    def __call__(self, text: str, episode: Episode, turn: int) -> Sequence[tuple[int, float]]:
        """
        Args:
            text: What was sampled in the turn, tool calls and reasoning included, without the token that ends
                a turn.
            episode: The whole episode; `episode.turns[turn]` has the reply as the environment read it.
            turn: Which turn.

        Returns:
            (end, value) for each step: how many characters of `text` there are up to its end, at least 1, and
            what it is worth.
        """
        ...


@dataclass(frozen=True)
class StepRewards:
    """What a scorer gave to an episode."""

    values: tuple[float, ...]
    """By step, before the weight."""
    token_rewards_T: Tensor
    """At the tokens, times the weight; [T] float64."""


@dataclass(frozen=True)
class Process:
    """A scorer, what its values weigh, and the format in which replies are sampled."""

    name: str
    score: ProcessScorer
    weight: float
    format: ChatFormat

    def rewards(self, episode: Episode) -> StepRewards:
        """
        Raises:
            RunError: if the scorer raised an exception, or gave something else than steps of the text with
                finite values.
        """
        values: list[float] = []
        pieces = [torch.zeros(0, dtype=torch.float64)]
        for index, turn in enumerate(episode.turns):
            rewards_T = torch.zeros(len(turn.completion_ids), dtype=torch.float64)
            if turn.completion_ids:
                text, ends = sampled_text(self.format, turn.completion_ids)
                for end, value in self._steps(text, episode, index):
                    rewards_T[bisect_left(ends, end)] += self.weight * value
                    values.append(value)
            pieces.append(rewards_T)
        return StepRewards(tuple(values), torch.cat(pieces))

    def _steps(self, text: str, episode: Episode, turn: int) -> list[tuple[int, float]]:
        about = (
            f'grpo.process = "{self.name}", on turn {turn} of an episode of {episode.environment} with seed '
            f"{episode.seed}"
        )
        try:
            steps = list(self.score(text, episode, turn))
        except Exception as error:  # somebody else's code: whatever it raises, the run names it
            raise RunError(
                f"{about}: the scorer raised {_named(error)}; fix it and continue with --resume"
            ) from error
        for step in steps:
            if problem := _problem(step, len(text)):
                raise RunError(
                    f"{about}: the scorer gave {step!r}: {problem}; fix it and continue with --resume"
                )
        return [(int(end), float(value)) for end, value in steps]


def _named(error: Exception) -> str:
    """What somebody else's code raised, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _problem(step: Any, length: int) -> str:
    """What is wrong with something that a scorer gave as a step; empty: nothing."""
    try:
        end, value = step
    except (TypeError, ValueError):
        return "a step is (end, value)"
    if not isinstance(end, Integral) or isinstance(end, bool) or not 1 <= int(end) <= length:
        return f"the end of a step is a number of characters from 1 to {length}, the length of the reply"
    if not isinstance(value, Real) or not math.isfinite(float(value)):
        return "a value is a finite number"
    return ""


def process_of(config: GrpoSection, chat_format: ChatFormat) -> Process | None:
    """What scores the steps of replies; None: nothing does.

    Raises:
        ConfigError: as `scorer`.
    """
    score = scorer(config)
    return None if score is None else Process(config.process, score, config.process_weight, chat_format)


def scorer(config: GrpoSection) -> ProcessScorer | None:
    """The scorer that `grpo.process` names; None: it names none.

    Raises:
        ConfigError: if it cannot be imported or called.
        ModelLoadError: if it is a model that cannot be loaded.
    """
    if not config.process:
        return None
    if "/" in config.process:
        return ProcessModelScorer(config.process, config.process_device)
    module, _, function = SCORERS.get(config.process, config.process).partition(":")
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # a file in the working directory, as `python -m` would find it
    about = f'grpo.process = "{config.process}"'
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # somebody else's module may raise anything
        raise ConfigError(
            f"{about} cannot be imported ({_named(error)}); give module:function, with the "
            "module installed or in the working directory"
        ) from error
    if not callable(found):
        raise ConfigError(
            f"{about} is of type {type(found).__name__}; it should be a function from (text, episode, turn) "
            "to steps"
        )
    return found
