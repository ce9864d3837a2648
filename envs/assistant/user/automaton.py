"""`Automaton`: a user without a language model, which recognises the slots that a question is about."""

import re
from collections.abc import Mapping, Sequence

from ludus.envs.assistant.user.brief import SLOTS, Brief
from ludus.envs.assistant.user.hearing import asked_for
from ludus.envs.chat import Message, content_text

MOST_ANSWERS = 5
"""The most slots answered at once: a question about everything is no question."""
MAX_HEARD = 2_000
"""The most characters that the user reads."""

_DONE = re.compile(
    r"\b(?:done|finished|completed?|all set|booked|sent|scheduled|taken care|moved|cancell?ed|arranged)\b"
)
_MORE = re.compile(r"\b(?:anything|something) else\b|\belse i can\b")
_LEAVE = re.compile(
    r"\b(?:shall|should|may|can) i\b|\b(?:do you want|would you like) me\b|\b(?:okay|ok|fine) if i\b"
)
_GOODBYE = "Thank you, that is all. Goodbye."


class Automaton:
    """Answers what it is asked, slot by slot, and nothing else.

    A text without a question gets no information; a report that the work is done ends the conversation until
    the next question. It asks for a question that it does not understand to be rephrased, and the third time
    says what can be asked. What does not matter to it, it leaves to the assistant.
    """

    @staticmethod
    def memory(history: Sequence[Message]) -> tuple[bool, int]:
        """All of a conversation that later answers depend on: whether the user has left, and how many
        questions it did not understand, 2 for more."""
        said = [content_text(message) for message in history if message["role"] == "user"]
        return _GOODBYE in said, min(2, sum(text.startswith("I did not understand") for text in said))

    def answer(self, brief: Brief, history: Sequence[Message], text: str) -> str:
        has_left, confused = self.memory(history)
        heard = text[:MAX_HEARD].casefold().replace("’", "'")
        slots = asked_for(heard)
        if not slots and _MORE.search(heard):
            return _GOODBYE
        if not slots and "?" not in heard:
            if has_left:
                return "(There is no answer: the user has gone. Ask if you need to know something.)"
            if _DONE.search(heard):
                return _GOODBYE
            return "I see. Ask me if there is something that you need to know."
        if not slots and _LEAVE.search(heard):
            return "Please do what I asked for, and nothing else."
        if not slots:
            if confused < 2:
                return "I did not understand the question. What exactly do you want to know?"
            return f"I did not understand. You can ask me about one of these: {', '.join(SLOTS)}."
        if len(slots) > MOST_ANSWERS:
            return "That is too much at once. One question at a time, please."
        return " ".join(brief.answer_to(slot) or _SHRUGS[slot] for slot in slots)


_SHRUGS: Mapping[str, str] = {
    "minutes": "I do not mind how long it takes.",
    "day": "I have nothing to add about the day.",
    "time": "Any time that fits is fine with me.",
    "people": "Nobody but those who have been named already.",
    "place": "The place does not matter to me.",
    "title": "Call it what you like.",
    "which": "I mean the one that I told you about.",
}
"""The answer about a slot that does not matter."""
