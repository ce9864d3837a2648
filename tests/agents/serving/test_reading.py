"""What is told of a reply while it is sampled: always a beginning of what it says in the end."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.engines.base import Tokens
from ludus.agents.formats.base import ReplyForm
from ludus.agents.formats.calls.registry import FORMATS
from ludus.agents.formats.calls.reply import Call
from ludus.agents.formats.template import TemplateFormat
from ludus.agents.serving.reading import Reading, Words, words_of, words_so_far
from ludus.envs.chat import content_text

from ..formats.families import HERMES, HERMES_THINKING, tokenizer

ENCODER = tokenizer(HERMES)
PLAIN = TemplateFormat(ENCODER)
CALLS = (Call("forecast", {"place": "Łomża", "day": 2}), Call("done", {}))
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("forecast", "done")
]
FRAGMENTS = st.sampled_from(
    [
        *("a", "é", "🙂", " ", "\n", "\n\n", "[", "{", "<", "</", "`", "```json\n", "STOP", "ST"),
        *("<think>", "</think>", "<thi", "<tool", "<tool_call>", "functools", "[TOOL", '{"name": ', "()"),
        *(form.render(CALLS) for form in FORMATS.values()),
        *(form.render(CALLS[:1]) for form in FORMATS.values()),
    ]
)


@pytest.mark.parametrize("thinks", [False, True])
@settings(max_examples=250)
@given(name=st.sampled_from(sorted(FORMATS)), fragments=st.lists(FRAGMENTS, max_size=6))
def test_what_was_told_is_never_taken_back(thinks: bool, name: str, fragments: list[str]) -> None:
    text, call_format = "".join(fragments), FORMATS[name]
    form = ReplyForm(thinks=thinks, marks=call_format.marks)
    said = words_of(content_text(call_format.read(text, TOOLS)), form)
    told = Words()
    for end in range(len(text) + 1):
        now = words_so_far(text[:end], form)
        for before, after, whole in (
            (told.reasoning, now.reasoning, said.reasoning),
            (told.content, now.content, said.content),
        ):
            assert after.startswith(before), (text[:end], before, after)
            assert whole.startswith(after), (text[:end], after, whole)
        told = now


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.marks is not None])
def test_words_before_a_call_are_told_at_once_and_nothing_of_the_call(name: str) -> None:
    call_format = FORMATS[name]
    form = ReplyForm(marks=call_format.marks)
    words = "Let me look, a moment"
    text = words + call_format.separator + call_format.render(CALLS)
    assert words_so_far(words, form) == Words("", words)
    assert {words_so_far(text[:end], form).content for end in range(len(words), len(text))} == {words}


def test_thinking_is_told_apart_where_the_template_has_a_place_for_it() -> None:
    apart, not_apart = ReplyForm(thinks=True), ReplyForm()
    text = "<think>\none, two\n</think>\n\nthree"
    assert words_so_far("<th", apart) == words_so_far("\n", not_apart) == Words()
    assert words_so_far(text[:15], apart) == Words("one, tw")
    assert words_so_far("<think>\none</thi", apart) == Words("one")
    assert words_so_far(text, apart) == words_of(text, apart) == Words("one, two", "three")
    assert words_so_far(text, not_apart) == words_of(text, not_apart) == Words("", text)


def read(text: str, stops: tuple[str, ...]) -> Reading:
    reading = Reading(PLAIN, (), stops)
    for id in ENCODER.encode(text, add_special_tokens=False):
        reading.add(Tokens((id,), (-1.0,)))
    return reading


@settings(max_examples=20)
@given(st.text(max_size=20), st.text(max_size=5))
def test_characters_are_told_when_all_of_their_bytes_are_there(before: str, after: str) -> None:
    text = f"{before}é€🙂{after}".replace("\ufffd", "")
    reading = Reading(PLAIN, (), ())
    seen = ""
    for id in ENCODER.encode(text, add_special_tokens=False):
        reading.add(Tokens((id,), (-1.0,)))
        assert reading.text.startswith(seen)
        assert text.startswith(reading.text)
        seen = reading.text
    assert seen == text


@settings(max_examples=20)
@given(st.text("abS €", max_size=20))
def test_a_stop_ends_a_reply_before_it(text: str) -> None:
    reading = read(text + "STOP and more", ("STOP", "never"))
    whole = text + "STOP and more"
    assert reading.end == whole.index("STOP")
    ids, rest = reading.cut()
    assert PLAIN.text(ids) + rest == whole[: reading.end]
    assert len(reading.tokens) == len((whole[: reading.end] + "STOP").encode())
    form = ReplyForm()
    for end in range(len(whole)):
        assert whole[: reading.end].startswith(words_so_far(whole[:end], form, ("STOP",)).content)


def test_formats_say_what_their_replies_look_like() -> None:
    opened = TemplateFormat(tokenizer(HERMES_THINKING))
    assert PLAIN.reply_form() == ReplyForm()
    assert PLAIN.reply_form(TOOLS) == ReplyForm(marks=("<tool_call>",))
    assert opened.reply_form(TOOLS).opened == "<think>\n"
