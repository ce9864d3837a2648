"""What people in the office say: templates that can be filled in, and recognised later."""

import re
from collections.abc import Mapping, Sequence
from functools import cache


def filled(template: str, fields: Mapping[str, object]) -> str:
    return template.format_map(fields)


def recognised(templates: Mapping[str, Sequence[str]], text: str) -> tuple[str, dict[str, str]] | None:
    """The kind of template that a text contains, and the values of its fields."""
    for kind, forms in templates.items():
        for form in forms:
            if found := _pattern(form).search(text):
                return kind, found.groupdict()
    return None


@cache
def _pattern(template: str) -> re.Pattern[str]:
    seen: set[str] = set()

    def group(field: re.Match[str]) -> str:
        name = field[1]
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>[^.?!\n]+?)"

    return re.compile(re.sub(r"\\\{(\w+)\\\}", group, re.escape(template)))


REQUESTS: Mapping[str, tuple[str, ...]] = {
    "outdoors": (
        "{a} wrote to me about the {title}. Please see to it.",
        "Could you take care of what {a} asks for in the mail about the {title}?",
        "There is a mail from {a} about the {title}; please do what it takes and answer it.",
    ),
    "meeting": (
        "Please set up a meeting on {day} and call it {title}.",
        "I need a meeting in the calendar on {day}, titled {title}.",
        "Can you arrange a meeting for {day}? Its title is {title}.",
    ),
    "move": (
        "{a} has trouble with our {title} and sent me a mail. Please move it and tell {a} the new time.",
        "Please read what {a} wrote about our {title}, find a new time, and let {a} know it by mail.",
        "Our {title} does not suit {a}, as you see in the mail; reschedule it, and write {a} when it is.",
    ),
    "question": (
        "One of my mails asks something that can be looked up. Please look it up and answer it for me.",
        "Somebody wants to know something from me by mail. Find it out and reply, please.",
        "Please answer one of the questions in my inbox; the encyclopedia will know.",
    ),
    "picnic": (
        "If rain is forecast for the time of our {title} on {day}, cancel it; write by mail whether "
        "it takes place.",
        "Look at the forecast for our {title} on {day}: in case of rain at that time cancel it. Send "
        "a mail saying "
        "whether it takes place.",
        "Our {title} on {day} is outside. Cancel it if it will rain then, and send word by mail "
        "whether it takes place.",
    ),
    "room": (
        "Book the {title} on {day} at {time}. {a} has reserved a room and can tell you by mail which one.",
        "Please enter the {title} for {day}, {time}, in the room that {a} reserved. Ask {a} by mail "
        "which room it is.",
        "On {day} at {time} we have the {title}; put it into the calendar. Only {a} knows the room, "
        "write and ask.",
    ),
}
"""A user's first words, by kind of task."""

DETAILS: Mapping[str, tuple[str, ...]] = {
    "minutes": ("It should take {minutes} minutes.", "Plan {minutes} minutes for it."),
    "time": (
        "It should be in the {part}, as early as possible.",
        "In the {part}, as early as everybody can.",
    ),
    "people": ("{b} and {c} should be there with me.", "Invite {b} and {c}."),
    "day": ("Put it on {day}.", "It should be on {day} instead."),
    "which": ("I mean the one from {a}.", "It is the mail that {a} sent."),
    "to": ("The mail goes to {b}.", "Write to {b}, please."),
}
"""The details that complete a request; the user gives any missing one when asked."""

MAILS: Mapping[str, tuple[str, ...]] = {
    "outdoors": (
        "Could we meet outdoors, in front of the office, with {b}, on the first afternoon of the "
        "week on which it stays "
        "dry from 13:00 to 17:00 and on which you, {b} and I have time together? As early that "
        "afternoon as all three of "
        "us can. Please enter it and tell me the day and the time.",
        "I would like to talk while walking, you, {b} and I. Please take the first afternoon of the "
        "week, 13:00 to 17:00, "
        "without any rain on which all three of us are free for it, and the earliest time then. Let "
        "me know the day and "
        "the time by mail, once it is in the calendar.",
    ),
    "move": (
        "I cannot come to our {title} after all. Any other day is fine with me, in the {part}, as "
        "early as you and I are "
        "both free.",
        "something came up and our {title} has to move. On another day, the earliest time in the "
        "{part} at which both of "
        "us are free would suit me.",
    ),
}

QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "founding_year": ("In which year was {subject} founded?", "Since which year has {subject} existed?"),
    "founder": ("Who founded {subject}?", "Do you know who started {subject}?"),
    "birth_year": ("In which year was {subject} born?", "What is the year of birth of {subject}?"),
    "birthplace": ("Where was {subject} born?", "Of which town is {subject} a native?"),
}
"""Colleagues' questions, by relation."""
