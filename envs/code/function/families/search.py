"""Search in lists; most families here have an input that only an efficient solution can handle."""

from random import Random

from ludus.envs.code.function.families.family import Arguments, Family, Timed, Values
from ludus.envs.code.function.families.inputs import integers

MANY = 25_000
LONG = "The list may be long: a solution that goes through it anew for every number is too slow."


def _sorted_and_target(rng: Random, values: Values) -> Arguments:
    numbers = sorted(integers(rng, 3, 12, -20, 40))
    there = rng.choice(numbers) - values["shift"] * (1 if values["sign"] == "+" else -1)
    return numbers, rng.choice((there, there, rng.randint(-25, 45)))


def _any_numbers(rng: Random, values: Values) -> Arguments:
    return (integers(rng, 3, 12, -15, 30),)


def _few_values(rng: Random, values: Values) -> Arguments:
    return (integers(rng, 5, 16, 0, rng.randint(2, 9)),)


def _many_numbers(rng: Random, values: Values) -> Arguments:
    return (integers(rng, MANY, MANY, -500, 500),)


def _many_without_a_next(rng: Random, values: Values) -> Arguments:
    ascending = (values["compare"] == "<") == (values["side"] == "1")
    return (list(range(MANY)) if ascending else list(range(MANY, 0, -1)),)


def _many_in_one_stretch(rng: Random, values: Values) -> Arguments:
    repeats = values["condition"].startswith("len")
    return ([i % values["count"] if repeats else i for i in range(MANY)],)


def _many_different(rng: Random, values: Values) -> Arguments:
    numbers = list(range(MANY))
    rng.shuffle(numbers)
    return (numbers,)


def _many_that_stay(rng: Random, values: Values) -> Arguments:
    sign = 1 if values["drop"] == "<" else -1
    return ([values["limit"] + sign * i for i in range(MANY)],)


FAMILIES = (
    Family(
        "position",
        "search",
        "position(numbers, target)",
        "`numbers` is a list in ascending order, with equal numbers in it at times. Return the index of the "
        "$which that is $compare `target` $sign $shift; or $missing if there is none.",
        """
def position(numbers, target):
    for i in $which:
        if numbers[i] $compare target $sign $shift:
            return i
    return $missing
""",
        _sorted_and_target,
        {
            "which": {
                "first number": "range(len(numbers))",
                "last number": "range(len(numbers) - 1, -1, -1)",
            },
            "compare": {
                "at least": ">=",
                "at most": "<=",
                "equal to": "==",
                "more than": ">",
                "less than": "<",
            },
            "sign": {"plus": "+", "minus": "-"},
            "shift": range(1, 6),
            "missing": {"-1": "-1", "None": "None", "the length of the list": "len(numbers)"},
        },
        lambda values: [([], 0), ([3, 3, 3], 3), ([0, 5, 5, 10], 5), ([-9], 100), ([9], -100)],
    ),
    Family(
        "pairs-divisible",
        "search",
        "pairs(numbers)",
        "Return the number of pairs of places i < j in the list `numbers` for which numbers[i] plus "
        "numbers[j] leaves remainder $rest when divided by $modulus (remainders are 0 or more). " + LONG,
        """
def pairs(numbers):
    seen, count = [0] * $modulus, 0
    for number in numbers:
        count += seen[($rest - number) % $modulus]
        seen[number % $modulus] += 1
    return count
""",
        _any_numbers,
        {"rest": range(3), "modulus": range(3, 40)},
        lambda values: [
            ([],),
            ([values["rest"]],),
            ([0, 0, 0, values["rest"]],),
            ([-1, values["rest"] + 1],),
        ],
        Timed(
            _many_numbers,
            """
def pairs(numbers):
    count = 0
    for i in range(len(numbers)):
        for j in range(i):
            if (numbers[i] + numbers[j]) % $modulus == $rest:
                count += 1
    return count
""",
        ),
    ),
    Family(
        "pairs-apart",
        "search",
        "pairs(numbers)",
        "Look at the pairs of places i < j in the list `numbers` for which numbers[j] is numbers[i] "
        "$sign $gap. Return $what. " + LONG,
        """
def pairs(numbers):
    seen, count, total = {}, 0, 0
    for number in numbers:
        other = number - ($sign $gap)
        count += seen.get(other, 0)
        total += seen.get(other, 0) * (number + other)
        seen[number] = seen.get(number, 0) + 1
    return $what
""",
        lambda rng, values: (integers(rng, 6, 16, 0, 12),),
        {
            "what": {
                "how many there are": "count",
                "the sum of numbers[i] plus numbers[j] over all of them": "total",
                "a list of how many there are and the sum of numbers[i] plus numbers[j] over all of them": (
                    "[count, total]"
                ),
            },
            "sign": {"plus": "+", "minus": "-"},
            "gap": range(1, 12),
        },
        lambda values: [([],), ([1],), ([0, values["gap"]] * 2,), ([-values["gap"], 0, values["gap"], 0],)],
        Timed(
            _many_numbers,
            """
def pairs(numbers):
    count = total = 0
    for j in range(len(numbers)):
        for i in range(j):
            if numbers[j] == numbers[i] $sign $gap:
                count += 1
                total += numbers[j] + numbers[i]
    return $what
""",
        ),
    ),
    Family(
        "longest-stretch",
        "search",
        "longest(numbers)",
        "Return $what the longest stretch of neighbouring numbers in the list `numbers` that has at "
        "most $count $condition (the first of several; 0 for an empty list). " + LONG,
        """
def longest(numbers):
    best = first = begin = 0
    inside = {}
    for end, number in enumerate(numbers):
        inside[number] = inside.get(number, 0) + 1
        while not $condition:
            inside[numbers[begin]] -= 1
            if not inside[numbers[begin]]:
                del inside[numbers[begin]]
            begin += 1
        if end - begin + 1 > best:
            best, first = end - begin + 1, begin
    return $what
""",
        lambda rng, values: (integers(rng, 8, 18, 0, rng.randint(2, 6)),),
        {
            "what": {
                "the length of": "best",
                "the index of the first number of": "first",
                "the sum of": "sum(numbers[first : first + best])",
            },
            "condition": {
                "different numbers": "len(inside) <= $count",
                "numbers equal to one another": "inside[number] <= $count",
            },
            "count": range(1, 5),
        },
        lambda values: [([],), ([1],), ([2] * 12,), (list(range(8)),), ([1, 1, 2, 2, 3, 3, 1, 1, 2, 2],)],
        Timed(
            _many_in_one_stretch,
            """
def longest(numbers):
    best = first = 0
    for begin in range(len(numbers)):
        inside = {}
        for end in range(begin, len(numbers)):
            number = numbers[end]
            inside[number] = inside.get(number, 0) + 1
            if not $condition:
                break
            if end - begin + 1 > best:
                best, first = end - begin + 1, begin
    return $what
""",
        ),
    ),
    Family(
        "stretches",
        "search",
        "stretches(numbers)",
        "Return the number of stretches of one or more neighbouring numbers in the list `numbers` "
        "whose sum leaves remainder $rest when divided by $modulus (remainders are 0 or more). " + LONG,
        """
def stretches(numbers):
    seen, total, count = {0: 1}, 0, 0
    for number in numbers:
        total = (total + number) % $modulus
        count += seen.get((total - $rest) % $modulus, 0)
        seen[total] = seen.get(total, 0) + 1
    return count
""",
        _any_numbers,
        {"rest": range(3), "modulus": range(3, 30)},
        lambda values: [([],), ([0],), ([0, 0, 0],), ([values["rest"], -1, 1],), ([-values["modulus"]] * 3,)],
        Timed(
            _many_numbers,
            """
def stretches(numbers):
    count = 0
    for begin in range(len(numbers)):
        total = 0
        for end in range(begin, len(numbers)):
            total += numbers[end]
            if total % $modulus == $rest:
                count += 1
    return count
""",
        ),
    ),
    Family(
        "next-beyond",
        "search",
        "beyond(numbers)",
        "For each number in the list `numbers`, find the nearest one on its $side that is $compare "
        "than it. Return the list of $what, with $missing where there is none. " + LONG,
        """
def beyond(numbers):
    out, waiting = [$missing] * len(numbers), []
    for i in range(len(numbers))[::$side]:
        while waiting and numbers[i] $compare numbers[waiting[-1]]:
            j = waiting.pop()
            out[j] = $what
        waiting.append(i)
    return out
""",
        lambda rng, values: (integers(rng, 4, 12, 0, 20),),
        {
            "side": {"right": "1", "left": "-1"},
            "compare": {"larger": ">", "smaller": "<"},
            "what": {
                "the numbers that were found": "numbers[i]",
                "the distances to what was found (1 for a neighbour)": "abs(i - j)",
                "the differences between the two numbers (never negative)": "abs(numbers[i] - numbers[j])",
            },
            "missing": {"-1": "-1", "0": "0", "None": "None"},
        },
        lambda values: [
            ([],),
            ([5],),
            ([3, 3, 3],),
            (list(range(8)),),
            (list(range(8, 0, -1)),),
            ([2, 5, 1, 5, 2],),
        ],
        Timed(
            _many_without_a_next,
            """
def beyond(numbers):
    out = []
    for j in range(len(numbers)):
        i = j + $side
        while 0 <= i < len(numbers) and not numbers[i] $compare numbers[j]:
            i += $side
        out.append($what if 0 <= i < len(numbers) else $missing)
    return out
""",
        ),
    ),
    Family(
        "again",
        "search",
        "again(numbers)",
        "Go through the list `numbers` from $order and stop as soon as a number comes for the $time "
        "time. Return $what; or $missing if no number does. " + LONG,
        """
def again(numbers):
    seen = {}
    for i in range(len(numbers))[::$order]:
        number = numbers[i]
        seen[number] = seen.get(number, 0) + 1
        if seen[number] == $time:
            return $what
    return $missing
""",
        _few_values,
        {
            "order": {"the first to the last": "1", "the last to the first": "-1"},
            "time": {"second": "2", "third": "3", "fourth": "4"},
            "what": {
                "that number": "number",
                "its index there": "i",
                "how many different numbers came": "len(seen)",
            },
            "missing": {"-1": "-1", "-2": "-2", "None": "None"},
        },
        lambda values: [([],), ([4],), ([4] * 6,), ([1, 2, 3, 4, 5],), ([1, 2, 2, 2, 1, 1, 1, 2, 3],)],
        Timed(
            _many_different,
            """
def again(numbers):
    came = []
    for i in range(len(numbers))[::$order]:
        number = numbers[i]
        came.append(number)
        if came.count(number) == $time:
            seen = set(came)
            return $what
    return $missing
""",
        ),
    ),
    Family(
        "unique",
        "search",
        "unique(numbers)",
        "Return the list `numbers` without repeats and without the numbers $drop $limit; of equal "
        "numbers the $keep stays. The others stay in their order. " + LONG,
        """
def unique(numbers):
    seen, out = set(), []
    for number in numbers[::$keep]:
        if number not in seen and not number $drop $limit:
            seen.add(number)
            out.append(number)
    return out[::$keep]
""",
        _few_values,
        {
            "drop": {"below": "<", "above": ">"},
            "limit": range(1, 8),
            "keep": {"first": "1", "last": "-1"},
        },
        lambda values: [([],), ([values["limit"]] * 3,), ([5, 4, 5, 3, 4, 9],), (list(range(12)) * 2,)],
        Timed(
            _many_that_stay,
            """
def unique(numbers):
    out = []
    for number in numbers[::$keep]:
        if number not in out and not number $drop $limit:
            out.append(number)
    return out[::$keep]
""",
        ),
    ),
    Family(
        "largest-root",
        "search",
        "root(n)",
        "`n` is an integer, 0 or more. Return the largest integer x, 0 or more, for which $a times x times "
        "x plus $b times x is $compare `n`; or -1 if there is none. `n` may have 17 digits: a solution that "
        "tries one x after the other is too slow.",
        """
def root(n):
    low, high = -1, 10**9
    while high - low > 1:
        x = (low + high) // 2
        if $a * x * x + $b * x $compare n:
            low = x
        else:
            high = x
    return low
""",
        lambda rng, values: (rng.randint(0, 10 ** rng.randint(1, 6)),),
        {"a": range(1, 8), "b": range(1, 12), "compare": {"at most": "<=", "less than": "<"}},
        lambda values: [
            (0,),
            (1,),
            (values["a"] + values["b"],),
            (4 * values["a"] + 2 * values["b"],),
            (4 * values["a"] + 2 * values["b"] - 1,),
        ],
        Timed(
            lambda rng, values: (rng.randint(9 * 10**16, 10**17),),
            """
def root(n):
    x = 0
    while $a * x * x + $b * x $compare n:
        x += 1
    return x - 1
""",
        ),
    ),
)
