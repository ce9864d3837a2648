"""A text index: words, postings, queries, ranking."""

from random import Random

from ludus.envs.code.repair.domain import Domain, Draft, Parameters, numbers

README = """# $package

Searches short texts.

`$package.words.words(text)`: the words of a text in order, in small letters. A word is a run of letters
and digits; everything else separates. Words of fewer than $short characters are left out, and so are
`$stop` and `the`.

`$package.library.$run(steps)` carries out steps and returns the list of their answers:

- `["add", name, text]`: a document; one of the same name is replaced. Answer: how many words it has.
- `["remove", name]`: answer: whether it was there.
- `["find", query]`: the names of the documents that fit, best first. The query's parts are apart by
  blanks; the words of a part, as `words` finds them, are looked for, but those of a part that begins with
  `-` must not occur. A document fits if it has $need of the words looked for, and none that must not
  occur. A query without a word to look for finds nothing. The score of a document is, for each word looked
  for, how often it occurs in the document, but at most $cap times, added up; a document whose first word is
  among them gets $bonus more. Equal scores: the document with $tie first, then by name.
- `["common", count]`: the `count` words that occur in the most documents, as `[word, documents]`, the
  most frequent first, then by word.
"""

WORDS = '''"""Words of texts."""

SHORT = $short
STOP = ("$stop", "the")


def words(text):
    """The words of a text, in order."""
    found = []
    current = ""
    for character in text.lower() + " ":
        if character.isalnum():
            current += character
            continue
        if len(current) >= SHORT and current not in STOP:
            found.append(current)
        current = ""
    return found
'''

INDEX = '''"""Which word occurs in which document, and how often."""


class Index:
    def __init__(self, documents=None):
        if documents is None:
            documents = {}
        self.documents = documents
        self.common_cache = {}

    def add(self, name, found):
        self.documents[name] = list(found)
        self.common_cache.clear()

    def remove(self, name):
        if name not in self.documents:
            return False
        del self.documents[name]
        self.common_cache.clear()
        return True

    def count(self, word, name):
        """How often a word occurs in a document."""
        return self.documents[name].count(word)

    def common(self, count):
        """The words that occur in the most documents."""
        if count not in self.common_cache:
            numbers = {}
            for found in self.documents.values():
                for word in set(found):
                    numbers[word] = numbers.get(word, 0) + 1
            ranked = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
            self.common_cache[count] = [[word, number] for word, number in ranked[:count]]
        return self.common_cache[count]
'''

QUERY = '''"""Queries and how well documents fit them."""

from $package.words import words

CAP = $cap
BONUS = $bonus


def parse(text):
    """The words to look for, and the words that must not occur."""
    wanted = []
    unwanted = []
    for part in text.split():
        if part.startswith("-"):
            unwanted += words(part[1:])
        else:
            wanted += words(part)
    return wanted, unwanted


def fits(index, name, wanted, unwanted):
    if any(index.count(word, name) > 0 for word in unwanted):
        return False
    return $quantifier(index.count(word, name) > 0 for word in wanted)


def score(index, name, wanted):
    total = 0
    for word in wanted:
        total += min(index.count(word, name), CAP)
    found = index.documents[name]
    if found and found[0] in wanted:
        total += BONUS
    return total


def find(index, text):
    """The names of the documents that fit, best first."""
    wanted, unwanted = parse(text)
    if not wanted:
        return []
    ranked = []
    for name, found in index.documents.items():
        if fits(index, name, wanted, unwanted):
            ranked.append((score(index, name, wanted), len(found), name))
    return [name for points, size, name in sorted(ranked, key=lambda row: (-row[0], $size, row[2]))]
'''

LIBRARY = '''"""Steps and their answers."""

from $package.index import Index
from $package.query import find
from $package.words import words


def $run(steps):
    index = Index()
    answers = []
    for step in steps:
        if step[0] == "add":
            found = words(step[2])
            index.add(step[1], found)
            answers.append(len(found))
        elif step[0] == "remove":
            answers.append(index.remove(step[1]))
        elif step[0] == "find":
            answers.append(find(index, step[1]))
        else:
            answers.append(index.common(step[1]))
    return answers
'''

WORDS_USED = ("owl", "Fox", "bear", "sea", "ship", "and", "the", "oak", "it", "of", "n9", "A", "Sea-bear")


def calls(rng: Random, parameters: Parameters) -> Draft:
    def text(least: int, most: int) -> str:
        some = (parameters["stop"], *WORDS_USED)
        return rng.choice((" ", ", ")).join(rng.choices(some, k=rng.randint(least, most)))

    if rng.random() < 0.12:
        return "words", "words", [text(3, 9)]
    steps: list[list[object]] = [["add", name, text(2, 8)] for name in "pqrst"[: rng.randint(2, 4)]]
    for _ in range(rng.randint(2, 5)):
        kind = rng.choices(("find", "common", "remove", "add"), (6, 3, 1, 2))[0]
        if kind == "find":
            without = f" -{rng.choice(WORDS_USED)}" if rng.random() < 0.4 else ""
            steps.append([kind, text(1, 3) + without])
        elif kind == "common":
            steps.append([kind, rng.randint(1, 3)])
        else:
            name = rng.choice("pqrz")
            steps.append([kind, name, text(2, 8)] if kind == "add" else [kind, name])
    return "library", parameters["run"], [steps]


DOMAIN = Domain(
    name="textindex",
    choices={
        "package": ("textindex", "finder", "archive", "lookup"),
        "run": ("run", "serve", "answers"),
        "short": numbers(2, 3),
        "stop": ("and", "owl", "oak"),
        "need": ("all", "at least one"),
        "cap": numbers(2, 3),
        "bonus": numbers(1, 3),
        "tie": ("fewer words", "more words"),
    },
    code={"quantifier": ("need", ("all", "any")), "size": ("tie", ("row[1]", "-row[1]"))},
    readme=README,
    modules={"words.py": WORDS, "index.py": INDEX, "query.py": QUERY, "library.py": LIBRARY},
    calls=calls,
)
