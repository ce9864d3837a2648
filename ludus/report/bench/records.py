"""All episodes of a benchmark for the browser in its report: an index, and transcripts in compressed chunks.

The page holds both as inert text. Its script unpacks a chunk when one of its episodes is opened, and makes
text nodes of what it finds there: nothing that an episode says is ever read as HTML.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ludus.agents.bench.result import Result
from ludus.agents.episode import Episode, Turn
from ludus.report.figures import words
from ludus.report.transcript import Budget, Said, read_message
from ludus.tools.wording import number, signed

CHUNK_CHARACTERS = 1_000_000
"""Transcripts are packed together until they have this many characters."""
EPISODE_CHARACTERS = 1_000_000
"""Most characters of one episode's messages."""
_BRIEF = 300
"""Most characters of a text in the index."""


@dataclass(frozen=True, slots=True)
class Records:
    index: str
    """JSON, safe within a `script` element: for each episode its row; the last field is its chunk."""
    chunks: tuple[str, ...]
    """Each the base64 of a zlib stream of JSON: the transcripts of successive episodes."""


FIELDS = (
    "environment", "kind", "seed", "sample", "verdict", "return", "turns", "tokens", "answer", "expected",
    "failure", "task", "chunk", "place",
)  # fmt: skip
"""The fields of a row of the index, as `browser.js` reads them."""


def records(
    episodes: Iterable[Episode], results: Mapping[tuple[int, int], Result], environments: list[str]
) -> Records:
    """
    Args:
        episodes: in the order in which they are listed.
        results: by task and sample.
        environments: the name of each task's environment.
    """
    rows: list[list[Any]] = []
    chunks: list[str] = []
    open_chunk: list[str] = []
    size = 0
    for episode in episodes:
        result = results[episode.group, episode.sample]
        if size >= CHUNK_CHARACTERS:
            chunks.append(_packed(open_chunk))
            open_chunk, size = [], 0
        place = [len(chunks), len(open_chunk)]
        rows.append([environments[episode.group], *_row(episode, result), *place])
        open_chunk.append(json.dumps(transcript(episode), separators=(",", ":")))
        size += len(open_chunk[-1])
    if open_chunk:
        chunks.append(_packed(open_chunk))
    # `<` would end the element that holds it.
    index = json.dumps({"fields": FIELDS, "rows": rows}, separators=(",", ":")).replace("<", "\\u003c")
    return Records(index, tuple(chunks))


def transcript(episode: Episode) -> dict[str, Any]:
    """What the browser shows of an episode."""
    budget = Budget(EPISODE_CHARACTERS)
    return {
        "stop": episode.stop.value,
        "fault": budget.cut(episode.fault),
        "terms": _terms(episode.reward_terms(), episode.form_terms, zeros=True),
        "turns": [_turn(turn, episode.form_terms, budget) for turn in episode.turns],
        "closing": [_message(read_message(message, budget)) for message in episode.final_observation],
    }


def _row(episode: Episode, result: Result) -> list[Any]:
    texts = (
        result.answer or "",
        result.expected,
        result.failure or result.fault,
        episode.task_name or episode.task,
    )
    return [
        result.kind,
        episode.seed,
        episode.sample,
        result.verdict,
        number(result.reward),
        result.turns,
        result.completion_tokens,
        *(text if len(text) <= _BRIEF else f"{text[:_BRIEF]} …" for text in texts),
    ]


def _turn(turn: Turn, form: tuple[str, ...], budget: Budget) -> dict[str, Any]:
    return {
        "observed": [_message(read_message(message, budget)) for message in turn.observation],
        "reply": _message(read_message(turn.reply, budget)),
        "reward": signed(turn.reward),
        "terms": _terms(turn.reward_terms, form),
        "finish": turn.finish,
        "seconds": round(turn.generate_seconds, 3),
        "tokens": turn.completion_tokens,
    }


def _message(said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": said.role,
        "blocks": [[block.text, block.board] for block in said.blocks],
    }
    if said.calls:
        message["calls"] = [[call.name, call.arguments, call.raw] for call in said.calls]
    if said.images:
        message["images"] = said.images
    return message


def _terms(values: Mapping[str, float], form: tuple[str, ...], zeros: bool = False) -> list[list[Any]]:
    return [[words(name), number(value), name in form] for name, value in values.items() if value or zeros]


def _packed(transcripts: list[str]) -> str:
    return base64.b64encode(zlib.compress(f"[{','.join(transcripts)}]".encode(), 6)).decode()
