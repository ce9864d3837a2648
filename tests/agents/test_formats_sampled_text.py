"""Text and ids of a completion: every character belongs to the id that completes it, in any tokenizer."""

from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.formats.base import ChatFormat
from ludus.agents.formats.sampled_text import sampled_text
from ludus.agents.formats.template import TemplateFormat

from .test_formats_small import TEXTS, small, tokenizer  # noqa: F401
from .test_formats_template import CHATML, byte_level_tokenizer, sentence_piece_tokenizer


@pytest.fixture(scope="module", params=["small", "byte level", "SentencePiece"])
def form(request: pytest.FixtureRequest) -> ChatFormat:
    match request.param:
        case "small":
            return request.getfixturevalue("small")
        case "byte level":
            return TemplateFormat(byte_level_tokenizer(CHATML))
    return TemplateFormat(sentence_piece_tokenizer(CHATML))


def is_sentence_piece(form: ChatFormat) -> bool:
    return form.decode([1]) == ["<s>"]


@given(st.data())
@settings(max_examples=150)
def test_any_ids_have_the_text_that_the_parser_reads(form: ChatFormat, data: st.DataObject) -> None:
    """Whatever a policy samples: parts of characters, bytes that are not UTF-8, tokens of control."""
    ids = data.draw(st.lists(st.integers(0, form.vocab_size - 1), max_size=12))
    text, complete = sampled_text(form, ids)
    said = form.parse(ids)["content"]
    # SentencePiece drops the space at the beginning, and shows bytes beside broken ones as broken, too.
    assert text.removeprefix(" ") == said.removeprefix(" ") or ("\ufffd" in said and is_sentence_piece(form))
    assert len(complete) == len(ids)
    assert complete == sorted(complete)
    assert not ids or complete[-1] == len(text)


@given(TEXTS, st.booleans())
@settings(max_examples=150)
def test_a_character_is_complete_with_the_first_id_whose_prefix_has_it(
    form: ChatFormat, written: str, ended: bool
) -> None:
    ids = form.demonstrate({"role": "assistant", "content": written})
    ids = ids if ended else ids[:-1]
    text, complete = sampled_text(form, ids)
    assert text.removeprefix(" ") == written.removeprefix(" ")
    pieces = form.pieces(ids)
    for end in range(1, len(text) + 1):
        t = bisect_left(complete, end)
        prefixes = [b"".join(pieces[:count]).decode(errors="ignore") for count in (t, t + 1)]
        assert [prefix.startswith(text[:end]) for prefix in prefixes] == [False, True]


def test_a_character_in_several_ids_by_hand(small) -> None:  # noqa: F811
    ids = small.demonstrate({"role": "assistant", "content": "é€!"})
    assert small.decode(ids) == ["<0xC3>", "<0xA9>", "<0xE2>", "<0x82>", "<0xAC>", "!", "<|end|>"]
    assert sampled_text(small, ids) == ("é€!", [0, 1, 1, 1, 2, 3, 3])
    assert sampled_text(small, [ids[0], *ids[2:4], ids[5]]) == ("\ufffd\ufffd!", [1, 1, 2, 3])
    assert sampled_text(small, []) == ("", [])
