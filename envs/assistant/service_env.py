"""`ServiceEnv`: a language environment whose tools call services."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ludus.envs.base import Outcome, Start
from ludus.envs.chat import Reply
from ludus.envs.scripted import ScriptedAgent
from ludus.envs.tool_env import ToolEnv
from ludus.tools.services.service import Service, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldState:
    """Base of the states: one snapshot of each service, in the order of `ServiceEnv.services`."""

    worlds: tuple[Snapshot, ...] = ()


class ServiceEnv(ToolEnv):
    """Base of the environments whose tools call services.

    The services of an instance are taken back to where the state has them before a reply is answered, and
    what they are afterwards goes into the next state: tools and `respond` just call clients, and an episode
    can still be branched. States are `WorldState`s. A service that is somebody's server is not ours to take
    back, and has no place in `services`.
    """

    def __init__(self, services: Mapping[str, Service], render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.services = dict(services)

    def worlds(self) -> tuple[Snapshot, ...]:
        """The services as they are now."""
        return tuple(service.snapshot() for service in self.services.values())

    def rewind(self, worlds: tuple[Snapshot, ...]) -> None:
        """Take the services to where these snapshots have them."""
        for service, snapshot in zip(self.services.values(), worlds, strict=True):
            service.restore(snapshot)

    def answer(self, state: WorldState, action: Reply) -> Outcome:
        self.rewind(state.worlds)
        outcome = super().answer(state, action)
        return replace(outcome, state=replace(outcome.state, worlds=self.worlds()))


def solves(env: ToolEnv, begun: Start, agent: ScriptedAgent) -> bool:
    """Whether a scripted agent, which plays through the public interface, succeeds from a start.

    It plays on states, beside the episode that may be open in `env`: so a generator proves that a goal can be
    reached, and that doing nothing does not reach it.
    """
    agent.begin()
    observation, info, state = begun.messages, {"task": begun.task}, begun.state
    for _ in range(env.max_turns):
        outcome = env.answer(state, agent.act(observation, info))
        observation, state = outcome.messages, outcome.state
        if outcome.terminated:
            return outcome.success
    return False
