"""The libraries that read and expand iCalendar: an extra, for those who have calendars."""

from ludus.tools.errors import UserError

try:
    import icalendar
    import recurring_ical_events
    from dateutil.rrule import rrulestr
except ImportError as error:
    raise UserError(
        f"calendars need {error.name}, which is not installed: pip install 'ludus[calendar]'"
    ) from error

__all__ = ["icalendar", "recurring_ical_events", "rrulestr"]
