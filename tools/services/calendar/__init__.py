"""A calendar server that speaks CalDAV, and a client for any such server."""

from ludus.tools.services.calendar.client import CalendarClient
from ludus.tools.services.calendar.model import Attendee, Busy, Calendar, Event, Item, Moment, VEvent
from ludus.tools.services.calendar.service import CalendarService

__all__ = [
    "Attendee",
    "Busy",
    "Calendar",
    "CalendarClient",
    "CalendarService",
    "Event",
    "Item",
    "Moment",
    "VEvent",
]
