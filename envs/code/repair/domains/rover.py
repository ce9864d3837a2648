"""A rover on a grid: a program of moves, obstacles, a battery, samples."""

from random import Random

from ludus.envs.code.repair.domain import Domain, Draft, Parameters, numbers

README = """# $package

Drives a rover over a map. A map is a list of rows of the same length: `.` free, `$rock` a rock, `*` a
free cell with a sample. A position is `[row, column]` from `[0, 0]` in the upper left. Directions are
`N`, `E`, `S` and `W`.

- `$package.program.expand(text)`: the commands of a program as a list of single letters. Small letters
  count as capitals, blanks are left out, and a number before a command repeats it: `"2f l"` is `["F",
  "F", "L"]`. Numbers above $most count as $most.
- `$package.mission.$drive(rows, position, direction, text)` carries out a program. It returns
  `{"position": …, "direction": …, "battery": …, "samples": …, "log": […]}`. The battery begins with
  $full.
  - `L`, `R`: turns left or right. Costs 1.
  - `F`, `B`: moves a cell forward or backward without turning. Costs $cost; onto a cell with a sample
    it costs $extra more. Where the map ends, $border. A rock stops the rover: the log gets `"rock at
    ROW COLUMN"`, the battery loses 1, and the rest of the program $after.
  - `T`: takes the sample of the cell it stands on, for nothing; the log gets `"sample"`, or `"nothing"`
    where there is none.
  - `C`: charges by $charge, to at most $full.
  - Other letters cost nothing, and the log gets `"unknown"` followed by a blank and the letter.
  - A command that costs more than the battery holds is not carried out; the log gets `"empty"` and the
    program ends.
- `$package.survey.$survey(rows, position, reach)`: the positions of the samples that are at most
  `reach` moves of one cell (to the four neighbours, around rocks, within the map) away, the nearest
  first, then by row, then by column.
"""

GRID = '''"""The map."""

STEPS = {"N": [-1, 0], "E": [0, 1], "S": [1, 0], "W": [0, -1]}


class Grid:
    def __init__(self, rows):
        self.height = len(rows)
        self.width = len(rows[0])
        self.rocks = set()
        self.samples = set()
        for row, line in enumerate(rows):
            for column, sign in enumerate(line):
                if sign == "$rock":
                    self.rocks.add((row, column))
                elif sign == "*":
                    self.samples.add((row, column))

    def inside(self, row, column):
        return 0 <= row and row < self.height and 0 <= column and column < self.width

    def blocked(self, row, column):
        return (row, column) in self.rocks
'''

PROGRAM = '''"""Programs."""

MOST = $most


def expand(text):
    """The commands as single letters."""
    commands = []
    number = ""
    for letter in text.upper():
        if letter == " ":
            continue
        if letter.isdigit():
            number += letter
            continue
        times = 1
        if number:
            times = min(int(number), MOST)
        for _ in range(times):
            commands.append(letter)
        number = ""
    return commands
'''

MISSION = '''"""A rover that carries out programs."""

from $package.grid import STEPS, Grid
from $package.program import expand

TURNS = "NESW"
FULL = $full


class Rover:
    def __init__(self, grid, position, direction, log=None):
        if log is None:
            log = []
        self.grid = grid
        self.row = position[0]
        self.column = position[1]
        self.direction = direction
        self.battery = FULL
        self.samples = 0
        self.log = log

    def turn(self, quarters):
        self.direction = TURNS[(TURNS.index(self.direction) + quarters) % 4]

    def pay(self, cost):
        """Whether the battery held as much."""
        if cost > self.battery:
            self.log.append("empty")
            return False
        self.battery -= cost
        return True

    def move(self, sign):
        """Go a cell; whether the program goes on."""
        step = STEPS[self.direction]
        row = self.row + sign * step[0]
        column = self.column + sign * step[1]
        if not self.grid.inside(row, column):
$edge
        if self.grid.blocked(row, column):
            if not self.pay(1):
                return False
            self.log.append(f"rock at {row} {column}")
            return $goes_on
        cost = $cost
        if (row, column) in self.grid.samples:
            cost += $extra
        if not self.pay(cost):
            return False
        self.row = row
        self.column = column
        return True

    def take(self):
        place = (self.row, self.column)
        if place in self.grid.samples:
            self.grid.samples.remove(place)
            self.samples += 1
            self.log.append("sample")
        else:
            self.log.append("nothing")

    def obey(self, command):
        """Whether the program goes on."""
        if command == "F":
            return self.move(1)
        if command == "B":
            return self.move(-1)
        if command in ("L", "R"):
            if not self.pay(1):
                return False
            self.turn(1 if command == "R" else -1)
        elif command == "T":
            self.take()
        elif command == "C":
            self.battery = min(FULL, self.battery + $charge)
        else:
            self.log.append(f"unknown {command}")
        return True


def $drive(rows, position, direction, text):
    rover = Rover(Grid(rows), position, direction)
    for command in expand(text):
        if not rover.obey(command):
            break
    return {
        "position": [rover.row, rover.column],
        "direction": rover.direction,
        "battery": rover.battery,
        "samples": rover.samples,
        "log": rover.log,
    }
'''

STAYS = """            return True"""

WRAPS = """            row %= self.grid.height
            column %= self.grid.width"""

SURVEY = '''"""What is near."""

from $package.grid import STEPS, Grid


def distances(grid, position, reach):
    """How far every place is that can be reached, by place."""
    start = (position[0], position[1])
    far = {start: 0}
    queue = [start]
    while queue:
        row, column = queue.pop(0)
        if far[(row, column)] == reach:
            continue
        for down, right in STEPS.values():
            place = (row + down, column + right)
            if place in far or grid.blocked(place[0], place[1]):
                continue
            if grid.inside(place[0], place[1]):
                far[place] = far[(row, column)] + 1
                queue.append(place)
    return far


def $survey(rows, position, reach):
    grid = Grid(rows)
    far = distances(grid, position, reach)
    found = [place for place in grid.samples if place in far]
    return [list(place) for place in sorted(found, key=lambda place: (far[place], place[0], place[1]))]
'''


def calls(rng: Random, parameters: Parameters) -> Draft:
    if rng.random() < 0.12:
        return "program", "expand", [_program(rng, 5)]
    height, width = rng.randint(3, 4), rng.randint(3, 5)
    rock = parameters["rock"]
    rows = ["".join(rng.choices(f".{rock}*", (7, 1, 3), k=width)) for _ in range(height)]
    position = [rng.randrange(height), rng.randrange(width)]
    if rng.random() < 0.25:
        return "survey", parameters["survey"], [rows, position, rng.randint(1, 4)]
    return "mission", parameters["drive"], [rows, position, rng.choice("NESW"), _program(rng, 9)]


def _program(rng: Random, most: int) -> str:
    commands = rng.choices("FFFFffBLRltTCcx", k=rng.randint(3, most))
    return "".join(
        rng.choice(("", "", "2", "3", "12")) + command + rng.choice(("", "", " ")) for command in commands
    )


DOMAIN = Domain(
    name="rover",
    choices={
        "package": ("rover", "crawler", "probe", "drone"),
        "drive": ("drive", "run", "carry_out"),
        "survey": ("survey", "nearby", "samples"),
        "rock": ("#", "X", "o"),
        "most": numbers(4, 7),
        "full": numbers(18, 30),
        "cost": numbers(2, 3),
        "extra": numbers(1, 2),
        "charge": numbers(4, 8),
        "border": (
            "the rover stays where it is at no cost, and the program goes on",
            "it comes in again at the other side",
        ),
        "after": ("goes on", "is not carried out"),
    },
    code={"edge": ("border", (STAYS, WRAPS)), "goes_on": ("after", ("True", "False"))},
    readme=README,
    modules={"grid.py": GRID, "program.py": PROGRAM, "mission.py": MISSION, "survey.py": SURVEY},
    calls=calls,
)
