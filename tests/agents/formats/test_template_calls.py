"""`TemplateFormat` with tools, on templates of the families: what was sampled is kept, calls come back."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.formats.base import FormatError
from ludus.agents.formats.calls.reply import calls_of
from ludus.agents.formats.template import TemplateFormat
from ludus.envs.chat import assistant, system, tool_result, user
from ludus.tools.tool import tool

_spec = importlib.util.spec_from_file_location("families", Path(__file__).with_name("families.py"))
families: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(families)
FAMILIES = families.FAMILIES


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
FORMATS = {name: TemplateFormat(families.tokenizer(template)) for name, (template, _) in FAMILIES.items()}
SEVERAL = [name for name in FAMILIES if name != "llama"]


def says(text: str, *arguments: Any, ids: Any = "call_{}".format) -> Any:
    calls = [
        {"id": ids(n), "type": "function", "function": {"name": "forecast", "arguments": given}}
        for n, given in enumerate(arguments)
    ]
    return {"role": "assistant", "content": text, "tool_calls": calls}


def encode(form: TemplateFormat, text: str) -> tuple[int, ...]:
    return tuple(form._tokenizer.encode(text, add_special_tokens=False))


def whole(form: TemplateFormat, messages: Any, tools: Any = TOOLS) -> tuple[int, ...]:
    return form.first_prompt(messages, tools).ids


@pytest.mark.parametrize("name", FAMILIES)
def test_the_format_is_the_one_that_the_template_writes(name: str) -> None:
    assert FORMATS[name]._style.calls.name == FAMILIES[name][1]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_demonstration_comes_back_and_is_spelled_as_the_template_does(name: str) -> None:
    form = FORMATS[name]
    text = "" if name == "llama" else "I look."
    many = (
        ({"place": "Lomar", "day": 2},)
        if name == "llama"
        else ({"place": "Lomar", "day": 2}, {"place": "é\n"})
    )
    reply = says(text, *many)
    ids = form.demonstrate(reply)
    assert ids[-1] in form.stop_ids
    read = form.parse(ids, TOOLS)
    assert (read["content"], [(call.name, call.arguments) for call in calls_of(read)]) == (
        text, [("forecast", arguments) for arguments in many],
    )  # fmt: skip
    context = (*form.first_prompt(START, TOOLS).ids, *ids)
    history = [*START, reply]
    results = [tool_result(call, "dry") for call in reply["tool_calls"]]
    added = form.next_prompt(history, context, results, TOOLS)
    assert not added.fork
    assert (*context, *added.ids) == whole(form, [*history, *results])


ARGUMENTS = st.fixed_dictionaries(
    {"place": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<>"))},
    optional={"day": st.integers(), "tags": st.lists(st.text(max_size=5), max_size=3)},
)


@pytest.mark.parametrize("name", FAMILIES)
@given(st.data())
@settings(max_examples=25)
def test_every_turn_appends_where_the_model_writes_as_its_template(name: str, data: Any) -> None:
    form = FORMATS[name]
    history: list[Any] = list(START)
    context = form.first_prompt(START, TOOLS).ids
    for _ in range(data.draw(st.integers(1, 3))):
        most = 1 if name == "llama" else 3
        text = "" if name == "llama" else data.draw(st.sampled_from(["", "I look.", "So:\n"]))
        said = form.demonstrate(says(text, *data.draw(st.lists(ARGUMENTS, min_size=1, max_size=most))))
        reply = form.parse(said, TOOLS)
        context += said
        history.append(reply)
        results = [tool_result(call, data.draw(st.text(max_size=5))) for call in reply["tool_calls"]]
        added = form.next_prompt(history, context, results, TOOLS)
        assert not added.fork
        context += added.ids
        history += results
    assert context == whole(form, history)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_call_in_other_words_makes_the_episode_fork(name: str) -> None:
    form = FORMATS[name]
    written = form._template.decode(form.demonstrate(says("", {"place": "Lomar", "day": 2}))[:-1])
    other = written.replace("Lomar", "Lomar ").replace(", ", ",  ").replace("\n</parameter>", "</parameter>")
    said = (*encode(form, other), form.stop_ids[0])
    assert other != written
    reply = form.parse(said, TOOLS)
    context = (*form.first_prompt(START, TOOLS).ids, *said)
    results = [tool_result(call, "dry") for call in reply["tool_calls"]]
    added = form.next_prompt([*START, reply], context, results, TOOLS)
    same = form._template.decode(said[:-1]) == form._written(
        form._render(START, TOOLS), [*START, reply], TOOLS
    )
    assert added.fork != same
    if added.fork:
        assert added.ids == whole(form, [*START, reply, *results])


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("cut", [2, 8, 20, 40])
def test_malformed_and_cut_calls_go_on(name: str, cut: int) -> None:
    """The model may write anything: the episode goes on, with the call's error as its result."""
    form = FORMATS[name]
    said = form.demonstrate(says("", {"place": "Lomar", "day": 2}))[:-1][:-cut]
    reply = form.parse(said, TOOLS)
    context = (*form.first_prompt(START, TOOLS).ids, *said)
    answers = [tool_result(call, "Error: x") for call in reply.get("tool_calls", [])] or [user("Error: x")]
    added = form.next_prompt([*START, reply], context, answers, TOOLS)
    assert "Error: x" in form._template.decode(added.ids)
    again = form.demonstrate(says("", {"place": "Kadath"}))
    everything = (*(() if added.fork else context), *added.ids, *again)
    later = [*START, reply, *answers, form.parse(again, TOOLS)]
    result = tool_result(later[-1]["tool_calls"][0], "dry")
    assert "dry" in form._template.decode(form.next_prompt(later, everything, [result], TOOLS).ids)


def test_a_template_that_knows_one_call_at_once_is_given_the_first() -> None:
    form = FORMATS["llama"]
    text = "; ".join(f'{{"name": "forecast", "parameters": {{"place": "{place}"}}}}' for place in "ab")
    said = (*encode(form, text), form.stop_ids[0])
    reply = form.parse(said, TOOLS)
    assert len(reply["tool_calls"]) == 2
    results = [tool_result(call, f"dry {n}") for n, call in enumerate(reply["tool_calls"])]
    added = form.next_prompt([*START, reply], (*whole(form, START), *said), results, TOOLS)
    assert added.fork
    shown = form._template.decode(added.ids)
    assert "dry 0" in shown
    assert "dry 1" in shown


@pytest.mark.parametrize("name", FAMILIES)
def test_without_tools_nothing_is_a_call(name: str) -> None:
    form = FORMATS[name]
    said = form.demonstrate(says("", {"place": "Lomar"}))
    assert form.parse(said) == assistant(form._template.decode(said[:-1]))


def test_thinking_that_the_prompt_begins_is_not_searched_for_calls() -> None:
    form = TemplateFormat(families.tokenizer(families.HERMES_THINKING))
    call = '<tool_call>\n{"name": "forecast", "arguments": {"place": "Lomar"}}\n</tool_call>'
    thought = f"I could write {call}.\n</think>\n"
    begun = "<think>\n" + thought
    assert form.parse(encode(form, thought + "No."), TOOLS) == assistant(begun + "No.")
    assert form.parse(encode(form, thought), TOOLS) == assistant(begun)
    read = form.parse(encode(form, thought + call), TOOLS)
    assert len(read["tool_calls"]) == 1
    assert read["content"] == begun.removesuffix("\n")
    assert form.parse(encode(form, f"I was cut off in {call}"), TOOLS).get("tool_calls") is None


def test_ids_from_elsewhere_fit_a_template_that_wants_nine_characters() -> None:
    form = FORMATS["mistral"]
    reply = says("", {"place": "Lomar"}, ids="toolu_{}".format)
    shown = form._template.decode(
        whole(form, [*START[1:], reply, tool_result(reply["tool_calls"][0], "dry")])
    )
    (named,) = {part[:9] for part in shown.split('id": "')[1:]}
    assert named.isalnum()


def test_a_format_by_name_and_none() -> None:
    plain = families.tokenizer(families.NO_CALLS)
    form = TemplateFormat(plain)
    with pytest.raises(FormatError, match="writes tool calls in no format known here"):
        form.demonstrate(says("", {"place": "Lomar"}))
    with pytest.raises(FormatError, match="leaves tools out: use a model whose template shows them"):
        form.first_prompt(START, TOOLS)
    with pytest.raises(FormatError, match="unknown tool-call format 'hermse'"):
        TemplateFormat(plain, calls="hermse")
    named = TemplateFormat(plain, calls="pythonic")
    reply = says("", {"place": "Lomar"})
    assert named.parse(named.demonstrate(reply), TOOLS) == reply


RESPONSE = {
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
INLINE = {
    **RESPONSE,
    "fields": {
        **RESPONSE["fields"],
        "tool_calls": {
            "open_pattern": r"\s*<tool_call>\s*<function=(?P<name>[^>\n]+)>",
            "close_pattern": r"</function>\s*</tool_call>",
            "repeats": True,
            "content": "xml-inline",
            "content_args": {"tag_pattern": r"<parameter=(?P<key>[^>\n]+)>\s*(?P<value>.*?)\s*</parameter>"},
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
        },
    },
}


@pytest.mark.parametrize(
    ("template", "response"), [(families.HERMES, RESPONSE), (families.QWEN_CODER, INLINE)]
)
def test_a_models_own_response_template_reads_its_calls(template: str, response: Any) -> None:
    tokenizer = families.tokenizer(template)
    tokenizer.response_template = response
    form = TemplateFormat(tokenizer)
    assert form._style.calls.name == "response_template"
    reply = says("I look.", {"place": "Lomar", "day": 2}, {"place": "Kadath"})
    said = form.demonstrate(reply)
    assert form.parse(said, TOOLS) == reply
    context = (*form.first_prompt(START, TOOLS).ids, *said)
    results = [tool_result(call, "dry") for call in reply["tool_calls"]]
    assert not form.next_prompt([*START, reply], context, results, TOOLS).fork
    words = "  Just words. "
    assert form.parse(encode(form, words), TOOLS) == assistant(words)


def test_a_malformed_call_of_a_response_template_is_its_own_error() -> None:
    tokenizer = families.tokenizer(families.HERMES)
    tokenizer.response_template = RESPONSE
    form = TemplateFormat(tokenizer)
    good = '<tool_call>\n{"name": "forecast", "arguments": {"place": "Lomar"}}\n</tool_call>'
    bad = '<tool_call>\n{"name": "forecast", "arguments": {"place": "Lomar",}}\n</tool_call>'
    read = form.parse(encode(form, f"I look.\n{good}\n{bad}\n{good}"), TOOLS)
    assert read["content"] == "I look."
    assert [(call.name, type(call.arguments)) for call in calls_of(read)] == [
        ("forecast", dict), ("forecast", str), ("forecast", dict),
    ]  # fmt: skip
    cut = form.parse(encode(form, good + "\n" + bad[:40]), TOOLS)
    assert [type(call.arguments) for call in calls_of(cut)] == [dict, str]


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e999", "[" * 300 + "]" * 300, '"\\ud800"'])
def test_what_transformers_reads_and_json_does_not_is_malformed(value: str) -> None:
    tokenizer = families.tokenizer(families.HERMES)
    tokenizer.response_template = RESPONSE
    good, odd = (
        f'<tool_call>\n{{"name": "forecast", "arguments": {{"place": {place}}}}}\n</tool_call>'
        for place in ('"Lomar"', value)
    )
    reply = TemplateFormat(tokenizer)._style.calls.read(f"{good}\n{odd}\n{good}", TOOLS)
    first, second, third = calls_of(reply)
    assert first.arguments == third.arguments == {"place": "Lomar"}
    assert second.arguments == {"place": "\ufffd"} if "ud800" in value else value in second.arguments
    json.dumps(reply, allow_nan=False, ensure_ascii=False).encode()


def test_a_response_template_that_is_none_is_explained() -> None:
    tokenizer = families.tokenizer(families.HERMES)
    tokenizer.response_template = {**RESPONSE, "version": 99}
    with pytest.raises(
        FormatError, match=r"response_template cannot be used \(Unsupported .* 99\): correct it"
    ):
        TemplateFormat(tokenizer)


@given(
    st.text()
    | st.lists(
        st.sampled_from(["<tool_call>", "</tool_call>", "<think>", "</think>", '{"name": "f"', "}", "a"])
    ).map("".join)
)
def test_a_response_template_reads_any_text(text: str) -> None:
    tokenizer = families.tokenizer(families.HERMES)
    tokenizer.response_template = RESPONSE
    read = TemplateFormat(tokenizer)._style.calls.read(text, TOOLS)
    assert read["role"] == "assistant"
