"""The oracle's programs, which answer every kind of question from the files alone.

They clean the tables as the data dictionaries say, using only the standard library, and share no code with
the references, which never see a dirty value.
"""

_COMMON = r"""
import csv, sqlite3, statistics
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta, timezone

MISSING = ("", "na", "n/a", "?")

def clean(text):
    return " ".join(text.split()).lower()

def table(name, delimiter):
    with open(name, newline="", encoding="utf-8") as file:
        return [{k: clean(v) for k, v in row.items()} for row in csv.DictReader(file, delimiter=delimiter)]

def query(name, sql):
    return sqlite3.connect(name).execute(sql).fetchall()

def utc(text):
    return datetime.fromisoformat(text.upper()).astimezone(timezone.utc)

def number(text):
    return float(text.replace(",", "."))

def money(text):
    if text in MISSING:
        return 0.0
    return float(text[:-2]) / 100 if text.endswith("ct") else number(text)

def day(text):
    return datetime.strptime(text, "%Y-%m-%d" if "-" in text else "%d.%m.%Y").date()

def in_month(when, month):
    return when.strftime("%B %Y") == month

def ranked(totals):
    return sorted(totals, key=lambda name: (-round(totals[name], 6), name))
"""

_SHOP = r"""
orders = {}
for row in table("orders.csv", ";"):
    orders[row["order_id"]] = row
for row in orders.values():
    row["placed_at"] = utc(row["placed_at"])
    quantity = 0 if row["quantity"] in MISSING else int(row["quantity"])
    row["revenue"] = quantity * money(row["price"])
country = {}
for customer, where, _ in query("shop.sqlite", "SELECT * FROM customers ORDER BY updated"):
    country[clean(customer)] = clean(where)
category = {clean(product): clean(name) for product, name in query("shop.sqlite", "SELECT * FROM products")}
"""

_WEATHER = r"""
site, offset, correction = {}, {}, {}
for sensor, where, ahead in query("weather.sqlite", "SELECT * FROM stations"):
    site[clean(sensor)] = clean(where)
    hours, minutes = int(ahead[1:3]), int(ahead[4:])
    offset[clean(sensor)] = timedelta(hours=hours, minutes=minutes) * (-1 if ahead[0] == "-" else 1)
for sensor, degrees in query("weather.sqlite", "SELECT * FROM corrections"):
    correction[clean(sensor)] = degrees
readings = {}
for row in table("readings.csv", ","):
    readings.setdefault((row["sensor"], row["time"]), row)
known, lost = [], Counter({sensor: 0 for sensor in site})
for row in readings.values():
    sensor = row["sensor"]
    if row["value"] in ("", "nan", "-999"):
        lost[sensor] += 1
        continue
    degrees = number(row["value"])
    if "f" in row["unit"]:
        degrees = (degrees - 32) / 1.8
    degrees = round(degrees + correction.get(sensor, 0), 1)
    known.append((sensor, datetime.fromisoformat(row["time"]) - offset[sensor], degrees))
"""

_CLUB = r"""
team = {clean(name): clean(of) for _, name, of in query("club.sqlite", "SELECT * FROM members")}
runs = {}
for row in table("runs.tsv", "\t"):
    if row["runner"] in team:
        runs[row["run_id"]] = row
for row in runs.values():
    row["day"] = utc(row["started"]).date()
    distance = row["distance"]
    if distance in MISSING:
        row["km"] = None
    else:
        row["km"] = number(distance[:-2]) if distance.endswith("km") else float(distance[:-1]) / 1000
    if row["duration"].endswith("s"):
        row["seconds"] = int(row["duration"][:-1])
    else:
        row["seconds"] = 0
        for part in row["duration"].split(":"):
            row["seconds"] = 60 * row["seconds"] + int(part)
total = {name: 0.0 for name in team}
for row in runs.values():
    total[row["runner"]] += row["km"] or 0
"""

_LIBRARY = r"""
title, genre = {}, {}
for book, _, name, of in query("library.sqlite", "SELECT * FROM books ORDER BY edition"):
    title[clean(book)], genre[clean(book)] = clean(name), clean(of)
loans = {}
for row in table("loans.csv", ";"):
    row["borrowed"] = day(row["borrowed"])
    row["returned"] = None if row["returned"] in MISSING else day(row["returned"])
    if row["loan_id"] not in loans or row["returned"]:
        loans[row["loan_id"]] = row
loans = list(loans.values())

def out(evening):
    return sum(r["borrowed"] <= evening and not (r["returned"] and r["returned"] <= evening) for r in loans)
"""

_LOADERS = {"shop": _SHOP, "weather": _WEATHER, "club": _CLUB, "library": _LIBRARY}

_ENDINGS = {
    "shop/revenue": r'''
print(sum(row["revenue"] for row in orders.values()
          if in_month(row["placed_at"], month) and country[row["customer_id"]] == country_asked))
''',
    "shop/best-product": r'''
totals = {product: 0 for product in category}
for row in orders.values():
    if country[row["customer_id"]] == country_asked:
        totals[row["product"]] += row["revenue"]
print(ranked(totals)[0])
''',
    "shop/busiest-day": r'''
counts = Counter(row["placed_at"].date() for row in orders.values() if in_month(row["placed_at"], month))
print(ranked(counts)[0])
''',
    "shop/idle-customers": r'''
active = {row["customer_id"] for row in orders.values() if in_month(row["placed_at"], month)}
print(len(country.keys() - active))
''',
    "shop/top-customers": r'''
totals = {customer: 0 for customer in country}
for row in orders.values():
    if category[row["product"]] == category_asked:
        totals[row["customer_id"]] += row["revenue"]
print(*ranked(totals)[:3], sep=", ")
''',
    "weather/mean": r'''
print(statistics.fmean(degrees for sensor, _, degrees in known if site[sensor] == site_asked))
''',
    "weather/above": r'''
print(sum(site[sensor] == site_asked and degrees > float(degrees_asked) for sensor, _, degrees in known))
''',
    "weather/coldest-day": r'''
print(min((degrees, time) for sensor, time, degrees in known if site[sensor] == site_asked)[1].date())
''',
    "weather/gaps": r'''
print(*ranked(lost)[:3], sep=", ")
''',
    "weather/warmest": r'''
by_sensor = defaultdict(list)
for sensor, time, degrees in known:
    if (time.hour < 12) == (half == "before noon"):
        by_sensor[sensor].append(degrees)
print(ranked({sensor: statistics.fmean(values) for sensor, values in by_sensor.items()})[0])
''',
    "club/distance": r'''
print(sum(km for name, km in total.items() if team[name] == team_asked))
''',
    "club/fastest": r'''
seconds, ran = Counter(), Counter()
for row in runs.values():
    if row["km"] is not None and in_month(row["day"], month):
        seconds[row["runner"]] += row["seconds"]
        ran[row["runner"]] += row["km"]
print(min((seconds[name] / ran[name], name) for name in ran)[1])
''',
    "club/streak": r'''
days = sorted({row["day"] for row in runs.values() if team[row["runner"]] == team_asked})
longest = length = 0
for before, today in zip([None, *days], days):
    length = length + 1 if before and today - before == timedelta(days=1) else 1
    longest = max(longest, length)
print(longest)
''',
    "club/milestone": r'''
by_day = defaultdict(float)
for row in runs.values():
    by_day[row["day"]] += row["km"] or 0
so_far, goal = 0, sum(by_day.values()) * int(share) / 100
for today in sorted(by_day):
    so_far += by_day[today]
    if so_far > goal:
        print(today)
        break
''',
    "club/ranking": r'''
print(*ranked({name: km for name, km in total.items() if team[name] == team_asked}), sep=", ")
''',
    "library/out": r'''
print(out(date.fromisoformat(evening)))
''',
    "library/median-days": r'''
print(statistics.median((r["returned"] - r["borrowed"]).days for r in loans
                        if r["returned"] and genre[r["book_id"]] == genre_asked))
''',
    "library/top-title": r'''
print(ranked(Counter(title[r["book_id"]] for r in loans if in_month(r["borrowed"], month)))[0])
''',
    "library/peak": r'''
days = [date(2024, 1, 1) + timedelta(days=number) for number in range(200)]
print(ranked({today: out(today) for today in days if in_month(today, month)})[0])
''',
    "library/titles": r'''
counts = Counter({title[book]: 0 for book in title if genre[book] == genre_asked})
for r in loans:
    if genre[r["book_id"]] == genre_asked:
        counts[title[r["book_id"]]] += 1
print(*ranked(counts)[:3], sep=", ")
''',
    "library/fines": r'''
print(sum(money(r["fine"]) for r in loans if r["returned"] and in_month(r["returned"], month)))
''',
}  # fmt: skip

# Names that the loaders use for something else.
_TAKEN = {"country", "category", "site", "degrees", "team", "genre"}


def solution(kind: str, parameters: dict[str, str]) -> str:
    """A program that prints the answer to a kind of question."""
    asked = "".join(
        f"{name}_asked = {value.lower()!r}\n" if name in _TAKEN else f"{name} = {value!r}\n"
        for name, value in parameters.items()
    )
    return _COMMON + _LOADERS[kind.partition("/")[0]] + asked + _ENDINGS[kind]
