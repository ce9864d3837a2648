"""A warehouse: lots that expire, orders, prices by quantity."""

from random import Random

from ludus.envs.code.repair.domain import Domain, Draft, Parameters, numbers

README = """# $package

Keeps the stock of a warehouse in lots. A lot is a quantity of one $item with the day on which it expires.

`$package.service.$run(events)` carries out events in order and returns the list of their answers:

- `["receive", $item, day, quantity]`: a new lot that expires on `day`. Answer: the total of that $item.
  A quantity below 1 is refused: `"refused"`.
- `["order", $item, quantity]`: takes from the lots that expire first; of lots that expire on the same
  day, from the $tie first. Answer: `[taken, price]`, where less is taken if there is not enough.
- `["discard", day]`: throws away every lot that expires $edge `day`. Answer: the quantity thrown away.
- `["low", limit]`: answer: the names of what has been received and there is at most `limit` of, those
  with the least first, and by name where they are equal.
- Anything else: `"unknown"`.

Names of ${item}s are compared without regard to case and to blanks around them.

`$package.prices.price(quantity)`: the price of a quantity in cents. One piece costs $unit; from $bulk
pieces on, every piece of the order costs $off less. An order that takes anything also costs a fee of
$fee, unless it takes $free pieces or more.
"""

STOCK = '''"""What is on the shelves."""


class Shelf:
    """The lots of one $item, each a list of the day of expiry and the quantity."""

    def __init__(self, lots=None):
        if lots is None:
            lots = []
        self.lots = lots
        self.total_cache = None

    def receive(self, day, quantity):
        self.lots.append([day, quantity])
        self.total_cache = None

    def total(self):
        if self.total_cache is None:
            self.total_cache = sum(lot[1] for lot in self.lots)
        return self.total_cache

    def discard(self, day):
        """Throw away what has expired; the quantity."""
        gone = 0
        kept = []
        for lot in self.lots:
            if lot[0] $expired day:
                gone += lot[1]
                continue
            kept.append(lot)
        self.lots = kept
        self.total_cache = None
        return gone

    def take(self, quantity):
        """Take a quantity, or all there is; what was taken."""
        taken = 0
        for lot in sorted(self.lots, key=lambda lot: ($order)):
            part = min(lot[1], quantity - taken)
            lot[1] -= part
            taken += part
        self.lots = [lot for lot in self.lots if lot[1] > 0]
        self.total_cache = None
        return taken
'''

PRICES = '''"""What an order costs."""


def price(quantity):
    """The price of an order in cents."""
    if quantity == 0:
        return 0
    piece = $unit
    if quantity >= $bulk:
        piece -= $off
    total = quantity * piece
    if quantity < $free:
        total += $fee
    return total
'''

REPORT = '''"""What is running low."""


def low(shelves, limit):
    """The names of what has been received and there is at most `limit` of, the least first."""
    totals = []
    for name, shelf in shelves.items():
        if shelf.total() <= limit:
            totals.append((name, shelf.total()))
    return [name for name, total in sorted(totals, key=lambda pair: (pair[1], pair[0]))]
'''

SERVICE = '''"""Events and their answers."""

from $package.prices import price
from $package.report import low
from $package.stock import Shelf


def clean(name):
    """The form in which names are compared."""
    return name.strip().lower()


def $run(events):
    shelves = {}
    answers = []
    for event in events:
        answers.append(answer(shelves, event))
    return answers


def answer(shelves, event):
    kind = event[0]
    if kind == "receive":
        name = clean(event[1])
        if event[3] < 1:
            return "refused"
        if name not in shelves:
            shelves[name] = Shelf()
        shelves[name].receive(event[2], event[3])
        return shelves[name].total()
    if kind == "order":
        name = clean(event[1])
        if name not in shelves:
            return [0, price(0)]
        taken = shelves[name].take(event[2])
        return [taken, price(taken)]
    if kind == "discard":
        return sum(shelf.discard(event[1]) for shelf in shelves.values())
    if kind == "low":
        return low(shelves, event[1])
    return "unknown"
'''

NAMES = ("tea", "Tea ", "rice", "salt", " SALT", "oats", "figs")


def calls(rng: Random, parameters: Parameters) -> Draft:
    if rng.random() < 0.15:
        return "prices", "price", [rng.randint(0, int(parameters["free"]) + 4)]
    events: list[list[object]] = []
    for _ in range(rng.randint(4, 9)):
        name = rng.choice(NAMES)
        kind = rng.choices(("receive", "order", "discard", "low", "count"), (8, 6, 2, 3, 1))[0]
        if kind == "receive":
            events.append([kind, name, rng.randint(1, 6), rng.randint(0, 14)])
        elif kind == "order":
            events.append([kind, name, rng.randint(1, int(parameters["free"]) + 2)])
        else:
            events.append([kind, rng.randint(1, 6)] if kind != "count" else [kind])
    return "service", parameters["run"], [events]


DOMAIN = Domain(
    name="warehouse",
    choices={
        "package": ("warehouse", "depot", "storeroom", "pantry"),
        "item": ("product", "article", "ware", "good"),
        "run": ("run", "process", "handle"),
        "tie": ("smallest lot", "largest lot"),
        "edge": ("before", "on or before"),
        "unit": numbers(40, 90),
        "bulk": numbers(4, 8),
        "off": numbers(3, 9),
        "fee": numbers(100, 250),
        "free": numbers(9, 12),
    },
    code={
        "order": ("tie", ("lot[0], lot[1]", "lot[0], -lot[1]")),
        "expired": ("edge", ("<", "<=")),
    },
    readme=README,
    modules={"stock.py": STOCK, "prices.py": PRICES, "report.py": REPORT, "service.py": SERVICE},
    calls=calls,
)
