"""Replies that nobody would write on purpose: whatever an agent says or calls, it is answered.

A fault that follows from the agent's own input is a bug: faults are left out of every figure and of training,
so a policy that can cause one can leave the score.
"""

import json
import math
import queue
import random
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import gymnasium
from gymnasium.spaces import Discrete

from ludus.envs.chat import content_text, reply_text, reply_tool_calls
from ludus.envs.conformance.episodes import Subject, play
from ludus.envs.conformance.report import Violation
from ludus.envs.faults import EnvironmentFault

PATIENCE = 60.0
"""Seconds within which every step must answer."""
MOST_CALLS = 6
"""Calls in one reply."""
REPLIES = 30
"""Hostile replies of one round."""

TEXTS = (
    *("", " ", "x", "\n\n\n", "né 日本語 🦊", "a" * 5_000, "\u202e\u200b\ufeff", "İ\u0131ſ\u1e9e"),
    *(f"x{chr(code)}y" for code in (*range(32), 0x7F, 0x85, 0x2028, 0xFFFE, 0xFFFF, 0xD800, 0xDFFF)),
    *("\ud83d", "\udca9\ud83d", "é", "\U0010ffff", "0", "-1", "1e999", "NaN", "-0", "٣", "½", "1_000"),
    *("9" * 400, "null", "None", "[]", "{}", "{{7*7}}", "%s%n", "${x}", "$(x)", "`x`", "' OR 1=1 --"),
    *('"', "'", "\\", "\\u0000", "../../etc/passwd", "/", ".", "C:\\New\\next", "<b>", "</b>", "]]>", "<!--"),
    *("&amp;", "&#0;", "BEGIN:VEVENT\r\n", "a@b.example", '"Doe, Jane" <j@d.example>', "(" * 300, "[" * 300),
    *("0000-00-00", "9999-12-31", "2031-02-29", "2031-03-30T02:30", "24:00", "2031-03-05T10:00+99:99"),
)
"""Control characters, what XML and UTF-8 cannot carry, markup, numbers, dates that do not exist."""

UNWRITABLE = tuple(f"x{chr(code)}y" for code in (0, 0x0B, 0x1F, 0x7F, 0x85, 0xFFFE, 0xFFFF, 0xD800, 0xDFFF))
"""Texts that one protocol or another cannot carry; every argument of every tool gets each of them."""

NUMBERS = (
    *(0, 1, 2, 3, 7, 30, 60, 90, -1, -30, 10**6, -(10**6), 2**31, 2**63, -(2**63), 10**30, 10**400),
    *(0.5, -0.5, 1e-300, 1e308, -1e308, math.nan, math.inf, -math.inf, 180.0, -90.0),
)

_WORD = re.compile(r"[^\s`'\"(),;<>]{1,60}")
_TAG = re.compile(r"<([A-Za-z][A-Za-z0-9_-]*)>")


class Fuzzer:
    """Draws replies from a random source.

    They are hostile values mixed with words that the environment said, and replies of the oracle in which one
    thing is another: what is wrong in one place only reaches deepest.
    """

    def __init__(self, source: random.Random, tools: Iterable[Mapping[str, Any]] = ()) -> None:
        """
        Args:
            tools: in OpenAI's form, as `Tool.openai` gives them.
        """
        self.source = source
        self.tools = [tool["function"] for tool in tools]
        self._words = _WORD.findall(json.dumps(self.tools, ensure_ascii=False))[:400]
        self._tags: list[str] = []
        self._endings: Counter[str] = Counter()
        self._calls: list[tuple[str, dict[str, Any]]] = []
        self._values: dict[str, list[Any]] = defaultdict(list)
        self._texts: list[str] = []

    def hear(self, observation: Any) -> None:
        """Learn the words, ids, dates and tags that an observation shows."""
        for message in observation if isinstance(observation, list) else []:
            text = content_text(message)[:20_000]
            self._words = [*self._words, *_WORD.findall(text)][-800:]
            self._tags = [*dict.fromkeys([*self._tags, *_TAG.findall(text)])][-8:]

    def learn(self, action: Any) -> None:
        """Learn a good reply, to spoil it."""
        if text := reply_text(action):
            self._texts = [*self._texts, text][-20:]
        for call in reply_tool_calls(action):
            arguments = call["function"]["arguments"]
            arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
            self._calls = [*self._calls, (call["function"]["name"], arguments)][-60:]
            for name, value in arguments.items():
                self._values[name] = [*self._values[name], value][-20:]

    def avoid(self, action: Any) -> None:
        """Learn which tools end an episode: called as often as others, they would cut every one short."""
        for call in reply_tool_calls(action):
            name = call["function"]["name"]
            self._endings[name] += 1

    def reply(self) -> Any:
        """A text, or an assistant message with tool calls."""
        if not self.tools or self.source.random() < 0.2:
            return self.free_text()
        calls = [self.call(number) for number in range(self.source.randint(1, MOST_CALLS))]
        good = self._good()
        if good and self.source.random() < 0.6:
            # What an earlier call has spoiled often shows only when somebody reads it.
            name, arguments = self.source.choice(good)
            calls.append(_call(len(calls), name, arguments))
        return {
            "role": "assistant",
            "content": self.source.choice((None, "", self.text())),
            "tool_calls": calls,
        }

    def free_text(self) -> str:
        """A hostile text, alone or where a well-formed reply has its answer."""
        text = self.source.choice((self.text, self.number_text))()
        if self._texts and self.source.random() < 0.5:
            good = self.source.choice(self._texts)
            place = self.source.randrange(len(good))
            return good[:place] + text + good[place + self.source.randint(0, 8) :]
        forms = [text, f"```python\n{text}\n```", f"```\n{text}", json.dumps(text), f"\\boxed{{{text}}}"]
        forms += [f"<{tag}>{text}</{tag}>" for tag in self._tags]
        return "".join(self.source.choice(forms) for _ in range(self.source.randint(1, 2)))

    def call(self, number: int) -> dict[str, Any]:
        """A call of any tool, mostly with arguments of the right shape."""
        weights = [max(0.02, 0.2 ** self._endings[tool["name"]]) for tool in self.tools]
        (tool,) = self.source.choices(self.tools, weights)
        parameters = tool["parameters"]
        arguments: Any = self.fitting(parameters, parameters)
        good = [called for name, called in self._calls if name == tool["name"]]
        if good and self.source.random() < 0.7:
            drawn, arguments = arguments, dict(self.source.choice(good))
            for name in self.source.sample([*drawn], min(len(drawn), self.source.randint(0, 2))):
                arguments[name] = drawn[name]
        chance = self.source.random()
        if chance < 0.05:
            arguments = self.any_value()
        elif chance < 0.1 and arguments:
            arguments.pop(self.source.choice([*arguments]))
        elif chance < 0.15:
            arguments[self.text()] = self.any_value()
        if self.source.random() < 0.3:
            arguments = json.dumps(arguments)
        name = self.text() if self.source.random() < 0.02 else tool["name"]
        return _call(number, name, arguments)

    def sweep(self) -> Iterator[dict[str, Any]]:
        """Replies that give every text argument of every tool each of `UNWRITABLE`, with good values beside,
        and then read what came of it."""
        reads = [_call(90 + n, name, called) for n, (name, called) in enumerate(self._good()[-3:])]
        for tool in self.tools:
            properties: Mapping[str, Any] = tool["parameters"].get("properties", {})
            required = tool["parameters"].get("required", ())
            plausible = {name: self._plausible(name, properties[name]) for name in required}
            known = [called for name, called in self._calls if name == tool["name"]]
            for name, schema in properties.items():
                if schema.get("type") == "string" and "enum" not in schema:
                    base = {**plausible, **(known[-1] if known else {})}
                    calls = [
                        _call(n, tool["name"], {**base, name: text}) for n, text in enumerate(UNWRITABLE)
                    ]
                    yield {"role": "assistant", "content": None, "tool_calls": [*calls, *reads]}

    def _good(self) -> list[tuple[str, dict[str, Any]]]:
        """Good calls that do not end an episode."""
        return [(name, called) for name, called in self._calls if not self._endings[name]]

    def _plausible(self, name: str, schema: Mapping[str, Any]) -> Any:
        """A value that was good elsewhere, or the plainest of its type."""
        if self._values[name]:
            return self._values[name][-1]
        plain = {
            "integer": schema.get("minimum", 1),
            "number": 1.0,
            "boolean": False,
            "array": [],
            "object": {},
        }
        return schema.get("enum", [plain.get(str(schema.get("type")), "x")])[0]

    def fitting(self, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int = 0) -> Any:
        """A value of the schema's type, mostly."""
        if depth > 6 or (depth and self.source.random() < 0.06):
            return self.any_value()
        if "$ref" in schema:
            target: Any = root
            for part in str(schema["$ref"]).removeprefix("#/").split("/"):
                target = target[part]
            return self.fitting(target, root, depth + 1)
        for alternatives in ("anyOf", "oneOf", "allOf"):
            if schema.get(alternatives):
                return self.fitting(self.source.choice(schema[alternatives]), root, depth + 1)
        if "enum" in schema and self.source.random() < 0.9:
            return self.source.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                properties: Mapping[str, Any] = schema.get("properties", {})
                required = schema.get("required", ())
                return {
                    name: self.named(name, part, root, depth + 1)
                    for name, part in properties.items()
                    if name in required or self.source.random() < 0.3
                }
            case "array":
                count = self.source.randint(0, 3)
                return [self.fitting(schema.get("items", {}), root, depth + 1) for _ in range(count)]
            case "integer":
                return self.integer(schema)
            case "number":
                return self.source.choice(NUMBERS)
            case "boolean":
                return self.source.random() < 0.5
            case "null":
                return None
            case _:
                return self.text()

    def named(self, name: str, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
        """A value for an argument of this name: a good one, a word of its description, or any that fits."""
        chance = self.source.random()
        if self._values[name] and chance < 0.5:
            return self.source.choice(self._values[name])
        words = _WORD.findall(schema.get("description", ""))
        if words and schema.get("type") == "string" and chance > 0.9:
            return self.source.choice(words)
        return self.fitting(schema, root, depth)

    def integer(self, schema: Mapping[str, Any]) -> int:
        whole = [number for number in NUMBERS if isinstance(number, int)]
        if self.source.random() < 0.5:
            low, high = schema.get("minimum", 1), schema.get("maximum", 60)
            return self.source.choice([low, high, max(low, min(high, self.source.choice(whole)))])
        return self.source.choice(whole)

    def text(self) -> str:
        """A hostile text, a word that was heard, or both together."""
        word = self.source.choice(self._words) if self._words else "x"
        hostile = self.source.choice(TEXTS)
        return self.source.choice((word, word, hostile, word + hostile))

    def number_text(self) -> str:
        return str(self.source.choice(NUMBERS[:-1]))[:400]

    def any_value(self, depth: int = 0) -> Any:
        """Anything that JSON has, and a few things that it has not."""
        kind = self.source.randint(0, 4 if depth > 3 else 6)
        if kind == 5:
            return [self.any_value(depth + 1) for _ in range(self.source.randint(0, 3))]
        if kind == 6:
            return {self.text(): self.any_value(depth + 1) for _ in range(self.source.randint(0, 3))}
        return (None, self.source.random() < 0.5, self.source.choice(NUMBERS), self.text(), self.text())[kind]


def fuzz(subject: Subject) -> str:
    """Hostile replies and calls are answered: no fault, no exception, no hang."""
    rounds = max(1, subject.episodes // 25)
    for seed in range(rounds):
        play_hostile(subject.make, random.Random(seed))
    return f"{rounds * REPLIES} hostile replies answered"


def play_hostile(make: Callable[[], gymnasium.Env[Any, Any]], source: random.Random) -> None:
    """Play `REPLIES` hostile replies, in as many episodes as that takes.

    Raises:
        Violation: with the reply that breaks the environment.
        EnvironmentFault: where it breaks before the agent has said anything.
    """
    env = make()
    if isinstance(env.action_space, Discrete):
        _play_numbers(env, source)
        return
    fuzzer = Fuzzer(source, [tool.openai for tool in getattr(env.unwrapped, "tools", ())])
    ended, seed = True, source.randrange(1000)
    for number in range(REPLIES):
        if ended:
            seed += 1
            _learn(env, fuzzer, seed)
            observation, _ = env.reset(seed=seed)
        if number == 0:
            for action in fuzzer.sweep():
                _checked(env, action)
                env.reset(seed=seed)
        fuzzer.hear(observation)
        action = fuzzer.reply()
        observation, terminated, truncated = _checked(env, action)
        if terminated:
            fuzzer.avoid(action)
        ended = terminated or truncated
    env.close()


def _learn(env: gymnasium.Env[Any, Any], fuzzer: Fuzzer, seed: int) -> None:
    """Let the oracle show how the episode is played well."""
    oracle = getattr(env.unwrapped, "scripted", {}).get("oracle")
    for step in play(env, oracle(env.unwrapped, seed), seed) if oracle else ():
        fuzzer.hear(step.observation)
        fuzzer.learn(step.action)
        if step.terminated:
            fuzzer.avoid(step.action)


def _checked(env: gymnasium.Env[Any, Any], action: Any) -> tuple[Any, bool, bool]:
    """The answer to a reply, and whether the episode was terminated and truncated."""
    observation, reward, terminated, truncated, _ = _answered(env, action)
    if observation not in env.observation_space:
        raise Violation(
            f"the answer to {_short(action)} is not in the observation space: {observation!r:.300}"
        )
    if not math.isfinite(reward):
        raise Violation(f"the reply {_short(action)} earns {reward}: a reward is a finite number")
    return observation, terminated, truncated


def _answered(env: gymnasium.Env[Any, Any], action: Any) -> Any:
    """What `step` returns, if it does so in time."""
    results: queue.Queue[Any] = queue.Queue()

    def step() -> None:
        try:
            results.put(env.step(action))
        except BaseException as error:
            results.put(error)

    # A daemon, which does not keep the process alive when it never comes back.
    threading.Thread(target=step, daemon=True).start()
    try:
        result = results.get(timeout=PATIENCE)
    except queue.Empty:
        raise Violation(f"the reply {_short(action)} has no answer within {PATIENCE:.0f} s") from None
    if isinstance(result, EnvironmentFault):
        raise Violation(
            f"the reply {_short(action)} causes a fault ({result}); answer what an agent says with an error"
        ) from result
    if isinstance(result, BaseException):
        raise Violation(
            f"the reply {_short(action)} raises {type(result).__name__}: {result}; answer it with a message"
        ) from result
    return result


def _play_numbers(env: gymnasium.Env[Any, Any], source: random.Random) -> None:
    """Numbered actions: anything else raises a ValueError, and the episode goes on."""
    fuzzer = Fuzzer(source)
    env.reset(seed=0)
    for _ in range(REPLIES):
        action = fuzzer.any_value()
        try:
            *_, terminated, truncated, _ = env.step(action)
        except ValueError:
            continue
        except Exception as error:
            raise Violation(
                f"the action {action!r:.120} raises {type(error).__name__}, not a ValueError"
            ) from error
        if terminated or truncated:
            env.reset()
    env.close()


def _call(number: int, name: str, arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": f"call_{number}", "type": "function", "function": function}


def _short(action: Any) -> str:
    text = repr(action)
    return text if len(text) <= 600 else f"{text[:300]} … {text[-280:]}"
