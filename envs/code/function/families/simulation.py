"""Simulation: things that move or change one step at a time."""

from random import Random

from ludus.envs.code.function.families.family import Arguments, Family, Values
from ludus.envs.code.function.families.inputs import grid, integers, letters


def _flight(rng: Random, values: Values) -> Arguments:
    flaps = [rng.random() < 0.35 for _ in range(rng.randint(1, 12))]
    return rng.randint(3, values["ceiling"]), rng.randint(-4, 4), flaps


def _customers(rng: Random, values: Values) -> Arguments:
    arrivals = sorted(integers(rng, 1, 8, 0, 30))
    return [[arrival, rng.randint(1, 9)] for arrival in arrivals], rng.randint(1, 3)


def _orders(rng: Random, values: Values) -> Arguments:
    kinds = ("in", "out", "out", "month")
    return rng.randint(0, 100), [[rng.choice(kinds), rng.randint(1, 120)] for _ in range(rng.randint(1, 8))]


FAMILIES = (
    Family(
        "bird",
        "simulation",
        "fly(height, speed, flaps)",
        "A bird flies at `height` (an integer, 1 or more) with an upward `speed` (an integer). `flaps` is a "
        "list of bools, one for each moment. In a moment, the speed becomes $lift if the bird flaps; else "
        "it falls by $gravity, but not below -$fastest. Then the speed is added to the height. A height "
        "above $ceiling becomes $ceiling, and the speed 0. With a height of 0 or less the bird has crashed: "
        "its height is then 0, and nothing happens any more. Return a list of $what.",
        """
def fly(height, speed, flaps):
    moments = 0
    for flap in flaps:
        speed = $lift if flap else max(speed - $gravity, -$fastest)
        height += speed
        moments += 1
        if height > $ceiling:
            height, speed = $ceiling, 0
        if height <= 0:
            height = 0
            break
    return $what
""",
        _flight,
        {
            "lift": range(2, 7),
            "gravity": range(1, 4),
            "fastest": range(5, 10),
            "ceiling": range(12, 25),
            "what": {
                "the height and the speed at the end": "[height, speed]",
                "the height at the end and the number of moments the bird flew (the crash included)": (
                    "[height, moments]"
                ),
            },
        },
        lambda values: [
            (1, 0, []),
            (1, 0, [False]),
            (values["ceiling"], 0, [True, False]),
            (20, 0, [False] * 12),
            (values["gravity"], 0, [False, True]),
        ],
    ),
    Family(
        "ball",
        "simulation",
        "bounce(height, speed, steps)",
        "A ball is at `height` (a float, 0 or more) with an upward `speed` (a float). Each of `steps` steps "
        "takes $milliseconds ms: first the speed falls by $gravity times the time in seconds, then the "
        "height grows by the speed times the time in seconds. If the height is then below 0, the ball "
        "bounces: the height becomes its absolute value times $keep/10, and the speed its absolute value "
        "times $keep/10. Return [height, speed] after the steps, as floats, right to within 1e-9.",
        """
def bounce(height, speed, steps):
    time = $milliseconds / 1000
    for _ in range(steps):
        speed -= $gravity * time
        height += speed * time
        if height < 0:
            height, speed = abs(height) * $keep / 10, abs(speed) * $keep / 10
    return [float(height), float(speed)]
""",
        lambda rng, values: (rng.randint(0, 40) / 4, rng.randint(-20, 20) / 4, rng.randint(1, 30)),
        {"milliseconds": range(50, 301, 50), "gravity": range(4, 13), "keep": range(4, 10)},
        lambda values: [(0.0, 0.0, 0), (0.0, 0.0, 1), (0.0, -1.5, 3), (1.0, 0.25, 60)],
    ),
    Family(
        "life",
        "simulation",
        "life(grid)",
        "`grid` is a list of rows, texts of equal length, at least one of each; `#` is a living cell, `.` a "
        "dead one. Each cell has the eight cells around it as neighbours$edge. All at once, a dead cell "
        "comes alive if $born of its neighbours live, and a living cell stays alive if $stay of them do; "
        "all others are dead. Return the grid after $count such steps.",
        """
def life(grid):
    rows, columns = len(grid), len(grid[0])
    around = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
    for _ in range($count):
        new = []
        for i in range(rows):
            row = ""
            for j in range(columns):
                n = 0
                for a, b in around:
                    x, y = i + a, j + b
                    n += $edge
                row += "#" if (n in $stay if grid[i][j] == "#" else n in $born) else "."
            new.append(row)
        grid = new
    return grid
""",
        lambda rng, values: (grid(rng, (3, 6), (3, 6), "..#"),),
        {
            "edge": {
                "; beyond the edge all are dead": "0 <= x < rows and 0 <= y < columns and grid[x][y] == '#'",
                ", and the edges of the grid touch, left and right, top and bottom": (
                    "grid[x % rows][y % columns] == '#'"
                ),
            },
            "born": {"3": "(3,)", "3 or 6": "(3, 6)", "2": "(2,)", "1": "(1,)", "2 or 4": "(2, 4)"},
            "stay": {
                "2 or 3": "(2, 3)",
                "1 or 2": "(1, 2)",
                "3 or 4": "(3, 4)",
                "2": "(2,)",
                "3 to 5": "(3, 4, 5)",
            },
            "count": {"1": "1", "2": "2", "3": "3"},
        },
        lambda values: [
            (["#"],),
            (["...", "...", "..."],),
            (["###", "###", "###"],),
            ([".....", ".###.", "....."],),
        ],
    ),
    Family(
        "robot",
        "simulation",
        "walk(commands)",
        "A robot stands at x = 0, y = 0 and looks $facing (x grows to the east, y to the north). `commands` "
        "is a text: `L` and `R` turn it by a quarter to the left and right, `F` moves it $stride forward, "
        "`B` moves it 1 back, without turning; `$special` $meaning; any other character does nothing. "
        "Return $what.",
        """
def walk(commands):
    x, y, dx, dy = 0, 0, $facing
    for c in commands:
        if c == "L":
            dx, dy = -dy, dx
        elif c == "R":
            dx, dy = dy, -dx
        elif c == "F":
            x, y = x + $stride * dx, y + $stride * dy
        elif c == "B":
            x, y = x - dx, y - dy
        elif c == "$special":
            $meaning
    return $what
""",
        lambda rng, values: (letters(rng, 3, 14, "LRFFFBx" + values["special"]),),
        {
            "facing": {"north": "0, 1", "east": "1, 0", "south": "0, -1", "west": "-1, 0"},
            "stride": range(1, 6),
            "special": {letter: letter for letter in "UJZ"},
            "meaning": {
                "turns it round": "dx, dy = -dx, -dy",
                "brings it back to x = 0, y = 0, without turning it": "x = y = 0",
                "changes the sign of its x": "x = -x",
            },
            "what": {
                "[x, y]": "[x, y]",
                "the distance from where it began, along x plus along y": "abs(x) + abs(y)",
            },
        },
        lambda values: [
            ("",),
            ("lrf",),
            ("F" + values["special"] + "F",),
            ("FLFLFLF",),
            ("RFBB" + values["special"],),
        ],
    ),
    Family(
        "account",
        "simulation",
        "account(balance, orders)",
        "An account holds `balance`. `orders` is a list of [kind, amount], in order. `in` adds the amount. "
        "`out` takes the amount away and a fee of $fee besides; if the balance would then be below "
        "-$credit, $refused instead. `month` ignores its amount: $month. All are integers. Return the "
        "balance at the end.",
        """
def account(balance, orders):
    for kind, amount in orders:
        if kind == "in":
            balance += amount
        elif kind == "out":
            if balance - amount - $fee < -$credit:
                $refused
            else:
                balance -= amount + $fee
        else:
            $month
    return balance
""",
        _orders,
        {
            "fee": range(1, 6),
            "credit": range(10, 70, 10),
            "refused": {
                "nothing happens": "pass",
                "only the fee is taken away": "balance -= $fee",
                "nothing happens and no order after it is carried out": "return balance",
            },
            "month": {
                "a negative balance falls by 10": "balance -= 10 if balance < 0 else 0",
                "a balance above 50 grows by a tenth of it, rounded down": (
                    "balance += balance // 10 if balance > 50 else 0"
                ),
                "the balance falls by 3": "balance -= 3",
            },
        },
        lambda values: [
            (0, []),
            (0, [["out", values["credit"] - values["fee"]]]),
            (0, [["out", values["credit"] - values["fee"] + 1], ["in", 7]]),
            (51, [["month", 3]]),
            (50, [["month", 3]]),
            (-5, [["in", 1], ["month", 9]]),
        ],
    ),
    Family(
        "cells",
        "simulation",
        "cells(row, steps)",
        "`row` is a text of `#` and `.`, at least one. In each of `steps` steps all its cells change at "
        "once: look at a cell and its left and right neighbours$edge; of these three, count `#` as 1 and "
        "`.` as 0 and read them from left to right as a binary number b. The cell becomes `#` if bit b of "
        "the number $rule is 1 (bit 0 is the lowest), else `.`. Return the row after the steps.",
        """
def cells(row, steps):
    for _ in range(steps):
        wide = $edge
        new = ""
        for i in range(len(row)):
            b = sum(4 >> k for k in range(3) if wide[i + k] == "#")
            new += "#" if $rule >> b & 1 else "."
        row = new
    return row
""",
        lambda rng, values: (letters(rng, 3, 14, "#."), rng.randint(1, 5)),
        {
            "edge": {
                " (beyond the ends stands `.`)": "'.' + row + '.'",
                " (the two ends are neighbours)": "row[-1] + row + row[0]",
                " (beyond an end stands the cell at that end again)": "row[0] + row + row[-1]",
            },
            "rule": range(30, 226, 5),
        },
        lambda values: [("#", 1), (".", 1), ("#.#.#", 0), ("....#....", 4), ("########", 2)],
    ),
    Family(
        "tills",
        "simulation",
        "tills(customers, n)",
        "`customers` is a list of [arrival, minutes], in order of arrival; there are `n` tills, all free "
        "from the beginning. One after the other, each customer goes to the till that is free first (of "
        "several, to any), as soon as both are there, and keeps it for the minutes, plus $extra. Return "
        "$what; 0 without customers.",
        """
def tills(customers, n):
    free, waits, last = [0] * n, [], 0
    for arrival, minutes in customers:
        free.sort()
        begin = max(arrival, free[0])
        waits.append(begin - arrival)
        free[0] = begin + minutes + $extra
        last = max(last, free[0])
    return $what
""",
        _customers,
        {
            "extra": {
                **{f"{n} for paying": f"{n}" for n in range(1, 6)},
                **{f"{n} if they had to wait": f"({n} if begin > arrival else 0)" for n in range(1, 6)},
            },
            "what": {
                "the minute at which the last of them leaves": "last",
                "the longest time that one of them waits": "max(waits, default=0)",
                "the sum of the times that they wait": "sum(waits)",
                "the number of customers who wait": "sum(wait > 0 for wait in waits)",
            },
        },
        lambda values: [
            ([], 1),
            ([[5, 1]], 2),
            ([[0, 3], [0, 3], [0, 3]], 2),
            ([[0, 9], [1, 1], [2, 1], [3, 1]], 1),
        ],
    ),
    Family(
        "ant",
        "simulation",
        "ant(steps)",
        "An ant stands on an endless grid of white cells and looks up. In each of `steps` steps it turns by "
        "a quarter, to the $turn on a white cell and the other way on any other; then the cell changes its "
        "colour, from white to $colours and then white again; then the ant moves $stride forward. Return "
        "the number of $what.",
        """
def ant(steps):
    colours = {}
    x, y, dx, dy = 0, 0, 0, 1
    for _ in range(steps):
        colour = colours.get((x, y), 0)
        if (colour == 0) == ("$turn" == "left"):
            dx, dy = -dy, dx
        else:
            dx, dy = dy, -dx
        colours[x, y] = (colour + 1) % $colours
        x, y = x + $stride * dx, y + $stride * dy
    return $what
""",
        lambda rng, values: (rng.randint(5, 300),),
        {
            "turn": {"left": "left", "right": "right"},
            "colours": {
                "black": "2",
                "grey, to black": "3",
                "red, to grey, to black": "4",
                "red, to grey, to blue, to black": "5",
            },
            "stride": {"1 cell": "1", "2 cells": "2"},
            "what": {
                "cells that are not white then": "sum(c > 0 for c in colours.values())",
                "different cells on which it made a step": "len(colours)",
                "cells between it and its first cell, up or down plus left or right (0 if it is there)": (
                    "abs(x) + abs(y)"
                ),
            },
        },
        lambda values: [(0,), (1,), (2,), (4,), (1000,)],
    ),
)
