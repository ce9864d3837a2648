"""The filters of a calendar-query (RFC 4791, 9.7): read, and matched with objects.

A filter asks for a component; each condition in it must hold: a time, properties, components inside.
"""

import string
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from xml.etree.ElementTree import Element

from ludus.tools.services.calendar import ics, objects
from ludus.tools.services.calendar.dav.xml import CALDAV, Refusal, element, local_name
from ludus.tools.services.calendar.ics import Component
from ludus.tools.services.calendar.lines import BadCalendar, Line, read_line, unescaped
from ludus.tools.services.calendar.model import aware

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""What a time range without a start or an end reaches to."""
MAX_CONDITIONS = 50
MAX_TIMES = 4
"""The maximum number of conditions, and of time ranges among them, in one query."""


# What is asked


@dataclass(frozen=True, slots=True)
class Period:
    """A time range, in UTC."""

    start: datetime = EARLIEST
    end: datetime = LATEST


@dataclass(frozen=True, slots=True)
class TextMatch:
    """A text that a value must contain."""

    text: str
    collation: str
    negate: bool = False
    """Whether it must not contain it."""

    def holds(self, value: str) -> bool:
        folded = COLLATIONS[self.collation]
        return (folded(self.text) in folded(value)) is not self.negate


@dataclass(frozen=True, slots=True)
class ParameterFilter:
    name: str
    is_defined: bool = True
    match: TextMatch | None = None


@dataclass(frozen=True, slots=True)
class PropertyFilter:
    """One property must fulfil all of it."""

    name: str
    is_defined: bool = True
    period: Period | None = None
    match: TextMatch | None = None
    parameters: tuple[ParameterFilter, ...] = ()


@dataclass(frozen=True, slots=True)
class ComponentFilter:
    name: str
    is_defined: bool = True
    period: Period | None = None
    properties: tuple[PropertyFilter, ...] = ()
    components: tuple["ComponentFilter", ...] = ()


_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


COLLATIONS: dict[str, Callable[[str], str]] = {
    "i;ascii-casemap": lambda text: text.translate(_ASCII_LOWER),
    "i;octet": lambda text: text,
    "i;unicode-casemap": lambda text: unicodedata.normalize("NFKD", text.casefold()),
}
"""What a collation compares instead of a text (RFC 4790, 9.2 and 9.3; RFC 5051, 2, with
Unicode's case folding)."""


# Reading


def read_filter(report: Element) -> ComponentFilter:
    """The filter of a calendar-query.

    Raises:
        Refusal: there is none, it makes no sense, or it asks for what is not supported.
    """
    filters = report.findall(f"{CALDAV}filter")
    if len(filters) != 1 or [inner.tag for inner in filters[0]] != [f"{CALDAV}comp-filter"]:
        raise _invalid("a calendar-query has one filter, with one comp-filter in it")
    conditions = [inner.tag for inner in filters[0].iter()]
    if len(conditions) > MAX_CONDITIONS or conditions.count(f"{CALDAV}time-range") > MAX_TIMES:
        raise Refusal(
            403,
            f"a filter has at most {MAX_CONDITIONS} conditions, {MAX_TIMES} of them time ranges",
            f"{CALDAV}supported-filter",
        )
    return _component_filter(filters[0][0], "")


def read_period(found: Element) -> Period:
    """The period between an element's `start` and `end`, either of which may be missing.

    Raises:
        Refusal: they are not times in UTC, or the end is not after the start.
    """
    given = {name: _time(found.attrib[name]) for name in ("start", "end") if name in found.attrib}
    if not given:
        raise _invalid(f"{local_name(found.tag)} has neither a start nor an end")
    if len(given) == 2 and given["start"] >= given["end"]:
        raise _invalid(f"{local_name(found.tag)}: the end must come after the start")
    # Clients write the year 1 or 9999 for a time without bounds.
    return Period(**{name: min(max(moment, EARLIEST), LATEST) for name, moment in given.items()})


def _time(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise _invalid(f"{text[:40]!r} is not a time of the form 20310303T080000Z") from None


def _component_filter(found: Element, inside: str) -> ComponentFilter:
    name = _name(found)
    is_defined, rest = _defined(found)
    period, properties, components = None, [], []
    for inner in rest:
        if inner.tag == f"{CALDAV}time-range":
            if name == "VALARM":
                raise _unsupported(inner, "a time-range for VALARM is not supported")
            if inside != "VCALENDAR" or name not in ("VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY"):
                raise _invalid(f"{name[:40]} has no time for a time-range")
            period = read_period(inner)
        elif inner.tag == f"{CALDAV}prop-filter":
            properties.append(_property_filter(inner))
        elif inner.tag == f"{CALDAV}comp-filter":
            components.append(_component_filter(inner, name))
        else:
            raise _unsupported(inner)
    return ComponentFilter(name, is_defined, period, tuple(properties), tuple(components))


def _property_filter(found: Element) -> PropertyFilter:
    is_defined, rest = _defined(found)
    period, match, parameters = None, None, []
    for inner in rest:
        if inner.tag == f"{CALDAV}time-range":
            period = read_period(inner)
        elif inner.tag == f"{CALDAV}text-match":
            match = _text_match(inner)
        elif inner.tag == f"{CALDAV}param-filter":
            parameters.append(_parameter_filter(inner))
        else:
            raise _unsupported(inner)
    return PropertyFilter(_name(found), is_defined, period, match, tuple(parameters))


def _parameter_filter(found: Element) -> ParameterFilter:
    is_defined, rest = _defined(found)
    match = None
    for inner in rest:
        if inner.tag != f"{CALDAV}text-match":
            raise _unsupported(inner)
        match = _text_match(inner)
    return ParameterFilter(_name(found), is_defined, match)


def _text_match(found: Element) -> TextMatch:
    collation = found.get("collation", "i;ascii-casemap")
    collation = "i;ascii-casemap" if collation == "default" else collation
    if collation not in COLLATIONS:
        raise Refusal(
            403,
            f"the collation {collation[:40]!r} is not supported; there are {', '.join(COLLATIONS)}",
            f"{CALDAV}supported-collation",
        )
    return TextMatch(found.text or "", collation, found.get("negate-condition") == "yes")


def _defined(found: Element) -> tuple[bool, list[Element]]:
    """Whether a filter asks for what is there, and its conditions."""
    rest = [inner for inner in found if inner.tag != f"{CALDAV}is-not-defined"]
    if len(rest) == len(found):
        return True, rest
    if rest:
        raise _invalid("is-not-defined stands alone")
    return False, []


def _name(found: Element) -> str:
    name = found.get("name", "").upper()
    if not name:
        raise _invalid(f"a {local_name(found.tag)} has no name")
    return name


def _invalid(reason: str) -> Refusal:
    return Refusal(403, reason, f"{CALDAV}valid-filter")


def _unsupported(found: Element, reason: str = "") -> Refusal:
    named = {"name": found.attrib["name"]} if "name" in found.attrib else {}
    return Refusal(
        403,
        reason or f"the filter {local_name(found.tag)[:40]} is not supported",
        f"{CALDAV}supported-filter",
        element(found.tag, "", named),
    )


# Matching


def matches(asked: ComponentFilter, text: str, zone: tzinfo) -> bool:
    """Whether an object, as text, fulfils a filter.

    Args:
        zone: of whole days and of times without a zone.
    """
    if asked.name != "VCALENDAR" or not asked.is_defined:
        return asked.name != "VCALENDAR" and not asked.is_defined
    if not all(_has_component(text, inner, zone) for inner in asked.components):
        return False
    if not asked.properties:
        return True
    calendar = ics.component(text)
    return _has_properties(calendar, asked, zone, calendar)


def _has_component(text: str, asked: ComponentFilter, zone: tzinfo) -> bool:
    held = objects.read(text)
    if asked.name == held.kind and asked.is_defined:
        if asked.period and not held.takes_place(asked.period.start, asked.period.end, zone):
            return False
        if not asked.properties and not asked.components:
            # As most queries are: the text need not be looked into.
            return True
    elif asked.name in (held.kind, *objects.KINDS):
        return asked.name != held.kind and not asked.is_defined
    calendar = ics.component(text)
    return _is_among(calendar.inner, asked, zone, calendar)


def _is_among(found: Iterable[Component], asked: ComponentFilter, zone: tzinfo, calendar: Component) -> bool:
    named = [component for component in found if component.name == asked.name]
    if not asked.is_defined:
        return not named
    return any(
        _has_properties(component, asked, zone, calendar)
        and all(_is_among(component.inner, inner, zone, calendar) for inner in asked.components)
        for component in named
    )


def _has_properties(component: Component, asked: ComponentFilter, zone: tzinfo, calendar: Component) -> bool:
    if not asked.properties:
        return True
    by_name: dict[str, list[Line]] = {}
    for line in map(read_line, component.lines):
        by_name.setdefault(line.name, []).append(line)
    return all(
        any(_fulfils(line, inner, zone, calendar) for line in by_name.get(inner.name, ()))
        if inner.is_defined
        else inner.name not in by_name
        for inner in asked.properties
    )


def _fulfils(line: Line, asked: PropertyFilter, zone: tzinfo, calendar: Component) -> bool:
    if asked.match and not asked.match.holds(unescaped(line.value)):
        return False
    if asked.period:
        try:
            moment = aware(ics.moment_of(line, ics.own_zones(calendar)), zone)
        except BadCalendar:
            return False
        if not asked.period.start <= moment < asked.period.end:
            return False
    return all(_has_parameter(line, parameter) for parameter in asked.parameters)


def _has_parameter(line: Line, asked: ParameterFilter) -> bool:
    value = line.parameters.get(asked.name)
    if value is None or not asked.is_defined:
        return value is None and not asked.is_defined
    return asked.match is None or asked.match.holds(value)
