"""The market: exact accounts, limits, latency, nothing of the future, bad input, what its players earn."""

from collections.abc import Callable
from statistics import fmean
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ludus  # noqa: F401 (registers the environments)
from ludus.envs.conformance.episodes import play
from ludus.envs.errors import ArgumentError
from ludus.envs.market import layout, rules
from ludus.envs.market.environment import Market
from ludus.envs.market.exchange import TURNS, Exchange, Exchanges
from ludus.envs.market.foresight import foresee

ROWS = 16


def opened(exchange: Exchange, seed: int, rows: int = ROWS) -> Exchanges:
    exchanges = Exchanges(exchange, rows)
    exchanges.streams[:] = np.random.default_rng(seed).integers(2**63, size=rows)
    exchanges.begin(np.ones(rows, bool), 0, rows)
    return exchanges


def advance(exchanges: Exchanges, actions: np.ndarray) -> None:
    exchanges.advance(actions, np.zeros(exchanges.size, bool), 0, exchanges.size)


def observed(exchanges: Exchanges) -> np.ndarray:
    seen = exchanges.observations()
    exchanges.look(np.ones(exchanges.size, bool), seen, 0, exchanges.size)
    return seen


def resting(exchanges: Exchanges, row: int, side: int) -> list[tuple[int, int, int]]:
    """Price, lots and owner of the orders of one side, the worst first."""
    orders = exchanges.books[row, side, : exchanges.states[row, layout.COUNT + side]].tolist()
    return [(order >> 24, order >> 4 & 2**20 - 1, order & 15) for order in orders]


exchanges_of_any_kind = st.builds(
    Exchange,
    max_steps=st.just(30),
    events=st.integers(5, 12),
    latency=st.integers(0, 5),
    traders=st.lists(st.sampled_from([*TURNS]), unique=True),
    volatility=st.sampled_from([0.0, 0.3, 1.0]),
    inventory=st.integers(0, 3),
    limit=st.integers(3, 20),
    size=st.integers(1, 12),
    taker_fee=st.sampled_from([0.0, 0.37, -0.2]),
    maker_fee=st.sampled_from([0.0, -0.11, 1.0]),
)


@settings(max_examples=25)
@given(exchange=exchanges_of_any_kind, seed=st.integers(0, 2**32))
def test_nothing_is_made_or_lost_and_the_book_is_never_crossed(exchange: Exchange, seed: int) -> None:
    exchanges = opened(exchange, seed)
    rng = np.random.default_rng(seed)
    held = exchanges.states[:, layout.HELD : layout.HELD + layout.OWNERS]
    cash = exchanges.states[:, layout.CASH : layout.CASH + layout.OWNERS]
    lots = held.sum(1)
    assert set(np.abs(lots)) == {exchange.inventory}
    for _ in range(exchange.max_steps):
        advance(exchanges, rng.integers(len(rules.ACTIONS), size=ROWS))
        assert (held.sum(1) == lots).all()
        assert (cash.sum(1) + exchanges.states[:, layout.FEES] == 0).all()
        for row in range(ROWS):
            bids, asks = resting(exchanges, row, layout.BUY), resting(exchanges, row, layout.SELL)
            assert not (bids and asks) or bids[-1][0] < asks[-1][0]
            for orders, sign in ((bids, 1), (asks, -1)):
                prices = [sign * price for price, _, _ in orders]
                assert prices == sorted(prices)
                own = [lots for _, lots, owner in orders if owner == layout.AGENT]
                assert len(own) <= 1
                # Even when its order is executed, the agent stays within its limit.
                assert sign * held[row, layout.AGENT] + sum(own) <= exchange.limit
    assert exchanges.terminated.all()


@settings(max_examples=20)
@given(exchange=exchanges_of_any_kind, seed=st.integers(0, 2**32))
def test_rewards_are_the_change_of_wealth_less_the_risk(exchange: Exchange, seed: int) -> None:
    exchanges = opened(exchange, seed)
    rng = np.random.default_rng(seed)
    returns, before = np.zeros(ROWS), np.zeros(ROWS)
    for _ in range(exchange.max_steps):
        advance(exchanges, rng.integers(len(rules.ACTIONS), size=ROWS))
        profits = exchanges.views[:, layout.PROFIT]
        assert (exchanges.terms[0] == (profits - before) / 100).all()
        assert (exchanges.terms[1] == exchanges.views[:, layout.INVENTORY] ** 2).all()
        assert (exchanges.rewards == exchanges.terms[0] - exchange.risk * exchanges.terms[1]).all()
        returns, before = returns + exchanges.rewards, profits.copy()
    for row in range(ROWS):
        # Sums of at most `max_steps` rewards, each a product and a difference.
        bound = 4 * exchange.max_steps * np.finfo(float).eps * (1 + np.abs(returns).max() + 1e5)
        assert exchanges.exchange.total(exchanges.state(row)) == pytest.approx(returns[row], abs=bound)


@pytest.mark.parametrize("latency", [0, 2, 8])
@pytest.mark.parametrize("cut", [0, 7])
def test_what_has_not_happened_yet_changes_nothing_that_has(latency: int, cut: int) -> None:
    """From the view of step `cut` on, `latency` events before that step's end, all events are others."""
    exchange = Exchange(max_steps=20, latency=latency)
    one, other = opened(exchange, 3, 64), opened(exchange, 3, 64)
    rng = np.random.default_rng(0)
    keys = rng.integers(2**63, size=64)
    differs = np.zeros(64, bool)
    for step in range(exchange.max_steps):
        actions = rng.integers(len(rules.ACTIONS), size=64)
        advance(one, actions)
        if step == cut:
            events_of_another_future(other, actions, keys, exchange.events - latency)
        else:
            advance(other, actions)
        same = (observed(one) == observed(other)).all(1) & (one.rewards == other.rewards)
        if step <= cut:
            assert same.all()
            assert (one.terms == other.terms).all()
        differs |= ~same
    assert differs.mean() > 0.9


def events_of_another_future(exchanges: Exchanges, actions: np.ndarray, keys: np.ndarray, kept: int) -> None:
    """Play a step whose events are others from the one numbered `kept` on, as are all those after it."""
    nobody = np.zeros(exchanges.size, bool)
    words = np.zeros((exchanges.size, exchanges.exchange.events), np.int64)
    others = np.zeros_like(words)
    rules.draw(exchanges.keys, exchanges.states, words, ~nobody, 0, exchanges.size)
    rules.draw(keys, exchanges.states, others, ~nobody, 0, exchanges.size)
    words[:, kept:] = others[:, kept:]
    exchanges.decide(actions, 0, exchanges.size)
    exchange = exchanges.exchange
    rules.advance(
        exchanges.books, exchanges.states, exchanges.views, exchanges.orders, words, nobody,
        exchange.settings, exchange.weights, exchange.target, exchanges.terms, exchanges.rewards,
        exchanges.terminated, exchanges.successes, 0, exchanges.size,
    )  # fmt: skip
    exchanges.keys[:] = keys


def test_the_rules_know_no_key() -> None:
    """A market's future follows from its key; what plays a step gets the random words of that step alone."""
    exchanges = opened(Exchange(), 0)
    for part in (exchanges.books, exchanges.states, exchanges.views):
        assert not np.isin(exchanges.keys, part).any()


def test_orders_arrive_late_and_the_view_is_old() -> None:
    """Nobody trades but the agent, so that the effect of an order shows when it arrives."""

    def seen_lots(latency: int) -> list[int]:
        exchanges = opened(Exchange(traders=(), events=4, latency=latency), 0, 1)
        lots = []
        for action in ("quote", "wait"):
            advance(exchanges, np.array([rules.ACTIONS.index(action)]))
            lots.append(int(exchanges.views[0, layout.OWN + 1]))
        return lots

    # With 4 events, an order that arrives after 3 is not in a view that was taken after 1.
    assert seen_lots(0) == seen_lots(2) == [4, 4]
    assert seen_lots(3) == seen_lots(4) == [0, 4]


def test_the_agents_own_quotes_do_not_move_the_price_of_its_inventory() -> None:
    for action in ("bid inside", "ask inside", "quote inside"):
        quoting, waiting = (opened(Exchange(latency=0, traders=("noise", "maker")), 1, 64) for _ in range(2))
        # Before any event has happened.
        none = np.zeros((64, 0), np.int64)
        for exchanges, name in ((quoting, action), (waiting, "wait")):
            actions = np.full(64, rules.ACTIONS.index(name))
            exchanges.decide(actions, 0, 64)
            still = exchanges.exchange.settings.copy()
            still[layout.EVENTS] = 0
            still.flags.writeable = False
            rules.advance(
                exchanges.books, exchanges.states, exchanges.views, exchanges.orders, none, np.zeros(64,
                bool), still, exchanges.exchange.weights, 0.0, exchanges.terms, exchanges.rewards,
                exchanges.terminated, exchanges.successes, 0, 64,
            )  # fmt: skip
        assert (quoting.views[:, layout.OWN + 1 : layout.DEPTH : 2] > 0).any()
        assert (quoting.views[:, layout.MARK] == waiting.views[:, layout.MARK]).all()
        assert (quoting.rewards == waiting.rewards).all()


def test_foresight_is_close_to_the_best_of_all_courses_and_never_beyond() -> None:
    """All 10^4 courses of four steps, played at once."""
    exchange = Exchange(max_steps=4)
    count = len(rules.ACTIONS)
    shares = []
    for seed in range(5):
        first = opened(exchange, seed, 1)
        state = first.state(0)
        everything = Exchanges(exchange, count**4)
        everything.put(slice(None), state)
        returns = np.zeros(count**4)
        for step in range(4):
            advance(everything, np.arange(count**4) // count**step % count)
            returns += everything.rewards
        found = 0.0
        for action in foresee(exchange, state):
            advance(first, np.array([action]))
            found += first.rewards.item()
        assert found <= returns.max() + 1e-9
        shares.append((found - returns.min()) / (returns.max() - returns.min()))
    assert fmean(shares) > 0.9


def test_a_wider_search_finds_no_less_on_average() -> None:
    exchange = Exchange(max_steps=20)
    found: dict[int, list[float]] = {2: [], 32: []}
    for seed in range(8):
        for kept, returns in found.items():
            market = opened(exchange, seed, 1)
            for action in foresee(exchange, market.state(0), kept):
                advance(market, np.array([action]))
            returns.append(exchange.total(market.state(0)))
    assert fmean(found[32]) > fmean(found[2])


def mean_returns(names: tuple[str, ...], episodes: int, **arguments: Any) -> dict[str, float]:
    means = {}
    for name in names:
        env = Market(**arguments)
        player = env.scripted[name](env, 0)
        returns = [sum(step.reward for step in play(env, player, seed)) for seed in range(episodes)]
        means[name] = fmean(returns)
    return means


def test_benchmarks_come_in_the_order_that_is_expected() -> None:
    means = mean_returns(("dealer", "twap", "hold", "random"), 60)
    assert means["dealer"] > means["twap"] > means["random"] > means["hold"]
    assert mean_returns(("oracle",), 2)["oracle"] > means["dealer"] + 100


def test_latency_costs_a_dealer_money() -> None:
    early, late = (mean_returns(("dealer",), 60, latency=latency)["dealer"] for latency in (0, 6))
    assert early > late + 20


def test_twap_works_its_inventory_off_in_equal_parts() -> None:
    env = Market(inventory=20, max_steps=50)
    player = env.scripted["twap"](env, 0)
    for seed in range(5):
        inventories = [abs(int(step.observation[1])) for step in play(env, player, seed)]
        for passed, inventory in enumerate(inventories):
            # A step's worth of lateness, and half an order's rounding.
            assert abs(inventory - 20 * (1 - passed / 50)) <= 5
        assert inventories[-1] <= 2


def test_fees_are_what_whoever_takes_and_rests_pays() -> None:
    env = Market(traders=("maker",), taker_fee=0.5, maker_fee=0.0, volatility=0.0, latency=0, inventory=0)
    env.reset(seed=0)
    view = env.snapshot()[0].seen
    mid, ask = view[layout.MARK] / 2, view[layout.TOUCH + layout.SELL]
    _, _, _, _, info = env.step(rules.ACTIONS.index("buy"))
    after = env.snapshot()[0].seen
    moved = 4 * (after[layout.MARK] / 2 - mid)
    assert info["reward_terms"]["profit"] == moved - 4 * (ask - mid) - 4 * 0.5


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"latency": 9}, "latency=9: an order would arrive after its step, of 8 events"),
        ({"events": 0}, "events=0"),
        ({"inventory": 21}, "inventory=21: give an integer from 0 to 20"),
        ({"limit": 0}, "limit=0"),
        ({"size": 0}, "size=0"),
        ({"traders": ("maker", "crowd")}, "'crowd' is unknown"),
        ({"volatility": 1.5}, "volatility=1.5"),
        ({"taker_fee": 11}, "taker_fee=11"),
        ({"risk": -1}, "risk=-1"),
        ({"target": float("nan")}, "target=nan"),
        ({"max_steps": 0}, "max_steps=0"),
        ({"render_mode": "human"}, "render_mode: 'human' is unknown"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint) as refused:
        Market(**arguments)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("action", [10, -1, 1.0, True, None, "buy", np.array([1])])
def test_what_is_no_action_is_refused(action: Any) -> None:
    env = Market()
    env.reset(seed=5)
    with pytest.raises(ArgumentError, match=r"give 0 \(wait\)"):
        env.step(action)


def test_a_market_is_rendered_as_its_agent_sees_it() -> None:
    env = gymnasium.make("ludus/Market-v0", render_mode="ansi")
    env.reset(seed=0)
    shown = env.render()
    assert isinstance(shown, str)
    assert shown.startswith("Turns left: 100. Inventory: ")
    assert "Asks: " in shown


def test_tasks_are_named_by_their_content() -> None:
    make: Callable[..., Market] = Market
    tasks = {make().reset(seed=seed)[1]["task"] for seed in range(50)}
    assert len(tasks) == 50
    assert make(risk=0.02).reset(seed=0)[1]["task"] != make().reset(seed=0)[1]["task"]
    assert make().reset(seed=0)[1]["task"] == make().reset(seed=0)[1]["task"]
