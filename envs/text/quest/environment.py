"""`ludus/Quest-v0`: find a thing in a house and bring it to a room; nothing is earned on the way."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ludus.envs.actions import read_action
from ludus.envs.arguments import as_integer, as_weights
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import system, user
from ludus.envs.errors import ArgumentError
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.envs.text.quest.house import (
    CARRIED,
    COLOURS,
    ROOMS,
    TREASURES,
    TRINKETS,
    Command,
    House,
    Situation,
    done,
    draw_house,
    hand_over,
    obey,
    shortest_way,
)
from ludus.envs.text.quest.scripted import AGENTS
from ludus.tools.content import content_key

_COMMAND = re.compile(r"(go|take|drop)\s+(?:the\s+)?([a-z]+(?:\s+key)?)")


@dataclass(frozen=True, slots=True)
class QuestState:
    house: House
    now: Situation
    errand: int = 0
    """The one that is to be done now."""
    found: bool = False
    """Whether its thing has ever been taken."""

    @property
    def is_done(self) -> bool:
        return self.errand == len(self.house.errands)


class Quest(ChatEnv):
    """Find a thing in a house and bring it to a room, by one command a turn.

    ## Task
    The agent stands in a house that it does not know. It sees the room that it is in: the exits, what lies
    there and what it carries. Doors may be locked; the key of a door's colour, which lies somewhere before
    it, opens the door by going there. Nothing is earned on the way: what was worth doing shows only when an
    errand is done, which makes it a small environment to study credit in. With several errands, what one
    earns says nothing of how the others were done. The same situation can be reached in many ways, so that
    episodes of one start often meet in it.

    ## Observation
    `Chat`. After `reset`: a system message with the commands and the errand, and a user message with the
    first room. Then one user message a turn, what the command led to and the room:

        Taken. You are in the cellar. Exits: north, east (red door, locked). Here: lamp. You carry: red key.

    ## Actions
    Any text with exactly one `<action>…</action>`, and in it `go` and a direction, or `take` or `drop` and a
    thing.

    ## Rewards
    The sum over `info["reward_terms"]` of each value times its weight:

    | term | value | weight |
    |---|---|---|
    | `done` | 1 / `errands` when a thing is carried in the room that it is for | 1 |
    | `success` | 1 when all errands are done | 0 |
    | `found` | 1 when an errand's thing is taken for the first time | 0 |
    | `refused` | 1 for a command that cannot be done | 0 |
    | `malformed` | 1 for a reply that is not of the form above | −0.05 |

    ## End of episode
    Terminates when all errands are done; truncates after `max_turns` replies. `info["success"]` is then
    there.

    ## Arguments
    - `rooms` (6): how many, 2 to 20.
    - `doors` (1): how many of them lie behind a locked door, 0 to 4, and fewer than `rooms`.
    - `trinkets` (2): things that are of no use, 0 to 10.
    - `errands` (1): how many, one after another, 1 to 6; the next is told when one is done.
    - `max_turns` (None): by default four for each room and errand.
    - `weights` (None): reward weights to change, by term.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = AGENTS
    rubric = Rubric(
        {"done": 1.0, "success": 0.0, "found": 0.0, "refused": 0.0, "malformed": -0.05}, form=("malformed",)
    )

    def __init__(
        self,
        rooms: int = 6,
        doors: int = 1,
        trinkets: int = 2,
        errands: int = 1,
        max_turns: int | None = None,
        weights: Mapping[str, float] | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.rooms = as_integer("rooms", rooms, 2, len(ROOMS))
        self.doors = as_integer("doors", doors, 0, len(COLOURS))
        if self.doors >= self.rooms:
            raise ArgumentError(f"doors={doors}: {rooms} rooms have at most {rooms - 1} doors between them")
        self.trinkets = as_integer("trinkets", trinkets, 0, len(TRINKETS))
        self.errands = as_integer("errands", errands, 1, len(TREASURES))
        enough = 4 * self.rooms * self.errands
        self.max_turns = as_integer("max_turns", enough if max_turns is None else max_turns, 1, 10**6)
        self.rubric = replace(self.rubric, weights=as_weights(weights, self.rubric.weights))

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        return {"rooms": (3, 4, 6, 9), "doors": (0, 1, 2), "trinkets": (0, 2, 4), "errands": (1, 2, 3)}

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        house, now = draw_house(rng, self.rooms, self.doors, self.trinkets, self.errands)
        state = QuestState(house, now)
        how = (
            "Each reply is one command, such as <action>go north</action>, <action>take lamp</action> or "
            "<action>drop lamp</action>. A locked door opens if you go there with the key of its colour. "
            f"Find {in_words(house, 0)}."
        )
        kind = {0: "no locked door", 1: "one locked door"}.get(self.doors, f"{self.doors} locked doors")
        return Start([system(how), user(scene(state))], f"{house} {now}", state, kind)

    def respond(self, state: QuestState, text: str) -> Outcome:
        command, complaint = read_command(text)
        if command is None:
            message = user(f"{complaint} {scene(state)}")
            return Outcome(state, [message], {"malformed": 1.0})
        now, said = obey(state.house, state.now, command)
        taken = now.places[state.errand] == CARRIED and not state.found
        after = replace(state, now=now, found=state.found or taken)
        # The next errand's thing may be carried already, and be for this room.
        while not after.is_done and done(after.house, after.now, after.errand):
            after = QuestState(after.house, hand_over(after.now, after.errand), after.errand + 1)
            said = f"{said} The errand is done.".strip()
            if not after.is_done:
                said = f"{said} Now find {in_words(after.house, after.errand)}."
        terms = {
            "done": (after.errand - state.errand) / self.errands,
            "success": float(after.is_done),
            "found": float(taken),
            "refused": float(now == state.now),
        }
        told = said if after.is_done else f"{said} {scene(after)}".strip()
        return Outcome(after, [user(told)], terms, after.is_done, after.is_done)

    def anchor(self, state: QuestState) -> int:
        return content_key((state.now, state.errand, state.found))

    def way(self) -> list[Command]:
        """The fewest commands that do the errand from here."""
        return shortest_way(self._state.house, self._state.now, self._state.errand)

    def expected(self, state: QuestState) -> str:
        house = state.house
        return ", ".join(
            f"the {errand.thing} in the {house.rooms[errand.target]}" for errand in house.errands
        )

    def unfinished(self, state: QuestState) -> str:
        place, rooms = state.now.places[state.errand], state.house.rooms
        where = (
            f"is carried in the {rooms[state.now.room]}"
            if place == CARRIED
            else f"lies in the {rooms[place]}"
        )
        return f"the {state.house.errands[state.errand].thing} {where}"


def in_words(house: House, errand: int) -> str:
    """The errand in words."""
    asked = house.errands[errand]
    return f"the {asked.thing} and bring it to the {house.rooms[asked.target]}"


def scene(state: QuestState) -> str:
    """What is seen: the room, its exits, what lies there, what is carried."""
    house, now = state.house, state.now
    exits = [
        f"{direction} ({colour} door, locked)" if colour and colour not in now.unlocked else direction
        for direction, _, colour in house.exits[now.room]
    ]
    lies = [thing for thing, place in zip(house.things, now.places, strict=True) if place == now.room]
    carried = [thing for thing, place in zip(house.things, now.places, strict=True) if place == CARRIED]
    return (
        f"You are in the {house.rooms[now.room]}. Exits: {', '.join(exits)}. "
        f"Here: {', '.join(lies) or 'nothing'}. You carry: {', '.join(carried) or 'nothing'}."
    )


def read_command(text: str) -> tuple[Command | None, str]:
    """The command of a reply; None, and what is wrong with the reply."""
    given, complaint = read_action(text)
    if given is None:
        return None, complaint
    match = _COMMAND.fullmatch(" ".join(given.lower().split()))
    if match is None:
        return None, "A command is go and a direction, or take or drop and a thing."
    return Command(match[1], match[2]), ""
