"""What of an object a report returns (RFC 4791, 9.6): all of it, series expanded, or some properties."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from xml.etree.ElementTree import Element

from ludus.tools.services.calendar import expand, ics, objects
from ludus.tools.services.calendar.dav.filters import Period, read_period
from ludus.tools.services.calendar.dav.xml import CALDAV, DAV, Refusal, local_name
from ludus.tools.services.calendar.ics import Component
from ludus.tools.services.calendar.lines import read_line
from ludus.tools.services.calendar.model import Event, VEvent, aware

REPLACED = ("DTSTART", "DTEND", "DUE", "DURATION", "RRULE", "RDATE", "EXRULE", "EXDATE", "RECURRENCE-ID")
"""Properties that an occurrence does not take over from its series."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The properties and components that are wanted of a component; None for all."""

    name: str
    properties: dict[str, bool] | None
    """By name, each with whether its value is wanted, too."""
    components: tuple["Selection", ...] | None


@dataclass(frozen=True, slots=True)
class Shape:
    """How an object is returned."""

    expand: Period | None = None
    """The time whose occurrences stand for the series."""
    limit: Period | None = None
    """The time outside of which occurrences that are different are left out."""
    selection: Selection | None = None


WHOLE = Shape()


def read_shape(found: Element) -> Shape:
    """The content of a calendar-data element in a request.

    Raises:
        Refusal: it asks for another format, or makes no sense.
    """
    kind, version = found.get("content-type", "text/calendar"), found.get("version", "2.0")
    if (kind, version) != ("text/calendar", "2.0"):
        raise _refused(f"calendar-data is text/calendar of version 2.0, not {kind[:40]} of {version[:40]}")
    expanded = limit = selection = None
    for inner in found:
        if inner.tag == f"{CALDAV}expand":
            expanded = _bounded(inner)
        elif inner.tag == f"{CALDAV}limit-recurrence-set":
            limit = _bounded(inner)
        elif inner.tag == f"{CALDAV}comp":
            selection = _selection(inner)
        # No free-busy information is kept that could be limited.
        elif inner.tag != f"{CALDAV}limit-freebusy-set":
            raise _refused(f"calendar-data with {local_name(inner.tag)[:40]} is not supported")
    return Shape(expanded, limit, selection)


def _bounded(found: Element) -> Period:
    if not {"start", "end"} <= found.attrib.keys():
        raise _refused(f"{local_name(found.tag)} needs a start and an end")
    return read_period(found)


def _selection(found: Element) -> Selection:
    properties = (
        None
        if found.find(f"{CALDAV}allprop") is not None
        else {
            inner.get("name", "").upper(): inner.get("novalue") != "yes"
            for inner in found.iterfind(f"{CALDAV}prop")
        }
    )
    components = (
        None
        if found.find(f"{CALDAV}allcomp") is not None
        else tuple(map(_selection, found.iterfind(f"{CALDAV}comp")))
    )
    return Selection(found.get("name", "").upper(), properties, components)


def _refused(reason: str) -> Refusal:
    return Refusal(403, reason, f"{CALDAV}supported-calendar-data")


def shaped(text: str, shape: Shape, zone: tzinfo) -> str:
    """An object as it is wanted.

    Args:
        zone: of whole days and of times without a zone.

    Raises:
        Refusal: more takes place than is expanded at once.
    """
    if shape == WHOLE:
        return text
    calendar = ics.component(text)
    if shape.expand:
        calendar = _expanded(text, calendar, shape.expand, zone)
    elif shape.limit:
        calendar = _limited(text, calendar, shape.limit, zone)
    if shape.selection and shape.selection.name == calendar.name:
        calendar = _selected(calendar, shape.selection)
    return ics.written(calendar)


def _expanded(text: str, calendar: Component, period: Period, zone: tzinfo) -> Component:
    """A calendar in which each occurrence between two times is a component of its own, in UTC."""
    held = objects.read(text)
    if held.item is None:
        return calendar
    try:
        events = expand.events([held.item], period.start, period.end, zone)
    except ValueError as error:
        raise Refusal(403, str(error), f"{DAV}number-of-matches-within-limits") from None
    sources = {id(part): component for part, component in _parts(text, calendar)}
    occurrences = [_occurrence(event, sources[id(event.details)]) for event in events]
    return Component(calendar.name, calendar.lines, occurrences)


def _parts(text: str, calendar: Component) -> Iterator[tuple[VEvent, Component]]:
    """The parts of an object, each with the component that it was read from."""
    held = objects.read(text)
    components = [inner for inner in calendar.inner if inner.name == held.kind]
    # The series comes first, as in an `Item`.
    components.sort(key=lambda component: "RECURRENCE-ID" in _names(component))
    assert held.item is not None
    return zip(held.item.parts, components, strict=True)


def _names(component: Component) -> set[str]:
    return {read_line(line).name for line in component.lines}


def _occurrence(event: Event, source: Component) -> Component:
    names = _names(source)
    end = "DTEND" if source.name == "VEVENT" else "DUE"
    given: list[tuple[str, datetime]] = []
    if "DTSTART" in names:
        given.append(("DTSTART", event.start))
    if names & {"DTEND", "DUE", "DURATION"}:
        given.append((end, event.end))
    if event.occurrence is not None:
        given.append(("RECURRENCE-ID", event.occurrence))
    times = [
        ics.moment_line(name, moment.date() if event.all_day else moment.astimezone(UTC), {})
        for name, moment in given
    ]
    kept = [line for line in source.lines if read_line(line).name not in REPLACED]
    return Component(source.name, [*times, *kept], source.inner)


def _limited(text: str, calendar: Component, period: Period, zone: tzinfo) -> Component:
    """A calendar without the occurrences that are different and, before and after the change, outside of a
    time."""
    if objects.read(text).item is None:
        return calendar
    dropped = {
        id(component)
        for part, component in _parts(text, calendar)
        if part.occurrence is not None and not part.following and not _touches(part, period, zone)
    }
    return Component(
        calendar.name, calendar.lines, [inner for inner in calendar.inner if id(inner) not in dropped]
    )


def _touches(part: VEvent, period: Period, zone: tzinfo) -> bool:
    assert part.occurrence is not None
    start, end, named = (aware(moment, zone) for moment in (part.start, part.end, part.occurrence))
    return any(low < period.end and low + (end - start) > period.start for low in (start, named))


def _selected(component: Component, selection: Selection) -> Component:
    lines, inner = component.lines, component.inner
    if selection.properties is not None:
        wanted = selection.properties
        named = [(read_line(line).name, line) for line in lines]
        lines = [line if wanted[name] else f"{name}:" for name, line in named if name in wanted]
    if selection.components is not None:
        by_name = {each.name: each for each in selection.components}
        inner = [_selected(each, by_name[each.name]) for each in inner if each.name in by_name]
    return Component(component.name, lines, inner)
