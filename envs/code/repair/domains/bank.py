"""A bank: accounts, transfers with fees, interest, statements."""

from random import Random

from ludus.envs.code.repair.domain import Domain, Draft, Parameters, numbers

README = """# $package

Accounts, in whole cents.

`$package.desk.$run(orders)` carries out orders one after another. It returns `{"answers": …,
"balances": …}`: the answer to each order, and the balance of every account by owner. Owners' names are
taken without blanks around them.

- `["open", owner]`: a new account with nothing on it. `"ok"`, or `"exists"`.
- `["deposit", owner, day, amount]`: `"ok"`, or `"invalid"` for an amount below 1.
- `["withdraw", owner, day, amount]`: `"ok"`; `"invalid"` for an amount below 1; `"refused"` where the
  balance would fall below minus $limit.
- `["transfer", giver, taker, day, amount]`: the giver also pays a fee of 1 cent for every full $per
  cents of the amount, at least $least and at most $most. `"ok"`; `"invalid"` for an amount below 1 or
  where giver and taker are the same; `"refused"` where the giver's balance would fall below minus
  $limit.
- `["statement", owner, first, last]`: the account's bookings from day `first` to day `last`, both
  included, as `[day, change, reason]`, sorted by day, and on the same day by change, $way first, then
  by reason. Reasons are `"deposit"`, `"withdrawal"`, `"paid"`, `"fee"` and `"received"`.
- `["balance", owner, day]`: what the bookings up to and with `day` come to.

An order for an account that does not exist is answered by `"no account"`.

`$package.fees.fee(amount)` is the fee of a transfer.
"""

FEES = '''"""What a transfer costs."""


def fee(amount):
    """1 cent for every full $per cents, within limits."""
    return max($least, min($most, amount // $per))
'''

ACCOUNT = '''"""Accounts and their bookings."""

LIMIT = $limit


class Account:
    """Bookings, each a list of the day, the change and the reason."""

    def __init__(self, owner, bookings=None):
        if bookings is None:
            bookings = []
        self.owner = owner
        self.bookings = bookings
        self.balance_cache = {}

    def book(self, day, change, reason):
        self.bookings.append([day, change, reason])
        self.balance_cache.clear()

    def balance(self):
        return sum(booking[1] for booking in self.bookings)

    def balance_on(self, day):
        """What the bookings come to, up to and with a day."""
        if day not in self.balance_cache:
            self.balance_cache[day] = sum(booking[1] for booking in self.bookings if booking[0] <= day)
        return self.balance_cache[day]

    def allows(self, change):
        """Whether the balance would stay within the limit."""
        return self.balance() + change >= -LIMIT
'''

STATEMENT = '''"""Excerpts of an account's bookings."""


def statement(account, first, last):
    """The bookings from one day to another, both included, sorted."""
    found = []
    for booking in account.bookings:
        if first <= booking[0] and booking[0] <= last:
            found.append(booking)
    return sorted(found, key=lambda booking: (booking[0], $key, booking[2]))
'''

DESK = '''"""Orders of customers."""

from $package.account import Account
from $package.fees import fee
from $package.statement import statement


def $run(orders):
    accounts = {}
    answers = []
    for order in orders:
        kind = order[0]
        owner = order[1].strip()
        if kind == "open":
            if owner in accounts:
                answers.append("exists")
                continue
            accounts[owner] = Account(owner)
            answers.append("ok")
            continue
        if owner not in accounts:
            answers.append("no account")
            continue
        account = accounts[owner]
        if kind == "deposit":
            answers.append(deposit(account, order[2], order[3]))
        elif kind == "withdraw":
            answers.append(withdraw(account, order[2], order[3]))
        elif kind == "transfer":
            taker = order[2].strip()
            if taker not in accounts:
                answers.append("no account")
                continue
            answers.append(transfer(account, accounts[taker], order[3], order[4]))
        elif kind == "statement":
            answers.append(statement(account, order[2], order[3]))
        else:
            answers.append(account.balance_on(order[2]))
    return {"answers": answers, "balances": {name: one.balance() for name, one in accounts.items()}}


def deposit(account, day, amount):
    if amount < 1:
        return "invalid"
    account.book(day, amount, "deposit")
    return "ok"


def withdraw(account, day, amount):
    if amount < 1:
        return "invalid"
    if not account.allows(-amount):
        return "refused"
    account.book(day, -amount, "withdrawal")
    return "ok"


def transfer(giver, taker, day, amount):
    if amount < 1 or giver.owner == taker.owner:
        return "invalid"
    cost = fee(amount)
    if not giver.allows(-amount - cost):
        return "refused"
    giver.book(day, -amount, "paid")
    giver.book(day, -cost, "fee")
    taker.book(day, amount, "received")
    return "ok"
'''


def calls(rng: Random, parameters: Parameters) -> Draft:
    limit, per = int(parameters["limit"]), int(parameters["per"])
    if rng.random() < 0.15:
        return "fees", "fee", [per * rng.randint(0, int(parameters["most"]) + 3) + rng.randint(-1, 1)]
    owners = ["ann", "bo", "cy"]
    orders: list[list[object]] = [["open", name] for name in owners[: rng.randint(2, 3)]]
    for _ in range(rng.randint(4, 9)):
        owner, taker = rng.choice((*owners, " bo")), rng.choice((*owners, "ann "))
        day, amount = rng.randint(1, 5), rng.choice((0, limit, limit + 1, rng.randint(1, 9) * per))
        kind = rng.choices(
            ("deposit", "withdraw", "transfer", "statement", "balance", "open"), (5, 4, 5, 4, 4, 1)
        )[0]
        match kind:
            case "transfer":
                orders.append([kind, owner, taker, day, amount])
            case "statement":
                orders.append([kind, owner, day, day + rng.randint(0, 3)])
            case "balance":
                orders.append([kind, owner, day])
            case "open":
                orders.append([kind, owner])
            case _:
                orders.append([kind, owner, day, amount])
    return "desk", parameters["run"], [orders]


DOMAIN = Domain(
    name="bank",
    choices={
        "package": ("bank", "purse", "treasury", "countinghouse"),
        "run": ("serve", "run", "execute"),
        "limit": numbers(100, 300),
        "per": numbers(30, 60),
        "least": numbers(2, 3),
        "most": numbers(5, 7),
        "way": ("the smallest", "the largest"),
    },
    code={"key": ("way", ("booking[1]", "-booking[1]"))},
    readme=README,
    modules={"fees.py": FEES, "account.py": ACCOUNT, "statement.py": STATEMENT, "desk.py": DESK},
    calls=calls,
)
