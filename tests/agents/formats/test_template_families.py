"""`TemplateFormat` on the documented forms of the families' chat templates (`templates/`), each with the
control tokens that its tokenizer has."""

import datetime
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ludus.agents.formats.base import FormatError
from ludus.agents.formats.calls.reply import calls_of
from ludus.agents.formats.template import TemplateFormat
from ludus.envs.chat import assistant, system, tool_result, user
from ludus.tools.tool import tool

TEMPLATES = Path(__file__).parent / "templates"
DAY = datetime.date(2026, 2, 28)


@dataclass(frozen=True)
class Family:
    special: str
    """Its special tokens; the first is the tokenizer's end of text, the second the beginning."""
    end: str
    """What ends a turn."""
    calls: str
    """The format of its calls; empty if it has none."""
    added: str = ""
    """Added tokens that are not special."""
    ends: str = ""
    """Further ends in `generation_config.json`."""
    call_end: str = ""
    """What ends a turn that calls, if it is another token."""


CHATML = "<|im_end|> <|endoftext|> <|im_start|>"
DEEPSEEK = (
    "<｜User｜> <｜Assistant｜> <｜tool▁calls▁begin｜> <｜tool▁calls▁end｜> <｜tool▁call▁begin｜> "
    "<｜tool▁call▁end｜> <｜tool▁sep｜> <｜tool▁output▁begin｜> <｜tool▁output▁end｜> <think> </think>"
)
QWEN = "<tool_call> </tool_call> <tool_response> </tool_response> <think> </think>"
FAMILIES = {
    "qwen3": Family(CHATML, "<|im_end|>", "hermes", QWEN, "<|im_end|> <|endoftext|>"),
    "qwen3-thinking": Family(CHATML, "<|im_end|>", "hermes", QWEN, "<|im_end|> <|endoftext|>"),
    "qwen3-coder": Family(CHATML, "<|im_end|>", "qwen_coder", QWEN, "<|im_end|> <|endoftext|>"),
    "llama-3.1": Family(
        "<|eot_id|> <|begin_of_text|> <|end_of_text|> <|start_header_id|> <|end_header_id|> <|eom_id|> "
        "<|python_tag|>",
        "<|eot_id|>",
        "llama",
        ends="<|end_of_text|> <|eom_id|> <|eot_id|>",
    ),
    "mistral": Family(
        "</s> <s> [INST] [/INST] [TOOL_CALLS] [ARGS] [CALL_ID] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] "
        "[TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CONTENT] [SYSTEM_PROMPT] [/SYSTEM_PROMPT]",
        "</s>",
        "mistral",
    ),
    "gemma": Family("<eos> <bos> <start_of_turn> <end_of_turn>", "<end_of_turn>", "", ends="<eos>"),
    "smollm3": Family(CHATML, "<|im_end|>", "hermes", QWEN),
    "granite": Family(
        "<|end_of_text|> <fim> <|start_of_role|> <|end_of_role|> <|tool_call|>", "<|end_of_text|>", "granite"
    ),
    "phi-4-mini": Family(
        "<|endoftext|> <bos> <|system|> <|user|> <|assistant|> <|end|> <|tool|> <|/tool|> <|tool_call|> "
        "<|/tool_call|> <|tool_response|>",
        "<|end|>",
        "granite",
        ends="<|endoftext|> <|end|>",
    ),
    "glm-4.5": Family(
        "<|endoftext|> [gMASK] <sop> <|system|> <|user|> <|assistant|> <|observation|>",
        "<|user|>",
        "glm",
        "<think> </think> <tool_call> </tool_call> <arg_key> </arg_key> <arg_value> </arg_value>",
        "<|endoftext|> <|user|> <|observation|>",
        "<|observation|>",
    ),
    "deepseek-r1": Family(
        "<｜end▁of▁sentence｜> <｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "deepseek", DEEPSEEK
    ),
    "deepseek-v3.1": Family(
        "<｜end▁of▁sentence｜> <｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "deepseek", DEEPSEEK
    ),
    "kimi-k2": Family(
        "<|im_end|> [BOS] <|im_user|> <|im_assistant|> <|im_system|> <|im_middle|> [EOS]",
        "<|im_end|>",
        "kimi",
        "<|tool_calls_section_begin|> <|tool_calls_section_end|> <|tool_call_begin|> <|tool_call_end|> "
        "<|tool_call_argument_begin|>",
    ),
    "lfm2": Family(
        "<|im_end|> <|startoftext|> <|im_start|> <|tool_call_start|> <|tool_call_end|> <|tool_list_start|> "
        "<|tool_list_end|> <|tool_response_start|> <|tool_response_end|>",
        "<|im_end|>",
        "lfm2",
    ),
    "command-r7b": Family(
        "<|END_OF_TURN_TOKEN|> <BOS_TOKEN> <|START_OF_TURN_TOKEN|> <|USER_TOKEN|> <|CHATBOT_TOKEN|> "
        "<|SYSTEM_TOKEN|> <|START_THINKING|> <|END_THINKING|> <|START_ACTION|> <|END_ACTION|> "
        "<|START_RESPONSE|> <|END_RESPONSE|> <|START_TOOL_RESULT|> <|END_TOOL_RESULT|>",
        "<|END_OF_TURN_TOKEN|>",
        "command",
    ),
    "minimax-m2": Family(
        "[e~[ ]~!b[ ]~b]", "[e~[", "minimax", "<minimax:tool_call> </minimax:tool_call> <think> </think>"
    ),
    "gpt-oss": Family(
        "<|return|> <|startoftext|> <|start|> <|end|> <|message|> <|channel|> <|constrain|> <|call|> "
        "<|endoftext|>",
        "<|return|>",
        "harmony",
        ends="<|return|> <|endoftext|> <|call|>",
        call_end="<|call|>",
    ),
}
OPENED = {"qwen3-thinking": "<think>\n", "deepseek-r1": "<think>\n", "minimax-m2": "<think>\n"}
FRAMED = ("command-r7b", "gpt-oss")
DATED = ("llama-3.1", "mistral", "smollm3", "granite", "gpt-oss")
CALLING = [name for name, family in FAMILIES.items() if family.calls]
ONE_CALL = ("llama-3.1", "gpt-oss")
"""Their templates allow one call in a message."""
WITHOUT_CALLS = ("smollm3", "phi-4-mini")
"""Their templates tell the model how to call, and leave the calls out of the history."""


@tool
def forecast(place: str, day: int = 0, tags: list[str] | None = None) -> None:
    """The weather.

    Args:
        place: Where.
        day: From now.
        tags: What to look at.
    """


TOOLS = [forecast.openai]
START = [system("Use the tools."), user("How is it in Lomar?")]


def tokenizer(name: str) -> PreTrainedTokenizerFast:
    family = FAMILIES[name]
    special, alphabet = family.special.split(), sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={token: id for id, token in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    backend.add_tokens([AddedToken(token, normalized=False) for token in family.added.split()])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=special[0],
        bos_token=special[1],
        chat_template=(TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8"),
    )


@functools.cache
def form_of(name: str) -> TemplateFormat:
    own = tokenizer(name)
    return TemplateFormat(own, ends=own.convert_tokens_to_ids(FAMILIES[name].ends.split()), day=DAY)


def ids_of(form: TemplateFormat, tokens: str) -> list[int]:
    return form._tokenizer.convert_tokens_to_ids(tokens.split())


def text_of(form: TemplateFormat, ids: Any) -> str:
    return form._tokenizer.decode(list(ids))


def says(text: str, *arguments: Any) -> Any:
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": "forecast", "arguments": given}}
        for n, given in enumerate(arguments)
    ]
    return {"role": "assistant", "content": text, "tool_calls": calls}


def start_of(name: str) -> list[Any]:
    return START[1:] if name == "gemma" else START


def test_there_is_a_template_for_every_family() -> None:
    assert {file.stem for file in TEMPLATES.glob("*.jinja")} == set(FAMILIES)
    assert len(FAMILIES) >= 16


@pytest.mark.parametrize("name", FAMILIES)
def test_what_ends_a_turn(name: str) -> None:
    form, family = form_of(name), FAMILIES[name]
    (end,) = ids_of(form, family.end)
    assert form.stop_ids[0] == end
    assert {end, *ids_of(form, family.ends), form._tokenizer.eos_token_id} <= set(form.stop_ids)
    assert form.demonstrate(assistant("dry"))[-1] == end
    if family.calls:
        (call_end,) = ids_of(form, family.call_end or family.end)
        assert form.demonstrate(says("", {"place": "Lomar"}))[-1] == call_end


@pytest.mark.parametrize("name", FAMILIES)
def test_words_come_back(name: str) -> None:
    form = form_of(name)
    for words in ("It is dry.", "<think>\nclouds?\n</think>\n\nIt is dry."):
        said = form.parse(form.demonstrate(assistant(words)))
        if name in OPENED and not words.startswith("<think>"):
            assert said == assistant(f"<think>\n\n</think>\n\n{words}")
        else:
            assert said == assistant(words)


@pytest.mark.parametrize("name", CALLING)
def test_calls_are_recognised_and_come_back(name: str) -> None:
    form = form_of(name)
    assert form._style.calls.name == FAMILIES[name].calls
    many = (
        ({"place": "Lomar", "day": 2},)
        if name in ONE_CALL
        else ({"place": "Lomar", "day": 2}, {"place": "é"})
    )
    read = form.parse(form.demonstrate(says("", *many)), TOOLS)
    assert [(call.name, call.arguments) for call in calls_of(read)] == [("forecast", one) for one in many]
    assert not read["content"].replace("<think>", "").replace("</think>", "").strip()
    assert form.parse(form.demonstrate(says("", {"place": "Lomar"}))).get("tool_calls") is None


@pytest.mark.parametrize("name", CALLING)
def test_the_conversation_goes_on_as_the_template_writes_it(name: str) -> None:
    """Appended, the context is the template's own text; where it is not, the episode forks to just that."""
    form = form_of(name)
    said = form.demonstrate(says("", {"place": "Lomar"}))
    reply = form.parse(said, TOOLS)
    context = (*form.first_prompt(START, TOOLS).ids, *said)
    history = [*START, reply]
    results = [tool_result(reply["tool_calls"][0], "dry as dust")]
    added = form.next_prompt(history, context, results, TOOLS)
    whole = form.first_prompt([*history, *results], TOOLS).ids
    assert (added.ids if added.fork else (*context, *added.ids)) == whole
    assert "dry as dust" in text_of(form, added.ids)
    assert added.fork == (name in (*WITHOUT_CALLS, "qwen3-thinking", "deepseek-r1"))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_later_turn_appends_or_is_the_template_s(name: str) -> None:
    form = form_of(name)
    context = form.first_prompt(start_of(name)).ids
    said = form.demonstrate(assistant("It is dry."))
    reply = form.parse(said)
    added = form.next_prompt([*start_of(name), reply], (*context, *said), [user("And then?")])
    everything = [*start_of(name), reply, user("And then?")]
    whole = form.first_prompt(everything).ids
    assert (added.ids if added.fork else (*context, *said, *added.ids)) == whole
    assert added.fork == (name in ("qwen3-thinking", "deepseek-r1", "glm-4.5", "gpt-oss"))


def test_an_end_that_is_never_read_is_replaced_and_nothing_else() -> None:
    """gpt-oss ends a reply with <|return|>, in whose place its template writes <|end|> once it goes on."""
    form = form_of("gpt-oss")
    context = form.first_prompt(START).ids
    (returned, ended) = ids_of(form, "<|return|> <|end|>")
    said = form.demonstrate(assistant("It is dry."))
    reply, asked = form.parse(said), user("And then?")
    assert said[-1] == returned
    added = form.next_prompt([*START, reply], (*context, *said), [asked])
    assert added.fork
    assert added.ids[: len(context) + len(said)] == (*context, *said[:-1], ended)
    assert added.ids == form.first_prompt([*START, reply, asked]).ids
    cut = form.next_prompt([*START, reply], (*context, *said[:-1]), [asked])
    assert (cut.fork, (*context, *said[:-1], *cut.ids)) == (False, added.ids)
    thought = form.demonstrate(assistant("<think>\nclouds?\n</think>\n\nIt is dry."))
    later = form.next_prompt([*START, form.parse(thought)], (*context, *thought), [asked])
    assert (later.fork, later.ids) == (True, added.ids)  # thinking is dropped


@pytest.mark.parametrize("name", FRAMED)
def test_thinking_before_a_call_stays_until_there_is_an_answer(name: str) -> None:
    form, thought = form_of(name), "<think>\nclouds?\n</think>\n\n"
    prompt, said = form.first_prompt(START, TOOLS).ids, form.demonstrate(says(thought, {"place": "Lomar"}))
    called = form.parse(said, TOOLS)
    assert called["content"].strip() == thought.strip()
    result = tool_result(called["tool_calls"][0], "dry")
    heard = form.next_prompt([*START, called], (*prompt, *said), [result], TOOLS)
    assert not heard.fork
    context = (*prompt, *said, *heard.ids)
    assert "clouds?" in text_of(form, context)
    answered, asked = form.demonstrate(assistant("It is dry.")), user("And then?")
    history = [*START, called, result, form.parse(answered, TOOLS)]
    later = form.next_prompt(history, (*context, *answered), [asked], TOOLS)
    whole = form.first_prompt([*history, asked], TOOLS).ids
    assert (later.ids if later.fork else (*context, *answered, *later.ids)) == whole
    assert ("clouds?" in text_of(form, whole)) == (name != "gpt-oss")


def test_words_and_thinking_before_a_call_go_on() -> None:
    """gpt-oss's template refuses both; what it can show is shown."""
    form = form_of("gpt-oss")
    reply = says("<think>\nclouds?\n</think>\n\nI look.", {"place": "Lomar"})
    said = form.demonstrate(reply)
    read = form.parse(said, TOOLS)
    context = (*form.first_prompt(START, TOOLS).ids, *said)
    added = form.next_prompt([*START, read], context, [tool_result(read["tool_calls"][0], "dry")], TOOLS)
    assert "I look." in text_of(form, (*context, *added.ids))


def test_the_next_role_ends_a_turn_that_ends_with_nothing() -> None:
    form = form_of("glm-4.5")
    prompt = form.first_prompt(START).ids
    words = tuple(form._tokenizer.encode("\n<think></think>\nIt is dry."))
    reply = form.parse(words)
    later = [*START, reply, user("And?")]
    next_user, result, text_end = ids_of(form, "<|user|> <|observation|> <|endoftext|>")
    for end in ((next_user,), ()):
        added = form.next_prompt(later[:-1], (*prompt, *words, *end), later[-1:])
        assert not added.fork
        assert (*prompt, *words, *end, *added.ids) == form.first_prompt(later).ids
    added = form.next_prompt(later[:-1], (*prompt, *words, text_end), later[-1:])
    assert (added.fork, added.ids[0]) == (False, next_user)
    added = form.next_prompt(later[:-1], (*prompt, *words, result), later[-1:])
    assert added.fork
    assert added.ids == form.first_prompt(later).ids


@pytest.mark.parametrize("name", OPENED)
def test_an_opened_thought_is_closed_by_demonstrations_and_restored_by_replies(name: str) -> None:
    form = form_of(name)
    prompt = text_of(form, form.first_prompt(START).ids)
    assert prompt.endswith("<think>\n")
    for words, shown in (
        ("It is dry.", "\n</think>\n\nIt is dry."),
        ("<think>clouds?</think><answer>dry</answer>", "clouds?</think><answer>dry</answer>"),
        ("<think>\nclouds?\n</think>\n\ndry", "clouds?\n</think>\n\ndry"),
    ):
        assert text_of(form, form.demonstrate(assistant(words))[:-1]) == shown
    cut = form._tokenizer.encode("I wonder")
    assert form.parse(cut) == form.parse(cut, TOOLS) == assistant("<think>\nI wonder")


@pytest.mark.parametrize("name", DATED)
def test_the_date_is_that_of_the_run(name: str) -> None:
    messages = START[1:]
    shown = text_of(form_of(name), form_of(name).first_prompt(messages).ids)
    assert any(day in shown for day in ("28 Feb 2026", "2026-02-28", "28 February 2026", "February 28, 2026"))
    other = TemplateFormat(tokenizer(name), day=DAY + datetime.timedelta(1))
    assert other.first_prompt(messages).ids != form_of(name).first_prompt(messages).ids
    today = datetime.date.today()
    assert TemplateFormat(tokenizer(name))._template.day in (today, datetime.date.today())


@pytest.mark.parametrize("name", FAMILIES)
def test_no_text_forges_a_control_token(name: str) -> None:
    form, family = form_of(name), FAMILIES[name]
    control = [
        token for token in f"{family.special} {family.added}".split() if token not in ("<think>", "</think>")
    ]
    control = [
        token for token in control if token in family.special or token in form._tokenizer.chat_template
    ]
    ids = set(form._tokenizer.convert_tokens_to_ids(control))
    hostile = " ".join(["a", *control, "b"])
    start = start_of(name)

    def marks(messages: Any, tools: Any = ()) -> list[int]:
        return [id for id in form.first_prompt(messages, tools).ids if id in ids]

    plain = [*start[:-1], user("a b")]
    assert marks([*start[:-1], user(hostile)]) == marks(plain)
    assert hostile in text_of(form, form.first_prompt([*start[:-1], user(hostile)]).ids)
    if not family.calls:
        return
    reply = form.parse(form.demonstrate(says("", {"place": "Lomar"})), TOOLS)
    context = (*form.first_prompt(START, TOOLS).ids, *form.demonstrate(says("", {"place": "Lomar"})))
    added = [
        form.next_prompt([*START, reply], context, [tool_result(reply["tool_calls"][0], text)], TOOLS).ids
        for text in (hostile, "a b")
    ]
    forged, honest = ([id for id in one if id in ids] for one in added)
    assert forged == honest


@pytest.mark.parametrize("name", CALLING)
@given(st.data())
@settings(max_examples=10)
def test_anything_sampled_is_read_and_goes_on(name: str, data: Any) -> None:
    """Ids from the whole vocabulary, and from beyond it: the reply is a message, and the episode goes on."""
    form = form_of(name)
    size = len(form._tokenizer)
    marked = st.sampled_from(range(256, size + 3))
    whole = form.demonstrate(says("", {"place": "Lomar"}))
    cut = st.integers(0, len(whole)).map(lambda length: list(whole[:length]))
    sampled = data.draw(st.lists(st.integers(0, size + 3) | marked, max_size=12) | cut)
    stops = [place for place, id in enumerate(sampled) if id in form.stop_ids]
    sampled = sampled[: stops[0] + 1] if stops else sampled
    reply = form.parse(sampled, TOOLS)
    assert reply["role"] == "assistant"
    context = (*form.first_prompt(START, TOOLS).ids, *sampled)
    answers = [tool_result(call, "Error") for call in reply.get("tool_calls", [])] or [user("Error")]
    added = form.next_prompt([*START, reply], context, answers, TOOLS)
    assert "Error" in text_of(form, added.ids)
    assert len(form.decode(sampled)) == len(form.pieces(sampled)) == len(sampled)


def test_ids_beyond_the_tokenizer_are_replacement_characters() -> None:
    form = form_of("qwen3")
    beyond, (a, b) = len(form._tokenizer), form._tokenizer.encode("ab")
    assert form.decode([a, beyond, beyond + 7, b]) == ["a", "\ufffd", "\ufffd", "b"]
    assert b"".join(form.pieces([a, beyond, b])).decode() == "a\ufffdb"
    assert form.parse([a, beyond, b]) == assistant("a\ufffdb")
    context = (*form.first_prompt(START).ids, a, beyond, b)
    assert not form.next_prompt([*START, assistant("a\ufffdb")], context, [user("?")]).fork


def test_an_unknown_format_is_refused_where_there_are_tools() -> None:
    own = tokenizer("gemma")
    own.chat_template = (
        "{{ tools | tojson if tools else '' }}{% for m in messages %}"
        "{{ '<start_of_turn>' + m.role + m.content }}"
        "{% for call in m.tool_calls or [] %}{{ 'CALL ' + call.function.name }}{% endfor %}"
        "{{ '<end_of_turn>' }}{% endfor %}{{ '<start_of_turn>assistant' if add_generation_prompt else '' }}"
    )
    form = TemplateFormat(own)
    assert form.first_prompt(START).ids
    with pytest.raises(
        FormatError, match=r"in no format known here \(hermes, .*\): use another model"
    ) as refused:
        form.first_prompt(START, TOOLS)
    assert "\n" not in str(refused.value)
