"""The examples of the page, run as they stand there by the clients themselves."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ludus.agents.serving.app import chat_app

from ..formats.families import HERMES, tokenizer
from .served import on_a_port, scripted_model

PAGE = Path(__file__).parents[3] / "docs" / "surfaces" / "openai.md"
CLIENTS = os.environ.get("LUDUS_TEST_CHAT_CLIENTS")
pytestmark = pytest.mark.skipif(
    CLIENTS is None, reason='needs chat clients: peer=$(.ci/peers.sh start chat_clients); eval "$peer"'
)
WEATHER = "rain, 12 degrees"


def call(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def says(text: str) -> str:
    """Of a model that looks at the weather first, and answers in the way in which it was asked."""
    answer = "Yes, it rains."
    if "forecast" not in text:
        return "Good day."
    if WEATHER not in text:
        return call("forecast", '{"place": "Lomar"}')
    if "final_answer" in text:
        return call("final_answer", json.dumps({"answer": answer}))
    return answer


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    scripted, _ = scripted_model(tokenizer(HERMES), says)
    with on_a_port(chat_app(replace(scripted, name="mine"))) as address:
        yield address


def example(title: str) -> str:
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return str(code)


def run(code: str, url: str, folder: Path) -> str:
    script = folder / "example.py"
    script.write_text(code.replace("http://localhost:8000/v1", url), encoding="utf-8")
    done = subprocess.run(
        [f"{CLIENTS}/python", str(script)], capture_output=True, text=True, timeout=240, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("title", "printed"),
    [
        ("The `openai` package", "Good day."),
        ("LangChain", "Yes, it rains."),
        ("smolagents", "Yes, it rains."),
    ],
)
def test_an_example_runs(title: str, printed: str, url: str, tmp_path: Path) -> None:
    assert run(example(title), url, tmp_path).rstrip().endswith(printed)


OPENAI = """
import openai
client = openai.OpenAI(base_url="http://localhost:8000/v1", api_key="none", max_retries=0)
ask = {"model": "mine", "messages": [{"role": "user", "content": "Will it rain?"}]}
function = {"name": "forecast", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}}
tools = [{"type": "function", "function": function}]
assert [model.id for model in client.models.list()] == ["mine"]
whole = client.chat.completions.create(**ask, tools=tools, logprobs=True)
(choice,) = whole.choices
assert choice.finish_reason == "tool_calls"
assert choice.message.tool_calls[0].function.arguments == '{"place": "Lomar"}'
assert len(choice.logprobs.content) == whole.usage.completion_tokens
with client.chat.completions.stream(**ask, tools=tools) as stream:
    final = stream.get_final_completion()
assert final.choices[0].message.tool_calls[0].function.name == "forecast"
result = {"role": "tool", "tool_call_id": choice.message.tool_calls[0].id, "content": "rain, 12 degrees"}
more = {**ask, "messages": [*ask["messages"], choice.message, result]}
assert client.chat.completions.create(**more, tools=tools).choices[0].message.content == "Yes, it rains."
for wrong, kind in (({"model": "other"}, openai.NotFoundError), ({"temperature": 3}, openai.BadRequestError)):
    try:
        client.chat.completions.create(**{**ask, **wrong})
    except kind as error:
        assert error.param in ("model", "temperature")
    else:
        raise AssertionError(wrong)
"""
LANGCHAIN = """
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field
where = {"model": "mine", "base_url": "http://localhost:8000/v1", "api_key": "none"}
model = ChatOpenAI(**where, max_tokens=400, stop=["@"])
assert "".join(chunk.text for chunk in model.stream("Hello", stream_usage=True)) == "Good day."
class forecast(BaseModel):
    "The weather."
    place: str = Field(description="Where.")
held = model.with_structured_output(forecast, method="function_calling").invoke("Will it rain?")
assert held.place == "Lomar"
"""


@pytest.mark.parametrize("code", [OPENAI, LANGCHAIN], ids=["openai", "langchain"])
def test_a_client_finds_what_it_expects(code: str, url: str, tmp_path: Path) -> None:
    run(code, url, tmp_path)
