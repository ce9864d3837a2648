"""A lending library: loans, renewals, fines, reservations."""

from random import Random

from ludus.envs.code.repair.domain import Domain, Draft, Parameters, numbers

README = """# $package

Lends things to members.

`$package.counter.$run(catalogue, events)` carries out events in the order of the list. `catalogue`
gives the number of copies of each title; events that name another title are answered by `"unknown"`. It
returns the list of the answers:

- `["lend", member, title, day]`: `"due D"`, with D = day + $period. Otherwise the first of these that
  holds: `"blocked"` where the member owes $block or more; `"has it"` where the member already has it;
  `"limit"` where the member already has $most titles; `"reserved"` where no more copies are in than
  other members wait for; `"out"` where no copy is in. A member who borrows a title stops waiting for
  it.
- `["return", member, title, day]`: `"fine F"`, with F = 0 up to and with the due day, and then $rate
  for every day late, but at most $cap; or `"not lent"`. Fines add up to what a member owes.
- `["renew", member, title, day]`: the due day becomes day + $period: `"due D"`. `"late"` where the due
  day is over, `"reserved"` where anybody waits for the title, `"not lent"` where the member does not
  have it.
- `["reserve", member, title]`: the place in the queue of the title, from 1 on; the old place where the
  member waits already.
- `["pay", member, amount]`: what the member still owes, never below 0.
- `["late", day]`: `[member, title, days late]` of every loan whose due day is over on that day, sorted
  by days late, the $way first, then by member, then by title.

`$package.fines.fine(due, day)` is the fine for a return on a day.
"""

FINES = '''"""What being late costs."""


def days_late(due, day):
    return max(0, day - due)


def fine(due, day):
    return min($cap, days_late(due, day) * $rate)
'''

MEMBERS = '''"""Members, their loans and what they owe."""

BLOCK = $block
MOST = $most


class Member:
    """Loans are kept as title: due day."""

    def __init__(self, name, loans=None):
        if loans is None:
            loans = {}
        self.name = name
        self.loans = loans
        self.owed = 0

    def blocked(self):
        return self.owed >= BLOCK

    def full(self):
        return len(self.loans) >= MOST

    def pay(self, amount):
        self.owed = max(0, self.owed - amount)
        return self.owed
'''

SHELF = '''"""Copies and who waits for them."""


class Title:
    def __init__(self, copies, queue=None):
        if queue is None:
            queue = []
        self.copies = copies
        self.queue = queue

    def waiting(self, name):
        """How many others wait."""
        return sum(1 for other in self.queue if other != name)

    def reserve(self, name):
        if name not in self.queue:
            self.queue.append(name)
        return self.queue.index(name) + 1

    def take(self, name):
        self.copies -= 1
        if name in self.queue:
            self.queue.remove(name)

    def give_back(self):
        self.copies += 1
'''

COUNTER = '''"""Events and their answers."""

from $package.fines import days_late, fine
from $package.members import Member
from $package.shelf import Title

PERIOD = $period


def $run(catalogue, events):
    titles = {name: Title(copies) for name, copies in catalogue.items()}
    members = {}
    answers = []
    for event in events:
        kind = event[0]
        if kind == "late":
            answers.append(late(members, event[1]))
            continue
        if event[1] not in members:
            members[event[1]] = Member(event[1])
        member = members[event[1]]
        if kind == "pay":
            answers.append(member.pay(event[2]))
        elif event[2] not in titles:
            answers.append("unknown")
        elif kind == "reserve":
            answers.append(titles[event[2]].reserve(member.name))
        elif kind == "lend":
            answers.append(lend(member, event[2], titles[event[2]], event[3]))
        elif kind == "return":
            answers.append(bring_back(member, event[2], titles[event[2]], event[3]))
        else:
            answers.append(renew(member, event[2], titles[event[2]], event[3]))
    return answers


def lend(member, name, title, day):
    if member.blocked():
        return "blocked"
    if name in member.loans:
        return "has it"
    if member.full():
        return "limit"
    waiting = title.waiting(member.name)
    if waiting > 0 and title.copies <= waiting:
        return "reserved"
    if title.copies < 1:
        return "out"
    title.take(member.name)
    member.loans[name] = day + PERIOD
    return f"due {day + PERIOD}"


def bring_back(member, name, title, day):
    if name not in member.loans:
        return "not lent"
    cost = fine(member.loans.pop(name), day)
    title.give_back()
    member.owed += cost
    return f"fine {cost}"


def renew(member, name, title, day):
    if name not in member.loans:
        return "not lent"
    if member.loans[name] < day:
        return "late"
    if title.queue:
        return "reserved"
    member.loans[name] = day + PERIOD
    return f"due {day + PERIOD}"


def late(members, day):
    found = []
    for member in members.values():
        for title, due in member.loans.items():
            if due < day:
                found.append([member.name, title, days_late(due, day)])
    return sorted(found, key=lambda row: ($key, row[0], row[1]))
'''


def calls(rng: Random, parameters: Parameters) -> Draft:
    period, cap, rate = (int(parameters[name]) for name in ("period", "cap", "rate"))
    if rng.random() < 0.12:
        return "fines", "fine", [rng.randint(1, 20), rng.randint(1, 20 + cap // rate)]
    members, titles = ("ida", "jan", "kim"), ("atlas", "fables", "maps")
    catalogue = {title: rng.randint(1, 2) for title in titles}
    events: list[list[object]] = []
    day = 1
    for _ in range(rng.randint(6, 12)):
        day += rng.choice((0, 1, 2, period, period + rng.randint(1, 6)))
        member, title = rng.choice(members), rng.choice((*titles, *titles, *titles, "nil"))
        kind = rng.choices(("lend", "return", "renew", "reserve", "pay", "late"), (9, 5, 3, 3, 1, 2))[0]
        match kind:
            case "reserve":
                events.append([kind, member, title])
            case "pay":
                events.append([kind, member, rng.randint(1, cap)])
            case "late":
                events.append([kind, day])
            case _:
                borrowed = [event for event in events if event[0] == "lend"]
                if kind != "lend" and borrowed and rng.random() < 0.8:
                    _, member, title, _ = rng.choice(borrowed)  # type: ignore[assignment]
                events.append([kind, member, title, day])
    return "counter", parameters["run"], [catalogue, events]


DOMAIN = Domain(
    name="loans",
    choices={
        "package": ("library", "toolshed", "mediatheque", "lending"),
        "run": ("run", "serve", "work"),
        "period": numbers(5, 9),
        "most": numbers(1, 3),
        "block": numbers(8, 16),
        "rate": numbers(2, 4),
        "cap": numbers(17, 25),
        "way": ("most", "fewest"),
    },
    code={"key": ("way", ("-row[2]", "row[2]"))},
    readme=README,
    modules={"fines.py": FINES, "members.py": MEMBERS, "shelf.py": SHELF, "counter.py": COUNTER},
    calls=calls,
)
