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
        "{a} wrote to me about the {title}. Please see to it and answer the mail.",
        "Could you take care of what {a} asks for in the mail about the {title}?",
        "There is a mail from {a} about the {title}. Please do what it asks for, and answer it.",
    ),
    "meeting": (
        'Please set up a meeting with two colleagues on {day}, and call it "{title}".',
        'I need a meeting with two people from the office in the calendar on {day}, titled "{title}".',
        'Can you arrange a meeting with two colleagues for {day}? Its title is "{title}".',
    ),
    "move": (
        "{a} cannot make our meeting about the {title} and has sent me a mail. Please move it to another "
        "day (not every day suits me), and tell {a} the new day and time by mail.",
        "Please read what {a} wrote about our meeting on the {title}, move it to another day, though not "
        "every day suits me, and let {a} know the new day and time by mail.",
        "The time of our meeting about the {title} does not suit {a}: see the mail. Please move it to "
        "another day, bearing in mind that not every day suits me, and send {a} a mail with the new day and "
        "time.",
    ),
    "question": (
        "One of my mails asks something that can be looked up. Please look it up and answer it for me.",
        "Somebody has asked me something by mail. Please find out the answer and reply.",
        "Please answer one of the questions in my inbox; you will find the answer in the encyclopedia.",
    ),
    "picnic": (
        "Our {title} is outdoors every day from {first} to {last}, at the times in my calendar. Please "
        "cancel it on the days for whose time rain or snow is forecast, and tell {b} by mail which days "
        "are cancelled.",
        "From {first} to {last} we have the {title} every day, in the open air. Look at the forecast, "
        "cancel it on the days on which it will rain or snow during that time, and tell {b} by mail which "
        "days those are.",
        "The {title}, daily from {first} to {last}, takes place outside. If rain or snow is forecast for the "
        "time in the calendar, cancel it on that day. Then send {b} a mail that says which days are "
        "cancelled.",
    ),
    "room": (
        "Please book a meeting about the {title} with two colleagues on {day}, at {time}. {a} has reserved "
        "a room and can tell you by mail which one.",
        "Please enter the meeting about the {title} for {day}, at {time}, in the room that {a} has "
        "reserved, and invite the two who will take part. Ask {a} by mail which room it is.",
        "On {day}, at {time}, I have a meeting about the {title} with two colleagues; put it into our "
        "calendars. Only {a} knows which room it is in: please ask by mail.",
    ),
}
"""A user's first words, by kind of task."""

DETAILS: Mapping[str, tuple[str, ...]] = {
    "minutes": ("It should take {minutes} minutes.", "Plan {minutes} minutes for it."),
    "time": (
        "It should be in the {part}, as early as possible.",
        "In the {part}, as early as everybody is free.",
    ),
    "people": ("It is with {b} and {c}.", "Invite {b} and {c}."),
    "day": ("Put it on {day}.", "It should be on {day} instead."),
    "which": ("I mean the question from {a}.", "It is the one that {a} asks."),
}
"""The details that complete a request; the user gives any missing one when asked."""

TOLD: Mapping[str, Mapping[str, str]] = {
    "outdoors": {
        "people": "The people whom {a} names in the mail.",
        "day": "The day that {a} asks for in the mail.",
        "time": "The time that {a} asks for in the mail.",
        "title": "It is about the {title}.",
        "which": "The mail from {a} about the {title}.",
    },
    "meeting": {"day": "On {day}.", "title": 'Call it "{title}".'},
    "move": {
        "people": "Nobody but {a} and me.",
        "time": "The time that suits {a}, as the mail says.",
        "minutes": "It keeps its length.",
        "title": "It is about the {title}.",
        "which": "The mail from {a} about the {title}.",
    },
    "picnic": {
        "people": "The mail goes to {b}.",
        "day": "Every day from {first} to {last}.",
        "time": "The times are in my calendar.",
        "title": "It is the {title}.",
    },
    "room": {
        "day": "On {day}.",
        "time": "At {time}.",
        "place": "{a} knows which room it is.",
        "title": "It is about the {title}.",
    },
}
"""What a user says when asked for what the request, or a mail, already says."""

MAILS: Mapping[str, tuple[str, ...]] = {
    "outdoors": (
        "Could we talk about the {title} outdoors, in front of the office, together with {b}? Please take "
        "the first afternoon from {first} to {last} on which it stays dry from 13:00 to 17:00 and on which "
        "you, {b} and I all have time, and the earliest time that afternoon that suits all three of us. "
        "Please put it into our calendars, and tell me the day and the time.",
        "I would like to talk about the {title} on a walk, with you and {b}. Please take the first afternoon "
        "from {first} to {last} without any rain or snow from 13:00 to 17:00 on which all three of us have "
        "time, and the "
        "earliest time on that afternoon. Let me know the day and the time by mail once it is in the "
        "calendar.",
    ),
    "move": (
        "I cannot come to our meeting about the {title} after all. Any other day is fine with me, in the "
        "{part}, as early as you and I are both free.",
        "Something has come up, and our meeting about the {title} has to move. Any other day suits me, but "
        "it must be in the {part}: please take the earliest time at which both of us are free.",
    ),
}

QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "founding_year": ("In which year was {subject} founded?", "What year does {subject} date from?"),
    "founder": ("Who founded {subject}?", "Do you happen to know who set up {subject}?"),
    "birth_year": ("In which year was {subject} born?", "What is the year of birth of {subject}?"),
    "birthplace": ("Where was {subject} born?", "What is the birthplace of {subject}?"),
}
"""Colleagues' questions, by relation."""
