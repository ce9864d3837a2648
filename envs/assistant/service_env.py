"""`ServiceEnv`: a language environment whose tools call services."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import httpx
import numpy as np

from ludus.envs.arguments import as_flag, as_integer, as_weights, unknown
from ludus.envs.assistant.distractors import DISTRACTORS
from ludus.envs.assistant.exchange import Exchange
from ludus.envs.assistant.toolbox import Toolbox, stock
from ludus.envs.base import Outcome, Start, task_key
from ludus.envs.chat import Message, Reply
from ludus.envs.errors import ArgumentError
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.envs.tool_env import Answer, ToolEnv
from ludus.tools.content import content_key
from ludus.tools.services.faults import Fault, FaultPlan
from ludus.tools.services.service import Service, Snapshot
from ludus.tools.services.transport import connect

COMMON_WEIGHTS: Mapping[str, float] = {"calls": -0.01, "tool_errors": -0.02, "malformed": -0.05}
"""Terms that every service environment has: calls, invalid calls, and replies that are neither calls nor
anything else that the environment understands."""
MILESTONES = "milestones"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldState:
    """Base class of states, with a snapshot of each service, in the order of `ServiceEnv.services`."""

    worlds: tuple[Snapshot, ...] = ()


class ServiceEnv(ToolEnv):
    """Base class of environments whose tools call services.

    Before a reply is answered, the services are restored to their snapshots in the state, and their new
    snapshots go into the next state: tools and `respond` just call clients, and an episode can still be
    branched. States are `WorldState`s. Someone else's server cannot be restored, so it does not belong in
    `services`.

    Texts that the model reads, including tool descriptions, name tools in backticks: `self.toolbox.worded`
    turns these into the names that this instance offers.

    Args:
        services: the services, by name; `self.connect(name)` makes a client.
        own_weights: weights of the environment's own reward terms; `COMMON_WEIGHTS` are added.
        weights: reward weights to change, by term.
        distractors: how many useless but plausible tools to mix in.
        renamed: whether to rename tools and arguments; a number ≥ 1 is the seed of the names.
        faults: what goes wrong with calls to services: shares by kind, and `seed`.
        milestones: whether to reward progress with the term `milestones`, which is otherwise dropped; its
            weight in `own_weights` is the reward for all progress together.
    """

    last_call: ClassVar[str] = ""
    """The tool that judges the services as they are now, where an episode can end without an answer."""

    def __init__(
        self,
        services: Mapping[str, Service],
        own_weights: Mapping[str, float],
        weights: Mapping[str, float] | None = None,
        distractors: int = 0,
        renamed: bool | int = False,
        faults: Mapping[str, float] | None = None,
        milestones: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.services = dict(services)
        known = {**own_weights, **COMMON_WEIGHTS}
        self.milestones = as_flag("milestones", milestones)
        if not milestones:
            known.pop(MILESTONES, None)
        self.rubric = Rubric(as_weights(weights, known), form=("malformed", "tool_errors"))
        self.faults = checked_faults(faults)
        distractors = as_integer("distractors", distractors, 0, len(DISTRACTORS))
        self.toolbox: Toolbox = stock(type(self).tools, distractors, checked_names(renamed))
        self.use_tools(self.toolbox.tools)

    def connect(self, name: str) -> httpx.Client:
        """A client of one of this instance's services, which injects the instance's faults."""
        return connect(self.services[name], self.faults)

    def worlds(self) -> tuple[Snapshot, ...]:
        """Snapshots of the services as they are now."""
        return tuple(service.snapshot() for service in self.services.values())

    def begin(self, rng: np.random.Generator) -> tuple[Snapshot, ...]:
        """Snapshots of the services at the beginning of an episode whose faults are drawn from `rng`."""
        first = int(rng.integers(2**32)) if self.faults else 0
        for service in self.services.values():
            service.calls = first
        return self.worlds()

    def is_reachable(self, begun: Start, oracle: ScriptedAgent) -> bool:
        """Whether the oracle reaches the goal of a start, for generators whose goals are reachable by
        construction as long as no service fails (`tests/envs/assistant/test_reachable.py` plays thousands):
        it is only played where faults are injected, since that takes as long as the rest of `reset`."""
        return self.faults is None or solves(self, begun, oracle)

    def rewind(self, worlds: tuple[Snapshot, ...]) -> None:
        """Restore the services to these snapshots."""
        for service, snapshot in zip(self.services.values(), worlds, strict=True):
            service.restore(snapshot)

    def services_key(self, state: WorldState) -> int:
        """The key of the services as they are in a state. Where faults are injected, their number of calls
        is part of it, since the next faults are drawn from it."""
        faulty = self.faults is not None
        return content_key(
            [
                (service.key(snapshot.state, faulty), snapshot.now, snapshot.calls if faulty else 0)
                for service, snapshot in zip(self.services.values(), state.worlds, strict=True)
            ]
            if state.worlds
            else ()
        )

    def anchor(self, state: Any) -> int:
        return content_key((self.services_key(state), replace(state, worlds=())))

    def answer(self, state: WorldState, action: Reply) -> Outcome:
        self.rewind(state.worlds)
        outcome = super().answer(state, action)
        if not self.milestones:
            outcome.terms.pop(MILESTONES, None)
        return replace(outcome, state=replace(outcome.state, worlds=self.worlds()))

    def take_over(self, exchange: Exchange) -> tuple[float, dict[str, Any]]:
        """Take into the open episode what a client from outside did to the services, which are as it left
        them, and what it was shown. This is no step: it costs no turn.

        Returns:
            The reward for what has changed, and `info` as from `step`.
        """
        outcome = self.witness(replace(self._state, worlds=self.worlds()), exchange)
        self._stand_in(outcome.state)
        if not self.milestones:
            outcome.terms.pop(MILESTONES, None)
        terms = {**dict.fromkeys(self.rubric.weights, 0.0), **outcome.terms}
        return self.rubric(terms), {**self._info_keys(), "reward_terms": terms}

    def witness(self, state: Any, exchange: Exchange) -> Outcome:
        """What an exchange led to, beyond the services' new snapshots, which `state` has already: evidence of
        what was looked up, and what the changes are worth."""
        return Outcome(state, [], {})

    @property
    def is_behind(self) -> bool:
        """Whether clients from outside have changed the services since the state of the open episode."""
        return any(
            now.state != then.state for now, then in zip(self.worlds(), self._state.worlds, strict=True)
        )

    def put_in(self) -> None:
        """Restore the services to the open episode's state."""
        self.rewind(self._state.worlds)

    def _call(self, state: Any, call: Mapping[str, Any]) -> Answer:
        done = super()._call(state, call)
        return replace(done, terms={**done.terms, "calls": 1.0})


def solves(env: ToolEnv, begun: Start, agent: ScriptedAgent) -> bool:
    """Whether a scripted agent, playing through the public interface, succeeds from a start.

    It plays on states, without disturbing an episode open in `env`. Task generators use it to prove that a
    goal can be reached.
    """
    agent.begin()
    observation, info, state = begun.messages, {"task": task_key(begun.task)}, begun.state
    for _ in range(env.max_turns):
        outcome = env.answer(state, agent.act(observation, info))
        observation, state = outcome.messages, outcome.state
        if outcome.terminated:
            return outcome.success
    return False


def calling(env: Any, *calls: tuple[str, Mapping[str, Any]], text: str = "") -> Message:
    """A reply that calls tools of a `ServiceEnv`, whatever their names there.

    Args:
        env: the environment, or a wrapper around it.
        calls: tool names and their arguments, as the environment's class names them.
        text: the text alongside the calls.
    """
    toolbox: Toolbox = env.unwrapped.toolbox
    made = [
        {"id": f"call_{number}", "type": "function", "function": toolbox.call(name, **arguments)}
        for number, (name, arguments) in enumerate(calls)
    ]
    return {"role": "assistant", "content": text, "tool_calls": made}


def checked_names(renamed: bool | int) -> int | None:
    """The seed of the names; None keeps the original names.

    Raises:
        ArgumentError: it is neither a bool nor an integer ≥ 0.
    """
    if not isinstance(renamed, int) or renamed < 0:
        raise ArgumentError(
            f"renamed={renamed!r}: give False, True, or the seed of the names, an integer ≥ 1"
        )
    return int(renamed) or None


def checked_faults(faults: Mapping[str, float] | None) -> FaultPlan | None:
    """The plan of faults, or None.

    Raises:
        ArgumentError: the faults are invalid; the message names the kind, its share and what would be valid.
    """
    if faults is None:
        return None
    if not isinstance(faults, Mapping):
        raise ArgumentError(f"faults={faults!r}: give shares by kind, as in faults={{'refused': 0.1}}")
    kinds = ["seed", *(fault.value for fault in Fault)]
    for name, share in faults.items():
        if name not in kinds:
            raise ArgumentError(unknown("faults", name, kinds))
        if isinstance(share, bool) or not isinstance(share, int | float):
            raise ArgumentError(f"faults: {name}={share!r} is not a number")
    try:
        return FaultPlan(**faults)  # type: ignore[arg-type]
    except ValueError as error:
        raise ArgumentError(str(error)) from None
