"""The formats of tool calls, by name."""

from collections.abc import Sequence

from ludus.agents.formats.base import FormatError
from ludus.agents.formats.calls.command import COMMAND
from ludus.agents.formats.calls.deepseek import DEEPSEEK
from ludus.agents.formats.calls.glm import GLM
from ludus.agents.formats.calls.granite import GRANITE
from ludus.agents.formats.calls.harmony import HARMONY
from ludus.agents.formats.calls.hermes import HERMES
from ludus.agents.formats.calls.kimi import KIMI
from ludus.agents.formats.calls.lfm2 import LFM2
from ludus.agents.formats.calls.llama import LLAMA
from ludus.agents.formats.calls.minimax import MINIMAX
from ludus.agents.formats.calls.mistral import MISTRAL
from ludus.agents.formats.calls.openai import OPENAI
from ludus.agents.formats.calls.pythonic import PYTHONIC
from ludus.agents.formats.calls.qwen_coder import QWEN_CODER
from ludus.agents.formats.calls.reply import Call, CallFormat

FORMATS = {
    form.name: form
    for form in (
        HERMES,
        QWEN_CODER,
        GLM,
        MINIMAX,
        MISTRAL,
        LLAMA,
        LFM2,
        GRANITE,
        DEEPSEEK,
        KIMI,
        COMMAND,
        HARMONY,
        PYTHONIC,
        OPENAI,
    )
}
MARKERS = {
    "[TOOL_CALLS]": "mistral",
    "<function=": "qwen_coder",
    "<arg_key>": "glm",
    "<minimax:tool_call>": "minimax",
    "<｜tool▁call▁begin｜>": "deepseek",
    "<|tool_call_begin|>": "kimi",
    "<|tool_call_start|>": "lfm2",
    "<|START_ACTION|>": "command",
    "<|tool_call|>": "granite",
    "functools[": "granite",
    "<tool_call>": "hermes",
    "[TOOL_REQUEST]": "hermes",
    "<|python_tag|>": "llama",
    "to=functions.": "harmony",
}
"""How calls begin, and the format of each."""


def named(name: str) -> CallFormat:
    """
    Raises:
        FormatError: there is no format of that name.
    """
    if name not in FORMATS:
        raise FormatError(f"unknown tool-call format {name!r}: it is one of {', '.join(FORMATS)}")
    return FORMATS[name]


def recognise(written: str, calls: Sequence[Call], among: Sequence[CallFormat]) -> CallFormat | None:
    """The first format in which `written` reads as exactly `calls`."""
    said = [(call.name, call.arguments) for call in calls]
    for form in among:
        if [(call.name, call.arguments) for call in form.parse(written, ()).calls] == said:
            return form
    return None


def announced(text: str) -> CallFormat | None:
    """The format whose mark stands in instructions, or in a list of tokens; None if there is none."""
    return next((FORMATS[name] for marker, name in MARKERS.items() if marker in text), None)
