"""Dynamic programming: the best way, or the number of ways, from smaller cases."""

from random import Random

from ludus.envs.code.function.families.family import Arguments, Family, Values
from ludus.envs.code.function.families.inputs import grid, integers, letters


def _goods(rng: Random, values: Values) -> Arguments:
    return [[rng.randint(1, 12), rng.randint(1, 30)] for _ in range(rng.randint(2, 7))], rng.randint(5, 35)


FAMILIES = (
    Family(
        "coins",
        "dynamic",
        "coins(amount)",
        "There are coins of $first, $second and $third, as many of each as one likes. Return $what that "
        "come to `amount` exactly; $missing if there is no way. (No coins at all come to 0.)",
        """
def coins(amount):
    fewest, ways = [0] + [None] * amount, [1] + [0] * amount
    for coin in ($first, $second, $third):
        for n in range(coin, amount + 1):
            ways[n] += ways[n - coin]
            if fewest[n - coin] is not None and (fewest[n] is None or fewest[n - coin] + 1 < fewest[n]):
                fewest[n] = fewest[n - coin] + 1
    return $what if ways[amount] else $missing
""",
        lambda rng, values: (rng.randint(10, 80),),
        {
            "first": range(2, 6),
            "second": range(6, 10),
            "third": range(10, 17),
            "what": {
                "the smallest number of coins": "fewest[amount]",
                "in how many ways one can choose coins, whatever their order,": "ways[amount]",
            },
            "missing": {"-1": "-1", "None": "None"},
        },
        lambda values: [
            (0,),
            (1,),
            (values["first"],),
            (values["second"] * 2,),
            (values["third"] + 1,),
            (150,),
        ],
    ),
    Family(
        "stairs",
        "dynamic",
        "stairs(n)",
        "A staircase has `n` steps, 0 or more. One climbs $one, $two or $three steps at a time$rule. Return "
        "the number of different ways to reach exactly the top, modulo $modulus (for 0 steps there is one "
        "way).",
        """
def stairs(n):
    climbs, ways = ($one, $two, $three), [{0: 1}]
    for step in range(1, n + 1):
        ways.append({})
        for k in climbs:
            if k <= step:
                ways[step][k] = sum(number for last, number in ways[step - k].items() if $rule)
    return sum(ways[n].values()) % $modulus
""",
        lambda rng, values: (rng.randint(4, 40),),
        {
            "one": range(1, 3),
            "two": range(3, 5),
            "three": range(5, 8),
            "rule": {
                "": "True",
                ", never the same number twice in a row": "k != last",
                ", never fewer than the time before": "k >= last",
            },
            "modulus": range(50, 150),
        },
        lambda values: [(0,), (1,), (values["two"],), (values["three"] * 2,), (80,)],
    ),
    Family(
        "rising",
        "dynamic",
        "rising(numbers)",
        "The numbers of the list `numbers` are 0 or more. Strike out some of them, so that of what is left "
        "each number is $rule the one before it. Return the largest $what that such a list can have; 0 for "
        "an empty list.",
        """
def rising(numbers):
    best = []
    for i, b in enumerate(numbers):
        before = [best[j] for j, a in enumerate(numbers[:i]) if $rule]
        best.append($what + max(before, default=0))
    return max(best, default=0)
""",
        lambda rng, values: (integers(rng, 5, 12, 0, 20),),
        {
            "rule": {
                "greater than": "b > a",
                "at least": "b >= a",
                "less than": "b < a",
                **{f"at least {gap} greater than": f"b >= a + {gap}" for gap in range(2, 6)},
                **{f"greater (by {gap} at most) than": f"a < b <= a + {gap}" for gap in range(2, 6)},
                **{f"at least {gap} away from": f"abs(b - a) >= {gap}" for gap in range(2, 6)},
            },
            "what": {"length": "1", "sum": "b", "sum of squares": "b * b"},
        },
        lambda values: [([],), ([5],), ([2, 2, 2],), (list(range(10)),), (list(range(10, 0, -1)),)],
    ),
    Family(
        "edits",
        "dynamic",
        "edits(first, second)",
        "The text `first` is to become the text `second`. To insert a character costs $insert, to delete "
        "one costs $delete, to replace one by another costs $replace$vowels. Return the lowest cost.",
        """
def edits(first, second):
    row = [j * $insert for j in range(len(second) + 1)]
    for a in first:
        last, row = row, [row[0] + $delete]
        for j, b in enumerate(second):
            change = 0 if a == b else $vowels
            row.append(min(row[j] + $insert, last[j + 1] + $delete, last[j] + change))
    return row[-1]
""",
        lambda rng, values: (letters(rng, 2, 8, "abeot"), letters(rng, 2, 8, "abeot")),
        {
            "insert": range(1, 6),
            "delete": range(1, 6),
            "replace": range(2, 8),
            "vowels": {
                "": "$replace",
                " (only 1 where both are among a, e, i, o and u)": (
                    "1 if a in 'aeiou' and b in 'aeiou' else $replace"
                ),
            },
        },
        lambda values: [
            ("", ""),
            ("abc", ""),
            ("", "abc"),
            ("aeb", "aeb"),
            ("aaaa", "eeee"),
            ("abcd", "bcda"),
        ],
    ),
    Family(
        "pack",
        "dynamic",
        "pack(goods, limit)",
        "`goods` is a list of [weight, value]. Choose goods of a total weight of at most `limit`, $times. "
        "Return the largest total value, $extra.",
        """
def pack(goods, limit):
    best = [0] * (limit + 1)
    for weight, value in goods:
        value = $extra
        for room in $times:
            best[room] = max(best[room], best[room - weight] + value)
    return best[limit]
""",
        _goods,
        {
            "times": {
                "each at most once": "range(limit, weight - 1, -1)",
                "each as often as one likes": "range(weight, limit + 1)",
            },
            "extra": {
                **{
                    f"where goods heavier than {n} count {m} times their value": (
                        f"value * {m} if weight > {n} else value"
                    )
                    for n in range(4, 9)
                    for m in (2, 3)
                },
                **{
                    f"where each that is chosen costs a fee of {n}, which lowers its value": (f"value - {n}")
                    for n in range(2, 9)
                },
            },
        },
        lambda values: [([], 10), ([[5, 10]], 0), ([[5, 10]], 4), ([[5, 10]], 5), ([[1, 1], [9, 30]], 30)],
    ),
    Family(
        "apart",
        "dynamic",
        "apart(numbers)",
        "Choose numbers of the list `numbers` so that between two that are chosen there are always at least "
        "$gap that are not$most. Return the largest sum of what is chosen (0 if nothing is).",
        """
from functools import cache


def apart(numbers):
    @cache
    def best(i, left):
        if i >= len(numbers) or left == 0:
            return 0
        return max(best(i + 1, left), numbers[i] + best(i + 1 + $gap, left - 1))

    return best(0, $most)
""",
        lambda rng, values: (integers(rng, 5, 14, -5, 30),),
        {
            "gap": range(1, 5),
            "most": {
                "": "-1",
                **{f", and choose at most {most}": str(most) for most in range(2, 6)},
            },
        },
        lambda values: [([],), ([-4, -2],), ([7],), ([5] * 12,), ([1, 9, 1, 9, 1, 9, 1],)],
    ),
    Family(
        "paths",
        "dynamic",
        "paths(grid)",
        "`grid` is a list of rows, texts of equal length, at least one of each. Go from the top left cell "
        "to the bottom right one, each time one cell $moves, but never onto a `#` (if the first or the last "
        "cell is one, there is no way). Return the $what; $missing if there is no way.",
        """
def paths(grid):
    found = {}
    for i, row in enumerate(grid):
        for j, cell in enumerate(row):
            before = [found[i - a, j - b] for a, b in $moves if (i - a, j - b) in found]
            if i == j == 0:
                before = [(1, 0, 0)]
            if cell != "#" and before:
                ways, least, most = zip(*before)
                star = 1 if cell == "*" else 0
                found[i, j] = sum(ways), min(least) + star, max(most) + star
    ways, least, most = found.get((len(grid) - 1, len(grid[0]) - 1), (0, 0, 0))
    return $what if ways else $missing
""",
        lambda rng, values: (grid(rng, (2, 5), (2, 5), "....*#"),),
        {
            "moves": {
                "to the right or down": "[(0, 1), (1, 0)]",
                "to the right, down, or diagonally to the right and down": "[(0, 1), (1, 0), (1, 1)]",
                "to the right or two cells down": "[(0, 1), (2, 0)]",
            },
            "what": {
                "number of ways": "ways",
                "largest number of `*` cells on one way": "most",
                "smallest number of `*` cells on one way": "least",
                "number of ways, modulo 7": "ways % 7",
            },
            "missing": {"0": "0", "-1": "-1", "None": "None"},
        },
        lambda values: [
            (["."],),
            (["#"],),
            ([".#", "#."],),
            (["....", "....", "...."],),
            (["..#", "...", "*.."],),
        ],
    ),
)
