"""Reads the arguments of the assistant's tools: people, days and times, as models write them."""

import re
from datetime import date, datetime, timedelta

from ludus.envs.assistant.office.office import Office, Person
from ludus.tools.errors import ToolError
from ludus.tools.services.mail.rfc822 import name_and_address

REACH = timedelta(days=366)
"""How far ahead calendars can be read and written."""


_ADDRESS = re.compile(r"[^@\s<>,;\"]+@[^@\s<>,;\"]+")


def read_person(office: Office, who: str) -> Person:
    """Someone in the office, by name or address.

    Raises:
        ToolError: nobody fits, or more than one person does.
    """
    asked = who.strip().casefold()
    people = office.people
    for person in people:
        if asked in (person.address, person.name.casefold(), person.mailbox.casefold()):
            return person
    found = [person for person in people if asked and asked in person.name.casefold().split()]
    if len(found) == 1:
        return found[0]
    raise ToolError(
        f"there is no {who[:60]!r} in the office; there are: {', '.join(person.name for person in people)}"
    )


def read_address(office: Office, who: str) -> str:
    """The address of someone, in the office or not.

    Raises:
        ToolError: it is neither an address nor the name of someone in the office.
    """
    if "@" not in who:
        return read_person(office, who).address
    address = name_and_address(who)[1].casefold()
    if not _ADDRESS.fullmatch(address) or address not in who.casefold():
        raise ToolError(f"{who[:60]!r} is no mail address; an address is name@domain")
    return address


def read_day(text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise ToolError(f"{text[:40]!r} is no day: write it as YYYY-MM-DD") from None


def read_span(office: Office, day: str) -> tuple[datetime, datetime]:
    """A day from midnight to midnight, in the office's time zone."""
    asked = read_day(day)
    if abs(asked - office.now.date()) > REACH:
        raise ToolError(f"{asked} is more than a year away; it is {office.now:%Y-%m-%d}")
    begins = datetime.combine(asked, datetime.min.time(), office.zone)
    return begins, begins + timedelta(days=1)


def read_moment(office: Office, text: str) -> datetime:
    """A future time, local if it has no offset."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ToolError(f"{text[:40]!r} is no time: write it as YYYY-MM-DDTHH:MM") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=office.zone)
    if not office.now < moment < office.now + REACH:
        raise ToolError(f"{text[:40]!r} is not within the year that comes; it is {office.now:%Y-%m-%d %H:%M}")
    return moment.astimezone(office.zone)
