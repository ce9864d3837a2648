"""The tools of `ludus/Assistant-v0`."""

from dataclasses import replace
from datetime import date, timedelta

from ludus.envs.assistant.office.reading import read_address, read_day, read_moment, read_person, read_span
from ludus.envs.assistant.office.state import OfficeState
from ludus.envs.assistant.office.written import (
    written_events,
    written_forecast,
    written_headlines,
    written_message,
    written_places,
)
from ludus.envs.assistant.service_env import ServiceEnv
from ludus.envs.tool_env import Answer
from ludus.tools.errors import ToolError
from ludus.tools.services.calendar import Attendee, CalendarClient
from ludus.tools.services.mail import MailClient
from ludus.tools.services.mail.service import MAX_LISTED
from ludus.tools.services.search import SearchClient
from ludus.tools.services.weather import WeatherClient
from ludus.tools.tool import tool

MAX_MINUTES = 8 * 60
MAX_DAYS = 7
NEAR_DEGREES = 0.06
"""How far from the office, in degrees, a forecast may be and still count as the office's."""


class OfficeTools(ServiceEnv):
    """What the assistant can do, through clients of four services."""

    mail: MailClient
    calendar: CalendarClient
    weather: WeatherClient
    search_client: SearchClient

    @tool
    def people(self, state: OfficeState) -> Answer:
        """Everybody in the office, with mail addresses."""
        return Answer(state, "\n".join(person.mailbox for person in state.office.people))

    @tool
    def list_mail(self, state: OfficeState, folder: str = "inbox") -> Answer:
        """The mails of a folder, newest first, with their ids.

        Args:
            folder: inbox, sent, archive or trash
        """
        return Answer(state, written_headlines(self.mail.list(folder, MAX_LISTED), state.office.zone))

    @tool
    def search_mail(self, state: OfficeState, query: str) -> Answer:
        """The mails in which all these words occur, in any folder, newest first.

        Args:
            query: the words
        """
        return Answer(state, written_headlines(self.mail.search(query), state.office.zone))

    @tool
    def read_mail(self, state: OfficeState, id: int) -> Answer:
        """Read a mail.

        Args:
            id: its id, from `list_mail` or `search_mail`
        """
        return Answer(state, written_message(self.mail.read(id), state.office.zone))

    @tool
    def send_mail(self, state: OfficeState, to: list[str], subject: str, text: str) -> Answer:
        """Send a mail. Whoever answers does so at once: look into the inbox.

        Args:
            to: addresses, or names of people in the office
            subject: its subject
            text: what it says
        """
        addresses = [
            recipient if "@" in recipient else read_person(state.office, recipient).mailbox
            for recipient in to
        ]
        sent = self.mail.send(addresses, subject, text)
        return Answer(state, f"Sent to {', '.join(sent.recipients)}.")

    @tool
    def reply_mail(self, state: OfficeState, id: int, text: str) -> Answer:
        """Answer a mail: to its sender, under its subject.

        Args:
            id: the id of the mail that is answered
            text: what the answer says
        """
        sent = self.mail.reply(id, text)
        return Answer(state, f"Sent to {', '.join(sent.recipients)}.")

    @tool
    def list_events(self, state: OfficeState, person: str, day: str) -> Answer:
        """What is in somebody's calendar on a day, with the ids of the events.

        Args:
            person: name or address
            day: the day, as YYYY-MM-DD
        """
        start, end = read_span(state.office, day)
        events = self.calendar.events(read_person(state.office, person).address, start, end)
        return Answer(state, written_events(events, state.office))

    @tool
    def free_busy(self, state: OfficeState, people: list[str], day: str) -> Answer:
        """When people are busy on a day.

        Args:
            people: names or addresses
            day: the day, as YYYY-MM-DD
        """
        start, end = read_span(state.office, day)
        asked = [read_person(state.office, person) for person in people]
        busy = self.calendar.free_busy([person.address for person in asked], start, end)
        zone = state.office.zone
        lines = []
        for person in asked:
            spans = [
                f"{b.start.astimezone(zone):%H:%M}-{b.end.astimezone(zone):%H:%M}"
                for b in busy[person.address]
            ]
            lines.append(f"{person.name}: {', '.join(spans) or 'free all day'}")
        return Answer(state, "\n".join(lines) or "Nobody was asked about.")

    @tool
    def create_event(
        self, state: OfficeState, title: str, start: str, minutes: int, people: list[str], place: str = ""
    ) -> Answer:
        """Put an event into your employer's calendar, and into the calendars of those who are invited.

        Args:
            title: what it is called
            start: when it begins, as YYYY-MM-DDTHH:MM
            minutes: how long it takes
            people: names or addresses of those who are invited, your employer aside
            place: where it takes place
        """
        if not 1 <= minutes <= MAX_MINUTES:
            raise ToolError(f"minutes is {minutes}: an event takes from 1 to {MAX_MINUTES} minutes")
        owner = state.office.owner.address
        addresses = dict.fromkeys(read_address(state.office, person) for person in people)
        guests = [Attendee(address) for address in addresses if address != owner]
        begins, uid = read_moment(state.office, start), f"new{state.created + 1}"
        ends = begins + timedelta(minutes=minutes)
        self.calendar.create(owner, uid, title, begins, ends, attendees=guests, location=place)
        return Answer(
            replace(state, created=state.created + 1),
            f"Created [{uid}]: {begins:%A %Y-%m-%d %H:%M}-{ends:%H:%M}.",
        )

    @tool
    def move_event(self, state: OfficeState, id: str, start: str) -> Answer:
        """Let an event of your employer's begin at another time, for everybody; it keeps its length.

        Args:
            id: the event's id, from `list_events`
            start: when it begins then, as YYYY-MM-DDTHH:MM
        """
        begins = read_moment(state.office, start)
        self.calendar.move(state.office.owner.address, id, begins)
        return Answer(state, f"Moved [{id}] to {begins:%A %Y-%m-%d %H:%M}.")

    @tool
    def cancel_event(self, state: OfficeState, id: str) -> Answer:
        """Take an event of your employer's out of everybody's calendar.

        Args:
            id: the event's id, from `list_events`
        """
        self.calendar.cancel(state.office.owner.address, id)
        return Answer(state, f"Cancelled [{id}].")

    @tool
    def find_place(self, state: OfficeState, name: str) -> Answer:
        """Towns of a name, with their coordinates.

        Args:
            name: the town's name alone
        """
        return Answer(state, written_places(self.weather.geocode(name, 5)))

    @tool
    def forecast(
        self, state: OfficeState, latitude: float, longitude: float, first_day: str, last_day: str
    ) -> Answer:
        """The weather, hour by hour from 08:00 to 18:00: temperature, rain or snow of the hour before.

        Args:
            latitude: degrees north, from `find_place`
            longitude: degrees east
            first_day: from which day on, as YYYY-MM-DD
            last_day: to which day, as YYYY-MM-DD; at most 7 days
        """
        first, last = read_day(first_day), read_day(last_day)
        if not 0 <= (last - first).days < MAX_DAYS:
            raise ToolError(
                f"{first_day} to {last_day}: ask for 1 to {MAX_DAYS} days, the first before the last"
            )
        place = state.office.place
        found = self.weather.forecast(
            latitude,
            longitude,
            hourly=("temperature_2m", "precipitation"),
            timezone=place.timezone,
            start_date=first.isoformat(),
            end_date=last.isoformat(),
        )["hourly"]
        return Answer(foresaw(state, latitude, longitude, first, last), written_forecast(found))

    @tool
    def search(self, state: OfficeState, query: str) -> Answer:
        """Search the encyclopedia.

        Args:
            query: what to search for
        """
        hits = self.search_client.search(query).results
        lines = [f"[{hit.id}] {hit.title} ({hit.date}): {hit.snippet}" for hit in hits]
        return Answer(state, "\n".join(lines) or "Nothing was found.")

    @tool
    def open(self, state: OfficeState, id: str) -> Answer:
        """Read a page of the encyclopedia.

        Args:
            id: the page's id, from `search`
        """
        page = self.search_client.open(id)
        return Answer(state, f"{page.title} ({page.date})\n{page.text}")


def foresaw(state: OfficeState, latitude: float, longitude: float, first: date, last: date) -> OfficeState:
    """The state after a point's forecast for these days was shown."""
    place = state.office.place
    if max(abs(latitude - place.latitude), abs(longitude - place.longitude)) > NEAR_DEGREES:
        return state
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return replace(state, foreseen=state.foreseen.union(days))
