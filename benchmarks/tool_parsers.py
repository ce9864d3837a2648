"""Replies per second that each parser of tool calls reads, on one core.

`python benchmarks/tool_parsers.py` prints a table and writes `benchmarks/results/tool_parsers.json`. The mix
is what models write: text alone, a call after thinking, several calls at once, long arguments, and one reply
in four malformed or cut off. The project's limit is 20,000 replies per second for each format. A
`response_template`, which `transformers` reads, describes what Hermes writes.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import machine
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from ludus.agents.formats.calls.registry import FORMATS
from ludus.agents.formats.calls.reply import Call, CallFormat
from ludus.agents.formats.calls.response_template import response_template_format

LIMIT = 20_000
RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "reasoning_content": {"open": "<think>", "close": "</think>", "content": "text"},
        "tool_calls": {
            "open_pattern": r"\s*<tool_call>",
            "close": "</tool_call>",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close_pattern": r"\s*<\|im_end\|>", "content": "text"},
    },
}
REPLIES = 400
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "A tool.",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"type": "string"},
                    "day": {"type": "integer"},
                    "hourly": {"type": "array", "items": {"type": "string"}},
                    "exact": {"type": "boolean"},
                },
                "required": ["place"],
            },
        },
    }
    for name in ("forecast", "geocode", "search")
]


def mix(form: CallFormat) -> list[str]:
    """Replies in a format, the same in every run."""
    rng = random.Random(0)
    replies = []
    for number in range(REPLIES):
        text = rng.choice(
            ("", "", "I look that up.", "The place is ambiguous, so I ask for both of them first.")
        )
        count = (0, 1, 1, 1, 2, 3)[number % 6]
        written = (
            text + (form.separator if text and count else "") + form.render([call(rng) for _ in range(count)])
        )
        if number % 3 == 0:
            written = (
                "<think>\nThe user asks about the weather; the tool `forecast` knows it.\n</think>\n"
                + written
            )
        replies.append(spoiled(written, rng) if number % 4 == 0 else written)
    return replies


def call(rng: random.Random) -> Call:
    arguments: dict[str, Any] = {"place": rng.choice(("Lomar", "Kadath", "Thran", "Saint-Étienne"))}
    if rng.random() < 0.7:
        arguments["day"] = rng.randrange(-3, 15)
    if rng.random() < 0.4:
        arguments["hourly"] = rng.sample(("temperature_2m", "rain", "wind_speed_10m", "cloud_cover"), 3)
    if rng.random() < 0.2:
        arguments["exact"] = True
    if rng.random() < 0.1:
        arguments["place"] = 'A long description of where it is, with "quotes" and {brackets}. ' * 5
    return Call(rng.choice(("forecast", "geocode", "search")), arguments)


def spoiled(text: str, rng: random.Random) -> str:
    """A reply with one of the mistakes that models make."""
    mistake = rng.randrange(4)
    if mistake == 0:
        return text[: rng.randrange(len(text) // 2, len(text))] if text else text
    return text.replace(*(('"', "'"), ("}", ",}"), (":", " "))[mistake - 1])


def rate(read: Callable[[str, Any], Any], replies: list[str], seconds: float) -> float:
    """Replies per second of processor time: the median of five measurements that together take `seconds`."""
    rates = []
    for _ in range(5):
        done, began = 0, time.process_time()
        while (spent := time.process_time() - began) < seconds / 5:
            for reply in replies:
                read(reply, TOOLS)
            done += len(replies)
        rates.append(done / spent)
    return statistics.median(rates)


def response_template() -> CallFormat:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE()))
    tokenizer.response_template = RESPONSE_TEMPLATE
    form = response_template_format(tokenizer, "")
    assert form is not None
    return form


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each format")
    seconds = parser.parse_args().seconds
    rates = {}
    print(f"{'format':<18}{'replies/s':>12}{'calls':>8}{'malformed':>11}")
    measured = [(form, mix(form)) for form in FORMATS.values()]
    measured.append((response_template(), mix(FORMATS["hermes"])))
    for form, replies in measured:
        calls = [call for reply in replies for call in form.parse(reply, TOOLS).calls]
        malformed = sum(isinstance(call.arguments, str) for call in calls)
        rates[form.name] = rate(form.read, replies, seconds)
        print(f"{form.name:<18}{rates[form.name]:>12,.0f}{len(calls):>8}{malformed:>11}")
    result = {
        "replies_per_second": rates,
        "limit": LIMIT,
        "within_limit": min(rates.values()) >= LIMIT,
        **machine(),
    }
    out = Path(__file__).parent / "results" / "tool_parsers.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
