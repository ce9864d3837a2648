"""A league: results, the table, form, fixtures."""

from random import Random

from ludus.envs.code.repair.domain import Domain, Draft, Parameters, numbers

README = """# $package

Results of a league and its table. A result is text: `"home 2:1 away"`; a team's name is a word, and
blanks around names and scores do not count. Names are the same in capitals and small letters, and
appear in small letters.

- `$package.table.$table(lines, deductions)`: the table as a list of `[rank, team, played, goals for,
  goals against, points]`. A win gives $win points, a draw $draw, a defeat none; a win with $clear goals
  more or better gives $bonus more. `deductions` maps teams to points that are taken away, not below 0.
  Sorted by points, then goal difference, then goals for, the highest first, then $last, then by name.
  Teams with the same points, goal difference and goals for have the same rank; the rank after them is
  as if they had different ones (1, 2, 2, 4). Lines that are no result (not three parts, or a score that
  is not two numbers) are left out, and so is a team against itself.
- `$package.form.$form(lines, team, count)`: the last `count` results of a team, oldest first, as text
  of `W`, `D` and `L`; and the longest run of results in a row without defeat among all its results:
  `["WDL", 4]`.
- `$package.fixtures.fixtures(teams)`: a round robin, a list of rounds, each a list of `[home, away]`.
  With an odd number of teams, one rests in each round. In round r (from 0), the teams stand in a ring:
  the first stays, the others move on by r places to the right. The first plays against the last, the
  second against the last but one, and so on; the team that stands nearer to the beginning is at home,
  except that the first pair changes sides in every $turn round.
"""

RESULTS = '''"""Reading results."""


class Result:
    def __init__(self, home, away, scored, conceded):
        self.home = home
        self.away = away
        self.scored = scored
        self.conceded = conceded

    def involves(self, team):
        return self.home == team or self.away == team

    def margin(self, team):
        """By how many goals a team won; negative for a defeat."""
        if team == self.home:
            return self.scored - self.conceded
        return self.conceded - self.scored


def read(lines):
    """The results that lines tell of."""
    results = []
    for line in lines:
        parts = line.lower().split()
        if len(parts) != 3 or parts[1].count(":") != 1:
            continue
        scored, conceded = parts[1].split(":")
        if not (scored.isdigit() and conceded.isdigit()):
            continue
        if parts[0] == parts[2]:
            continue
        results.append(Result(parts[0], parts[2], int(scored), int(conceded)))
    return results
'''

TABLE = '''"""The table."""

from $package.results import read


class Row:
    def __init__(self, team):
        self.team = team
        self.played = 0
        self.scored = 0
        self.conceded = 0
        self.points = 0
        self.$tally = 0

    def add(self, scored, conceded, at_home):
        self.played += 1
        self.scored += scored
        self.conceded += conceded
        if scored > conceded:
            self.points += $win
            if scored - conceded >= $clear:
                self.points += $bonus
        elif scored == conceded:
            self.points += $draw
        if $tallied:
            self.$tally += 1

    def standing(self):
        """What decides about the rank; smaller is better."""
        return [-self.points, self.conceded - self.scored, -self.scored]


def $table(lines, deductions):
    rows = {}
    for result in read(lines):
        for team in (result.home, result.away):
            if team not in rows:
                rows[team] = Row(team)
        rows[result.home].add(result.scored, result.conceded, True)
        rows[result.away].add(result.conceded, result.scored, False)
    for team, points in deductions.items():
        if team.lower() in rows:
            row = rows[team.lower()]
            row.points = max(0, row.points - points)
    ranked = sorted(rows.values(), key=lambda row: (row.standing(), -row.$tally, row.team))
    table = []
    rank = 0
    before = None
    for place, row in enumerate(ranked):
        if row.standing() != before:
            rank = place + 1
        before = row.standing()
        table.append([rank, row.team, row.played, row.scored, row.conceded, row.points])
    return table
'''

FORM = '''"""How a team has been doing."""

from $package.results import read


def letter(margin):
    if margin > 0:
        return "W"
    if margin < 0:
        return "L"
    return "D"


def longest(letters):
    """The longest run without defeat."""
    best = 0
    run = 0
    for one in letters:
        if one == "L":
            run = 0
            continue
        run += 1
        best = max(best, run)
    return best


def $form(lines, team, count):
    name = team.strip().lower()
    letters = ""
    for result in read(lines):
        if result.involves(name):
            letters += letter(result.margin(name))
    start = max(0, len(letters) - count)
    return [letters[start:], longest(letters)]
'''

FIXTURES = '''"""Who plays whom, and when."""


def rotated(teams, places):
    """The first stays, the others move on to the right."""
    others = teams[1:]
    places = places % max(1, len(others))
    cut = len(others) - places
    return [teams[0]] + others[cut:] + others[:cut]


def fixtures(teams):
    ring = list(teams)
    if len(ring) % 2 == 1:
        ring.append(None)
    rounds = []
    for number in range(len(ring) - 1):
        order = rotated(ring, number)
        games = []
        for place in range(len(order) // 2):
            home, away = order[place], order[len(order) - 1 - place]
            if place == 0 and number % $every == $every - 1:
                home, away = away, home
            if home is not None and away is not None:
                games.append([home, away])
        rounds.append(games)
    return rounds
'''

TEAMS = ("elks", "Owls", "rams", "Bees")


def calls(rng: Random, parameters: Parameters) -> Draft:
    if rng.random() < 0.15:
        return "fixtures", "fixtures", [list("abcdefg")[: rng.randint(2, 7)]]
    lines = []
    for _ in range(rng.randint(4, 9)):
        home, away = rng.sample(TEAMS, 2)
        score = f"{rng.randint(0, 4)}:{rng.randint(0, 3)}"
        away, score = (home, score) if rng.random() < 0.05 else (away, score)
        score = rng.choice(("2-1", "1:x", "3:1:0")) if rng.random() < 0.06 else score
        lines.append(f"{rng.choice(('', ' '))}{home} {score}  {rng.choice((away, away.upper()))}")
    if rng.random() < 0.3:
        return "form", parameters["form"], [lines, rng.choice(("elks", "OWLS ", "rams")), rng.randint(1, 5)]
    deductions = {rng.choice((*TEAMS, "none")): rng.randint(1, 5)} if rng.random() < 0.4 else {}
    return "table", parameters["table"], [lines, deductions]


DOMAIN = Domain(
    name="league",
    choices={
        "package": ("league", "tournament", "cup", "season"),
        "table": ("table", "standings", "ranking"),
        "form": ("form", "streak", "recent"),
        "win": numbers(3, 4),
        "draw": numbers(1, 2),
        "clear": numbers(2, 3),
        "bonus": numbers(1, 2),
        "last": (
            "by the number of games not lost, the highest first",
            "by the number of games away, the highest first",
            "by the number of games without a goal conceded, the highest first",
        ),
        "turn": ("second", "third"),
    },
    code={
        "tally": ("last", ("unbeaten", "travelled", "clean_sheets")),
        "tallied": ("last", ("scored >= conceded", "not at_home", "conceded == 0")),
        "every": ("turn", ("2", "3")),
    },
    readme=README,
    modules={"results.py": RESULTS, "table.py": TABLE, "form.py": FORM, "fixtures.py": FIXTURES},
    calls=calls,
)
