"""Basics: short one-liners, for models that are only just learning to program."""

from random import Random

from ludus.envs.code.function.families.family import Arguments, Family, Values
from ludus.envs.code.function.families.inputs import integers, words

SMALL = range(2, 10)
SIGNS = {"plus": "+", "minus": "-"}


def _number(rng: Random, values: Values) -> Arguments:
    return (rng.randint(-20, 60),)


def _two_numbers(rng: Random, values: Values) -> Arguments:
    return rng.randint(-20, 40), rng.randint(-20, 40)


def _word(rng: Random, values: Values) -> Arguments:
    return (rng.choice(words(rng, 1, 1)),)


def _list(rng: Random, values: Values) -> Arguments:
    return (integers(rng, 0, 12, -9, 30),)


def _numbers_near_zero(values: Values) -> list[Arguments]:
    return [(0,), (-1,), (1000,)]


def _around_the_limit(values: Values) -> list[Arguments]:
    least = values["limit"] - values["number"] * (1 if values["sign"] == "+" else -1)
    return [(least - 1,), (least,), (least + 1,)]


FAMILIES = (
    Family(
        "linear",
        "basics",
        "f(x)",
        "Return x times $factor $sign $number.",
        "def f(x): return x*$factor$sign$number",
        _number,
        {"factor": SMALL, "sign": SIGNS, "number": range(1, 50)},
        _numbers_near_zero,
    ),
    Family(
        "mixture",
        "basics",
        "f(x, y)",
        "Return x times $factor $sign y times $other.",
        "def f(x, y): return x*$factor${sign}y*$other",
        _two_numbers,
        {"factor": SMALL, "sign": SIGNS, "other": range(2, 20)},
        lambda values: [(0, 0), (1, 0), (0, 1), (-1, -1)],
    ),
    Family(
        "power",
        "basics",
        "f(x)",
        "Return x $power $sign $number.",
        "def f(x): return x**$power$sign$number",
        _number,
        {"power": {"squared": "2", "cubed": "3"}, "sign": SIGNS, "number": range(1, 20)},
        _numbers_near_zero,
    ),
    Family(
        "rest",
        "basics",
        "f(x)",
        "Return the remainder of x $sign $number divided by $modulus.",
        "def f(x): return (x$sign$number)%$modulus",
        lambda rng, values: (rng.randint(10, 99),),
        {"sign": SIGNS, "number": range(1, 50), "modulus": SMALL},
        lambda values: [(10,), (100,), (values["modulus"] * 10,)],
    ),
    Family(
        "bound",
        "basics",
        "f(x)",
        "Return the $which of x and $limit.",
        "def f(x): return $which(x, $limit)",
        lambda rng, values: (values["limit"] + rng.randint(-15, 15),),
        {"which": {"larger": "max", "smaller": "min"}, "limit": range(5, 45)},
        lambda values: [(values["limit"],), (values["limit"] + 1,), (values["limit"] - 1,), (0,)],
    ),
    Family(
        "compare",
        "basics",
        "f(x)",
        "Return whether x $sign $number is $compare $limit.",
        "def f(x): return x$sign$number$compare$limit",
        lambda rng, values: (rng.choice(_around_the_limit(values))[0] + rng.randint(-9, 9),),
        {
            "sign": SIGNS,
            "number": range(1, 10),
            "compare": {"above": ">", "below": "<", "at least": ">=", "at most": "<="},
            "limit": range(5, 25),
        },
        _around_the_limit,
    ),
    Family(
        "repeat",
        "basics",
        "f(s)",
        "Return s $times times with '$mark' $place.",
        "def f(s): return $place",
        _word,
        {
            "times": SMALL,
            "mark": {mark: mark for mark in "!?.-"},
            "place": {"after it": "s*$times+'$mark'", "before it": "'$mark'+s*$times"},
        },
        lambda values: [("",), ("abc",)],
    ),
    Family(
        "slice",
        "basics",
        "f(a)",
        "Return the $which $count items of a$order.",
        "def f(a): return a[$which]$order",
        _list,
        {
            "which": {"first": ":$count", "last": "-$count:"},
            "count": SMALL,
            "order": {"": "", " in reverse": "[::-1]"},
        },
        lambda values: [([],), ([4],), (list(range(10)),)],
    ),
    Family(
        "length",
        "basics",
        "f(s)",
        "Return the length of s times $factor $sign $number.",
        "def f(s): return len(s)*$factor$sign$number",
        _word,
        {"factor": SMALL, "sign": SIGNS, "number": range(1, 50)},
        lambda values: [("",), ("x" * 30,)],
    ),
    Family(
        "total",
        "basics",
        "f(a)",
        "Return the sum of a $sign $number.",
        "def f(a): return sum(a)$sign$number",
        _list,
        {"sign": SIGNS, "number": range(1, 100)},
        lambda values: [([],), ([-5],)],
    ),
)
