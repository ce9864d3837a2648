"""The formats by name."""

from collections.abc import Sequence

from ludus.agents.formats.base import FormatError
from ludus.agents.formats.calls.hermes import HERMES
from ludus.agents.formats.calls.llama import LLAMA
from ludus.agents.formats.calls.mistral import MISTRAL
from ludus.agents.formats.calls.openai import OPENAI
from ludus.agents.formats.calls.pythonic import PYTHONIC
from ludus.agents.formats.calls.qwen_coder import QWEN_CODER
from ludus.agents.formats.calls.reply import Call, CallFormat

FORMATS = {form.name: form for form in (HERMES, QWEN_CODER, MISTRAL, LLAMA, PYTHONIC, OPENAI)}


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
