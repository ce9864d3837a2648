"""`asked_for`: what a text asks about, clause by clause."""

import re

from ludus.envs.assistant.user.brief import SLOTS

_ITEM = re.compile(r"\s*\n\s*(?:[-*•]|\(?[a-z0-9]{1,2}[.)])?\s*")
"""The start of a line or list item, which separates parts of a sentence as a comma does."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_CLAUSE = re.compile(r"[,;()/+]|:(?!\d)|\s-\s|\band\b|\balso\b|\bas well as\b|\bbesides\b(?! you)|\?")
_FILLERS = r"(?:so|and|then|well|but|ok|okay|also|or|now|just|sorry|please|right|thanks|hi|hello)"
_PREPOSITIONS = r"(?:on|at|for|in|to|with|from|by|under|until)"
_ASKING = re.compile(
    # A question, with or without a question mark, begins with a question word or a verb.
    rf"^\W*(?:{_FILLERS}\W+)*(?:{_PREPOSITIONS} )?"
    r"(?:who|whom|whose|what|when|where|which|how|any"
    r"|should|shall|may|can|could|do|does|did|is|are|am|will|would|might)\b"
    # It may also be a request for something,
    r"|\b(?:please|kindly)\b|\b(?:let me know|tell me)\b"
    r"|\b(?:specify|clarify|confirm|provide|advise)\b"
    # or a remark that something is missing.
    r"|\b(?:need|require|missing|lack\w*|unclear|unsure|not sure|wonder\w*|to know)\b"
    r"|\bopen (?:point|question)|\bis open\b"
    r"|\b(?:didn't|did not|haven't|have not|without|but not|not yet)\b"
)
_MAIL = r"(?:(?:e-?)?mails?|messages?|letters?|questions?)"
_NO_MAIL = r"(?!people|persons?|colleagues?|days?|dates?|times?|rooms?|subject|(?:length|title)s?)"
_CUES: tuple[tuple[list[str], re.Pattern[str]], ...] = tuple(
    (slots.split(), re.compile(pattern))
    for slots, pattern in (
        # Asking which mail is meant may name people without asking whom to invite: the pattern takes the
        # whole clause.
        (
            "which",
            rf"^.*\b(?:which|what|whose) {_NO_MAIL}.*\b{_MAIL}\b.*|^.*\b(?:which|whose) {_MAIL}\b.*"
            rf"|^.*\b(?:mean|refer\w*|specific|both)\b.*\b{_MAIL}\b.*"
            rf"|^.*\b{_MAIL}\b.*\byou (?:mean|meant|refer\w*)\b.*"
            r"|^.*\bwho (?:sent|wrote)\b.*|^.*\bfrom (?:whom|which)\b.*"
            r"|^.*\bwhich (?:one|of (?:them|these|those)|(?:meeting|event|appointment)(?! \w+$))\b.*"
            rf"|\b(?:first|second) (?:one|{_MAIL})\b"
            r"|\b(?:two|three|several|more than one) (?:\w+ )?(?:(?:e-?)?mails?|messages?|letters?)\b"
            r"|\bquestions? in your inbox\b",
        ),
        (
            "minutes",
            r"\bhow (?:much|many)\b.*?\b(?:time|minutes|hours)\b|\bhow (?:long|big)\b|\buntil when\b"
            r"|\b(?:when|what time)\b.*\b(?:end|ends|over|finish\w*)\b|\bend time\b|\bends?\b|\bfinish\b"
            r"|\bdurations?\b|\blengths?\b|\blast(?:s|ing)?\b|\b\d* ?min(?:ute)?s?\b|\bhours\b|\blonger\b"
            r"|\blong one\b|\b(?:half|full|whole) (?:an )?hour\b|\ban hour\b|\bset aside\b|\btakes? up\b",
        ),
        (
            "time",
            r"\btimes? of (?:the )?day\b|\bmornings?\b|\bafternoons?\b|\bo'clock\b|\bearl(?:y|ier|iest)\b"
            r"|\blate(?:st)?\b|\bhour\b|\bstarts?\b|\bbegins?\b|\d ?[ap]\.?m\b|\bam or pm\b|^\W*[ap]m\W*$"
            r"|\b\d{1,2}:\d\d\b|\blunch\b|\bnoon\b|\b(?:in|part of) the day\b"
            r"|(?<!this )(?<!next )(?<!first )(?<!same )\btimes?\b",
        ),
        # Of a day that is known, it is the time that is asked for.
        ("time", r"\bwhen\b.*\bthat day\b|\bthat day\b.*\bwhen\b"),
        (
            "day",
            r"(?<!all )(?<!good )\bdays?\b|\bdates?\b|\bweekdays?\b"
            r"|\b(?:mon|tues|wednes|thurs|fri|satur|sun)days?\b|\btomorrow\b|\b(?:this|next|which) week\b",
        ),
        ("day time", r"\bwhen\b"),
        (
            "place",
            r"\bwhere\b|\blocations?\b|\bvenues?\b|\brooms?\b|\b(?:city|town)\b|\bonline\b|\bin person\b"
            r"|(?<!take )(?<!takes )(?<!taking )\bplaces?\b",
        ),
        (
            "title",
            r"\btitles?\b|\bheadings?\b|\btopics?\b|\bpurpose\b|\bagenda\b|\bsubject\b|\bcalled\b"
            r"|\bcall (?:it|this|the)\b|\bwhat\b.*\bcall\b|\bname\b(?! of the (?:person|colleague))"
            r"|\bwhat\b.*\babout\b",
        ),
        (
            "people",
            r"\bwho(?:m|se|'s)?\b|\b(?:any|some)(?:one|body)\b|\b(?:nobody|no one) else\b|\bothers\b"
            r"|\b(?:participant|attendee|invitee|guest|colleague|person)s?\b|\bpeople\b|\bthe team\b"
            r"|\bjust you\b|\bbesides you\b|\binvite (?:everyone|everybody)\b",
        ),
    )
)
"""Patterns of questions about each slot. Text matched by one pattern is not seen by later ones."""


def asked_for(text: str) -> list[str]:
    """The slots that a text (in lower case) asks about, in order.

    Only clauses that ask count, and what follows them in the same sentence: what an assistant reports besides
    its question is not a question. A question that names nothing is about what was said before it.
    """
    found: dict[str, None] = {}
    before: list[str] = []
    for sentence in _SENTENCE.split(_ITEM.sub(", ", text)):
        asks = False
        heard: list[str] = []
        is_question = sentence.endswith("?")
        for clause in _CLAUSE.split(sentence):
            asks = asks or _ASKING.search(clause.strip()) is not None
            slots = _heard(clause)
            before, heard = slots or before, heard + slots * asks
        if is_question and not heard:
            heard = _heard(sentence) or before
        found.update(dict.fromkeys(heard))
    return list(found)


def _heard(clause: str) -> list[str]:
    """The slots mentioned in a clause, whether asked about or not."""
    found: dict[str, None] = {}
    for slots, pattern in _CUES:
        clause, count = pattern.subn(" ", clause)
        if count:
            found.update(dict.fromkeys(slots))
    return [slot for slot in SLOTS if slot in found]
