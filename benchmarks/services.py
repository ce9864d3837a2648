"""What a tool call in the same process costs, what a world costs to build, what a snapshot costs.

    python benchmarks/services.py [--calls 2000]

A call goes through the client, httpx and the ASGI application, and back; all calls are different. The search
world of 10,000 pages is built in an empty cache folder ("cold"), then loaded from it by a new process
("warm"). A snapshot is taken, pickled if it goes to another process, and restored after the world has
changed. Prints a table and writes `benchmarks/results/services.json`.
"""

import argparse
import itertools
import json
import os
import pickle
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from machine import machine

from ludus.tools.services import Service, connect
from ludus.tools.services.all import all_services
from ludus.tools.services.calendar import CalendarClient
from ludus.tools.services.mail import MailClient
from ludus.tools.services.search import SearchClient
from ludus.tools.services.service import EPOCH
from ludus.tools.services.weather import WeatherClient

RESULTS = Path(__file__).parent / "results" / "services.json"
BARS_MS = {"search": 0.5, "weather": 0.5, "calendar": 5.0, "snapshot": 5.0, "world": 3000.0}
SEED, EVENTS = 11, 40
HOURLY = ("temperature_2m", "precipitation", "wind_speed_10m", "cloud_cover")
DAILY = ("temperature_2m_max", "temperature_2m_min", "precipitation_sum")
BUILD = (
    "import time; from ludus.tools.services.search import SearchService; "
    "begun, began = time.perf_counter(), time.process_time(); SearchService(5); "
    "print(time.perf_counter() - begun, time.process_time() - began)"
)

Call = Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=2000, help="of each kind")
    number = parser.parse_args().calls
    before = os.getloadavg()
    services = all_services(0)
    clients = {name: connect(service) for name, service in services.items()}
    figures: dict[str, Any] = {}
    for name, calls in {
        **searching(services["search"], SearchClient(clients["search"]), number),
        **weather(services["weather"], WeatherClient(clients["weather"]), number),
        **calendars(CalendarClient(clients["calendar"], lambda: EPOCH), number),
        **mails(MailClient(clients["mail"]), number),
    }.items():
        figures[name] = timed(calls)
    for name, service in services.items():
        figures[f"snapshot {name}"] = timed(snapshots(service, changes(name, clients), 200))
    figures |= worlds()
    print(f"{'':26}{'median':>10} {'CPU':>10} {'99%':>10}  ms")
    for name, figure in figures.items():
        bar = BARS_MS.get(name.split()[0])
        verdict = "" if bar is None else "ok" if figure["median_ms"] <= bar else f"MISSES {bar} ms"
        times = [figure[key] for key in ("median_ms", "cpu_median_ms", "p99_ms")]
        print(f"{name:26}{' '.join(f'{time:10.3f}' for time in times)}  {verdict}")
    result = {
        "figures": figures,
        "bars_ms": BARS_MS,
        "loadavg_before": before,
        **machine("httpx", "starlette"),
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {RESULTS}")


def timed(calls: Iterable[Call]) -> dict[str, float]:
    """Milliseconds of each call in turn, and of processor time, which other programs on the machine disturb
    less."""
    taken, computed = [], []
    for call in calls:
        begun, began = time.perf_counter(), time.thread_time()
        call()
        computed.append((time.thread_time() - began) * 1000)
        taken.append((time.perf_counter() - begun) * 1000)
    taken.sort()
    computed.sort()
    return {
        "cpu_median_ms": computed[len(computed) // 2],
        "median_ms": taken[len(taken) // 2],
        "p99_ms": taken[len(taken) * 99 // 100],
        "calls": len(taken),
    }


def searching(service: Any, client: SearchClient, number: int) -> dict[str, list[Call]]:
    rng = random.Random(SEED)
    titles = [page.title for page in service.book.pages]
    words = sorted({word for title in titles for word in re.findall(r"\w{4,}", title)})
    queries = {f"{rng.choice(titles)} {rng.choice(words)}" for _ in range(number)}
    queries |= {" ".join(rng.sample(words, 2)) for _ in range(number)}
    pages = rng.sample(sorted(service.book.rows), min(number, len(service.book.rows)))
    return {
        "search": [lambda query=query: client.search(query) for query in sorted(queries)],  # type: ignore[misc]
        "search open": [lambda id=id: client.open(id) for id in pages],  # type: ignore[misc]
    }


def weather(service: Any, client: WeatherClient, number: int) -> dict[str, list[Call]]:
    rng = random.Random(SEED)

    def forecast() -> Call:
        kind, names = rng.choice((("hourly", HOURLY), ("daily", DAILY), ("current", HOURLY)))
        place = round(rng.uniform(-60, 70), 3), round(rng.uniform(-180, 180), 3)
        asked = {
            kind: ",".join(rng.sample(names, 2)),
            "timezone": rng.choice(("UTC", "Europe/Kyiv", "America/Lima")),
            "forecast_days": rng.randint(1, 3),
        }
        return lambda: client.forecast(*place, **asked)

    names = [place.name for place in service.places]
    asked = {(rng.choice(names), rng.randint(1, 100)) for _ in range(number)}
    return {
        "weather forecast": [forecast() for _ in range(number)],
        "weather geocode": [
            lambda name=name, count=count: client.geocode(name, count)  # type: ignore[misc]
            for name, count in sorted(asked)
        ],
    }


def calendars(client: CalendarClient, number: int) -> dict[str, list[Call]]:
    """Calendars of nine people, which fill up with events and series."""
    rng = random.Random(SEED)
    people = [calendar.person for calendar in client.calendars()]

    def create(position: int) -> Call:
        start = EPOCH + timedelta(hours=rng.randrange(24 * 60))
        rule = rng.choice(("", "", "FREQ=WEEKLY;COUNT=8"))
        person = people[position % len(people)]
        return lambda: client.create(
            person, f"e{position}", f"Event {position}", start, start + timedelta(hours=1), rule=rule
        )

    def events(_: int) -> Call:
        person, start = rng.choice(people), EPOCH + timedelta(minutes=rng.randrange(60 * 24 * 60))
        return lambda: client.events(person, start, start + timedelta(days=7))

    def free_busy(_: int) -> Call:
        some, start = rng.sample(people, 3), EPOCH + timedelta(minutes=rng.randrange(60 * 24 * 60))
        return lambda: client.free_busy(some, start, start + timedelta(days=1))

    return {
        "calendar create": [create(position) for position in range(EVENTS * len(people))],
        "calendar events": [events(position) for position in range(number)],
        "calendar free_busy of 3": [free_busy(position) for position in range(number)],
    }


def mails(client: MailClient, number: int) -> dict[str, list[Call]]:
    """Mails searched by different words, read and sent; not part of the targets."""
    return {
        "mail search": [lambda n=n: client.search(f"the {n % 7} {n}") for n in range(number)],  # type: ignore[misc]
        "mail send": [
            lambda n=n: client.send(to=["somebody@office.example"], subject=f"{n}", text="Hello.")  # type: ignore[misc]
            for n in range(100)
        ],
    }


def changes(name: str, clients: dict[str, Any]) -> Call:
    """A call that changes the world, if any does."""
    if name == "mail":
        client = MailClient(clients["mail"])
        return lambda: client.send(to=["somebody@office.example"], subject="More", text="Hello.")
    if name == "calendar":
        calendar = CalendarClient(clients["calendar"], lambda: EPOCH)
        person, number = calendar.calendars()[0].person, itertools.count()
        return lambda: calendar.create(
            person, f"more{next(number)}", "More", EPOCH, EPOCH + timedelta(hours=1)
        )
    return lambda: clients[name].get("/")


def snapshots(service: Service, change: Call, times: int) -> Iterable[Call]:
    """Take a snapshot, and restore the one before; the world changes in between."""
    last = [service.snapshot()]
    assert pickle.loads(pickle.dumps(last[0])) == last[0], "a snapshot must survive being pickled"

    def take_and_restore() -> None:
        now = service.snapshot()
        service.restore(last[0])
        last[0] = now

    for _ in range(times):
        change()
        yield take_and_restore


def worlds() -> dict[str, Any]:
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        for name in ("cold", "warm"):
            done = subprocess.run(
                [sys.executable, "-c", BUILD],
                env={**os.environ, "XDG_CACHE_HOME": cache},
                capture_output=True,
                text=True,
                check=True,
            )
            took, computed = (float(seconds) * 1000 for seconds in done.stdout.split())
            found[f"world of search, {name}"] = {
                "cpu_median_ms": computed,
                "median_ms": took,
                "p99_ms": took,
                "calls": 1,
            }
    return found


if __name__ == "__main__":
    main()
