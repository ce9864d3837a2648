"""`SmallFormat`: the same ids as its chat template, no forks, no forged turns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from ludus.agents.formats.base import FormatError
from ludus.agents.formats.small import CONTROL_TOKENS, SmallFormat
from ludus.agents.formats.template import TemplateFormat
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.small_model import SmallModelShape, build_small_model
from ludus.envs.chat import assistant, image_part, system, text_part, user

TINY = SmallModelShape(hidden=32, layers=1, heads=2, kv_heads=1, head_dim=16, intermediate=32)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = build_small_model(
        [EnvironmentSpec("ludus/Arithmetic-v0", {})], TINY, cache_directory=tmp_path_factory.mktemp("models")
    )
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def small(tokenizer):
    assert SmallFormat.fits(tokenizer)
    return SmallFormat(tokenizer)


@pytest.fixture(scope="module")
def template(tokenizer):
    return TemplateFormat(tokenizer)


WORDS = st.sampled_from(
    [
        "What is 12 + 30?",
        "<think>12+30</think>",
        "<answer>",
        " ",
        "\n",
        "\r\n",
        "\x85",
        "# P .",
        "\ufffc\ufffd",
    ]
)
TEXTS = st.text(max_size=40) | st.lists(WORDS | st.text(max_size=2), max_size=6).map("".join)
FREE_TEXTS = TEXTS.filter(lambda text: not any(token in text for token in CONTROL_TOKENS))
ROLES = st.sampled_from(["system", "user", "tool"])
MESSAGES = st.lists(st.fixed_dictionaries({"role": ROLES, "content": FREE_TEXTS}), min_size=1, max_size=3)


@given(st.data())
def test_the_same_ids_as_the_chat_template(tokenizer, small, template, data):
    assert (small.stop_ids, small.pad_id, small.vocab_size) == (
        template.stop_ids,
        template.pad_id,
        template.vocab_size,
    )
    history = data.draw(MESSAGES)
    prompt = small.first_prompt(history)
    assert prompt == template.first_prompt(history)
    context = prompt.ids
    plain = st.lists(st.integers(len(CONTROL_TOKENS), small.vocab_size - 1), max_size=8).map(tuple)
    for _ in range(data.draw(st.integers(1, 3))):
        said = data.draw(plain) + data.draw(st.sampled_from([small.stop_ids, ()]))
        assert small.parse(said) == template.parse(said)
        assert small.decode(said) == template.decode(said)
        context += said
        history = [*history, small.parse(said)]
        added = data.draw(MESSAGES)
        prompt = small.next_prompt(history, context, added)
        assert prompt == template.next_prompt(history, context, added)
        assert not prompt.fork
        context += prompt.ids
        history += added


@given(FREE_TEXTS)
def test_replies_come_back(tokenizer, small, text):
    ids = tuple(tokenizer.encode(text))
    assert small.parse((*ids, *small.stop_ids)) == small.parse(ids) == assistant(text)
    assert len(small.decode(ids)) == len(ids)
    assert small.demonstrate(assistant(text)) == (*ids, *small.stop_ids)


def test_only_the_last_stop_is_taken_off(small):
    said = small.first_prompt([user("1")]).ids
    assert small.parse(said) == assistant("<|user|>1<|end|><|assistant|>")


@given(TEXTS, st.sampled_from(CONTROL_TOKENS), TEXTS)
def test_no_text_forges_a_turn(small, before, token, after):
    text = before + token + after
    ids = small.first_prompt([system("x"), user(text)]).ids
    assert sum(id < len(CONTROL_TOKENS) for id in ids) == 5
    start = ids.index(3) + 1
    assert small.parse(ids[start:-2]) == assistant(text)


def test_partial_characters_are_shown_as_bytes(small, tokenizer):
    assert small.decode(tokenizer.encode("é")) == ["<0xC3>", "<0xA9>"]
    assert small.decode(small.stop_ids) == ["<|end|>"]


def test_a_reply_cut_by_length_is_closed(small):
    context = (*small.first_prompt([user("1")]).ids, 50)
    prompt = small.next_prompt([user("1"), assistant("?")], context, [user("2")])
    assert prompt.ids[0] == small.stop_ids[0]
    ended = small.next_prompt([user("1"), assistant("?")], (*context, *small.stop_ids), [user("2")])
    assert prompt.ids[1:] == ended.ids


def test_what_it_cannot_say_is_refused(small, template):
    for chat_format in (small, template):
        with pytest.raises(Exception, match="unknown role"):
            chat_format.first_prompt([{"role": "narrator", "content": "?"}])
    tool = {"type": "function", "function": {"name": "f"}}
    with pytest.raises(FormatError, match="made for environments without tools"):
        small.first_prompt([user("1")], (tool,))
    with pytest.raises(FormatError, match="made for environments without tools"):
        small.demonstrate({"role": "assistant", "content": "", "tool_calls": [tool]})


def test_an_image_reads_as_its_mark(small):
    parts = [text_part("look"), image_part(b"png")]
    shown = small.first_prompt([{"role": "user", "content": parts}])
    assert shown == small.first_prompt([{"role": "user", "content": "look\n[image]"}])
