"""Numbers: digits, divisors, remainders and sequences."""

from ludus.envs.code.function.families.family import Family

FAMILIES = (
    Family(
        "digits",
        "numbers",
        "digits(n)",
        "`n` is an integer, 0 or more. Write it in base $base, without leading zeros, and return $what of "
        "its digits.",
        """
def digits(n):
    found = [n % $base]
    while n >= $base:
        n //= $base
        found.append(n % $base)
    return $what
""",
        lambda rng, values: (rng.randint(0, 10 ** rng.randint(1, 6)),),
        {
            "base": range(3, 17),
            "what": {
                "the sum": "sum(found)",
                "the largest": "max(found)",
                "the number": "len(found)",
                "the sum of the squares": "sum(d * d for d in found)",
                "the number of different ones": "len(set(found))",
                "the list, the last digit first,": "found",
            },
        },
        lambda values: [(0,), (1,), (values["base"],), (values["base"] ** 3 - 1,), (values["base"] ** 4,)],
    ),
    Family(
        "primes",
        "numbers",
        "primes(n)",
        "Return $what of the primes up to and including `n` that leave remainder $rest when divided by "
        "$modulus.",
        """
def primes(n):
    prime = [False, False] + [True] * (n - 1)
    for i in range(2, n + 1):
        if prime[i]:
            for j in range(i * i, n + 1, i):
                prime[j] = False
    found = [p for p in range(2, n + 1) if prime[p] and p % $modulus == $rest]
    return $what
""",
        lambda rng, values: (rng.randint(10, 400),),
        {
            "modulus": range(3, 11),
            "rest": {"1": "1", "2": "2"},
            "what": {"the number": "len(found)", "the sum": "sum(found)", "the list": "found"},
        },
        lambda values: [(0,), (1,), (2,), (11,), (13,)],
    ),
    Family(
        "next-number",
        "numbers",
        "next_number(n)",
        "Return the smallest integer greater than `n` that is divisible by $divisor and $condition.",
        """
def next_number(n):
    n += 1
    while not (n % $divisor == 0 and $condition):
        n += 1
    return n
""",
        lambda rng, values: (rng.randint(-50, 2000),),
        {
            "divisor": range(2, 13),
            "condition": {
                "leaves remainder 3 when divided by 19": "n % 19 == 3",
                "leaves remainder 5 when divided by 17": "n % 17 == 5",
                "leaves remainder 4 when divided by 13": "n % 13 == 4",
                "has a sum of decimal digits (those of its absolute value) that is even": (
                    "sum(map(int, str(abs(n)))) % 2 == 0"
                ),
                "has no decimal digit twice": "len(set(str(abs(n)))) == len(str(abs(n)))",
            },
        },
        lambda values: [(0,), (-1,), (-values["divisor"],), (99,)],
    ),
    Family(
        "hailstones",
        "numbers",
        "hail(n)",
        "Begin with the integer `n`, 1 or more. In each step, a number that is divisible by $divisor is "
        "divided by it, and any other number m becomes m times $factor plus $number. Stop as soon as the "
        "number is 1, or after $limit steps. Return $what.",
        """
def hail(n):
    steps, highest = 0, n
    while n != 1 and steps < $limit:
        n = n // $divisor if n % $divisor == 0 else n * $factor + $number
        steps += 1
        highest = max(highest, n)
    return $what
""",
        lambda rng, values: (rng.randint(2, 300),),
        {
            "divisor": range(2, 5),
            "factor": range(2, 6),
            "number": range(1, 4),
            "limit": range(20, 41, 5),
            "what": {
                "the number of steps": "steps",
                "the largest number there was, `n` included": "highest",
                "a list of the number of steps and the last number": "[steps, n]",
            },
        },
        lambda values: [(1,), (values["divisor"],), (values["divisor"] ** 5,), (27,)],
    ),
    Family(
        "power-sum",
        "numbers",
        "power_sum(n)",
        "Return 1 to the power of $power, $sign 2 to the power of $power, $sign 3 to the power of $power, "
        "and so on up to `n`, modulo $modulus (from 0 to one less). For `n` below 1 return 0.",
        """
def power_sum(n):
    total = 0
    for i in range(1, n + 1):
        total = total + i**$power if i == 1 else total $sign i**$power
    return total % $modulus
""",
        lambda rng, values: (rng.randint(1, 120),),
        {"power": range(2, 6), "sign": {"plus": "+", "minus": "-"}, "modulus": range(11, 100)},
        lambda values: [(0,), (-3,), (1,), (2,)],
    ),
    Family(
        "divisors",
        "numbers",
        "divisors(n)",
        "`n` is an integer, 1 or more. Return $what of the positive divisors of `n` that are $which $limit "
        "(1 and `n` are divisors, too).",
        """
def divisors(n):
    found = [d for d in range(1, n + 1) if n % d == 0 and $which]
    return $what
""",
        lambda rng, values: (rng.choice((1, 2, 6, 12)) * rng.randint(1, 90),),
        {
            "what": {
                "the number": "len(found)",
                "the sum": "sum(found)",
                "the list, in ascending order,": "found",
            },
            "which": {
                "at most": "d <= $limit",
                "greater than": "d > $limit",
                "no multiple of": "d % $limit",
                "less than `n` divided by": "d * $limit < n",
            },
            "limit": range(2, 13),
        },
        lambda values: [(1,), (values["limit"],), (values["limit"] ** 2,), (720,), (97,)],
    ),
    Family(
        "sequence",
        "numbers",
        "sequence(n)",
        "A sequence begins with $first (number 0) and $second (number 1); every later number is $a times "
        "the one before it $sign $b times the one before that, modulo $modulus (from 0 to one less). Return "
        "number `n`.",
        """
def sequence(n):
    a, b = $first, $second
    for _ in range(n):
        a, b = b, ($a * b $sign $b * a) % $modulus
    return a
""",
        lambda rng, values: (rng.randint(2, 60),),
        {
            "first": range(4),
            "second": range(1, 5),
            "a": range(1, 5),
            "sign": {"plus": "+", "minus": "-"},
            "b": range(1, 5),
            "modulus": range(50, 1000, 7),
        },
        lambda values: [(0,), (1,), (2,), (200,)],
    ),
    Family(
        "fraction",
        "numbers",
        "fraction(a, b)",
        "Return the fraction `a`/`b` $sign $top/$bottom in lowest terms, as a list of its numerator and its "
        "denominator. `b` is not 0 and may be negative; the denominator that is returned is positive.",
        """
def fraction(a, b):
    from math import gcd

    top, bottom = $sign
    if bottom < 0:
        top, bottom = -top, -bottom
    common = gcd(top, bottom)
    return [top // common, bottom // common]
""",
        lambda rng, values: (rng.randint(-30, 30), rng.choice((-1, 1, 1)) * rng.randint(1, 30)),
        {
            "top": range(1, 6),
            "bottom": range(6, 13),
            "sign": {
                "plus": "a * $bottom + $top * b, b * $bottom",
                "minus": "a * $bottom - $top * b, b * $bottom",
                "times": "a * $top, b * $bottom",
                "divided by": "a * $bottom, b * $top",
            },
        },
        lambda values: [(0, 1), (0, -5), (values["top"], values["bottom"]), (-4, -6), (10**12, 3)],
    ),
)
