"""A library's loans: two date formats, books still on loan, editions, fines in two units."""

from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from random import Random
from statistics import median

from ludus.envs.code.analysis.answers import Form
from ludus.envs.code.analysis.dirt import Dirt
from ludus.envs.code.analysis.world import Kind, Tables, World, best, delimited, sqlite

GENRES = ("crime", "history", "poetry", "science", "travel")
ADJECTIVES = ("Blue", "Silent", "Last", "Hidden", "Second", "Broken", "Distant", "Quiet", "Golden", "Lost")
NOUNS = ("Harbour", "Letter", "Garden", "Winter", "Engine", "River", "Mirror", "Island", "Signal", "Orchard")
FIRST = date(2024, 1, 1)
DAYS = 182
MONTHS = {"February 2024": 2, "March 2024": 3, "April 2024": 4, "May 2024": 5, "June 2024": 6}
EVENINGS = ("2024-02-10", "2024-03-15", "2024-04-20", "2024-05-05", "2024-06-01")
FREE_DAYS, CENTS_A_DAY = 21, 15

DICTIONARY = """\
loans.csv, separated by semicolons: loan_id; book_id; borrowed; returned; fine
library.sqlite: books (book_id, edition, title, genre)
- Upper and lower case and whitespace around ids, titles and genres mean nothing.
- A loan_id may occur more than once: a row is written when the book goes out, with no returned and no fine,
  and another when it comes back. The row with a date in returned counts, wherever it stands.
- returned is missing where it is empty, NA, n/a or ?: then, with no other row, the book is still out.
- Dates are written 2024-01-31 or 31.01.2024 (the day first).
- fine is in euros with a decimal point or a decimal comma, or in cents where it ends in ct. Missing is 0.
- A book may stand in books in more than one edition: the row with the highest edition counts."""


@dataclass(frozen=True)
class Loan:
    book: str
    borrowed: date
    returned: date | None
    cents: int


@dataclass(frozen=True)
class Library:
    loans: tuple[Loan, ...]
    title: dict[str, str]
    genre: dict[str, str]

    def out(self, day: date) -> int:
        """The number of books on loan at the end of a day."""
        return sum(
            loan.borrowed <= day and (loan.returned is None or loan.returned > day) for loan in self.loans
        )


def draw(rng: Random, rows: int) -> Tables:
    dirt = Dirt(rng)
    names = rng.sample([f"The {first} {last}" for first in ADJECTIVES for last in NOUNS], 30)
    title = {f"B{number:02d}": name for number, name in enumerate(names, 1)}
    genre = {book: GENRES[index % len(GENRES)] for index, book in enumerate(rng.sample([*title], len(title)))}
    popular = rng.choices([*title], [rng.uniform(0.5, 3) for _ in title], k=rows)
    loans = tuple(_loan(rng, book) for book in popular)
    lines, later = [], []
    for number, loan in enumerate(loans, 1):
        loan_id, book = dirt.label(f"L{number:04d}"), dirt.label(loan.book)
        going = [loan_id, book, dirt.day(loan.borrowed), dirt.missing(), dirt.missing()]
        if loan.returned is None:
            lines.append(going)
            continue
        fine = dirt.money(loan.cents) if loan.cents or dirt.chance(0.3) else dirt.missing()
        back = [loan_id, book, dirt.day(loan.borrowed), dirt.day(loan.returned), fine]
        if dirt.chance(0.15):
            lines.append(going)
            later.append(back)
        else:
            lines.append(back)
    books = [(book, 2, dirt.label(title[book]), dirt.label(genre[book])) for book in title]
    books += [(book, 1, title[book], rng.choice(GENRES)) for book in rng.sample([*title], 8)]
    mixed = rng.sample(lines + later, len(lines) + len(later))
    files = {
        "loans.csv": delimited(("loan_id", "book_id", "borrowed", "returned", "fine"), mixed, ";"),
        "library.sqlite": sqlite(
            {
                "books (book_id TEXT, edition INTEGER, title TEXT, genre TEXT)": rng.sample(
                    books, len(books)
                ),
            }
        ),
    }
    return Tables(files, Library(loans, title, genre))


def _loan(rng: Random, book: str) -> Loan:
    borrowed = FIRST + timedelta(days=rng.randrange(DAYS))
    length = rng.randint(1, 40)
    if rng.random() < 0.08:
        return Loan(book, borrowed, None, 0)
    return Loan(book, borrowed, borrowed + timedelta(days=length), max(0, length - FREE_DAYS) * CENTS_A_DAY)


def out(library: Library, evening: str) -> int:
    return library.out(date.fromisoformat(evening))


def median_days(library: Library, genre: str) -> Fraction:
    days = [
        Fraction((loan.returned - loan.borrowed).days)
        for loan in library.loans
        if loan.returned is not None and library.genre[loan.book] == genre
    ]
    return median(days)


def top_title(library: Library, month: str) -> str:
    counts = Counter(
        library.title[loan.book] for loan in library.loans if loan.borrowed.month == MONTHS[month]
    )
    return best(counts)[0]


def peak(library: Library, month: str) -> date:
    days = [day for offset in range(DAYS) if (day := FIRST + timedelta(offset)).month == MONTHS[month]]
    return min(days, key=lambda day: (-library.out(day), day))


def titles(library: Library, genre: str) -> tuple[str, ...]:
    counts = Counter({library.title[book]: 0 for book, of in library.genre.items() if of == genre})
    counts.update(library.title[loan.book] for loan in library.loans if library.genre[loan.book] == genre)
    return tuple(best(counts)[:3])


def fines(library: Library, month: str) -> Fraction:
    cents = sum(
        loan.cents
        for loan in library.loans
        if loan.returned is not None and loan.returned.month == MONTHS[month] and loan.returned.year == 2024
    )
    return Fraction(cents, 100)


LIBRARY = World(
    "library",
    DICTIONARY,
    "library.sqlite",
    draw,
    (
        Kind(
            "library/out",
            "How many loans were out at the end of {evening}: borrowed by then, and not returned by then?",
            Form("integer"),
            {"evening": EVENINGS},
            out,
        ),
        Kind(
            "library/median-days",
            "What is the median of the days from borrowed to returned over the returned loans of the genre "
            "{genre}?",
            Form("decimal", Fraction(1, 100)),
            {"genre": GENRES},
            median_days,
        ),
        Kind(
            "library/top-title",
            "Which title was borrowed most often in {month}? Of several, the first in the alphabet.",
            Form("text"),
            {"month": tuple(MONTHS)},
            top_title,
        ),
        Kind(
            "library/peak",
            "At the end of which day of {month} were the most loans out? Of several, the earliest.",
            Form("date"),
            {"month": tuple(MONTHS)},
            peak,
        ),
        Kind(
            "library/titles",
            "Which three titles of the genre {genre} were borrowed most often, the most frequent first? Of "
            "several with as many loans, the first in the alphabet first.",
            Form("list"),
            {"genre": GENRES},
            titles,
        ),
        Kind(
            "library/fines",
            "What do the fines of the loans returned in {month} come to, in euros?",
            Form("decimal", Fraction(1, 200)),
            {"month": tuple(MONTHS)},
            fines,
        ),
    ),
)
