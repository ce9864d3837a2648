"""Real CalDAV clients at `ludus serve tools`: vdirsyncer, khal and the package `caldav`."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ludus.tools.services import connect
from ludus.tools.services.calendar import CalendarClient, ics

CLIENTS = os.environ.get("LUDUS_TEST_CALDAV_CLIENTS")
pytestmark = pytest.mark.skipif(
    CLIENTS is None,
    reason='needs CalDAV clients: peer=$(.ci/peers.sh start caldav_clients); eval "$peer"',
)

TOKEN = "a-token"
START = datetime(2031, 3, 4, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
TODO = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Test//Test//EN\r\nBEGIN:VTODO\r\nUID:todo\r\n"
    "DTSTAMP:20310101T000000Z\r\nDUE:20310305T170000Z\r\nSUMMARY:Pay\r\nCATEGORIES:home\r\nEND:VTODO\r\nEND:VCALENDAR\r\n"
)


@dataclass(frozen=True)
class Served:
    """Calendars of Anna, with something in it, and of Bo, with nothing, behind a port."""

    url: str
    client: CalendarClient

    def ask(self, method: str, path: str, **headers: str) -> str:
        with connect(self.url, auth=("x", TOKEN), trust_env=False) as http:
            return http.request(method, path, headers=headers).raise_for_status().text

    def texts(self, person: str = "anna") -> dict[str, str]:
        """The objects of a calendar, by UID."""
        members = self.ask("PROPFIND", f"{person}/", depth="1")
        names = re.findall(rf"<href>/calendar/{person}/([^<]+)</href>", members)
        return by_uid(self.ask("GET", f"{person}/{name}") for name in names)


def by_uid(texts: Iterable[str]) -> dict[str, str]:
    return {found[1].strip(): text for text in texts if (found := re.search("UID:(.*)", text))}


@pytest.fixture
def served() -> Iterator[Served]:
    command = [sys.executable, "-m", "ludus", "serve", "tools", "--port", "0"]
    server = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "LUDUS_TOKEN": TOKEN},
    )
    try:
        assert server.stdout is not None
        line = next(line for line in server.stdout if "http://" in line)
        root = re.search(r"http://\S+", line)
        assert root, line
        url = f"{root[0]}/calendar/"
        with connect(url, auth=("x", TOKEN), trust_env=False) as http:
            client = CalendarClient(http)
            for calendar in client.calendars():
                http.delete(f"{calendar.person}/").raise_for_status()
            client.make_calendar("anna", "Anna")
            client.make_calendar("bo", "Bo")
            client.create("anna", "plain", "Plan", START, START + HOUR)
            weekly = {"rule": "FREQ=WEEKLY;COUNT=3", "location": "Room 1"}
            client.create("anna", "weekly", "Standup", START + 2 * HOUR, START + 3 * HOUR, **weekly)
            moved = START + timedelta(days=8)
            client.move("anna", "weekly", moved, occurrence=START + timedelta(days=7, hours=2))
            http.put("anna/todo.ics", content=TODO.encode(), headers={"content-type": "text/calendar"})
            yield Served(url, client)
    finally:
        server.terminate()
        server.wait(10)


def run(program: str, *arguments: str, folder: Path, answer: str = "") -> str:
    """What a client's program prints."""
    home = {name: str(folder) for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "NO_PROXY": "*", **home}
    done = subprocess.run(
        [f"{CLIENTS}/{program}", *arguments],
        input=answer,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=folder,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@dataclass(frozen=True)
class Synced:
    """A folder that vdirsyncer keeps the same as the calendars, by the configuration on the page."""

    folder: Path

    def sync(self) -> None:
        run("vdirsyncer", "-c", "config", "sync", folder=self.folder)

    def texts(self, person: str = "anna") -> dict[str, str]:
        """The objects of a calendar, by UID."""
        return by_uid(path.read_text() for path in (self.folder / "calendars" / person).glob("*.ics"))

    def path(self, uid: str, person: str = "anna") -> Path:
        paths = (self.folder / "calendars" / person).glob("*.ics")
        return next(path for path in paths if f"UID:{uid}\n" in path.read_text().replace("\r", ""))


@pytest.fixture
def synced(served: Served, tmp_path: Path) -> Synced:
    page = (Path(__file__).parents[3] / "docs/services.md").read_text()
    lines = page[page.index("    [general]") : page.index("\n\nkhal reads")].splitlines()
    config = "\n".join(line.removeprefix("    ") for line in lines)
    for documented, ours in (
        ("http://127.0.0.1:8000/calendar/", served.url),
        ("the token, if the server has one", TOKEN),
    ):
        assert documented in config
        config = config.replace(documented, ours)
    (tmp_path / "config").write_text(config)
    run("vdirsyncer", "-c", "config", "discover", folder=tmp_path, answer="y\n" * 10)
    synced = Synced(tmp_path)
    synced.sync()
    return synced


def plain(texts: dict[str, str]) -> dict[str, list[str]]:
    """The lines of objects, however they end."""
    return {uid: text.split() for uid, text in texts.items()}


def test_vdirsyncer_finds_every_object(served: Served, synced: Synced) -> None:
    assert set(synced.texts()) == {"plain", "weekly", "todo"}
    assert plain(synced.texts()) == plain(served.texts())
    assert synced.texts("bo") == {}


def test_vdirsyncer_needs_only_the_address_of_the_server(served: Served, synced: Synced) -> None:
    config = synced.folder / "config"
    config.write_text(config.read_text().replace("/calendar/", "/"))
    assert '"anna" ("Anna")' in run("vdirsyncer", "-c", "config", "discover", folder=synced.folder)


def test_vdirsyncer_carries_changes_both_ways_and_loses_nothing(served: Served, synced: Synced) -> None:
    # Here: one is changed, one is new.
    path = synced.path("todo")
    path.write_text(path.read_text().replace("SUMMARY:Pay", "SUMMARY:Pay soon"))
    (synced.folder / "calendars/anna/here.ics").write_text(TODO.replace("UID:todo", "UID:here"), newline="")
    # There: one is changed, one is new, one is gone.
    served.client.move(
        "anna", "weekly", START + timedelta(days=15), occurrence=START + timedelta(days=14, hours=2)
    )
    served.client.create("anna", "there", "There", START, START + HOUR)
    served.client.delete("anna", "plain")
    synced.sync()
    assert set(synced.texts()) == {"weekly", "todo", "here", "there"}
    assert plain(synced.texts()) == plain(served.texts())
    assert "SUMMARY:Pay soon" in served.texts()["todo"]
    assert ics.read(synced.texts()["weekly"]) == served.client.get("anna", "weekly").item
    # Here, one is gone.
    synced.path("there").unlink()
    synced.sync()
    assert set(served.texts()) == {"weekly", "todo", "here"}
    before = served.texts()
    synced.sync()
    assert served.texts() == before


def test_vdirsyncer_makes_calendars_and_carries_their_names_and_colours(
    served: Served, synced: Synced
) -> None:
    folder = synced.folder / "calendars/new"
    folder.mkdir()
    (folder / "here.ics").write_text(TODO, newline="")
    (folder / "color").write_text("#112233")
    run("vdirsyncer", "-c", "config", "discover", folder=synced.folder, answer="y\n" * 10)
    synced.sync()
    run("vdirsyncer", "-c", "config", "metasync", folder=synced.folder)
    assert (folder / "displayname").read_text() == "new"
    (folder / "displayname").write_text("New & old")
    run("vdirsyncer", "-c", "config", "metasync", folder=synced.folder)
    assert "#112233" in served.ask("PROPFIND", "new/", depth="0")
    assert served.client.calendar("new").name == "New & old"
    assert plain(served.texts("new")) == plain(synced.texts("new"))
    assert (synced.folder / "calendars/bo/displayname").read_text() == "Bo"


def test_khal_lists_what_was_synced(synced: Synced) -> None:
    (synced.folder / "khal.conf").write_text(
        f"""
[calendars]
[[ludus]]
path = {synced.folder}/calendars/*
type = discover

[locale]
timeformat = %H:%M
dateformat = %Y-%m-%d
longdateformat = %Y-%m-%d
datetimeformat = %Y-%m-%d %H:%M
longdatetimeformat = %Y-%m-%d %H:%M
local_timezone = UTC
default_timezone = UTC
"""
    )
    form = "{start-date} {start-time} {title}"
    listed = run(
        "khal",
        "-c",
        "khal.conf",
        "list",
        "--day-format",
        "",
        "-f",
        form,
        "2031-03-01",
        "31d",
        folder=synced.folder,
    )
    assert [line.strip() for line in listed.splitlines() if line.strip()] == [
        "2031-03-04 09:00 Plan",
        "2031-03-04 11:00 Standup",
        "2031-03-12 09:00 Standup",
        "2031-03-18 11:00 Standup",
    ]


def test_the_package_caldav_finds_and_changes_everything(served: Served, tmp_path: Path) -> None:
    script = Path(__file__).with_name("caldav_session.py")
    found = json.loads(run("python", str(script), served.url, TOKEN, folder=tmp_path).splitlines()[-1])
    times = ["03-04 09:00", "03-04 11:00", "03-12 09:00", "03-18 11:00"]
    assert found == {
        "names": ["Anna", "Bo"],
        "events": ["Plan", "Standup"],
        "expanded": [["Plan", "Standup", "Standup", "Standup"], times],
        "by server": times,
        "with text": ["Standup"],
        "by category": [],
        "busy": times,
        "objects": 3,
        "todos": ["Buy milk", "Pay"],
        "new": [["Buy milk", "Saved"], 0],
        "open todos": ["Pay"],
        "all todos": ["Buy milk", "Pay"],
        "changed": [["Buy milk", "Saved again"], 1],
        "left": ["Saved again", "Standup"],
        "kinds": ["VTODO"],
        "refused": True,
        "renamed": ["Anna", "Bo", "Chores"],
        "names left": ["Anna", "Bo"],
    }
