"""`Automaton`: a user without a language model. It hears which slots a question is about."""

import re
from collections.abc import Mapping, Sequence

from ludus.envs.assistant.user.brief import SLOTS, Brief
from ludus.envs.chat import Message, content_text

MOST_ANSWERS = 3
"""Slots that are answered at once: a question about everything is no question."""
MAX_HEARD = 2_000
"""Characters that the user listens to."""

_HEARD: Mapping[str, str] = {
    "minutes": r"how long|how much time|how many (?:minutes|hours)|duration|minutes|length|lasts?\b"
    r"|until when|end time|half an hour|take up",
    "day": r"which day|what day|(?<!of )(?<!all )\bdays?\b|\bdates?\b|this week|next week|weekday|when\b",
    "time": r"what time|which time|time of day|\bmorning|\bafternoon|o'clock|earliest|latest|what hour"
    r"|start time|time slot|times? (?:would|do|suit|works?|is)|preferred time|when\b",
    "people": r"\bwho(?:m|se)?\b|participants?|attendees?|invitees?|guests?|with you"
    r"|which (?:people|colleagues|persons?)|else (?:join|attend|be there)",
    "place": r"\bwhere\b|location|venue|\broom\b|(?:which|what) (?:room|place)|meet (?:at|in)\b|city|town",
    "title": r"\btitles?\b|called|\bname (?:of|for) the (?:event|meeting)|subject|\btopic|purpose|agenda"
    r"|what(?:'s| is) (?:it|the meeting) about",
    "which": r"which (?:one|of|(?:e-?)?mail|message|meeting|event|appointment)\b"
    r"|what (?:(?:e-?)?mail|message|meeting|event)\b",
}
"""What a question about a slot sounds like."""
_SLOTS = {slot: re.compile(pattern) for slot, pattern in _HEARD.items()}
_QUESTION = re.compile(
    r"\?|^(?:who|whom|what|when|where|which|how|should|shall|may|can|could|do|does|is|are|would)\b"
    r"|let me know"
    r"|(?:please|could you) (?:tell|specify|clarify|confirm|give|provide|say|name|share)"
    r"|i need to know|tell me"
    r"|i(?:'d| would) (?:like|need) to know|need (?:the|your|a|more)\b",
    re.MULTILINE,
)
_DONE = re.compile(
    r"\b(?:done|finished|completed?|all set|booked|sent|scheduled|taken care|moved|cancell?ed|arranged)\b"
)
_GOODBYE = "Thank you, that is all. Goodbye."


class Automaton:
    """Answers what it is asked, slot by slot, and nothing else.

    A text without a question is no reason to say anything of substance; a report that the work is done ends
    the talk, until there is a question again. A question that it does not understand it asks to put in other
    words, and the third time it says what can be asked at all. What does not matter to it, it leaves to the
    assistant.
    """

    def answer(self, brief: Brief, history: Sequence[Message], text: str) -> str:
        said = [content_text(message) for message in history if message["role"] == "user"]
        heard = text[:MAX_HEARD].casefold().replace("’", "'")
        if not _QUESTION.search(heard):
            if _GOODBYE in said:
                return "(There is no answer: the user has gone. Ask if you need to know something.)"
            if _DONE.search(heard):
                return _GOODBYE
            return "I see. Ask me if there is something that you need to know."
        slots = asked_for(heard)
        if not slots:
            confused = sum(answer.startswith("I did not understand") for answer in said)
            if confused < 2:
                return "I did not understand the question. What exactly do you want to know?"
            return f"I did not understand. You can ask me about one of these: {', '.join(SLOTS)}."
        if len(slots) > MOST_ANSWERS:
            return "That is too much at once. One question at a time, please."
        return " ".join(brief.answer_to(slot) or _SHRUGS[slot] for slot in slots)


def asked_for(text: str) -> list[str]:
    """The slots that a question, in lower case, is about."""
    found = [slot for slot in SLOTS if _SLOTS[slot].search(text)]
    # "When" alone asks for both, but "on which day" and "at what time" do not.
    if (
        {"day", "time"} <= {*found}
        and re.search(r"(?:what|which) day", text)
        and not re.search(r"time|hour", text)
    ):
        found.remove("time")
    return found


_SHRUGS: Mapping[str, str] = {
    "minutes": "I do not mind how long it takes.",
    "day": "About the day I said what I know.",
    "time": "Any time that fits is fine with me.",
    "people": "I said who it is about.",
    "place": "The place does not matter to me.",
    "title": "Call it what you like.",
    "which": "I mean what I said.",
}
"""What is said about a slot that does not matter."""
