"""The calendar service: CalDAV over calendars in memory."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2b
from urllib.parse import quote
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ludus.tools.services.calendar import dav, expand, ics
from ludus.tools.services.calendar.lines import BadCalendar
from ludus.tools.services.calendar.model import Calendar, Item, resource_name
from ludus.tools.services.calendar.zones import is_iana
from ludus.tools.services.service import Service, VirtualClock

METHODS = ("OPTIONS", "PROPFIND", "MKCALENDAR", "REPORT", "GET", "PUT", "DELETE")
MAX_BODY = 1_000_000
"""Bytes of a request."""
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Shelf:
    """A person's calendar: its objects as text, by resource name."""

    calendar: Calendar
    objects: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shelves:
    """All calendars, by person, and their state before the last write. It is immutable: a write makes a new
    one."""

    by_person: Mapping[str, Shelf] = field(default_factory=dict)
    before: "Shelves | None" = None

    def with_shelf(self, shelf: Shelf) -> "Shelves":
        by_person = {**self.by_person, shelf.calendar.person: shelf}
        return Shelves(by_person, Shelves(self.by_person))


def shelf(calendar: Calendar, items: Iterable[Item] = ()) -> Shelf:
    """A calendar with objects in it."""
    return Shelf(calendar, {resource_name(item.uid): ics.write(item) for item in items})


class CalendarService(Service):
    """Calendars of several people over CalDAV: a collection each, `/PERSON/`, with `/PERSON/UID.ics`.

    It understands what `CalendarClient` sends: PROPFIND, MKCALENDAR, REPORT (calendar-query by time-range and
    UID), GET, PUT and DELETE with ETag, If-Match and If-None-Match. A REPORT answers with whole objects;
    expanding series is up to the client, so that every server gives the same results.

    Args:
        calendars: the initial calendars and their contents.
        clock: the virtual clock.
    """

    name = "calendar"

    def __init__(
        self,
        calendars: Mapping[Calendar, Iterable[Item]] | None = None,
        clock: VirtualClock | None = None,
    ) -> None:
        super().__init__(clock)
        shelves = (shelf(calendar, items) for calendar, items in (calendars or {}).items())
        self._state = Shelves({filled.calendar.person: filled for filled in shelves})
        self._app = Starlette(routes=[Route("/{path:path}", self._answer, methods=list(METHODS))])

    @property
    def app(self) -> ASGIApp:
        return self._app

    @property
    def state(self) -> Shelves:
        return self._state

    @state.setter
    def state(self, state: Shelves) -> None:
        self._state = state

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        if len(body) > MAX_BODY:
            return _refusal(413, f"the request is longer than {MAX_BODY} bytes")
        person, _, name = request.path_params["path"].partition("/")
        root = quote(request.scope.get("root_path", ""))
        try:
            return self._of(request, root, person, name, body)
        except (dav.BadXml, BadCalendar) as error:
            return _refusal(400, str(error))

    def _of(self, request: Request, root: str, person: str, name: str, body: bytes) -> Response:
        method = request.method
        shelves = self._state
        if self.is_stale and method in ("GET", "PROPFIND", "REPORT"):
            shelves = shelves.before or shelves
        if method == "OPTIONS":
            return Response(headers={"dav": "1, calendar-access", "allow": ", ".join(METHODS)})
        if method == "PROPFIND" and not name:
            return _members(shelves, root, person, request.headers.get("depth", "0"))
        if method == "MKCALENDAR":
            return self._make(person, name, body)
        if person not in shelves.by_person:
            # Writing into a missing collection is a conflict (RFC 4918, 9.7.1).
            return _refusal(409 if method == "PUT" else 404, f"there is no calendar of {person!r}")
        shelf = shelves.by_person[person]
        if method == "REPORT":
            return _report(shelf, root, dav.read_query(body))
        if not name or method not in ("GET", "PUT", "DELETE"):
            return _refusal(405, f"{method} is not for this address")
        return self._resource(request, shelf, name, body)

    def _make(self, person: str, name: str, body: bytes) -> Response:
        if not person or name:
            return _refusal(403, "calendars are made at /PERSON/")
        if person in self._state.by_person:
            return _refusal(405, f"there is a calendar of {person!r} already")
        title, zone = dav.read_make_calendar(body)
        if zone and not is_iana(zone):
            return _refusal(403, f"the time zone {zone!r} has no IANA name")
        self._state = self._state.with_shelf(Shelf(Calendar(person, title or person, zone or "UTC")))
        return Response(status_code=201)

    def _resource(self, request: Request, shelf: Shelf, name: str, body: bytes) -> Response:
        text = shelf.objects.get(name)
        asked = request.headers.get("if-match")
        if request.method == "PUT":
            if text is not None and request.headers.get("if-none-match") == "*":
                return _refusal(412, f"there is an object {name!r} already")
            if asked is not None and (text is None or asked not in ("*", etag(text))):
                return _refusal(412, f"{name!r} has been changed or removed since it was read; read it again")
            try:
                new = body.decode("utf-8")
            except UnicodeDecodeError as error:
                raise BadCalendar(f"no iCalendar text: {error}") from None
            uid = ics.read(new).uid
            holder = next((key for key, text in shelf.objects.items() if ics.read(text).uid == uid), name)
            if holder != name:
                return _refusal(409, f"the UID {uid!r} belongs to the object {holder!r}")
            self._state = self._state.with_shelf(replace(shelf, objects={**shelf.objects, name: new}))
            return Response(status_code=201 if text is None else 204, headers={"etag": etag(new)})
        if text is None:
            return _refusal(404, f"there is no object {name!r}")
        if request.method == "GET":
            return Response(text, media_type="text/calendar", headers={"etag": etag(text)})
        if asked is not None and asked not in ("*", etag(text)):
            return _refusal(412, f"{name!r} has been changed since it was read; read it again")
        rest = {key: text for key, text in shelf.objects.items() if key != name}
        self._state = self._state.with_shelf(replace(shelf, objects=rest))
        return Response(status_code=204)


def _members(shelves: Shelves, root: str, person: str, depth: str) -> Response:
    if person and person not in shelves.by_person:
        return _refusal(404, f"there is no calendar of {person!r}")
    if depth not in ("0", "1"):
        return _refusal(403, "PROPFIND is answered to depth 0 or 1")
    members = []
    if not person:
        members.append((dav.Collection(f"{root}/", False, "", ""), ""))
    if person or depth == "1":
        for shelf in shelves.by_person.values():
            if person in ("", shelf.calendar.person):
                calendar = shelf.calendar
                entry = dav.Collection(
                    f"{root}/{quote(calendar.person)}/", True, calendar.name, calendar.zone
                )
                members.append((entry, ics.timezone(calendar.zone)))
    return _multistatus(dav.collections(members))


def _report(shelf: Shelf, root: str, query: dav.Query) -> Response:
    start, end = query.start or EARLIEST, query.end or LATEST
    if not start < end:
        return _refusal(400, "time-range: the end must come after the start")
    any_time = query.start is None and query.end is None
    zone = _zone(shelf.calendar.zone)
    found = []
    for name, text in shelf.objects.items():
        item = ics.read(text)
        if query.uid not in (None, item.uid):
            continue
        if any_time or expand.takes_place(item, start, end, zone):
            href = f"{root}/{quote(shelf.calendar.person)}/{quote(name, safe='')}"
            found.append(dav.Found(href, etag(text), text))
    return _multistatus(dav.objects(found))


@functools.lru_cache(maxsize=8192)
def etag(text: str) -> str:
    """A strong entity tag: equal texts have equal tags."""
    return f'"{blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()}"'


@functools.lru_cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _multistatus(body: bytes) -> Response:
    return Response(body, 207, media_type="application/xml; charset=utf-8")


def _refusal(status: int, reason: str) -> Response:
    return JSONResponse({"error": True, "reason": reason}, status)
