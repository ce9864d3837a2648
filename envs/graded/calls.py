"""Finds the function calls in a reply, whether it makes them as tool calls or writes them out."""

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_TAGGED = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_BLOCK = re.compile(r"```(?:json|python|tool_code)?[ \t]*\n(.*?)```", re.DOTALL)
MOST_CHARACTERS = 20_000


def calls_of(text: str, tool_calls: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """The calls of a reply as `{"name": …, "arguments": {…}}`; those that cannot be read are left out.

    Without tool calls in the chat's own form, the text is read: JSON (`{"name": …, "arguments": {…}}`, alone,
    in a list, or in `<tool_call>` tags), or Python (`[f(x=1), g(y="a")]`).
    """
    if tool_calls:
        found = [_read(call.get("function")) for call in tool_calls]
    else:
        tagged = _TAGGED.findall(text[:MOST_CHARACTERS])
        found = list(map(_read, _written(tagged, text[:MOST_CHARACTERS])))
    return tuple(call for call in found if call is not None)


def _written(tagged: Sequence[str], text: str) -> Iterator[Any]:
    if tagged:
        for each in tagged:
            yield _json(each)
        return
    blocks = _BLOCK.findall(text)
    body = (blocks[0] if len(blocks) == 1 else text).strip()
    found = _json(body)
    if found is None:
        found = _python(body)
    yield from found if isinstance(found, list) else [found]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _python(text: str) -> list[Any]:
    """Calls whose arguments are named literals."""
    try:
        tree = ast.parse(text, mode="eval").body
        calls = tree.elts if isinstance(tree, ast.List | ast.Tuple) else [tree]
        return [
            {
                "name": ast.unparse(call.func),
                "arguments": {str(k.arg): ast.literal_eval(k.value) for k in call.keywords},
            }
            for call in calls
            if isinstance(call, ast.Call) and not call.args and all(k.arg for k in call.keywords)
        ]
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return []


def _read(call: Any) -> Mapping[str, Any] | None:
    if not isinstance(call, Mapping) or not isinstance(name := call.get("name"), str):
        return None
    arguments = call.get("arguments", {})
    try:
        written = arguments if isinstance(arguments, str) else json.dumps(arguments)
    except (TypeError, ValueError, RecursionError):
        return None
    read = _json(written or "{}")
    return {"name": name, "arguments": read} if isinstance(read, dict) else None
