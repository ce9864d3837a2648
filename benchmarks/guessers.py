"""How often a guess is right in the environments of `envs/assistant`, for every kind of task.

    guessers.py [--seeds 400] [KIND …]

A guesser may look at everything that the tools show, and knows what forms an answer can have, but does not
work out which one is right. From a task's candidates it takes one at random (`uniform`), or always the one in
the same place, the best there is (`constant`): a morning's third slot, 14 hours, the first name on a page.
The best one is chosen on every second seed, for each unit that requests name, and measured on the others.
What is right is what the oracle answers, or any number within the tolerance. Where the request itself says
what to do (book, move, cancel) there is nothing to guess.
"""

import argparse
import itertools
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from machine import machine

from ludus.envs.assistant.calendar.environment import Calendar
from ludus.envs.assistant.calendar.kinds import KINDS as CALENDAR_KINDS
from ludus.envs.assistant.calendar.scripted import PATTERNS
from ludus.envs.assistant.calendar.world import SLOT, WORK_BEGINS, WORK_ENDS
from ludus.envs.assistant.office.environment import Assistant
from ludus.envs.assistant.office.office import PARTS, STEP
from ludus.envs.assistant.office.tasks import KINDS as ASSISTANT_KINDS
from ludus.envs.assistant.office.tasks import ROOMS
from ludus.envs.assistant.search.environment import Search
from ludus.envs.assistant.search.phrases import understand
from ludus.envs.assistant.weather.environment import Weather
from ludus.envs.assistant.weather.phrases import read_day, read_in_full, read_question
from ludus.envs.assistant.weather.questions import KINDS as WEATHER_KINDS
from ludus.envs.chat import content_text
from ludus.tools.files import write_file

RESULTS = Path(__file__).resolve().parent / "results" / "guessers.json"
WORKDAY = 2 * (WORK_ENDS - WORK_BEGINS)
"""Half hours of a working day."""


@dataclass(frozen=True)
class Played:
    """An episode of the oracle."""

    begun: Any
    """The state at the beginning."""
    rules: str
    request: str
    calls: Sequence[tuple[str, Mapping[str, Any]]]
    told: Sequence[str]
    """What each call was answered, in order."""

    def call(self, name: str) -> Mapping[str, Any]:
        """The arguments of the last call of a tool."""
        return next(arguments for called, arguments in reversed(self.calls) if called == name)

    def answers(self, name: str) -> list[str]:
        """What the calls of a tool were answered."""
        return [text for (called, _), text in zip(self.calls, self.told, strict=True) if called == name]


@dataclass(frozen=True)
class Guesses:
    """What may be answered to one task: names of candidates that mean the same from task to task."""

    candidates: int
    right: frozenset[Hashable]
    """Empty where no candidate is right."""
    unit: str = ""


def one(candidates: int, right: Hashable) -> Guesses:
    """Guesses of which one is right; none where `right` is None."""
    return Guesses(candidates, frozenset(() if right is None else (right,)))


STATED = Guesses(0, frozenset())
"""The request says what to do: there is nothing to guess."""


def play(env: Any, seed: int) -> Played:
    agent = env.scripted["oracle"](env, 0)
    observation, info = env.reset(seed=seed)
    agent.begin()
    begun = env.snapshot()[0]
    rules, request = (content_text(message) for message in observation)
    calls, told, ended = [], [], False
    while not ended:
        reply = agent.act(observation, info)
        if not isinstance(reply, str):
            calls += [
                (call["function"]["name"], call["function"]["arguments"]) for call in reply["tool_calls"]
            ]
        observation, _, terminated, truncated, info = env.step(reply)
        ended = terminated or truncated
        if not isinstance(reply, str):
            told += [content_text(message) for message in observation]
    return Played(begun, rules, request, calls, told)


def weather(kind: str, played: Played) -> Guesses:
    _, words = read_question(played.request)
    value = played.call("submit")["value"]
    if kind == "warmest":
        asked = [place.partition(" (")[0] for place in words["places"].split("; ")]
        order = tuple(asked.index(name) for name in value.split(", "))
        return one(len([*itertools.permutations(asked)]), order)
    if kind in ("first_rain", "first_gust"):
        first = datetime.combine(read_day(words["first"], read_in_full(played.rules)), time())
        hours = (datetime.fromisoformat(value) - first) // timedelta(hours=1)
        return one(24 * int(words["days"]), hours)
    if kind in ("hours_above", "wet_hours"):
        return one(24 * int(words["days"]) + 1, value)
    # A guess is any number with as many decimals as the service gives.
    goal = played.begun.question.goal
    step = 0.001 if goal.unit == "inch" else 0.1
    low, high = ((goal.value + sign * goal.tolerance) / step for sign in (-1, 1))
    right = range(math.ceil(low - 1e-6), math.floor(high + 1e-6) + 1)
    return Guesses(24, frozenset(right), goal.unit)


def calendar(kind: str, played: Played) -> Guesses:
    if kind == "ask_minutes":
        return one(5 * WORKDAY + 1, played.call("finish")["answer"])
    if kind == "answer_invitations":
        answers = tuple(call["answer"] for name, call in played.calls if name == "answer_invitation")
        return one(2 ** len(answers), answers)
    if kind in ("find_slot", "ask_slot"):
        possible = slots(kind, played)
        if kind == "find_slot":
            start = datetime.fromisoformat(played.call("create_event")["start"])
        else:
            at = datetime.strptime(played.call("finish")["answer"], "%H:%M").time()
            start = next(slot for slot in possible if slot.time() == at)
        return one(len(possible), possible.index(start))
    if kind == "repair":
        start = datetime.fromisoformat(played.call("move_event")["start"])
        return one(WORKDAY, start.time())
    return STATED


def slots(kind: str, played: Played) -> list[datetime]:
    """The half hours of the days asked for at which everybody works."""
    found = PATTERNS[kind].fullmatch(played.request)
    assert found is not None
    days = [
        datetime.strptime(text, "%d %B %Y").date() for text in found.groups() if re.search(r"\d{4}", text)
    ]
    minutes, names = int(found[1 if kind == "find_slot" else 2]), found[4 if kind == "find_slot" else 3]
    people = next(
        json.loads(text)
        for (name, _), text in zip(played.calls, played.told, strict=True)
        if name == "people"
    )
    mine = next(ZoneInfo(person["zone"]) for person in people if person.get("you_work_for"))
    zones = [
        ZoneInfo(person["zone"]) for person in people if person.get("you_work_for") or person["name"] in names
    ]
    length = timedelta(minutes=minutes)

    def is_at_work(start: datetime, zone: ZoneInfo) -> bool:
        low = start.astimezone(zone)
        closes = low.replace(hour=WORK_ENDS, minute=0)
        return low.weekday() < 5 and low.hour >= WORK_BEGINS and low + length <= closes

    every = (
        datetime.combine(days[0] + timedelta(days=number), time(WORK_BEGINS), mine) + place * SLOT
        for number in range((days[-1] - days[0]).days + 1)
        for place in range(WORKDAY)
    )
    return [start for start in every if all(is_at_work(start, zone) for zone in zones)]


def assistant(kind: str, played: Played) -> Guesses:
    if kind == "room":
        return one(len(ROOMS), played.call("create_event")["place"])
    if kind == "question":
        said = str(played.call("reply_mail")["text"])
        return named(played.answers("open")[-1], said.removeprefix("The answer is ").removesuffix("."))
    if kind == "picnic":
        text = played.call("send_mail")["text"]
        days = tuple(date.fromisoformat(day).weekday() for day in re.findall(r"\d{4}-\d\d-\d\d", text))
        return one(2**5 - 1, days)
    made = played.call("move_event" if kind == "move" else "create_event")
    start = datetime.fromisoformat(made["start"])
    opens, closes = PARTS["morning" if start.hour < PARTS["afternoon"][0].hour else "afternoon"]
    whole = datetime.combine(start.date(), closes) - datetime.combine(start.date(), opens)
    length = timedelta(minutes=made.get("minutes", 60))
    place = (start - datetime.combine(start.date(), opens)) // STEP
    count = (whole - length) // STEP + 1
    return one(5 * count, (start.weekday(), place)) if kind == "outdoors" else one(count, place)


def search(kind: str, played: Played) -> Guesses:
    """The names and years on the last page; the pages that were found, if a page is what is asked for."""
    answer = played.call("submit")["answer"]
    _, hops = understand(played.request)
    if not hops[-1].is_back:
        return named(played.answers("open")[-1], answer)
    titles = re.findall(r"(?m)^\[[^]]+\] (.*?) \(version", "\n".join(played.answers("search")))
    found = [*dict.fromkeys(titles)]
    return one(len(found), found.index(answer))


def named(page: str, answer: str) -> Guesses:
    """The names and years on a page, by their order."""
    text = page.partition("\n")[2]
    found = [*dict.fromkeys(re.findall(r"(?:the )?[A-Z][\w'-]+(?: (?:of )?[A-Z][\w'-]+)*|\b\d{4}\b", text))]
    place = next((number for number, name in enumerate(found) if answer in name), None)
    return one(max(1, len(found)), place)


Case = tuple[str, str, Callable[[], Any], Callable[[str, Played], Guesses]]


def cases() -> Iterator[Case]:
    """Environment, kind, how to make it, and what can be guessed in it."""
    for kind in WEATHER_KINDS:
        yield "ludus/Weather-v0", kind, lambda kind=kind: Weather(kinds=[kind]), weather
    for kind in CALENDAR_KINDS:
        yield "ludus/Calendar-v0", kind, lambda kind=kind: Calendar(kinds=[kind]), calendar
    for kind in ASSISTANT_KINDS:
        yield "ludus/Assistant-v0", kind, lambda kind=kind: Assistant(kinds=[kind], injections=0), assistant
    for hops in range(1, 5):
        yield "ludus/Search-v0", f"{hops} hops", lambda hops=hops: Search(hops=hops), search


def measure(made: Any, kind: str, guesses: Callable[[str, Played], Guesses], seeds: int) -> dict[str, Any]:
    found = [guesses(kind, play(made, seed)) for seed in range(seeds)]
    if STATED in found:
        return {"seeds": seeds, "uniform": None, "constant": None}
    chosen: dict[str, Counter[Hashable]] = defaultdict(Counter)
    for each in found[::2]:
        chosen[each.unit].update(each.right)
    best = {unit: counted.most_common(1)[0][0] for unit, counted in chosen.items() if counted}
    held = found[1::2]
    return {
        "seeds": seeds,
        "uniform": round(sum(bool(each.right) / each.candidates for each in found) / seeds, 4),
        "constant": round(sum(best.get(each.unit) in each.right for each in held) / len(held), 4),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=400)
    parser.add_argument("kinds", nargs="*")
    given = parser.parse_args(arguments)
    table = []
    for id, kind, make, guesses in cases():
        if given.kinds and kind not in given.kinds:
            continue
        row = {"id": id, "kind": kind, **measure(make(), kind, guesses, given.seeds)}
        shares = (
            "stated in the request"
            if row["uniform"] is None
            else f"{row['uniform']:.3f} {row['constant']:.3f}"
        )
        print(f"{id:20} {kind:20} {shares}", flush=True)
        table.append(row)
    if not given.kinds:
        write_file(RESULTS, json.dumps({**machine(), "kinds": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
