"""How many questions the user automaton of `ludus/Assistant-v0` answers, and whether with what they ask for.

    user_phrasings.py LABEL      measure, and keep the figures under this label
    user_phrasings.py --compose  write the second set again

Two sets in `tests/envs/assistant/data`: one written by hand before the automaton that is measured,
and one composed of shuffled pieces, which nobody looked at while mending it. Each line has the facts that a
question should bring out, and the question. `said`: all of them came. `exact`: and nothing else did.
"""

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from machine import machine

from ludus.envs.assistant.user import Automaton, Brief
from ludus.envs.assistant.user.brief import SLOTS
from ludus.envs.chat import user

DATA = Path(__file__).resolve().parent.parent / "tests" / "envs" / "assistant" / "data"
SETS = ("phrasings", "phrasings-composed")
RESULTS = Path(__file__).resolve().parent / "results" / "user_phrasings.json"

OPENERS = (
    *("", "", "", "Hi, ", "One moment: ", "Thanks! ", "Just checking, ", "Right. ", "Before I go on, "),
    *("I've read the mail. ", "The calendars are open in front of me. ", "Sure thing! ", "Happy to help. "),
)
STEMS = {
    "minutes": (
        *(
            "what duration should I enter?",
            "how many minutes do you need?",
            "how long would you like it to be?",
        ),
        *("is it 30, 60 or 90 minutes?", "what's the planned length?", "how much time does it take?"),
        *("should it last longer than half an hour?", "for how long should I reserve the slot?"),
    ),
    "people": (
        *("who else takes part?", "should I invite someone?", "whom do you want to bring?", "any attendees?"),
        *("which colleagues are involved?", "is anyone else invited?", "who will be joining you?"),
        *("would you like others to come?", "who are the participants?"),
    ),
    "time": (
        *("at what hour?", "what time would you prefer?", "in the morning or after lunch?", "early or late?"),
        *("which time of day is best?", "is 11:00 good for you?", "do afternoons suit you?"),
    ),
    "day": (
        *("on which day?", "which date do you want?", "what day is best for you?", "does Monday suit you?"),
        *("is there a day you'd rather have?", "which weekday is it to be?"),
    ),
    "place": (
        *(
            "where do you want to hold it?",
            "which room should I enter?",
            "is there a venue?",
            "what's the location?",
        ),
        *("should I add a place?", "where are you meeting?"),
    ),
    "title": (
        *("what title should it have?", "how should the entry be called?", "what's the subject?"),
        *("what name do you want for the event?", "what is it going to be about?"),
    ),
    "which": (
        *("which mail is it?", "which of them do you mean?", "who wrote the one you mean?"),
        *("which message should I answer?", "whose question did you mean?"),
    ),
}
JOINS = (" And ", " Also, ", "\n- ", " Besides: ", " Then: ", " Furthermore, ")
CLOSERS = ("", "", "", " Thanks!", " I'll take care of the rest.", " Then I can go on.", " Take your time.")


def compose(count: int = 50, seed: int = 20) -> list[tuple[Sequence[str], str]]:
    """Questions from pieces: an opening, one to three questions, an end; every fourth in lower case."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        slots = rng.sample(SLOTS, rng.choice((1, 1, 2, 2, 3)))
        stems = [rng.choice(STEMS[slot]) for slot in slots]
        text = rng.choice(OPENERS)
        for place, stem in enumerate(stems):
            text += rng.choice(JOINS) + stem if place else stem
        text = text[:1].upper() + text[1:] + rng.choice(CLOSERS)
        made.append((slots, text.lower().replace("?", "") + "?" if number % 4 == 3 else text))
    return made


def read(name: str) -> list[tuple[set[str], str]]:
    """The lines of a set: the facts that a question should bring out, and the question."""
    lines = (DATA / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    cut = (line.split("\t") for line in lines)
    return [({*slots.split()} - {"-"}, text.replace("\\n", "\n")) for slots, text in cut]


def answered(text: str) -> set[str]:
    """The facts given by a user who knows one for every slot."""
    brief = Brief("Ada", "Please set up a meeting.", tuple((slot, f"<{slot}>") for slot in SLOTS))
    said = Automaton().answer(brief, [user(brief.request)], text)
    return {slot for slot in SLOTS if f"<{slot}>" in said}


def measure(name: str, shown: bool) -> dict[str, float]:
    lines = read(name)
    found = [(wanted, answered(text), text) for wanted, text in lines]
    for wanted, got, text in found:
        if shown and wanted != got:
            print(f"{' '.join(sorted(wanted))} | {' '.join(sorted(got))} | {text!r}")
    return {
        "questions": len(found),
        "said": sum(wanted <= got for wanted, got, _ in found) / len(found),
        "exact": sum(wanted == got for wanted, got, _ in found) / len(found),
    }


def main() -> None:
    if sys.argv[1:] == ["--compose"]:
        lines = [f"{' '.join(slots)}\t{text.replace(chr(10), chr(92) + 'n')}" for slots, text in compose()]
        (DATA / f"{SETS[1]}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    label, *rest = sys.argv[1:] or ["now"]
    found = {name: measure(name, "-v" in rest and name == SETS[0]) for name in SETS}
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[label] = {**found, **machine()}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
