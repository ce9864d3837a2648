"""A running club's runs: distances and times in several notations, duplicate uploads, guests."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from random import Random

from ludus.envs.code.analysis.answers import Form
from ludus.envs.code.analysis.dirt import Dirt
from ludus.envs.code.analysis.world import Kind, Tables, World, best, delimited, sqlite

MEMBERS = (
    *("Ada Holm", "Ben Ortiz", "Cleo Wirth", "Dan Moreau", "Eva Lind", "Finn Baker"),
    *("Gita Rao", "Hugo Stein", "Ines Prado", "Jan Kowal", "Kira Noll", "Luis Serra"),
)
GUESTS = ("Mona Falk", "Nils Berg", "Olga Petit")
TEAMS = ("Amber", "Blue", "Crimson")
MONTHS = {"September 2024": 9, "October 2024": 10}
FIRST = datetime(2024, 9, 1)
DAYS = 61

DICTIONARY = """\
runs.tsv, separated by tabs: run_id, runner, started, distance, duration
club.sqlite: members (member_id, name, team)
- Upper and lower case and whitespace around names, teams and ids mean nothing.
- A run_id may occur more than once, since uploads are repeated: its rows are the same run, in another
  notation.
- Runs of people who are not in members do not count.
- started has the offset of the watch that wrote it. Days are meant in UTC.
- distance is in km, with a decimal point or a decimal comma, or in m. It is missing where it is empty, NA,
  n/a or ?; a run without a distance counts in no distance and no pace, but it is a run.
- duration is m:ss or h:mm:ss, or seconds where it ends in s."""


@dataclass(frozen=True)
class Run:
    runner: str
    started: datetime
    """In UTC."""
    metres: int | None
    seconds: int


@dataclass(frozen=True)
class Club:
    runs: tuple[Run, ...]
    """The runs of members only."""
    team: dict[str, str]
    """The team of each member."""

    def metres(self, team: str) -> Counter[str]:
        """The distance run by each member of a team."""
        totals = Counter({name: 0 for name, of in self.team.items() if of == team})
        for run in self.runs:
            if run.runner in totals:
                totals[run.runner] += run.metres or 0
        return totals


def draw(rng: Random, rows: int) -> Tables:
    dirt = Dirt(rng)
    team = {name: TEAMS[index % len(TEAMS)] for index, name in enumerate(rng.sample(MEMBERS, len(MEMBERS)))}
    pace = {name: rng.uniform(0.27, 0.40) for name in (*MEMBERS, *GUESTS)}
    eager = {name: rng.uniform(0.5, 2) for name in (*MEMBERS, *GUESTS)}
    runners = rng.choices([*eager], [*eager.values()], k=rows)
    runs, lines, repeats = [], [], []
    for number, runner in enumerate(runners, 1):
        metres = 10 * rng.randint(200, 1500)
        seconds = round(metres * pace[runner] * rng.uniform(0.9, 1.1))
        started = FIRST + timedelta(minutes=rng.randrange(DAYS * 24 * 60))
        run = Run(runner, started, None if dirt.chance(0.08) else metres, seconds)
        runs.append(run)
        lines.append(_written(dirt, number, run))
        if dirt.chance(0.1):
            repeats.append(_written(dirt, number, run))
    rows_of_members = [
        (f"M{n:02d}", dirt.label(name), dirt.label(team[name])) for n, name in enumerate(MEMBERS)
    ]
    mixed = rng.sample(lines + repeats, len(lines) + len(repeats))
    files = {
        "runs.tsv": delimited(("run_id", "runner", "started", "distance", "duration"), mixed, "\t"),
        "club.sqlite": sqlite({"members (member_id TEXT, name TEXT, team TEXT)": rows_of_members}),
    }
    return Tables(files, Club(tuple(run for run in runs if run.runner in team), team))


def _written(dirt: Dirt, number: int, run: Run) -> list[str]:
    if run.metres is None:
        distance = dirt.missing()
    elif dirt.chance(0.35):
        distance = f"{run.metres} m"
    else:
        distance = dirt.decimal(run.metres // 10, 2) + " km"
    minutes, seconds = divmod(run.seconds, 60)
    if dirt.chance(0.25):
        duration = f"{run.seconds} s"
    elif minutes >= 60:
        duration = f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
    else:
        duration = f"{minutes}:{seconds:02d}"
    fields = (dirt.label(f"R{number:04d}"), dirt.label(run.runner), dirt.stamp(run.started))
    return [*fields, dirt.padded(distance), dirt.padded(duration)]


def distance(club: Club, team: str) -> Fraction:
    return Fraction(club.metres(team).total(), 1000)


def fastest(club: Club, month: str) -> str:
    metres, seconds = Counter[str](), Counter[str]()
    for run in club.runs:
        if run.metres is not None and run.started.month == MONTHS[month]:
            metres[run.runner] += run.metres
            seconds[run.runner] += run.seconds
    return min((Fraction(seconds[name], ran), name) for name, ran in metres.items())[1]


def streak(club: Club, team: str) -> int:
    days = {run.started.date() for run in club.runs if club.team[run.runner] == team}
    longest = 0
    for day in days:
        if day - timedelta(days=1) not in days:
            length = 1
            while day + timedelta(days=length) in days:
                length += 1
            longest = max(longest, length)
    return longest


def milestone(club: Club, share: str) -> date:
    by_day: defaultdict[date, int] = defaultdict(int)
    for run in club.runs:
        by_day[run.started.date()] += run.metres or 0
    total, so_far = sum(by_day.values()), 0
    for day in sorted(by_day):
        so_far += by_day[day]
        if 100 * so_far > int(share) * total:
            break
    return day


def ranking(club: Club, team: str) -> tuple[str, ...]:
    return tuple(best(club.metres(team)))


CLUB = World(
    "club",
    DICTIONARY,
    "club.sqlite",
    draw,
    (
        Kind(
            "club/distance",
            "How many kilometres did the members of the team {team} run in all?",
            Form("decimal", Fraction(1, 200)),
            {"team": TEAMS},
            distance,
        ),
        Kind(
            "club/fastest",
            "Which member (by name) had the lowest pace in {month}: the duration of all of their runs "
            "divided by their distance?",
            Form("text"),
            {"month": tuple(MONTHS)},
            fastest,
        ),
        Kind(
            "club/streak",
            "What is the longest series of days, one after another, on each of which somebody of the team "
            "{team} started a run? Answer with the number of days.",
            Form("integer"),
            {"team": TEAMS},
            streak,
        ),
        Kind(
            "club/milestone",
            "By the end of which day had the club run more than {share} % of the distance of the whole table "
            "for the first time?",
            Form("date"),
            {"share": ("25", "40", "60", "75")},
            milestone,
        ),
        Kind(
            "club/ranking",
            "Who are the members of the team {team}, by name, in the order of the distance they ran in all, "
            "the longest first?",
            Form("list"),
            {"team": TEAMS},
            ranking,
        ),
    ),
)
