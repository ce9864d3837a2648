"""`ludus/Market-v0`: trading in a simulated limit order book, with numbers for observations."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Discrete

from ludus.envs.arguments import (
    as_action,
    as_choice,
    as_seed,
    refuse_unknown_arguments,
    refuse_unknown_options,
    takes_arguments_of,
)
from ludus.envs.base import Verdict, with_step_limit
from ludus.envs.games.picture import text_picture
from ludus.envs.market import rules
from ludus.envs.market.exchange import Exchange, Exchanges
from ludus.envs.market.foresight import foresee
from ludus.envs.market.observation import observation_space
from ludus.envs.market.scripted import NATIVE_AGENTS
from ludus.envs.market.text import scene
from ludus.envs.scripted import ScriptedAgent


class Market(gymnasium.Env[np.ndarray, np.int64]):
    """Trade one asset in a limit order book and end with a profit that was worth its risk.

    ## Task
    An exchange has a book of limit orders, bids to buy and asks to sell. An incoming order is executed
    against the best price of the other side, at one price against the oldest order first; what is left of it
    rests in the book. Prices are whole ticks and quantities whole lots, so that accounts are exact. Each
    execution costs the one whose order came in the taker's fee, the other one the maker's.

    Nobody is shown the asset's *value*, which walks up and down by one tick. In each event one of these has a
    turn:

    - the *maker* quotes both sides, moves its quotes with what others take, and leans against its inventory;
    - the *noise* traders take, rest and cancel orders for reasons of their own;
    - the *trend* follower buys when the price is above its average, and sells when it is below;
    - the *informed* one knows the value, and takes what is offered on the wrong side of it.

    The agent begins with an inventory, long or short by the seed, and has `max_steps` steps until the close.
    It may earn by quoting and be picked off by the informed, or follow them; what it holds changes its value
    meanwhile.

    A step is `events` events. The agent's orders arrive `latency` events after it decides, and what it sees
    then is `latency` events old. Its own account and its reward are of the same moment as its view.

    ## Observation
    `Box(int64, (32,))`. Distances are in half ticks from the *mid*, the mean of the best bid and the best ask
    of the scripted traders; a distance of 0 with 0 lots is no order.

    | places | meaning |
    |---|---|
    | 0 | steps until the close |
    | 1 | the agent's inventory, in lots; short is negative |
    | 2 | its profit since the opening, in hundredths of a tick |
    | 3, 4 | the mid less the mid at the opening, and less the one of the view before, in half ticks |
    | 5 | lots that takers bought less lots that they sold, since the view before |
    | 6, 7 | lots that the agent bought, and sold, since the view before |
    | 8, 9 | its bid: how far below the mid, and its lots |
    | 10, 11 | its ask: how far above the mid, and its lots |
    | 12 to 21 | the five best bids of the book, the agent's included: distance and lots of each |
    | 22 to 31 | the five best asks |

    `info["task"]` names the start by its content, `info["anchor"]` the state.

    ## Actions
    `Discrete(10)`, all of `size` lots, priced by what the agent sees:

    | action | meaning |
    |---|---|
    | 0 wait | its orders stay as they are |
    | 1 cancel | it has no orders |
    | 2 buy, 3 sell | at any price, at once; its order on the other side stays |
    | 4 quote | a bid and an ask at the scripted traders' best prices |
    | 5 quote inside | the same, each a tick better where there is room |
    | 6 bid, 7 bid inside | the bid alone |
    | 8 ask, 9 ask inside | the ask alone |

    The agent has at most one order on each side; a new one takes the old one's place. An order that would
    take the inventory beyond `limit` is cut to what there is room for.

    ## Rewards
    The sum of `info["reward_terms"]`, each times its weight:

    | term | weight | value |
    |---|---|---|
    | `profit` | 1 | change of wealth, in ticks times lots, after fees; inventory counts at the mid |
    | `inventory` | −`risk` | the inventory squared (Cartea, Jaimungal and Penalva 2015, chapter 10) |

    The mid leaves the agent's own orders out: it cannot raise the value of what it holds by quoting.

    ## End of episode
    Terminates at the close, after `max_steps` steps. `info["success"]` is then there, and says whether the
    return has come to `target`.

    ## Arguments
    - `max_steps`: steps until the close (default 100).
    - `events`: events in a step, 1 to 1000 (default 8).
    - `latency`: events by which orders and views are late, 0 to `events` (default 2).
    - `traders`: which of the four there are (default all).
    - `volatility`: the chance that the value moves in an event (default 0.2).
    - `inventory`: lots with which the agent begins, long or short (default 4).
    - `limit`: the largest inventory, long or short, 1 to 1000 (default 20).
    - `size`: lots of an order (default 4).
    - `taker_fee`, `maker_fee`: ticks for each lot, −10 to 10, in hundredths (default 0.2 and 0).
    - `risk`: weight of the inventory's square (default 0.01).
    - `target`: the return that is a success (default 100).
    - `render_mode`: `ansi`, what the agent sees in words, or `rgb_array`, a picture of that.

    ## Version history
    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012 (gymnasium's form)
    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = NATIVE_AGENTS
    action_names: ClassVar[tuple[str, ...]] = rules.ACTIONS
    """What each action does, in words."""

    _spec: EnvSpec | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        refuse_unknown_arguments(cls, kwargs)
        return super().__new__(cls)

    @takes_arguments_of(Exchange)
    def __init__(self, *, render_mode: str | None = None, **arguments: Any) -> None:
        self.exchange = Exchange(**arguments)
        if render_mode is not None:
            as_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self.rubric = self.exchange.rubric
        self.max_turns = self.exchange.max_steps
        self.observation_space = observation_space()
        self.action_space = Discrete(len(rules.ACTIONS))
        self._market = Exchanges(self.exchange, 1)
        self._begun = False
        self._open = False
        self._failure = ""
        self._task = 0
        self._action = np.zeros(1, np.int64)
        self._nobody = np.zeros(1, np.bool_)
        self._everybody = np.ones(1, np.bool_)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode: a pure function of the arguments and the seed; without one, the next in line.

        Returns:
            The observation, and `info` with `task` and `anchor`.

        Raises:
            ArgumentError: the seed is no integer ≥ 0, or there are options, of which the market has none.
        """
        super().reset(seed=None if seed is None else as_seed(seed))
        refuse_unknown_options(options or {}, ())
        if seed is not None or not self._begun:
            self._market.streams[0] = self.np_random.integers(2**63)
            self._begun = True
        self._market.begin(self._everybody, 0, 1)
        self._open, self._failure = True, ""
        # As in `task_key`: below 2⁶³, so that arrays of tasks are int64.
        self._task = self._market.codes(self._everybody).item() >> 1
        return self._look()

    def step(
        self, action: int | np.integer | np.ndarray
    ) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Play one step.

        Returns:
            The observation; the reward; terminated; truncated, which is always False; and `info` with `task`,
            `anchor`, `reward_terms` and, when the episode ends, `success`.

        Raises:
            gymnasium.error.ResetNeeded: no episode is open.
            ArgumentError: the action is not a number from 0 to 9.
        """
        if not self._open:
            raise gymnasium.error.ResetNeeded(
                "the episode has ended or never began: call reset() before step()"
            )
        market = self._market
        self._action[0] = as_action(action, rules.ACTIONS)
        market.advance(self._action, self._nobody, 0, 1)
        observation, info = self._look()
        info["reward_terms"] = dict(zip(rules.TERMS, market.terms[:, 0].tolist(), strict=True))
        terminated = market.terminated.item()
        if terminated:
            self._open = False
            info["success"] = market.successes.item()
            self._failure = "" if info["success"] else self.exchange.failure(market.state(0))
        return observation, market.rewards.item(), terminated, False, info

    def _look(self) -> tuple[np.ndarray, dict[str, Any]]:
        seen = self._market.observations()
        self._market.look(self._everybody, seen, 0, 1)
        return seen[0], {"task": self._task, "anchor": self._task ^ self._market.anchors.item()}

    @property
    def verdict(self) -> Verdict:
        """What return was asked for, and the one of the episode that has just ended, if it was not enough."""
        return Verdict(self.exchange.expected, self._failure)

    def foresight(self) -> list[int]:
        """The actions from here to the close of the best course that a search finds which sees the future."""
        return foresee(self.exchange, self._market.state(0))

    @property
    def spec(self) -> EnvSpec | None:
        """How `gymnasium.make` made the instance, with the market's own limit in `max_episode_steps`."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = with_step_limit(spec, self.max_turns)

    def snapshot(self) -> Any:
        """The whole episode as an opaque value: about two kilobytes. It can be pickled. The stream from which
        `reset` without a seed draws is not part of it."""
        return self._market.state(0), (self._task, self._open, self._failure)

    def restore(self, snapshot: Any) -> None:
        """Go back to where `snapshot` was taken, here or in another instance with the same arguments."""
        state, (self._task, self._open, self._failure) = snapshot
        self._market.put(0, state)

    def render(self) -> Any:
        """`ansi`: what the agent sees, in words. `rgb_array`: that as a picture, uint8 (height, width, 3)."""
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() needs a mode: make the environment with render_mode 'ansi' or 'rgb_array'"
            )
            return None
        words = scene(self._market.views[0])
        return words if self.render_mode == "ansi" else text_picture(words, width=640)
