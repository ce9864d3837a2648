"""Orders as an agent writes them: what a reply asks for, by the text of its action or by tool calls."""

import re
from typing import Final

from ludus.envs.market.exchange import MOST
from ludus.envs.market.layout import CANCEL, HIGHEST, KEEP, LIMIT, MARKET, ORDERS_SIZE
from ludus.envs.market.text import SIDES
from ludus.tools.errors import ToolError

Orders = tuple[int, ...]
"""What is asked for, as in `layout`: for each side an operation, a price and a number of lots."""

NONE: Final[Orders] = (KEEP, 0, 0) * (ORDERS_SIZE // 3)

_ACTION = re.compile(r"<action>(.*?)</action>", re.DOTALL)
_COMMANDS = re.compile(r"[;\n]")
_ORDER = re.compile(r"(buy|sell) (\d{1,9})(?: at (\d{1,9}))?", re.ASCII)
_CANCEL = re.compile(r"cancel(?: (buy|sell))?")
FORM: Final = (
    "buy LOTS, sell LOTS, buy LOTS at PRICE, sell LOTS at PRICE, cancel, cancel buy, cancel sell, or wait"
)


def with_order(orders: Orders, side: str, lots: int, price: int | None) -> Orders:
    """The orders and one more.

    Raises:
        ToolError: it cannot be sent; the text says why.
    """
    if not 1 <= lots <= MOST:
        raise ToolError(f"{lots} lots cannot be ordered: give 1 to {MOST}")
    if price is not None and not 1 <= price <= HIGHEST:
        raise ToolError(f"the price {price} is outside 1 to {HIGHEST}")
    return _asked(orders, side, LIMIT if price is not None else MARKET, price or 0, lots)


def with_cancel(orders: Orders, side: str | None) -> Orders:
    """The orders, and the resting one of a side cancelled, or both.

    Raises:
        ToolError: something else is asked for on that side.
    """
    for name in SIDES if side is None else (side,):
        orders = _asked(orders, name, CANCEL, 0, 0)
    return orders


def _asked(orders: Orders, side: str, operation: int, price: int, lots: int) -> Orders:
    at = 3 * SIDES.index(side)
    if orders[at] != KEEP:
        raise ToolError(f"something else is asked for on the {side} side: a turn has one order for each side")
    return (*orders[:at], operation, price, lots, *orders[at + 3 :])


def read_orders(text: str) -> Orders:
    """What the action in a text asks for.

    Raises:
        ToolError: there is not exactly one, or it cannot be read or sent; the text says why.
    """
    # Up to the last end only: looking for one behind it, once for every tag, would take quadratic time.
    found = _ACTION.findall(text, 0, text.rfind("</action>") + len("</action>"))
    if len(found) != 1:
        raise ToolError("no <action> found" if not found else f"{len(found)} <action> tags found, give one")
    orders = NONE
    for written in _COMMANDS.split(found[0].lower()):
        command = " ".join(written.split())
        if order := _ORDER.fullmatch(command):
            price = None if order[3] is None else int(order[3])
            orders = with_order(orders, order[1], int(order[2]), price)
        elif cancel := _CANCEL.fullmatch(command):
            orders = with_cancel(orders, cancel[1])
        elif command != "wait":
            raise ToolError(f"{command[:40]!r} is no command: write {FORM}")
    return orders


def written(orders: Orders) -> str:
    """The text of the action that asks for these orders."""
    commands = []
    for at, side in enumerate(SIDES):
        operation, price, lots = orders[3 * at : 3 * at + 3]
        if operation == CANCEL:
            commands.append(f"cancel {side}")
        elif operation == MARKET:
            commands.append(f"{side} {lots}")
        elif operation == LIMIT:
            commands.append(f"{side} {lots} at {price}")
    return f"<action>{'; '.join(commands) or 'wait'}</action>"
