"""`all_services`: one of each, from one seed; `all_on_a_rack`: the application that serves them."""

from ludus.tools.services.calendar import CalendarService
from ludus.tools.services.faults import FaultPlan
from ludus.tools.services.mail import MailService, invented_mailbox
from ludus.tools.services.office import invented_calendars
from ludus.tools.services.rack import Rack
from ludus.tools.services.search import SearchService
from ludus.tools.services.service import Service
from ludus.tools.services.weather import WeatherService


def all_services(seed: int = 0) -> dict[str, Service]:
    """Search, calendar, weather and mail of one world, by name. The mailbox's owner corresponds with eight
    people; each of the nine has a calendar of what they do in the coming weeks.
    """
    mailbox = invented_mailbox(seed)
    calendars = invented_calendars(mailbox, seed)
    services = (SearchService(seed), CalendarService(calendars), WeatherService(seed), MailService(mailbox))
    return {service.name: service for service in services}


UNCHANGING = ("search", "weather")
"""Services that calls do not change, so that several processes can serve them in parallel."""


def all_on_a_rack(seed: int, faults: FaultPlan, control: bool = False, only_unchanging: bool = False) -> Rack:
    services = all_services(seed)
    if only_unchanging:
        services = {name: services[name] for name in UNCHANGING}
    return Rack(services, faults, control)
