"""The state of an episode of `ludus/Assistant-v0`."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from ludus.envs.assistant.office.goal import Standing
from ludus.envs.assistant.office.office import Office
from ludus.envs.assistant.office.tasks import Task
from ludus.envs.assistant.service_env import WorldState
from ludus.envs.chat import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficeState(WorldState):
    """The state of an episode; immutable, like every state."""

    office: Office
    task: Task
    begun: Any
    """All calendars as they were at the beginning."""
    talk: tuple[Message, ...] = ()
    """The conversation between user and assistant."""
    created: int = 0
    """The number of events created."""
    foreseen: frozenset[date] = frozenset()
    """The days whose forecast for the office's town was looked up."""
    stands: Standing
