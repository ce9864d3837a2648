"""`ludus/MarketChat-v0`: trading in a simulated limit order book, in words or by tools."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from ludus.envs.arguments import as_integer, takes_arguments_of
from ludus.envs.base import Outcome, Start
from ludus.envs.chat import Reply, system, user
from ludus.envs.market import layout, rules
from ludus.envs.market.chat.orders import FORM, NONE, Orders, read_orders, with_cancel, with_order, written
from ludus.envs.market.chat.scripted import CHAT_AGENTS
from ludus.envs.market.exchange import Exchange, Exchanges, MarketState
from ludus.envs.market.foresight import foresee
from ludus.envs.market.text import scene
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.envs.tool_env import Answer, ToolEnv
from ludus.tools.errors import ToolError
from ludus.tools.tool import tool


@dataclass(frozen=True, slots=True)
class Desk:
    """The market between two replies, and what the reply at hand has asked for so far."""

    market: MarketState
    orders: Orders = NONE
    ready: bool = False
    """Whether anything of the reply could be read, so that time passes."""


class MarketChat(ToolEnv):
    """Trade one asset in a limit order book, in words or by tools, and end with a profit worth its risk.

    ## Task
    The market of `ludus/Market-v0`, with the same rules: the page of `Market` tells about the book, the
    scripted traders, fees and latency. Each turn the agent sees the book as text and replies with orders of
    its own, at most one on each side. Then time passes: `events` events.

    ## Observation
    First a system message with the rules; then each turn what is seen, `latency` events old, in a user
    message, or at the end of the last tool's answer:

        Turns left: 29. Inventory: +8. Profit: -3.20.
        Mid: 1004.5, moved +0.5. Takers bought +3 net.
        Asks: 5 at 1006, 12 at 1008.
        Bids: 6 at 1003, 2 at 1002, 9 at 1001.
        Your orders: buy 2 at 1003, sell none. You bought 0, sold 2.

    Lots at prices, the best first, up to five prices of each side, the agent's own lots included. The mid is
    that of the scripted traders' best prices. What moved, and what was traded, is since the turn before.

    `info["task"]` names the start by its content.

    ## Actions
    Either a text with exactly one `<action>…</action>`, and in it commands separated by `;` or new lines:

        <action>buy 2 at 1003; sell 2 at 1006</action>

    `buy LOTS` and `sell LOTS` are executed at any price, `buy LOTS at PRICE` and `sell LOTS at PRICE` as far
    as their price allows, and the rest of them stays in the book; `cancel`, `cancel buy` and `cancel sell`
    take orders back; `wait` leaves everything as it is. Or calls of the tools `order(side, lots, price)`,
    `cancel(side)` and `wait()`.

    A new order takes the place of the one that rests on its side. An order that would take the inventory
    beyond `limit` is cut to what there is room for.

    ## Rewards
    The sum over `info["reward_terms"]` of each value times its weight:

    | term | weight | value, of this turn |
    |---|---|---|
    | `profit` | 1 | change of wealth, in ticks times lots, after fees; inventory counts at the mid |
    | `inventory` | −`risk` | the inventory squared |
    | `malformed` | −1 | 1 for a text that is not of the form above |
    | `tool_errors` | −1 | calls that could not be carried out |

    What cannot be read is answered with what was wrong. Where nothing of a reply can be read, no time passes.

    ## End of episode
    Terminates at the close, after `max_steps` turns in which time passed; `info["success"]` is then there,
    and says whether `profit` and `inventory` together have come to `target`. Truncates after `max_turns`
    replies.

    ## Arguments
    - `max_steps`: turns until the close (default 30).
    - `max_turns`: the most replies, those that cannot be read included (default `max_steps` + 10).
    - `events`: events in a turn, 1 to 1000 (default 20).
    - `latency`: events by which orders and views are late, 0 to `events` (default 2).
    - `traders`: which of `maker`, `noise`, `trend` and `informed` there are (default all).
    - `volatility`: the chance that the value moves in an event (default 0.2).
    - `inventory`: lots with which the agent begins, long or short by the seed (default 4).
    - `limit`: the largest inventory, long or short, 1 to 1000 (default 20).
    - `taker_fee`, `maker_fee`: ticks for each lot, −10 to 10, in hundredths (default 0.2 and 0).
    - `risk`: weight of the inventory's square (default 0.02).
    - `target`: the return that is a success (default 120).
    - `render_mode`: of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = CHAT_AGENTS

    @takes_arguments_of(Exchange, "size", max_steps=30, events=20, risk=0.02, target=120.0)
    def __init__(
        self, *, max_turns: int | None = None, render_mode: str | None = None, **arguments: Any
    ) -> None:
        super().__init__(render_mode)
        # The size is that of the scripted players' orders.
        self.exchange = Exchange(size=8, **arguments)
        enough = self.exchange.max_steps + 10
        self.max_turns = as_integer("max_turns", enough if max_turns is None else max_turns, 1, 10**6)
        form = ("malformed", "tool_errors")
        self.rubric = Rubric({**self.exchange.rubric.weights, **dict.fromkeys(form, -1.0)}, form)

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        return {"latency": (0, 2, 5), "taker_fee": (0.0, 0.2, 0.5)}

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        exchanges = Exchanges(self.exchange, 1)
        exchanges.streams[0] = rng.integers(2**63)
        everybody = np.ones(1, np.bool_)
        exchanges.begin(everybody, 0, 1)
        state = exchanges.state(0)
        name = f"market-{exchanges.codes(everybody).item():016x}"
        return Start([system(self._rules_text()), user(scene(state.seen))], name, Desk(state))

    def answer(self, state: Desk, action: Reply) -> Outcome:
        """What the whole reply asks for, sent; then time passes."""
        read = super().answer(state, action)
        desk: Desk = read.state
        return self._pass_time(read, desk) if desk.ready else read

    def respond(self, state: Desk, text: str) -> Outcome:
        try:
            orders = read_orders(text)
        except ToolError as error:
            said = f"Nothing was sent: {error}.\n{scene(state.market.seen)}"
            return Outcome(state, [user(said)], {"malformed": 1.0})
        return Outcome(replace(state, orders=orders, ready=True), [], {})

    @tool
    def order(self, state: Desk, side: Literal["buy", "sell"], lots: int, price: int | None = None) -> Answer:
        """Send an order. It takes the place of the one that rests on its side.

        Args:
            side: whether to buy or to sell
            lots: how many
            price: in ticks, the worst at which it is executed, and at which the rest of it stays in the book;
                without one it is executed at any price
        """
        orders = with_order(state.orders, side, lots, price)
        return Answer(replace(state, orders=orders, ready=True), "Sent.")

    @tool
    def cancel(self, state: Desk, side: Literal["buy", "sell"] | None = None) -> Answer:
        """Take back the order that rests on one side, or both.

        Args:
            side: which one; without it, both
        """
        return Answer(replace(state, orders=with_cancel(state.orders, side), ready=True), "Sent.")

    @tool
    def wait(self, state: Desk) -> Answer:
        """Leave everything as it is for a turn."""
        return Answer(replace(state, ready=True), "Waited.")

    def _pass_time(self, read: Outcome, desk: Desk) -> Outcome:
        exchanges = Exchanges(self.exchange, 1)
        exchanges.put(0, desk.market)
        exchanges.orders[0] = desk.orders
        exchanges.trade(np.zeros(1, np.bool_), 0, 1)
        after = exchanges.state(0)
        closed = exchanges.terminated.item()
        said = scene(after.seen)
        if closed:
            said = f"The market has closed; your return is {self.exchange.total(after):.2f}.\n{said}"
        messages = read.messages
        if messages:
            messages[-1]["content"] = f"{messages[-1]['content']}\n{said}"
        else:
            messages = [user(said)]
        terms = {**read.terms, **dict(zip(rules.TERMS, exchanges.terms[:, 0].tolist(), strict=True))}
        success = exchanges.successes.item()
        why = self.exchange.failure(after) if closed and not success else ""
        return Outcome(Desk(after), messages, terms, closed, success, why)

    def anchor(self, state: Desk) -> int:
        return state.market.anchor

    def expected(self, state: Desk) -> str:
        return self.exchange.expected

    def unfinished(self, state: Desk) -> str:
        return f"the market is open for {state.market.seen[layout.LEFT]} more turns"

    def foresight(self) -> list[str]:
        """The replies from here to the close of the best course that a search finds which sees the future."""
        exchanges = Exchanges(self.exchange, 1)
        exchanges.put(0, self._state.market)
        replies = []
        for action in foresee(self.exchange, self._state.market):
            exchanges.decide(np.array([action]), 0, 1)
            replies.append(written(tuple(exchanges.orders[0].tolist())))
            exchanges.trade(np.zeros(1, np.bool_), 0, 1)
        return replies

    def _rules_text(self) -> str:
        exchange = self.exchange
        late = (
            f"What you see is {exchange.latency} events old, and your orders arrive as late. "
            if exchange.latency
            else ""
        )
        return (
            "You trade one asset in a limit order book. Each turn you may send one order to buy and one to "
            f"sell, then {exchange.events} events pass. {late}Prices are whole ticks. Taking costs "
            f"{exchange.taker_fee:g} ticks a lot, being taken {exchange.maker_fee:g}. Your inventory stays "
            f"within {exchange.limit} lots, long or short, counts at the mid, and costs {exchange.risk:g} "
            f"times its square each turn. Earn {exchange.target:g} by the close. Reply with commands in one "
            f"action, like <action>buy 2 at 1003; sell 2 at 1006</action>: {FORM}. Or call the tools."
        )
