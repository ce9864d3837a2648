"""The calendars with which `ludus serve tools` begins."""

from datetime import timedelta
from itertools import pairwise

import pytest

from ludus.tools.services import connect
from ludus.tools.services.all import all_services
from ludus.tools.services.calendar import CalendarClient
from ludus.tools.services.mail import MailClient, MailService
from ludus.tools.services.mail.mailbox import invented_mailbox
from ludus.tools.services.office import invented_calendars
from ludus.tools.services.service import EPOCH

TWO_MONTHS = (EPOCH - timedelta(days=1), EPOCH + timedelta(days=60))


@pytest.mark.parametrize("seed", range(5))
def test_everybody_who_writes_has_a_calendar_without_collisions(seed: int) -> None:
    services = all_services(seed)
    calendars = CalendarClient(connect(services["calendar"]))
    mailbox = invented_mailbox(seed)
    owners = {calendar.person for calendar in calendars.calendars()}
    assert owners == {person.address for person in (mailbox.owner, *mailbox.people)}
    for person in owners:
        events = calendars.events(person, *TWO_MONTHS)
        assert len(events) > 10
        for one, next_one in pairwise(events):
            assert one.end <= next_one.start


def test_the_world_that_is_served_is_populated() -> None:
    services = all_services(0)
    mail = MailClient(connect(services["mail"]))
    assert mail.folders()["inbox"]["messages"] == 20
    assert isinstance(services["mail"], MailService)
    owner = services["mail"].mailbox.owner.address
    calendars = CalendarClient(connect(services["calendar"]))
    meetings = [event for event in calendars.events(owner, *TWO_MONTHS) if event.summary == "Team meeting"]
    assert len(meetings) == 8
    moved = [meeting for meeting in meetings if meeting.start != meeting.occurrence]
    assert [meeting.start - meeting.occurrence for meeting in moved if meeting.occurrence] == [
        timedelta(hours=1)
    ]
    assert {guest.address for guest in meetings[0].details.attendees} == {
        calendar.person for calendar in calendars.calendars()
    }


def test_who_declines_an_invitation_has_something_else_in_the_calendar() -> None:
    services = all_services(0)
    calendars = CalendarClient(connect(services["calendar"]))
    for person in invented_mailbox(0).people:
        for start, end in person.busy:
            free_busy = calendars.free_busy([person.address], start, end)[person.address]
            assert [(busy.start, busy.end) for busy in free_busy] == [(start, end)]


def test_calendars_follow_from_their_seed() -> None:
    mailbox = invented_mailbox(3)
    assert invented_calendars(mailbox, 3) == invented_calendars(mailbox, 3) != invented_calendars(mailbox, 4)
