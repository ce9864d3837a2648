"""What the package `caldav` finds and changes at a server, as JSON.

`test_calendar_clients.py` runs it, in the environment of the clients:

    python caldav_session.py URL PASSWORD
"""

import json
import sys
from datetime import UTC, datetime, timedelta

import caldav

MARCH, APRIL = datetime(2031, 3, 1, tzinfo=UTC), datetime(2031, 4, 1, tzinfo=UTC)


def summaries(objects):
    return sorted(str(each.icalendar_component["SUMMARY"]) for each in objects)


def starts(objects):
    return sorted(f"{each.icalendar_component['DTSTART'].dt:%m-%d %H:%M}" for each in objects)


url, password = sys.argv[1:]
found = {}
with caldav.DAVClient(url, username="ludus", password=password) as client:
    principal = client.principal()
    found["names"] = sorted(calendar.get_display_name() for calendar in principal.calendars())
    calendar = next(each for each in principal.calendars() if each.get_display_name() == "Anna")

    found["events"] = summaries(calendar.events())
    expanded = calendar.search(start=MARCH, end=APRIL, event=True, expand=True)
    found["expanded"] = [summaries(expanded), starts(expanded)]
    found["by server"] = starts(calendar.search(start=MARCH, end=APRIL, event=True, server_expand=True))
    found["with text"] = summaries(calendar.search(event=True, summary="Stand"))
    found["by category"] = summaries(calendar.search(event=True, category="home"))
    busy = calendar.freebusy_request(MARCH, APRIL).icalendar_component
    found["busy"] = sorted(
        period.start.strftime("%m-%d %H:%M") for line in busy["FREEBUSY"] for period in [line]
    )

    everything = calendar.objects_by_sync_token(load_objects=True)
    found["objects"] = len(list(everything))
    start = datetime(2031, 3, 20, 10, tzinfo=UTC)
    saved = calendar.save_event(uid="saved", dtstart=start, dtend=start + timedelta(hours=1), summary="Saved")
    calendar.save_todo(uid="buy", summary="Buy milk", due=start)
    found["todos"] = summaries(calendar.todos())
    updated, deleted = everything.sync()
    found["new"] = [summaries(updated), len(list(deleted))]
    saved.icalendar_component["SUMMARY"] = "Saved again"
    saved.save()
    calendar.todo_by_uid("buy").complete()
    found["open todos"] = summaries(calendar.todos())
    found["all todos"] = summaries(calendar.todos(include_completed=True))
    calendar.event_by_uid("plain").delete()
    updated, deleted = everything.sync()
    found["changed"] = [summaries(updated), len(list(deleted))]
    found["left"] = summaries(calendar.events())

    other = principal.make_calendar(
        name="Errands", cal_id="errands", supported_calendar_component_set=["VTODO"]
    )
    found["kinds"] = other.get_supported_components()
    try:
        other.save_event(dtstart=start, dtend=start, summary="No")
        found["refused"] = False
    except caldav.error.DAVError:
        found["refused"] = True
    other.set_properties([caldav.elements.dav.DisplayName("Chores")])
    found["renamed"] = sorted(each.get_display_name() for each in principal.calendars())
    other.delete()
    found["names left"] = sorted(each.get_display_name() for each in principal.calendars())
print(json.dumps(found))
