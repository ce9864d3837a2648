"""The calendar service: CalDAV over calendars in memory."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ludus.tools.content import KeysByIdentity, content_key
from ludus.tools.services.calendar import ics, objects
from ludus.tools.services.calendar.dav import properties, reports
from ludus.tools.services.calendar.dav.properties import MAX_BODY, Resource
from ludus.tools.services.calendar.dav.xml import (
    CALDAV,
    DAV,
    MAX_ANSWER,
    MEDIA_TYPE,
    BadXml,
    Refusal,
    href,
    multistatus,
    parse,
    response,
)
from ludus.tools.services.calendar.ics import Component
from ludus.tools.services.calendar.lines import BadCalendar
from ludus.tools.services.calendar.model import Calendar, Item
from ludus.tools.services.calendar.shelves import Shelf, Shelves, etag, shelf
from ludus.tools.services.service import Service, VirtualClock

READING = ("OPTIONS", "GET", "HEAD", "PROPFIND", "REPORT")
METHODS = (*READING, "PUT", "DELETE", "PROPPATCH", "MKCALENDAR", "MKCOL")
WELL_KNOWN = ".well-known/caldav"
"""Where clients look first (RFC 6764, 5)."""
MAX_CALENDARS, MAX_OBJECTS = 1000, 20_000
"""The maximum number of calendars, and of objects in each."""


class CalendarService(Service):
    """Calendars of several people over CalDAV: a collection each, `/PERSON/`, with `/PERSON/UID.ics`.

    It speaks CalDAV as real clients do: discovery (`/` is everybody's principal, and the home of all
    calendars), PROPFIND, PROPPATCH, MKCALENDAR, MKCOL, the reports calendar-query, calendar-multiget,
    free-busy-query and sync-collection, GET, HEAD, PUT and DELETE with ETag, If-Match and If-None-Match.
    What it refuses it refuses with the precondition that the RFCs name.

    Args:
        calendars: the initial calendars and their contents.
        clock: the virtual clock.
    """

    name = "calendar"
    well_known = "caldav"

    def __init__(
        self,
        calendars: Mapping[Calendar, Iterable[Item]] | None = None,
        clock: VirtualClock | None = None,
    ) -> None:
        super().__init__(clock)
        shelves = (shelf(calendar, items) for calendar, items in (calendars or {}).items())
        self._keys = KeysByIdentity(_shelf_key, most=256)
        self._state = Shelves({filled.calendar.person: filled for filled in shelves})
        self._app = Starlette(routes=[Route("/{path:path}", self._answer, methods=list(METHODS))])

    @property
    def app(self) -> ASGIApp:
        return self._app

    def key(self, state: Shelves, with_stale: bool = False) -> int:
        stale = state.before if with_stale else None
        return content_key([self._shelves_key(state), None if stale is None else self._shelves_key(stale)])

    def _shelves_key(self, shelves: Shelves) -> int:
        return content_key({person: self._keys(held) for person, held in shelves.by_person.items()})

    @property
    def state(self) -> Shelves:
        return self._state

    @state.setter
    def state(self, state: Shelves) -> None:
        self._state = state

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        root = quote(request.scope.get("root_path", "")) + "/"
        path = request.path_params["path"]
        if path.rstrip("/") == WELL_KNOWN:
            return RedirectResponse(root, 301)
        person, _, name = path.partition("/")
        try:
            if len(body) > MAX_BODY:
                raise Refusal(
                    413, f"the request is longer than {MAX_BODY} bytes", f"{CALDAV}max-resource-size"
                )
            answer = self._of(request, root, person, name, body)
        except BadXml as error:
            answer = _refused(Refusal(400, str(error)))
        except Refusal as refusal:
            answer = _refused(refusal)
        if request.method == "HEAD":
            answer.body = b""
        return answer

    def _of(self, request: Request, root: str, person: str, name: str, body: bytes) -> Response:
        method, shelves = request.method, self._state
        if method == "OPTIONS":
            return Response(headers={"dav": "1, 3, calendar-access", "allow": ", ".join(METHODS)})
        if self.is_stale and method in READING:
            shelves = shelves.before or shelves
        if method in ("MKCALENDAR", "MKCOL"):
            return self._make(method, person, name, body)
        held = shelves.by_person.get(person)
        if held is None:
            if not person and method == "PROPFIND":
                return self._find(request, shelves, Resource(root), body)
            if not person and method == "REPORT":
                return self._report(Resource(root), body)
            if not person:
                raise Refusal(405, f"{method} is not for the home of all calendars")
            # Writing into a missing collection is a conflict (RFC 4918, 9.7.1).
            raise Refusal(409 if method == "PUT" else 404, f"there is no calendar of {person!r}")
        resource = Resource(root, held, name)
        if name and method != "PUT" and name not in held.objects:
            raise Refusal(404, f"there is no object {name!r}")
        match method:
            case "PROPFIND":
                return self._find(request, shelves, resource, body)
            case "REPORT":
                return self._report(resource, body)
            case "PROPPATCH":
                return self._change(resource, held, body)
            case "DELETE" if not name:
                self._state = self._state.without(person)
                return Response(status_code=204)
            case "GET" | "HEAD" if name:
                return _read(request, resource.text)
            case "GET" | "HEAD":
                return Response(_exported(held), media_type="text/calendar")
            case "PUT" if name:
                return self._put(request, held, name, body)
            case "DELETE":
                _check_version(request, held.objects[name])
                self._state = self._state.with_shelf(held.with_object(name, None))
                return Response(status_code=204)
        raise Refusal(405, f"{method} is not for a calendar")

    # Collections

    def _make(self, method: str, person: str, name: str, body: bytes) -> Response:
        if not person or name or person == WELL_KNOWN.partition("/")[0]:
            raise Refusal(403, "calendars are made at /PERSON/", f"{CALDAV}calendar-collection-location-ok")
        if person in self._state.by_person:
            raise Refusal(405, f"there is a calendar of {person!r} already", f"{DAV}resource-must-be-null")
        if len(self._state.by_person) >= MAX_CALENDARS:
            raise Refusal(507, f"there are {MAX_CALENDARS} calendars already", f"{DAV}quota-not-exceeded")
        request = parse(body) if body else None
        says_what = request is not None and request.find(f"{DAV}set/{DAV}prop/{DAV}resourcetype") is not None
        if method == "MKCOL" and not says_what:
            raise Refusal(403, "only calendars are made here", f"{DAV}valid-resourcetype")
        made, outcomes = properties.changed(Shelf(Calendar(person, person, "UTC")), request, is_new=True)
        for refusal in outcomes.values():
            if refusal is not None:
                raise refusal
        self._state = self._state.with_shelf(made)
        return Response(status_code=201)

    def _find(self, request: Request, shelves: Shelves, resource: Resource, body: bytes) -> Response:
        wanted = properties.read_wanted(parse(body) if body else None)
        depth = request.headers.get("depth", "0")
        if depth not in ("0", "1"):
            raise Refusal(403, "PROPFIND is answered to depth 0 or 1", f"{DAV}propfind-finite-depth")
        resources = [resource]
        if depth == "1":
            resources += resource.members()
            if resource.shelf is None:
                resources += (replace(resource, shelf=held) for held in shelves.by_person.values())
        return _multistatus(multistatus(properties.found(each, wanted) for each in resources))

    def _change(self, resource: Resource, held: Shelf, body: bytes) -> Response:
        if resource.name:
            raise Refusal(
                403,
                "the properties of an object follow from its text",
                f"{DAV}cannot-modify-protected-property",
            )
        new, outcomes = properties.changed(held, parse(body))
        if not any(outcomes.values()):
            self._state = self._state.with_shelf(new)
        return _multistatus(multistatus([response(resource.href, properties.propstats(outcomes))]))

    def _report(self, resource: Resource, body: bytes) -> Response:
        answer = reports.answer(resource, parse(body), self.clock.now)
        return Response(answer.body, answer.status, media_type=answer.media_type)

    # Objects

    def _put(self, request: Request, held: Shelf, name: str, body: bytes) -> Response:
        text = held.objects.get(name)
        _check_version(request, text)
        media_type = request.headers.get("content-type", "text/calendar").partition(";")[0].strip().lower()
        if media_type != "text/calendar":
            raise Refusal(
                403, f"an object is text/calendar, not {media_type[:60]}", f"{CALDAV}supported-calendar-data"
            )
        new = _checked(held, name, body)
        if text is None and len(held.objects) >= MAX_OBJECTS:
            raise Refusal(507, f"the calendar has {MAX_OBJECTS} objects already", f"{DAV}quota-not-exceeded")
        self._state = self._state.with_shelf(held.with_object(name, new))
        return Response(status_code=201 if text is None else 204, headers={"etag": etag(new)})


def _checked(held: Shelf, name: str, body: bytes) -> str:
    """A text that can be stored under a name.

    Raises:
        Refusal: it is not a calendar object, or its UID belongs to another one.
    """
    try:
        text = body.decode("utf-8")
        new = objects.read(text)
    except objects.BadKind as error:
        raise Refusal(403, str(error), f"{CALDAV}supported-calendar-component") from None
    except BadCalendar as error:
        raise Refusal(403, str(error), f"{CALDAV}valid-calendar-data") from None
    except UnicodeDecodeError as error:
        raise Refusal(403, f"no iCalendar text: {error}", f"{CALDAV}valid-calendar-data") from None
    if new.kind not in held.kinds:
        kinds = ", ".join(held.kinds)
        raise Refusal(403, f"this calendar takes {kinds}", f"{CALDAV}supported-calendar-component")
    holder = next((key for key, text in held.objects.items() if objects.read(text).uid == new.uid), name)
    old = held.objects.get(name)
    if old is not None and objects.read(old).uid != new.uid:
        raise Refusal(
            409,
            f"the object {name!r} has another UID",
            f"{CALDAV}no-uid-conflict",
            href(quote(name, safe="")),
        )
    if holder != name:
        raise Refusal(
            409,
            f"the UID {new.uid!r} belongs to the object {holder!r}",
            f"{CALDAV}no-uid-conflict",
            href(quote(holder, safe="")),
        )
    return text


def _exported(held: Shelf) -> str:
    """All objects of a calendar in one text.

    Raises:
        Refusal: it would be too long.
    """
    if sum(map(len, held.objects.values())) > MAX_ANSWER:
        raise Refusal(507, f"the calendar has more than {MAX_ANSWER} characters: read its objects")
    inner: dict[str, Component] = {}
    for text in held.objects.values():
        # Objects share their time zones.
        inner |= {each.text: each for each in ics.component(text).inner}
    lines = ["VERSION:2.0", "PRODID:-//Ludus//Calendar//EN"]
    return ics.written(Component("VCALENDAR", lines, list(inner.values())))


def _shelf_key(held: Shelf) -> int:
    # The tags are known already, and one text is written faster than many.
    objects = "\n".join(sorted(f"{etag(text)} {name}" for name, text in held.objects.items()))
    return content_key((held.calendar, objects, held.properties, held.kinds))


def _read(request: Request, text: str) -> Response:
    headers = {"etag": etag(text)}
    asked = request.headers.get("if-none-match")
    if asked is not None and _names(asked, text):
        return Response(status_code=304, headers=headers)
    return Response(text, media_type="text/calendar", headers=headers)


def _check_version(request: Request, text: str | None) -> None:
    """Whether an object, or None, is what If-Match and If-None-Match expect (RFC 9110, 13.1).

    Raises:
        Refusal: it is not.
    """
    expected, unexpected = request.headers.get("if-match"), request.headers.get("if-none-match")
    if expected is not None and (text is None or not _names(expected, text)):
        raise Refusal(412, "the object has been changed or removed since it was read; read it again")
    if unexpected is not None and text is not None and _names(unexpected, text):
        raise Refusal(412, "there is such an object already")


def _names(header: str, text: str) -> bool:
    """Whether a list of entity tags names a text's."""
    return header.strip() == "*" or etag(text) in re.findall(r'"[^"]*"', header)


def _multistatus(body: bytes) -> Response:
    return Response(body, 207, media_type=MEDIA_TYPE)


def _refused(refusal: Refusal) -> Response:
    return Response(refusal.body, refusal.status, media_type=MEDIA_TYPE)
