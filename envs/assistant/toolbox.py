"""The tools that an instance offers, perhaps renamed and mixed with distractors."""

import inspect
import random
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from ludus.envs.assistant.distractors import DISTRACTORS
from ludus.tools.tool import OURS, Tool, tool


@dataclass(frozen=True, slots=True)
class Naming:
    """The names that this instance gives to a tool and its arguments, keyed by the class's own names."""

    name: str
    arguments: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools of an instance, and the names of those that matter."""

    tools: tuple[Tool, ...]
    namings: Mapping[str, Naming]

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """A call's `function`, under the names offered here.

        Args:
            tool: its name in the environment's class; arguments also go by their names there.
        """
        naming = self.namings[tool]
        return {
            "name": naming.name,
            "arguments": {naming.arguments[key]: value for key, value in arguments.items()},
        }

    def worded(self, text: str) -> str:
        """A text with every tool name in backticks replaced by the name it has here."""
        return _worded(text, {key: naming.name for key, naming in self.namings.items()})


def stock(tools: Sequence[Tool], distractors: int, names: int | None) -> Toolbox:
    """A toolbox, stocked with these tools.

    Args:
        tools: the tools of the environment's class.
        distractors: how many useless tools to mix in.
        names: the seed of the new names; None leaves the names as they are.
    """
    rng = random.Random(f"toolbox {names} {distractors}")
    own = {each.name for each in tools}
    extra = rng.sample([tool for tool in DISTRACTORS if tool.name not in own], distractors)
    if names is None:
        namings = {
            each.name: Naming(each.name, {key: key for key in each.parameters["properties"]})
            for each in tools
        }
    else:
        namings = _drawn(tools, rng, {*own, *(distractor.name for distractor in DISTRACTORS)})
    called = {key: naming.name for key, naming in namings.items()}
    offered = list(tools) if names is None else [_renamed(each, namings[each.name], called) for each in tools]
    for distractor in extra:
        offered.insert(rng.randrange(len(offered) + 1), distractor)
    return Toolbox(tuple(offered), namings)


def _drawn(tools: Sequence[Tool], rng: random.Random, taken: Collection[str]) -> dict[str, Naming]:
    style = rng.choice(("snake", "camel", "noun first"))
    used = set(taken)
    namings = {}
    for each in tools:
        name = _other(each.name, rng, style, used)
        used.add(name)
        arguments: dict[str, str] = {}
        own = set(each.parameters["properties"])
        for key in each.parameters["properties"]:
            arguments[key] = _other(
                key, rng, "camel" if style == "camel" else "snake", {*own, *arguments.values()}
            )
        namings[each.name] = Naming(name, arguments)
    return namings


def _other(name: str, rng: random.Random, style: str, taken: Collection[str]) -> str:
    """Another sensible name that is not taken: synonyms of its words, joined in a given style."""
    choices = [
        rng.sample((*WORDS.get(word, ()), word), len(WORDS.get(word, ())) + 1) for word in name.split("_")
    ]
    for attempt in range(max(map(len, choices))):
        words = [synonyms[attempt % len(synonyms)] for synonyms in choices]
        if style == "noun first" and len(words) > 1:
            words = [*words[1:], words[0]]
        parts = "_".join(words).split("_")
        made = (
            parts[0] + "".join(part.capitalize() for part in parts[1:])
            if style == "camel"
            else "_".join(parts)
        )
        if made not in taken:
            return made
    return f"{name}_{len(taken)}"


def _renamed(original: Tool, naming: Naming, called: Mapping[str, str]) -> Tool:
    """The same tool under new names, including its schema and error messages."""
    back = {new: old for old, new in naming.arguments.items()}

    def carry_out(self: Any, state: Any, **arguments: Any) -> Any:
        return original.function(self, state, **{back[key]: value for key, value in arguments.items()})

    signature = inspect.signature(original.function)
    hints = get_type_hints(original.function)
    parameters = []
    for parameter in signature.parameters.values():
        if parameter.name in OURS:
            parameters.append(parameter)
        else:
            new = naming.arguments[parameter.name]
            parameters.append(parameter.replace(name=new, kind=inspect.Parameter.KEYWORD_ONLY))
    words = {**called, **naming.arguments}
    described = [
        f"    {naming.arguments[key]}: {_worded(schema['description'], words)}"
        for key, schema in original.parameters["properties"].items()
    ]
    carry_out.__name__ = naming.name
    arguments = ["", "Args:", *described] if described else []
    carry_out.__doc__ = "\n".join([_worded(original.description, words), *arguments])
    carry_out.__annotations__ = {naming.arguments[key]: hints[key] for key in naming.arguments}
    carry_out.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return tool(carry_out)


def _worded(text: str, words: Mapping[str, str]) -> str:
    return re.sub(r"`(\w+)`", lambda found: f"`{words.get(found[1], found[1])}`", text)


WORDS: Mapping[str, tuple[str, ...]] = {
    "accept": ("agree", "say_yes"),
    "answer": ("response", "result", "reply"),
    "attendees": ("guests", "participants", "invitees"),
    "body": ("message", "text", "content"),
    "busy": ("occupied", "taken"),
    "calendar": ("agenda", "diary"),
    "cancel": ("delete", "remove", "drop"),
    "country": ("nation", "land"),
    "create": ("add", "make", "book"),
    "date": ("day", "on_date"),
    "day": ("date", "on_day"),
    "days": ("number_of_days", "horizon"),
    "delete": ("remove", "discard"),
    "duration": ("length", "lasting"),
    "end": ("until", "to_time", "finish_time"),
    "event": ("appointment", "meeting", "entry"),
    "events": ("appointments", "meetings", "entries"),
    "finish": ("done", "complete", "close_task"),
    "folder": ("mailbox", "box"),
    "forecast": ("weather", "outlook", "predict_weather"),
    "free": ("available", "open_times"),
    "geocode": ("locate", "find_place", "resolve_place"),
    "id": ("identifier", "key", "ref"),
    "invitation": ("invite", "request"),
    "language": ("tongue", "locale"),
    "latitude": ("lat", "north"),
    "list": ("show", "enumerate", "overview"),
    "location": ("venue", "where"),
    "longitude": ("lon", "east"),
    "mail": ("email", "letter"),
    "mails": ("emails", "letters"),
    "mark": ("flag", "label"),
    "minutes": ("length_minutes", "min_count"),
    "move": ("reschedule", "shift"),
    "name": ("label", "called"),
    "notes": ("remarks", "comment"),
    "occurrence": ("instance", "repetition"),
    "open": ("read", "fetch", "view"),
    "page": ("page_number", "result_page"),
    "pages": ("sources", "evidence", "documents"),
    "people": ("persons", "colleagues", "contacts"),
    "person": ("who", "owner", "colleague"),
    "place": ("town", "spot"),
    "query": ("text", "terms", "keywords"),
    "read": ("open", "view", "get"),
    "recipient": ("addressee", "receiver"),
    "reply": ("respond", "write_back"),
    "search": ("find", "lookup", "query"),
    "send": ("dispatch", "write", "deliver"),
    "start": ("begin", "from_time", "start_time"),
    "subject": ("topic", "headline"),
    "submit": ("hand_in", "deliver_answer", "conclude"),
    "summary": ("headline", "heading"),
    "text": ("content", "words"),
    "timezone": ("zone", "tz"),
    "title": ("headline", "heading", "label"),
    "to": ("recipients", "addressees"),
    "uid": ("identifier", "key"),
    "unit": ("measure", "in_unit"),
    "units": ("measures", "in_units"),
    "value": ("amount", "figure", "result"),
}
"""Synonyms for the words in names of tools and arguments."""
