"""Houses: rooms on a grid, doors between them, things in them. Drawn so that the errand can be done."""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

DIRECTIONS = {"north": (0, 1), "east": (1, 0), "south": (0, -1), "west": (-1, 0)}
_BACK = {"north": "south", "east": "west", "south": "north", "west": "east"}

ROOMS = (
    "hall", "kitchen", "cellar", "attic", "library", "nursery", "pantry", "parlour", "study", "workshop",
    "chapel", "gallery", "stable", "laundry", "bedroom", "bathroom", "garden", "porch", "tower", "vault",
)  # fmt: skip
TREASURES = ("crown", "ring", "goblet", "sceptre", "necklace", "medal")
TRINKETS = ("lamp", "rope", "candle", "broom", "clock", "basket", "mirror", "umbrella", "kettle", "blanket")
COLOURS = ("red", "blue", "green", "white")

CARRIED = -1
"""The place of a thing that is carried."""


@dataclass(frozen=True, slots=True)
class Errand:
    thing: str
    target: int
    """The room that the thing is to be brought to."""


@dataclass(frozen=True, slots=True)
class House:
    """What does not change in an episode."""

    rooms: tuple[str, ...]
    """The agent begins in the first."""
    exits: tuple[tuple[tuple[str, int, str], ...], ...]
    """Of each room: direction, the room it leads to, the colour of its locked door or an empty text."""
    things: tuple[str, ...]
    """The treasures, in the order of the errands; the keys; the trinkets."""
    errands: tuple[Errand, ...]
    """In the order in which they are to be done."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What changes. Two ways to the same situation are the same state."""

    room: int
    places: tuple[int, ...]
    """Of each thing: a room, or `CARRIED`."""
    unlocked: tuple[str, ...] = ()
    """The colours of the doors that have been opened, in order of the alphabet."""


@dataclass(frozen=True, slots=True)
class Command:
    verb: str
    """`go`, `take` or `drop`."""
    object: str
    """A direction, or a thing."""

    def __str__(self) -> str:
        return f"{self.verb} {self.object}"


def draw_house(
    rng: np.random.Generator, rooms: int, doors: int, trinkets: int, errands: int = 1
) -> tuple[House, Situation]:
    """A house whose errands can be done, and how it stands at the start.

    Its rooms are a tree grown from the first, with further openings within each part that no locked door
    divides. The key of a door lies in a room that is reached before it, the first treasure in the part that
    is reached last.
    """
    cells, parents = _grow(rng, rooms)
    names = tuple(str(name) for name in rng.permutation(ROOMS)[:rooms])
    colours = [str(colour) for colour in rng.permutation(COLOURS)[:doors]]
    locked = dict(zip(sorted(int(c) for c in 1 + rng.permutation(rooms - 1)[:doors]), colours, strict=True))
    part = _parts(parents, locked)

    links: list[tuple[int, int, str]] = [
        (parents[child], child, locked.get(child, "")) for child in range(1, rooms)
    ]
    by_cell = {cell: room for room, cell in enumerate(cells)}
    for room, (x, y) in enumerate(cells):
        for dx, dy in ((0, 1), (1, 0)):
            other = by_cell.get((x + dx, y + dy))
            if other is None or part[room] != part[other]:
                continue
            is_linked = parents[room] == other or parents[other] == room
            if not is_linked and rng.random() < 0.5:
                links.append((room, other, ""))

    # A key lies where one can be without its door: among the rooms that were reached before it.
    reached = [room for room in range(rooms) if part[room] == 0]
    places: dict[str, int] = {}
    shut = dict(locked)
    while shut:
        child = next(child for child in shut if parents[child] in reached)
        colour = shut.pop(child)
        places[f"{colour} key"] = int(rng.choice(reached))
        reached += [room for room in range(rooms) if part[room] == child]
    hidden = [room for room in reached[1:] if part[room] == part[reached[-1]]] or reached[1:]
    treasures = [int(rng.choice(hidden))]
    targets = [int(rng.choice([room for room in range(rooms) if room != treasures[0]]))]

    things = [str(rng.choice(TREASURES))]
    for trinket in rng.permutation(TRINKETS)[:trinkets]:
        places[str(trinket)] = int(rng.integers(rooms))
    things += [
        str(thing) for thing in rng.permutation([t for t in TREASURES if t not in things])[: errands - 1]
    ]
    for _ in things[1:]:
        treasures.append(int(rng.integers(rooms)))
        targets.append(int(rng.choice([room for room in range(rooms) if room != treasures[-1]])))
    asked = tuple(map(Errand, things, targets))
    house = House(names, _exits(cells, links), (*things, *places), asked)
    return house, Situation(0, (*treasures, *places.values()))


def _grow(rng: np.random.Generator, rooms: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Cells of the rooms, and the room from which each was reached."""
    cells, parents = [(0, 0)], [-1]
    while len(cells) < rooms:
        parent = int(rng.integers(len(cells)))
        dx, dy = list(DIRECTIONS.values())[int(rng.integers(4))]
        cell = (cells[parent][0] + dx, cells[parent][1] + dy)
        if cell not in cells:
            cells.append(cell)
            parents.append(parent)
    return cells, parents


def _parts(parents: list[int], locked: dict[int, str]) -> list[int]:
    """The part of the house that each room is in: the room behind its locked door, or 0."""
    part = [0]
    for room in range(1, len(parents)):
        part.append(room if room in locked else part[parents[room]])
    return part


def _exits(
    cells: list[tuple[int, int]], links: list[tuple[int, int, str]]
) -> tuple[tuple[tuple[str, int, str], ...], ...]:
    towards = {step: direction for direction, step in DIRECTIONS.items()}
    exits: list[dict[str, tuple[int, str]]] = [{} for _ in cells]
    for room, other, colour in links:
        (x, y), (to_x, to_y) = cells[room], cells[other]
        direction = towards[to_x - x, to_y - y]
        exits[room][direction] = (other, colour)
        exits[other][_BACK[direction]] = (room, colour)
    return tuple(
        tuple((direction, *there[direction]) for direction in DIRECTIONS if direction in there)
        for there in exits
    )


def done(house: House, now: Situation, errand: int = 0) -> bool:
    """The errand's thing is carried in the room that it is for."""
    return now.places[errand] == CARRIED and now.room == house.errands[errand].target


def hand_over(now: Situation, errand: int) -> Situation:
    """The errand's thing stays in the room."""
    return _moved(now, errand, now.room)


def obey(house: House, now: Situation, command: Command) -> tuple[Situation, str]:
    """What a command leads to, and what is said of it; the situation stays where it cannot be done."""
    if command.verb == "go":
        return _go(house, now, command.object)
    if command.object not in house.things:
        return now, f"You see no {command.object}."
    thing = house.things.index(command.object)
    if command.verb == "take":
        if now.places[thing] != now.room:
            where = (
                "You carry it already."
                if now.places[thing] == CARRIED
                else f"There is no {command.object} here."
            )
            return now, where
        return _moved(now, thing, CARRIED), "Taken."
    if now.places[thing] != CARRIED:
        return now, f"You do not carry the {command.object}."
    return _moved(now, thing, now.room), "Dropped."


def _go(house: House, now: Situation, direction: str) -> tuple[Situation, str]:
    for there, room, colour in house.exits[now.room]:
        if there != direction:
            continue
        if not colour or colour in now.unlocked:
            return replace(now, room=room), ""
        if now.places[house.things.index(f"{colour} key")] != CARRIED:
            return now, f"The {colour} door is locked."
        unlocked = tuple(sorted((*now.unlocked, colour)))
        return replace(now, room=room, unlocked=unlocked), f"You unlock the {colour} door."
    return now, f"There is no way {direction}."


def _moved(now: Situation, thing: int, place: int) -> Situation:
    return replace(now, places=(*now.places[:thing], place, *now.places[thing + 1 :]))


def shortest_way(house: House, now: Situation, errand: int = 0) -> list[Command]:
    """The fewest commands that do the errand; takes its thing and keys only, and drops nothing."""
    came: dict[Situation, tuple[Situation, Command] | None] = {now: None}
    waiting = deque([now])
    useful = {house.errands[errand].thing, *(thing for thing in house.things if thing.endswith(" key"))}
    while waiting:
        here = waiting.popleft()
        if done(house, here, errand):
            return _retraced(came, here)
        commands = [
            Command("take", thing)
            for thing, place in zip(house.things, here.places, strict=True)
            if place == here.room and thing in useful
        ]
        commands += [Command("go", direction) for direction, _, _ in house.exits[here.room]]
        for command in commands:
            there, _ = obey(house, here, command)
            if there not in came:
                came[there] = (here, command)
                waiting.append(there)
    raise AssertionError("every house is drawn so that its errand can be done")


def _retraced(came: dict[Situation, tuple[Situation, Command] | None], end: Situation) -> list[Command]:
    commands: list[Command] = []
    while (step := came[end]) is not None:
        end, command = step
        commands.append(command)
    return commands[::-1]
