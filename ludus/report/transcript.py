"""Episodes for a page: turns, blocks of text, shaded tokens. The page does the escaping."""

import contextlib
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from ludus.agents.episode import Episode, Turn
from ludus.envs.chat import Message, content_images, content_text, reply_tool_calls
from ludus.report.figures import words
from ludus.tools.wording import number, signed

Decode = Callable[[Sequence[int]], list[str]]
"""From token ids to the text of each, like `ChatFormat.decode`."""

SHADES = (0.9, 0.7, 0.5, 0.3, 0.15, 0.05, 0.01)
"""A token with at least the first probability has shade 0, with at least the second shade 1, and so on."""
FIRST_TURNS, LAST_TURNS = 12, 6
TOKENS = 1500
"""The maximum number of single tokens shown per episode."""
CHARACTERS = 30_000
"""The maximum number of characters in an episode's messages."""
IMAGE_CHARACTERS = 500_000
"""The maximum number of characters in an episode's images, as data URLs."""


@dataclass(frozen=True)
class Block:
    text: str
    board: bool
    """Lines of equal width, to be set in a monospaced font without wrapping."""

    @property
    def pieces(self) -> list[tuple[str, bool]]:
        """The text in pieces, each with whether it consists of letters: on a board, those move and matter."""
        return [
            ("".join(run), letters)
            for letters, run in groupby(self.text, key=lambda character: character.isalpha())
        ]


@dataclass(frozen=True)
class ShownCall:
    """A tool call."""

    name: str
    arguments: tuple[tuple[str, str], ...]
    raw: str
    """The arguments as the model wrote them, if they are not a JSON object."""


@dataclass(frozen=True)
class Said:
    role: str
    blocks: tuple[Block, ...]
    calls: tuple[ShownCall, ...]
    images: tuple[str, ...]
    """As data URLs."""


@dataclass(frozen=True)
class Token:
    text: str
    shade: int
    logprob: str
    id: int


@dataclass(frozen=True)
class Term:
    name: str
    value: str
    form: bool
    """Whether it judges the form of the reply."""


@dataclass(frozen=True)
class ShownTurn:
    number: int
    observed: tuple[Said, ...]
    tokens: tuple[Token, ...]
    reply: tuple[Block, ...]
    """The parsed reply, if there are no tokens to show."""
    calls: tuple[ShownCall, ...]
    """Its tool calls, if there are no tokens to show."""
    unshown_tokens: int
    cut_off: bool
    fork: bool
    reward: str
    terms: tuple[Term, ...]
    """The nonzero ones."""


@dataclass(frozen=True)
class ShownEpisode:
    seed: int
    task: str
    success: bool
    fault: str
    episode_return: str
    terms: tuple[Term, ...]
    """Summed over the turns."""
    stop: str
    flags: tuple[str, ...]
    turn_count: int
    token_count: int
    head: tuple[ShownTurn, ...]
    unshown_turns: int
    tail: tuple[ShownTurn, ...]
    closing: tuple[Said, ...]
    """The final observation, after which the agent did not act."""


class Budget:
    """How much more of an episode fits."""

    def __init__(self, characters: int = CHARACTERS) -> None:
        self.tokens = TOKENS
        self.characters = characters
        self.image_characters = IMAGE_CHARACTERS

    def cut(self, text: str) -> str:
        kept = text[: max(self.characters, 0)]
        self.characters -= len(kept)
        return (
            kept
            if len(kept) == len(text)
            else f"{kept}\n… {len(text) - len(kept):,} more characters, not shown"
        )

    def fits(self, image: str) -> bool:
        fitting = len(image) <= self.image_characters
        if fitting:
            self.image_characters -= len(image)
        return fitting


def show(episode: Episode, decode: Decode | None) -> ShownEpisode:
    """Args:
    decode: None if the run's tokenizer is unavailable; replies are then shown as text, without shades.
    """
    budget = Budget()
    shown = len(episode.turns) <= FIRST_TURNS + LAST_TURNS
    head = episode.turns if shown else episode.turns[:FIRST_TURNS]
    tail = () if shown else episode.turns[-LAST_TURNS:]
    cut_off = sum(turn.finish == "length" for turn in episode.turns)
    forks = sum(turn.fork for turn in episode.turns)
    flags = []
    if episode.is_fault:
        flags.append("fault")
    if episode.is_refusal:
        flags.append("refused")
    if cut_off:
        flags.append(f"{cut_off} cut off" if cut_off > 1 else "cut off")
    if forks:
        flags.append(f"{forks} forks" if forks > 1 else "fork")
    shown_turn = partial(_turn, form=episode.form_terms, decode=decode, budget=budget)
    return ShownEpisode(
        seed=episode.seed,
        task=(episode.task_name or episode.task)[:200],
        success=episode.success,
        fault=budget.cut(episode.fault),
        episode_return=number(episode.episode_return),
        terms=_terms(episode.reward_terms(), episode.form_terms, zeros=True),
        stop=str(episode.stop.value),
        flags=tuple(flags),
        turn_count=len(episode.turns),
        token_count=sum(len(turn.completion_ids) for turn in episode.turns),
        head=tuple(shown_turn(turn, i) for i, turn in enumerate(head, 1)),
        unshown_turns=len(episode.turns) - len(head) - len(tail),
        tail=tuple(shown_turn(turn, i) for i, turn in enumerate(tail, len(episode.turns) - len(tail) + 1)),
        closing=tuple(read_message(message, budget) for message in episode.final_observation),
    )


def blocks(text: str) -> tuple[Block, ...]:
    """Split into running text and boards: three or more lines of equal width, less than half of it
    letters."""
    parts: list[Block] = []
    for width, run in groupby(text.split("\n"), key=len):
        lines = list(run)
        joined = "\n".join(lines)
        board = width >= 3 and len(lines) >= 3 and sum(map(str.isalpha, joined)) < len(joined) / 2
        if parts and parts[-1].board == board and not board:
            parts[-1] = Block(f"{parts[-1].text}\n{joined}", False)
        else:
            parts.append(Block(joined, board))
    trimmed = [Block(part.text if part.board else part.text.strip("\n"), part.board) for part in parts]
    return tuple(part for part in trimmed if part.text)


def shade(logprob: float) -> int:
    """The index of the first of `SHADES` that the probability reaches; the number of shades if it reaches
    none."""
    return next((i for i, least in enumerate(SHADES) if logprob >= math.log(least)), len(SHADES))


def _turn(
    turn: Turn, position: int, form: Collection[str], decode: Decode | None, budget: Budget
) -> ShownTurn:
    tokens: tuple[Token, ...] = ()
    reply: tuple[Block, ...] = ()
    calls: tuple[ShownCall, ...] = ()
    unshown = 0
    if decode is not None and turn.completion_ids:
        kept = turn.completion_ids[: budget.tokens]
        budget.tokens -= len(kept)
        unshown = len(turn.completion_ids) - len(kept)
        tokens = tuple(
            Token(text.replace("\n", "↵\n"), shade(logprob), number(logprob), id)
            for text, logprob, id in zip(decode(kept), turn.logprobs, kept, strict=False)
        )
    else:
        said = read_message(turn.reply, budget)
        reply, calls = said.blocks, said.calls
    return ShownTurn(
        number=position,
        observed=tuple(read_message(message, budget) for message in turn.observation),
        tokens=tokens,
        reply=reply,
        calls=calls,
        unshown_tokens=unshown,
        cut_off=turn.finish == "length",
        fork=turn.fork,
        reward=signed(turn.reward),
        terms=_terms(turn.reward_terms, form),
    )


def read_message(message: Message, budget: Budget) -> Said:
    said = blocks(budget.cut(content_text(message)))
    calls = tuple(_call(call, budget) for call in reply_tool_calls(message))
    images = tuple(image for image in content_images(message) if budget.fits(image))
    return Said(message["role"], said, calls, images)


def _call(call: Mapping[str, Any], budget: Budget) -> ShownCall:
    function = call.get("function")
    if not isinstance(function, Mapping):
        return ShownCall("malformed call", (), budget.cut(json.dumps(call, ensure_ascii=False, default=str)))
    name, arguments = str(function.get("name")), function.get("arguments", {})
    if isinstance(arguments, str):
        with contextlib.suppress(ValueError, RecursionError):  # malformed arguments are shown as they are
            arguments = json.loads(arguments or "{}")
    if not isinstance(arguments, Mapping):
        return ShownCall(name, (), budget.cut(str(arguments)))
    pairs = [
        (str(key), budget.cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
        for key, value in arguments.items()
    ]
    return ShownCall(name, tuple(pairs), "")


def _terms(values: dict[str, float], form: Collection[str], zeros: bool = False) -> tuple[Term, ...]:
    return tuple(
        Term(words(name), number(value), name in form) for name, value in values.items() if value or zeros
    )
