"""Parsing: structured texts."""

from random import Random

from ludus.envs.code.function.families.family import Arguments, Family, Values
from ludus.envs.code.function.families.inputs import letters, words


def _settings(rng: Random, values: Values) -> Arguments:
    space = " " * rng.randint(0, 1)
    parts = [
        f"{space}{name}{space}{values['equals']}{space}{rng.randint(-9, 99)}" for name in words(rng, 1, 6)
    ]
    return (values["mark"].join(parts + rng.choice(([], [""], parts[:1]))),)


def _formula(rng: Random, values: Values) -> Arguments:
    text = str(rng.randint(0, 12))
    for _ in range(rng.randint(1, 6)):
        text += f" {rng.choice('+-*')} {rng.randint(0, 12)}"
    return (text,)


def _brackets(rng: Random, values: Values) -> Arguments:
    text = ""
    for _ in range(rng.randint(1, 4)):
        kind = rng.choice(("()", "[]", "{}"))
        inside = rng.choice(("", "x", text, "(y)", "[[]]"))
        text = rng.choice((text, "")) + kind[0] + inside + kind[1]
    if rng.random() < 0.3:
        cut = rng.randrange(len(text))
        text = text[:cut] + text[cut + 1 :]
    return (text,)


def _duration(rng: Random, values: Values) -> Arguments:
    return ("".join(f"{rng.randint(0, 40)}{rng.choice('dhm')}" for _ in range(rng.randint(1, 4))),)


def _numeral(rng: Random, values: Values) -> Arguments:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"[: values["base"]]
    text = rng.choice(("", "", "-")) + letters(rng, 1, 6, digits + rng.choice(("", "_", digits.upper())))
    return (text if rng.random() < 0.8 else text + "z",)


def _fields(rng: Random, values: Values) -> Arguments:
    quote, mark = values["quote"], values["mark"]

    def field() -> str:
        plain = " ".join(words(rng, 0, 2))
        return rng.choice(
            (plain, f" {plain}", f"{quote}{plain}{mark}{quote * 2}{quote}", f"{quote}{plain}{quote}")
        )

    return (mark.join(field() for _ in range(rng.randint(1, 4))),)


def _versions(rng: Random, values: Values) -> Arguments:
    return (
        [
            ".".join(str(rng.choice((0, 1, 2, 10))) for _ in range(rng.randint(1, 3)))
            for _ in range(rng.randint(1, 5))
        ],
    )


FAMILIES = (
    Family(
        "settings",
        "parsing",
        "settings(text)",
        "`text` holds settings, each a name and an integer with '$equals' between them, and '$mark' between "
        "the settings. Spaces around names, numbers and settings do not count, and an empty setting is "
        "skipped. A name that comes several times counts with $policy. Return a list of [name, number], "
        "ordered by $order.",
        """
def settings(text):
    found = {}
    for part in text.split("$mark"):
        if part.strip():
            name, number = part.split("$equals")
            found.setdefault(name.strip(), []).append(int(number))
    pairs = [[name, $policy] for name, numbers in found.items()]
    return sorted(pairs, key=$order)
""",
        _settings,
        {
            "equals": {sign: sign for sign in ("=", ":", "->", ":=")},
            "mark": {mark: mark for mark in (";", ",", "|", "/")},
            "policy": {
                "its last number": "numbers[-1]",
                "its first number": "numbers[0]",
                "the sum of its numbers": "sum(numbers)",
                "its largest number": "max(numbers)",
            },
            "order": {
                "name": "lambda pair: pair[0]",
                "number, then name": "lambda pair: (pair[1], pair[0])",
            },
        },
        lambda values: [
            ("",),
            (f" {values['mark']} ",),
            (
                values["mark"].join(
                    f"{name}{values['equals']}{n}" for name, n in (("b", 5), ("a", 7), ("b", -2))
                ),
            ),
        ],
    ),
    Family(
        "work-out",
        "parsing",
        "work_out(text)",
        "`text` is integers that are not negative with `+`, `-` or `*` between them, and one space around "
        "each sign. $order Return the result modulo $modulus (from 0 to one less, also where the result is "
        "negative).",
        """
def work_out(text):
    tokens = text.split()
    for level in $order:
        reduced = tokens[:1]
        for sign, number in zip(tokens[1::2], tokens[2::2]):
            a, b = int(reduced[-1]), int(number)
            if sign not in level:
                reduced += [sign, number]
            elif sign == "+":
                reduced[-1] = a + b
            elif sign == "-":
                reduced[-1] = a - b
            else:
                reduced[-1] = a * b
        tokens = reduced
    return int(tokens[0]) % $modulus
""",
        _formula,
        {
            "order": {
                "No sign binds tighter than another: work from left to right.": "['+-*']",
                "Multiply first; then work from left to right.": "['*', '+-']",
                "Add and subtract first, from left to right; then multiply.": "['+-', '*']",
                "Add first, then multiply, then subtract; each from left to right.": "['+', '*', '-']",
            },
            "modulus": range(50, 120),
        },
        lambda values: [("7",), ("1 - 2 - 3",), ("2 + 3 * 4 - 5 * 6 + 7",), ("0 * 9 - 12",)],
    ),
    Family(
        "brackets",
        "parsing",
        "depth(text)",
        "In `text` the brackets $kinds count, and no other character. Return $what; or $wrong if the "
        "brackets do not match, each closing the last one that is open.",
        """
def depth(text):
    closing, stack, deepest, pairs = $kinds, [], 0, 0
    for c in text:
        if c in closing:
            stack.append(closing[c])
            deepest = max(deepest, len(stack))
        elif c in closing.values():
            if not stack or stack.pop() != c:
                return $wrong
            pairs += 1
    return $wrong if stack else $what
""",
        _brackets,
        {
            "kinds": {
                "( and )": "{'(': ')'}",
                "( ) and [ ]": "{'(': ')', '[': ']'}",
                "[ ] and { }": "{'[': ']', '{': '}'}",
                "( ), [ ] and { }": "{'(': ')', '[': ']', '{': '}'}",
            },
            "what": {
                "how deep they are nested (0 without any)": "deepest",
                "how many pairs there are": "pairs",
                "the number of pairs times the depth to which they are nested": "pairs * deepest",
            },
            "wrong": {"-1": "-1", "-2": "-2", "None": "None", "-100": "-100"},
        },
        lambda values: [("",), ("([)]",), ("))((",), ("{[(x)]}()[]{}",), ("(((",), ("[{]}",)],
    ),
    Family(
        "duration",
        "parsing",
        "duration(text)",
        "`text` is a sequence of amounts, such as `2h30m`: an integer, then `d` for days, `h` for hours or "
        "`m` for minutes, in any order, each unit none or more times. Here a day has $hours hours and an "
        "hour has $minutes minutes. Return the whole time as $form.",
        """
def duration(text):
    total, number = 0, ""
    for c in text:
        if c.isdigit():
            number += c
        else:
            total += int(number) * {"d": $hours * $minutes, "h": $minutes, "m": 1}[c]
            number = ""
    return $form
""",
        _duration,
        {
            "hours": range(6, 13),
            "minutes": range(40, 101, 10),
            "form": {
                "minutes": "total",
                "a list of hours and minutes, with fewer minutes than an hour has": (
                    "[total // $minutes, total % $minutes]"
                ),
                "minutes, rounded up to whole hours": "-(-total // $minutes) * $minutes",
            },
        },
        lambda values: [("",), ("0m",), ("1m1h1d",), (f"{values['minutes']}m",), ("100d5m7m",)],
    ),
    Family(
        "numeral",
        "parsing",
        "numeral(text)",
        "Read `text` as an integer in base $base: an optional `-`, then digits, the letters from a on, "
        "small or capital, being the digits after 9. `$gap` may stand anywhere among the digits and does "
        "not count. Return the integer; or $wrong if there is no digit, or anything else in `text`.",
        """
def numeral(text):
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"[:$base]
    sign = -1 if text.startswith("-") else 1
    body = text.removeprefix("-").replace("$gap", "").lower()
    if not body or any(c not in digits for c in body):
        return $wrong
    value = 0
    for c in body:
        value = value * $base + digits.index(c)
    return sign * value
""",
        _numeral,
        {
            "base": range(2, 33),
            "gap": {gap: gap for gap in ("_", " ", "'")},
            "wrong": {"None": "None", "0": "0", "-1": "-1"},
        },
        lambda values: [
            ("",),
            ("-",),
            (values["gap"],),
            ("-1" + values["gap"] + "0",),
            ("--1",),
            ("1-",),
            ("1.0",),
        ],
    ),
    Family(
        "fields",
        "parsing",
        "fields(line)",
        "Split `line` into fields at each `$mark`. Between a pair of $quote characters a `$mark` is text, "
        "and two such quotes in a row stand for one; the quotes themselves are no text. Quotes may begin "
        "and end anywhere in a field, and a quotation that is not closed goes on to the end of the line. "
        "$blank Return the list of fields.",
        """
def fields(line):
    found, quoted, i = [""], False, 0
    while i < len(line):
        c = line[i]
        if c == "$quote":
            if quoted and line[i + 1:i + 2] == c:
                found[-1] += c
                i += 1
            else:
                quoted = not quoted
        elif c == "$mark" and not quoted:
            found.append("")
        else:
            found[-1] += c
        i += 1
    return $blank
""",
        _fields,
        {
            "mark": {mark: mark for mark in (",", ";", "|", ":")},
            "quote": {"'": "'", "~": "~", "%": "%"},
            "blank": {
                "Spaces are text like any other.": "found",
                "Spaces at the beginning and end of a field's text are taken away.": (
                    "[f.strip(' ') for f in found]"
                ),
                "Fields without any text are left out.": "[f for f in found if f]",
            },
        },
        lambda values: [
            ("",),
            (values["mark"] * 2,),
            (f"a{values['mark']}{values['quote']}b{values['mark']}c",),
            (f"{values['quote'] * 4}{values['mark']} x ",),
            (f"{values['quote'] * 2}a{values['quote']}{values['mark']}{values['quote']}b",),
        ],
    ),
    Family(
        "versions",
        "parsing",
        "pick(versions)",
        "`versions` is a list of at least one version such as '1.10.2': numbers with dots between them. "
        "Versions are compared number by number, as numbers, and a version that has fewer numbers goes on "
        "with ${missing}s. Return the $which; of several that are equal, the one that comes $tie in the "
        "list.",
        """
def pick(versions):
    longest = max(version.count(".") + 1 for version in versions)

    def key(version):
        numbers = [int(number) for number in version.split(".")]
        return numbers + [$missing] * (longest - len(numbers))

    return $which(versions$tie, key=key)
""",
        _versions,
        {
            "missing": range(10),
            "which": {"newest": "max", "oldest": "min"},
            "tie": {"first": "", "last": "[::-1]"},
        },
        lambda values: [
            (["3"],),
            (["1.9", "1.10"],),
            (["1", f"1.{values['missing']}", f"1.{values['missing']}.{values['missing']}"],),
            ([f"2.{values['missing']}", "2", "02"],),
        ],
    ),
)
