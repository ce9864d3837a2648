"""A timetable: departures, journeys with changes, times written as HH:MM."""

from random import Random

from ludus.envs.code.repair.domain import Domain, Draft, Parameters, numbers

README = """# $package

Finds journeys in a timetable of one day.

A $ride is `[name, from, to, departure, arrival]`; times are written `"HH:MM"`, hours with or without a
leading zero, and blanks around them do not count.

- `$package.times.minutes(text)`: minutes since midnight. `$package.times.clock(minutes)`: the other
  way, always five characters; minutes beyond midnight begin again at `"00:00"`.
- `$package.search.$find(rides, start, goal, time)`: the journey that leaves `start` at `time` or later
  and arrives at `goal` earliest, as `{"arrival": …, "rides": [names]}`, or `None` where there is none.
  Changing from one $ride to the next takes at least $change minutes; at the beginning no time is
  needed. A journey has at most $legs rides. Of journeys that arrive at the same time the one with the
  fewest rides counts, and of those the one whose list of names comes first. From a place to itself it
  is `{"arrival": time, "rides": []}`, with the time as `clock` writes it.
- `$package.board.$show(rides, place, time, lines)`: the next departures from a place at `time` or
  later, sorted by departure, then by $sorting, at most `lines` of them, each as text: `"08:05 Lund (IC
  1, 40 min)"`, with the departure, the goal, the name, and how long it takes.
"""

TIMES = '''"""Times of day."""

DAY = 24 * 60


def minutes(text):
    """Minutes since midnight."""
    hours, rest = text.strip().split(":")
    return int(hours) * 60 + int(rest)


def clock(minutes):
    """The time of day, as HH:MM."""
    minutes = minutes % DAY
    return f"{minutes // 60:02}:{minutes % 60:02}"
'''

RIDES = '''"""Rides with their times as numbers."""

from $package.times import minutes


class Ride:
    def __init__(self, name, origin, goal, departure, arrival):
        self.name = name
        self.origin = origin
        self.goal = goal
        self.departure = minutes(departure)
        self.arrival = minutes(arrival)

    def duration(self):
        return self.arrival - self.departure


def read(rows):
    """The rides of a timetable by the place where they begin."""
    places = {}
    for row in rows:
        ride = Ride(row[0], row[1], row[2], row[3], row[4])
        if ride.origin not in places:
            places[ride.origin] = []
        places[ride.origin].append(ride)
    return places
'''

SEARCH = '''"""Journeys."""

from $package.rides import read
from $package.times import clock, minutes

CHANGE = $change
LEGS = $legs


def $find(rides, start, goal, time):
    """The earliest journey, or None."""
    places = read(rides)
    if start == goal:
        return {"arrival": clock(minutes(time)), "rides": []}
    found = journeys(places, start, goal, minutes(time), 0)
    if not found:
        return None
    best = min(found, key=lambda journey: (journey[0], len(journey[1]), journey[1]))
    return {"arrival": clock(best[0]), "rides": best[1]}


def journeys(places, place, goal, ready, ridden, names=None):
    """Every journey on, as a list of the arrival and the names of its rides."""
    if names is None:
        names = []
    found = []
    for ride in places.get(place, []):
        if ride.departure < ready:
            continue
        taken = names[:]
        taken.append(ride.name)
        if ride.goal == goal:
            found.append([ride.arrival, taken])
        elif ridden + 1 < LEGS:
            found += journeys(places, ride.goal, goal, ride.arrival + CHANGE, ridden + 1, taken)
    return found
'''

BOARD = '''"""The board of departures."""

from $package.rides import read
from $package.times import clock, minutes


def $show(rides, place, time, lines):
    """The next departures from a place, as lines of text."""
    after = minutes(time)
    shown = []
    for ride in sorted(read(rides).get(place, []), key=lambda ride: (ride.departure, $key)):
        if len(shown) == lines:
            break
        if ride.departure >= after:
            shown.append(line(ride))
    return shown


def line(ride):
    return f"{clock(ride.departure)} {ride.goal} ({ride.name}, {ride.duration()} min)"
'''

PLACES = ("Lund", "Brno", "Gent", "Pisa")


def calls(rng: Random, parameters: Parameters) -> Draft:
    change = int(parameters["change"])
    if rng.random() < 0.1:
        return "times", "minutes", [rng.choice(("", " ")) + f"{rng.randint(0, 23)}:{rng.randint(0, 59):02} "]
    if rng.random() < 0.1:
        return "times", "clock", [rng.randint(0, 3000)]
    rides = []
    moment = 8 * 60
    for number in range(rng.randint(4, 8)):
        origin, goal = rng.sample(PLACES, 2)
        departure = moment + rng.choice((0, 0, change - 1, change, change + 1, 20))
        moment = departure + rng.choice((5, 10, change))
        moment -= rng.choice((0, 0, 15))
        arrival = departure + rng.choice((5, 10, 10, 35))
        name = f"{rng.choice('ABC')}{number}"
        rides.append([name, origin, goal, _clock(departure), _clock(arrival)])
    rng.shuffle(rides)
    place = rng.choice(PLACES)
    if rng.random() < 0.4:
        return "board", parameters["show"], [rides, place, rng.choice(("7:50", "08:10")), rng.randint(1, 3)]
    goal = rng.choice(PLACES if rng.random() < 0.1 else [other for other in PLACES if other != place])
    time = rng.choice([ride[3] for ride in rides])
    return "search", parameters["find"], [rides, place, goal, rng.choice(("7:59", " 8:00", time))]


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


DOMAIN = Domain(
    name="timetable",
    choices={
        "package": ("timetable", "railway", "ferries", "coaches"),
        "ride": ("connection", "passage", "trip"),
        "find": ("find", "journey", "earliest"),
        "show": ("show", "departures", "display"),
        "change": numbers(3, 7),
        "legs": numbers(2, 4),
        "sorting": ("goal and name", "name", "arrival and name"),
    },
    code={"key": ("sorting", ("ride.goal, ride.name", "ride.name", "ride.arrival, ride.name"))},
    readme=README,
    modules={"times.py": TIMES, "rides.py": RIDES, "search.py": SEARCH, "board.py": BOARD},
    calls=calls,
)
