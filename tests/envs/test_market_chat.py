"""The market in words: replies and calls, what is seen, time that passes or not."""

from typing import Any

import numpy as np
import pytest

from ludus.envs.chat import content_text
from ludus.envs.market import layout
from ludus.envs.market.chat.environment import MarketChat
from ludus.envs.market.chat.orders import NONE, read_orders, written
from ludus.envs.market.environment import Market
from ludus.envs.market.layout import CANCEL, KEEP, LIMIT, MARKET
from ludus.envs.market.rules import ACTIONS
from ludus.tools.errors import ToolError


def call(name: str, number: int = 0, **arguments: Any) -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: dict[str, Any]) -> Any:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


@pytest.mark.parametrize(
    ("action", "orders"),
    [
        ("wait", NONE),
        ("buy 2", (MARKET, 0, 2, KEEP, 0, 0)),
        ("SELL  3 at 1007", (KEEP, 0, 0, LIMIT, 1007, 3)),
        ("buy 2 at 1003; sell 4", (LIMIT, 1003, 2, MARKET, 0, 4)),
        ("cancel", (CANCEL, 0, 0, CANCEL, 0, 0)),
        ("cancel sell\nbuy 1", (MARKET, 0, 1, CANCEL, 0, 0)),
    ],
)
def test_orders_are_read_and_written(action: str, orders: tuple[int, ...]) -> None:
    assert read_orders(f"I think. <action>{action}</action> There.") == orders
    assert read_orders(written(orders)) == orders


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("buy 2", "no <action> found"),
        ("<action>wait</action><action>wait</action>", "2 <action> tags"),
        ("<action></action>", "'' is no command: write buy LOTS"),
        ("<action>buy two</action>", "'buy two' is no command"),
        ("<action>buy 0</action>", "0 lots cannot be ordered: give 1 to 1000"),
        ("<action>buy 1001 at 5</action>", "1001 lots cannot"),
        ("<action>buy 1 at 0</action>", "the price 0 is outside 1 to 100000"),
        ("<action>buy ٣</action>", "is no command"),
        ("<action>buy 1; buy 2</action>", "something else is asked for on the buy side"),
        ("<action>sell 1; cancel</action>", "something else is asked for on the sell side"),
    ],
)
def test_what_cannot_be_read_is_explained_and_costs_no_time(text: str, complaint: str) -> None:
    with pytest.raises(ToolError, match=complaint):
        read_orders(text)
    env = MarketChat()
    first, begun = env.reset(seed=0)
    messages, reward, terminated, _, info = env.step(text)
    assert complaint in content_text(messages[-1])
    assert content_text(messages[-1]).endswith(content_text(first[-1]))
    assert (reward, terminated, info["anchor"]) == (-1.0, False, begun["anchor"])


def test_a_call_is_what_an_action_is() -> None:
    texts = ["<action>buy 2 at 990; sell 3</action>", "<action>cancel buy</action>", "<action>wait</action>"]
    replies = [
        calling(call("order", side="buy", lots=2, price=990), call("order", 1, side="sell", lots=3)),
        calling(call("cancel", side="buy")),
        calling(call("wait")),
    ]
    written, called = MarketChat(), MarketChat()
    written.reset(seed=4)
    called.reset(seed=4)
    for text, reply in zip(texts, replies, strict=True):
        said, reward, *_, info = written.step(text)
        answers, same_reward, *_, same_info = called.step(reply)
        assert content_text(answers[-1]).endswith("\n" + content_text(said[-1]))
        assert [answer["tool_call_id"] for answer in answers] == [c["id"] for c in reply["tool_calls"]]
        assert (reward, info["anchor"]) == (same_reward, same_info["anchor"])


def test_a_wrong_call_spoils_no_other_and_alone_costs_no_time() -> None:
    env = MarketChat()
    _, begun = env.reset(seed=4)
    messages, reward, *_, info = env.step(calling(call("order", side="up", lots=1)))
    assert (reward, info["anchor"]) == (-1.0, begun["anchor"])
    messages, _, *_, info = env.step(calling(call("order", side="up", lots=1), call("wait", 1)))
    assert info["reward_terms"]["tool_errors"] == 1
    assert info["anchor"] != begun["anchor"]
    assert "Turns left: 29." in content_text(messages[-1])


def test_replies_that_cannot_be_read_run_out() -> None:
    env = MarketChat(max_steps=3, max_turns=4)
    env.reset(seed=0)
    for _ in range(3):
        assert not env.step("?")[3]
    _, _, terminated, truncated, info = env.step("<action>wait</action>")
    assert (terminated, truncated, info["success"]) == (False, True, False)
    assert env.verdict.failure == "no end within 4 replies: the market is open for 2 more turns"


def test_the_words_are_the_numbers() -> None:
    env = MarketChat(latency=0)
    env.reset(seed=1)
    messages, *_ = env.step("<action>buy 3 at 900; sell 1</action>")
    text = content_text(messages[-1])
    view = env.snapshot()[0].market.seen
    assert f"Inventory: {view[layout.INVENTORY]:+d}." in text
    assert f"Profit: {view[layout.PROFIT] / 100:+.2f}." in text
    assert f"Mid: {view[layout.MARK] / 2:g}, moved" in text
    assert "Your orders: buy 3 at 900, sell none. You bought 0, sold 1." in text
    asks = view[layout.DEPTH + 2 * layout.LEVELS :].reshape(-1, 2)
    shown = ", ".join(f"{lots} at {price}" for price, lots in asks.tolist() if lots)
    assert f"Asks: {shown}." in text


def test_both_forms_play_the_same_market() -> None:
    arguments: dict[str, Any] = {"max_steps": 12, "events": 9, "latency": 3, "risk": 0.01, "target": 50.0}
    native, chat = Market(**arguments), MarketChat(**arguments)
    native.reset(seed=0)
    chat.reset(seed=0)
    # The same start, whatever the seed makes of it.
    native.restore((chat.snapshot()[0].market, native.snapshot()[1]))
    rng = np.random.default_rng(0)
    for _ in range(12):
        action = ACTIONS.index(str(rng.choice(["wait", "buy", "sell", "cancel"])))
        text = ACTIONS[action] + (" 4" if ACTIONS[action] in ("buy", "sell") else "")
        _, reward, ended, *_ = native.step(action)
        _, same_reward, same_end, *_ = chat.step(f"<action>{text}</action>")
        assert (reward, ended) == (same_reward, same_end)
    assert chat.verdict == native.verdict


def test_a_bid_at_the_lowest_price_catches_nothing() -> None:
    """Where an agent has taken every bid, those who sell at any price wait for others."""
    for seed in range(20):
        env = MarketChat(max_steps=4)
        env.reset(seed=seed)
        for _ in range(4):
            _, _, _, _, info = env.step("<action>buy 1000 at 1; sell 1000</action>")
            assert abs(info["reward_terms"]["profit"]) < 20 * 40
