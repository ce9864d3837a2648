"""Decision processes small enough to enumerate, and what the trainer's own functions make of them.

A softmax policy has one parameter for each (state, token), so that everything can be computed twice: the true
gradient of an expected return, by differentiating a sum over all episodes; and the gradient that training
would follow on average, by adding up the losses of all groups of episodes, each with its probability. Nothing
is sampled.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain, product
from typing import Any

import torch
from torch import Tensor

from ludus.kernels import token_weights
from ludus.kernels.grpo_loss.weights import Normaliser
from ludus.trainers.advantages.credit import assign_credit
from ludus.trainers.advantages.trajectory import Trajectory
from ludus.trainers.batches.minibatch import Minibatch
from ludus.trainers.batches.packing import MicroBatch
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.losses.policy import policy_loss
from ludus.trainers.losses.registry import LOSSES


@dataclass(frozen=True)
class Move:
    """What follows when a token was chosen."""

    state: str = ""
    """Where the next token is chosen; empty: the episode terminates."""
    reward: float = 0.0
    """Of the turn; counts only where the turn ends."""
    ends_turn: bool = True
    probability: float = 1.0
    """Of this outcome among those of the token."""


@dataclass(frozen=True, eq=False)
class Process:
    """A decision process that starts in `start`; after `turns` turns an episode is truncated."""

    name: str
    moves: dict[str, dict[str, tuple[Move, ...]]]
    """By state and token."""
    start: str
    turns: int

    @property
    def max_tokens(self) -> int:
        return max(len(path.choices) for path in self.paths)

    @cached_property
    def choices(self) -> list[tuple[str, str]]:
        """Every (state, token): the policy's parameters, in order."""
        return [(state, token) for state, tokens in self.moves.items() for token in tokens]

    @cached_property
    def paths(self) -> list["Path"]:
        """Every possible episode."""
        return list(self._from(self.start, Path()))

    def _from(self, state: str, path: "Path") -> Iterator["Path"]:
        for token, outcomes in self.moves[state].items():
            for outcome, move in enumerate(outcomes):
                after = path.extended(self.choices.index((state, token)), state, outcome, move)
                if move.state and len(after.rewards) < self.turns:
                    yield from self._from(move.state, after)
                else:
                    yield after.ended(truncated=bool(move.state))

    def policy(self, seed: int = 0) -> Tensor:
        """Parameters of a policy that prefers some tokens to others."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(len(self.choices), generator=generator, dtype=torch.float64)

    def logprobs(self, theta: Tensor) -> Tensor:
        """The log-probability of each choice, in the order of `choices`."""
        states = [len(tokens) for tokens in self.moves.values()]
        return torch.cat([piece.log_softmax(0) for piece in theta.split(states)])

    def probabilities(self, theta: Tensor) -> Tensor:
        """The probability of each path."""
        logprobs = self.logprobs(theta)
        return torch.stack([path.luck * logprobs[list(path.choices)].sum().exp() for path in self.paths])


@dataclass(frozen=True)
class Path:
    """One episode."""

    choices: tuple[int, ...] = ()
    """For each token, which of the process's `choices` it is."""
    rewards: tuple[float, ...] = ()
    """By turn."""
    tokens: tuple[int, ...] = ()
    """How many, by turn."""
    states: tuple[str, ...] = ()
    """Where each turn began."""
    luck: float = 1.0
    """The probability of what the process itself drew."""
    truncated: bool = False
    outcomes: tuple[int, ...] = ()
    """What the process drew after each token."""
    unfinished: int = 0
    """Tokens of the turn that is not over."""

    def extended(self, choice: int, state: str, outcome: int, move: Move) -> "Path":
        states = self.states if self.unfinished else (*self.states, state)
        rewards, tokens, unfinished = self.rewards, self.tokens, self.unfinished + 1
        if move.ends_turn:
            rewards, tokens, unfinished = (*rewards, move.reward), (*tokens, unfinished), 0
        luck, outcomes = self.luck * move.probability, (*self.outcomes, outcome)
        return Path((*self.choices, choice), rewards, tokens, states, luck, False, outcomes, unfinished)

    def ended(self, truncated: bool) -> "Path":
        return Path(self.choices, self.rewards, self.tokens, self.states, self.luck, truncated, self.outcomes)

    def turn_of_token(self) -> list[int]:
        return [turn for turn, count in enumerate(self.tokens) for _ in range(count)]

    def discounted(self, gamma: float) -> float:
        """The return, discounted by turn."""
        return math.fsum(gamma**turn * reward for turn, reward in enumerate(self.rewards))

    @property
    def bootstrap(self) -> float:
        """What a value model says of what would have followed a truncation."""
        return 0.3 + 0.2 * self.choices[-1] if self.truncated else 0.0

    def to_go(self, token: int, gamma: float) -> float:
        """What is earned with a token and after it, discounted by token, the bootstrap included."""
        rewards = [*self.trajectory().rewards_T().tolist(), self.bootstrap]
        return math.fsum(gamma**k * reward for k, reward in enumerate(rewards[token:]))

    def trajectory(
        self,
        group: int = 0,
        token_rewards: Sequence[float] | None = None,
        values: Sequence[float] | None = None,
    ) -> Trajectory:
        def given(numbers: Sequence[float] | None) -> Tensor | None:
            return None if numbers is None else torch.tensor(numbers, dtype=torch.float64)

        return Trajectory(
            group,
            self.rewards,
            self.tokens,
            anchors=self.states,
            token_rewards_T=given(token_rewards),
            values_T=given(values),
            bootstrap=0.0 if values is None else self.bootstrap,
        )


def _turns(*moves: tuple[str, str, str, float]) -> dict[str, dict[str, tuple[Move, ...]]]:
    """Moves of one token a turn, from (state, token, next state, reward)."""
    table: dict[str, dict[str, tuple[Move, ...]]] = {}
    for state, token, after, reward in moves:
        table.setdefault(state, {})[token] = (Move(after, reward),)
    return table


STOP = Process(
    "stop",
    _turns(
        ("a", "stop", "", 0.4),
        ("a", "left", "a", -0.3),
        ("a", "right", "b", 0.2),
        ("b", "stop", "", 1.5),
        ("b", "left", "a", 0.1),
    ),
    start="a",
    turns=3,
)
"""One token a turn, rewards on the way, and a token that stops: the policy chooses how many turns there are.
What goes on for three is truncated."""

WORDS = Process(
    "words",
    {
        "a": {
            "x": (Move("ax", ends_turn=False),),
            "end": (Move("b", 0.3, probability=0.25), Move("", -1.0, probability=0.75)),
        },
        "ax": {"y": (Move("b", 1.0),), "z": (Move("", 0.7),)},
        "b": {"x": (Move("bx", ends_turn=False),), "end": (Move("", 0.5),)},
        "bx": {"y": (Move("a", -0.2),), "z": (Move("", 2.0),)},
    },
    start="a",
    turns=2,
)
"""One or two tokens a turn, one or two turns, and an environment that draws lots."""

EVEN = Process(
    "even",
    {
        "a": {"x": (Move("ax", ends_turn=False),), "y": (Move("ay", ends_turn=False),)},
        "ax": {"x": (Move("", 1.0),), "y": (Move("", 0.0),)},
        "ay": {"x": (Move("", 0.2),), "y": (Move("", 0.9),)},
    },
    start="a",
    turns=1,
)
"""One turn of two tokens: every episode is equally long."""

PROCESSES = (STOP, WORDS, EVEN)


def gradient_of(process: Process, theta: Tensor, value_of: Callable[[Path], float]) -> Tensor:
    """∇ Σ P(path) value(path): the true gradient of the expectation of what `value_of` says."""
    leaf = theta.clone().requires_grad_()
    values = torch.tensor([value_of(path) for path in process.paths], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(process.probabilities(leaf) @ values, leaf)
    return gradient


Values = Callable[[Path], Sequence[float]]
"""What a value model says before each of a path's tokens."""


def true_values(process: Process, theta: Tensor, gamma: float = 1.0) -> Values:
    """What is earned from a token on, on average over all that can follow what came before it."""
    chances: dict[tuple[Any, ...], float] = defaultdict(float)
    totals: dict[tuple[Any, ...], float] = defaultdict(float)
    for path, probability in zip(process.paths, process.probabilities(theta).tolist(), strict=True):
        for token in range(len(path.choices)):
            before = path.choices[:token], path.outcomes[:token]
            chances[before] += probability
            totals[before] += probability * path.to_go(token, gamma)

    def values(path: Path) -> list[float]:
        befores = [(path.choices[:token], path.outcomes[:token]) for token in range(len(path.choices))]
        return [totals[before] / chances[before] for before in befores]

    return values


def wrong_values(path: Path) -> list[float]:
    """What depends on the state and on what came before, but on nothing that is earned."""
    return [math.sin(3.0 * token + sum(path.choices[:token])) for token in range(len(path.choices))]


Credit = Callable[[list[Path], GrpoSection], list[Tensor]]


@dataclass(frozen=True, eq=False)
class Batches:
    """Every batch of `groups` groups of `size` episodes that a policy can play, with its probability. Suffix
    N: the tokens of all of them, end to end."""

    process: Process
    theta: Tensor
    size: int
    groups: int = 1

    @cached_property
    def members(self) -> list[tuple[Path, ...]]:
        return list(product(self.process.paths, repeat=self.size * self.groups))

    @cached_property
    def rows(self) -> list[Path]:
        return list(chain.from_iterable(self.members))

    @cached_property
    def probabilities(self) -> list[float]:
        each = self.process.probabilities(self.theta).tolist()
        return [math.prod(chosen) for chosen in product(each, repeat=self.size * self.groups)]

    @cached_property
    def choices_N(self) -> Tensor:
        return torch.tensor([choice for path in self.rows for choice in path.choices])

    @cached_property
    def turn_N(self) -> Tensor:
        """The index of each token's turn."""
        return torch.tensor([turn for path in self.rows for turn in path.turn_of_token()])

    @cached_property
    def micro_batch(self) -> MicroBatch:
        """All rows; only what a loss reads of a micro-batch is there."""
        lengths = torch.tensor([len(path.choices) for path in self.rows])
        row_N, nothing = torch.arange(len(lengths)).repeat_interleave(lengths), torch.zeros(0)
        return MicroBatch(nothing, nothing, (), nothing, nothing, nothing, row_N, torch.arange(len(row_N)))

    def advantages_N(
        self, config: GrpoSection, credit: Credit | None = None, values: Values | None = None
    ) -> Tensor:
        """Of the trainer's own credit, with the values of a value model if it needs them; or of another."""

        def assigned(paths: list[Path], config: GrpoSection) -> list[Tensor]:
            trajectories = [
                path.trajectory(index // self.size, values=values and values(path))
                for index, path in enumerate(paths)
            ]
            return assign_credit(trajectories, config)

        given = ((credit or assigned)(list(paths), config) for paths in self.members)
        return torch.cat([advantages for batch in given for advantages in batch])

    def gradient(self, config: GrpoSection, advantages_N: Tensor, reference: Tensor | None = None) -> Tensor:
        """What training climbs on average: the gradient of minus the loss, before the first update.

        Args:
            reference: The reference policy's parameters.
        """
        leaf = self.theta.clone().requires_grad_()
        logprobs_N = self.process.logprobs(leaf)[self.choices_N]
        minibatch = Minibatch(
            [],
            advantages_N,
            weights_N(self, LOSSES[config.loss].normaliser),
            torch.zeros(0),
            logprobs_N.detach(),
            None if reference is None else self.process.logprobs(reference)[self.choices_N],
            torch.zeros(0),
            torch.zeros(0),
        )
        loss, _ = policy_loss(config, minibatch, self.micro_batch, logprobs_N)
        (gradient,) = torch.autograd.grad(-loss, leaf)
        return gradient

    @cached_property
    def token_N(self) -> Tensor:
        """The index of each token in its episode."""
        return torch.cat([torch.arange(len(path.choices)) for path in self.rows])

    def expected_gradient(self, **settings: Any) -> Tensor:
        """With the settings of `[grpo]`."""
        config = GrpoSection(**settings)
        return self.gradient(config, self.advantages_N(config))


@cache
def weights_N(batches: Batches, normaliser: Normaliser) -> Tensor:
    """What a token weighs in the loss of its batch, times the batch's probability."""
    constant = batches.process.max_tokens if normaliser == "constant" else None
    weights = []
    for paths, probability in zip(batches.members, batches.probabilities, strict=True):
        tokens = torch.tensor([len(path.choices) for path in paths])
        weights.append(probability * token_weights(normaliser, tokens, constant).repeat_interleave(tokens))
    return torch.cat(weights)


@cache
def batches(name: str, size: int, groups: int = 1) -> Batches:
    process = next(process for process in PROCESSES if process.name == name)
    return Batches(process, process.policy(), size, groups)


def bias(gradient: Tensor, truth: Tensor) -> float:
    """How far a gradient is from the nearest multiple of the true one, as a share of its length: the sine of
    the angle between them."""
    scale = gradient @ truth / (truth @ truth)
    return float((gradient - scale * truth).norm() / gradient.norm())
