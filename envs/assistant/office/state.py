"""Where an episode of `ludus/Assistant-v0` stands."""

from dataclasses import dataclass
from typing import Any

from ludus.envs.assistant.office.goal import Standing
from ludus.envs.assistant.office.office import Office
from ludus.envs.assistant.office.tasks import Task
from ludus.envs.assistant.service_env import WorldState
from ludus.envs.chat import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficeState(WorldState):
    """Immutable, as every state is."""

    office: Office
    task: Task
    begun: Any
    """All calendars, as they were at the beginning."""
    talk: tuple[Message, ...] = ()
    """What user and assistant said to each other."""
    created: int = 0
    """Events created."""
    foreseen: bool = False
    """Whether the forecast that decides was looked up."""
    stands: Standing
