"""The policy that plays an environment directly and through its surfaces: a pure function of a seed."""

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from ludus.envs.chat import reply_text, reply_tool_calls
from ludus.envs.conformance.fuzz import TEXTS, Fuzzer
from ludus.envs.tool_env import MAX_CALLS

KINDS = ("oracle", "malformed", "calls", "silence", "unicode", "long")
"""What the replies of an episode are like."""

LONG = 200_000
"""Characters of a very long reply."""

SILENCE: tuple[Any, ...] = (
    *("", " \n", {"role": "assistant", "content": ""}, {"role": "assistant", "content": None}),
    *({"role": "assistant"}, {"role": "assistant", "content": None, "tool_calls": []}),
)
NO_REPLIES: tuple[Any, ...] = (
    *(None, 7, 2.5, True, [], {}, [["<answer>"]], {"role": "assistant", "content": 42}),
    *({"role": "user", "content": "x"}, {"role": "assistant", "content": [{"type": "text"}]}),
    {"role": "assistant", "content": "", "tool_calls": "all of them"},
    {"role": "assistant", "content": None, "tool_calls": [None, 3, {}]},
)
"""What is no reply at all, and is answered all the same."""


def reply(
    kind: str, seed: int, member: int, turn: int, good: Sequence[Any], tools: Sequence[Mapping[str, Any]]
) -> Any:
    """What is said in a turn, as plain JSON (and, in what is malformed, numbers that JSON has not).

    Good replies lie between the others, so that episodes get somewhere.

    Args:
        kind: one of `KINDS`.
        seed: of the episode.
        member: which of the episodes with this seed; each says something else, unless it plays the oracle.
        turn: from 0 on.
        good: the oracle's replies to this seed.
        tools: in OpenAI's form.
    """
    if kind == "oracle":
        return good[turn] if turn < len(good) else ""
    place, spoiled = divmod(turn + member, 2)
    if not spoiled and place < len(good):
        return good[place]
    source = random.Random(f"{kind} {seed} {member} {turn}")
    fuzzer = Fuzzer(source, tools)
    for action in good:
        fuzzer.learn(action)
    match kind:
        case "malformed":
            return source.choice(NO_REPLIES) if source.random() < 0.3 else fuzzer.reply()
        case "calls":
            count = source.choice((2, 3, MAX_CALLS + 2))
            calls = [_call(fuzzer, number) for number in range(count)]
            return {"role": "assistant", "content": source.choice((None, "", "So:")), "tool_calls": calls}
        case "silence":
            return source.choice(SILENCE)
        case "unicode":
            return _with(source, "".join(source.sample(TEXTS, 3)), good)
        case "long":
            return _with(source, source.choice("xé日🦊") * LONG, good)
    raise ValueError(f"there is no kind of replies {kind!r}; there are {', '.join(KINDS)}")


def _call(fuzzer: Fuzzer, number: int) -> dict[str, Any]:
    if fuzzer.tools:
        return fuzzer.call(number)
    function = {"name": "no_such_tool", "arguments": "{}"}
    return {"id": f"call_{number}", "type": "function", "function": function}


def _with(source: random.Random, text: str, good: Sequence[Any]) -> Any:
    """A text alone, in a good text, or as an argument of a good call."""
    chosen = source.choice(good) if good else ""
    for call in reply_tool_calls(chosen):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        arguments = dict(json.loads(arguments) if isinstance(arguments, str) else arguments)
        texts = [key for key, value in arguments.items() if isinstance(value, str)]
        arguments[source.choice(texts) if texts else "text"] = text
        function = {"name": name, "arguments": arguments}
        spoiled = {"id": "call_0", "type": "function", "function": function}
        return {"role": "assistant", "content": "", "tool_calls": [spoiled]}
    said = reply_text(chosen)
    place = source.randint(0, len(said))
    return source.choice((text, said[:place] + text + said[place:]))
