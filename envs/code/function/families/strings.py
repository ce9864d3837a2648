"""Strings: words, letters and lines."""

from ludus.envs.code.function.families.family import Family
from ludus.envs.code.function.families.inputs import letters, words

FAMILIES = (
    Family(
        "keep-words",
        "strings",
        "keep(text)",
        "`text` is words separated by single spaces, or empty. Return one string: the words that have "
        "$compare $size letters, in $order order, with $joint between them.",
        """
def keep(text):
    words = [word for word in text.split() if len(word) $compare $size]
    return $joint.join($order)
""",
        lambda rng, values: (" ".join(words(rng, 3, 9)),),
        {
            "compare": {"more than": ">", "at least": ">=", "fewer than": "<", "exactly": "=="},
            "size": range(3, 7),
            "order": {"the same": "words", "reverse": "words[::-1]", "alphabetical": "sorted(words)"},
            "joint": {"a hyphen": "'-'", "a comma": "','", "a plus sign": "'+'"},
        },
        lambda values: [("",), ("a be sea tree house island windows",), ("x" * values["size"],)],
    ),
    Family(
        "shift-letters",
        "strings",
        "shift(text)",
        "Replace $which of `text` by the letter $places places $direction in the alphabet a to z, going "
        "round at its end; capital letters stay capital. Everything else stays. Return the new text.",
        """
def shift(text):
    out = ""
    for c in text:
        if $which:
            first = ord("A") if c.isupper() else ord("a")
            c = chr((ord(c) - first $direction $places) % 26 + first)
        out += c
    return out
""",
        lambda rng, values: (
            " ".join(rng.choice((word, word.title(), word.upper())) for word in words(rng, 1, 5)),
        ),
        {
            "which": {
                "every letter": "c.isascii() and c.isalpha()",
                "every small letter": "'a' <= c <= 'z'",
                "every capital letter": "'A' <= c <= 'Z'",
                "every vowel (a, e, i, o, u, small or capital)": "c.lower() in list('aeiou')",
            },
            "places": range(1, 26),
            "direction": {"further": "+", "back": "-"},
        },
        lambda values: [("",), ("xyz XYZ abc ABC",), ("Aeiou, 12 Zebras!",)],
    ),
    Family(
        "squeeze",
        "strings",
        "squeeze(text)",
        "Replace every run of $least or more equal characters in `text` by $form; shorter runs stay as they "
        "are. A run is as long as it can be. Return the new text.",
        """
def squeeze(text):
    out, i = "", 0
    while i < len(text):
        c, j = text[i], i
        while j < len(text) and text[j] == c:
            j += 1
        n = j - i
        out += $form if n >= $least else c * n
        i = j
    return out
""",
        lambda rng, values: (
            "".join(
                rng.choice("abcx") * rng.choice((1, 1, 2, 3, 4, 5, 11)) for _ in range(rng.randint(1, 7))
            ),
        ),
        {
            "least": range(2, 6),
            "form": {
                "its length and then the character": "str(n) + c",
                "the character and then its length": "c + str(n)",
                "the character and a star": "c + '*'",
                "the character, twice": "c + c",
                "the character and then its length in parentheses": "f'{c}({n})'",
                "a single character": "c",
            },
        },
        lambda values: [
            ("",),
            ("a" * values["least"],),
            ("a" * (values["least"] - 1),),
            ("abcabc",),
            ("b" * 12 + "a" * values["least"],),
        ],
    ),
    Family(
        "occurrences",
        "strings",
        "count(text, part)",
        "`part` is not empty. Return how often `part` occurs in `text`$case, beginning at index $start or "
        "later. Occurrences $overlap.",
        """
def count(text, part):
    text, part = $case
    found, i = 0, $start
    while i + len(part) <= len(text):
        if text.startswith(part, i):
            found += 1
            i += $overlap
        else:
            i += 1
    return found
""",
        lambda rng, values: (letters(rng, 6, 30, "aabAB"), letters(rng, 1, 3, "aabA")),
        {
            "case": {
                "": "text, part",
                ", small and capital letters being the same": "text.lower(), part.lower()",
            },
            "start": range(12),
            "overlap": {
                "may overlap": "1",
                "may not overlap; take them from left to right": "len(part)",
                "must have at least one character between them; take them from left to right": (
                    "len(part) + 1"
                ),
            },
        },
        lambda values: [
            ("", "a"),
            ("a" * 20, "aa"),
            ("a" * 20, "aaa"),
            ("AaAaAaAaAaAaAaAaAaA", "AaA"),
            ("b", "bb"),
        ],
    ),
    Family(
        "wrap",
        "strings",
        "wrap(text)",
        "`text` is words separated by single spaces, or empty. Break it into lines of at most $width "
        "characters: each line takes as many of the next words as fit, with single spaces between them, and "
        "a word longer than that has a line of its own. Return the list of lines, $form.",
        """
def wrap(text):
    lines = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= $width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return $form
""",
        lambda rng, values: (" ".join(words(rng, 3, 12)),),
        {
            "width": range(6, 19),
            "form": {
                "as they are": "lines",
                "each filled up with dots on the right to that width": (
                    "[line.ljust($width, '.') for line in lines]"
                ),
                "each filled up with dots on the left to that width": (
                    "[line.rjust($width, '.') for line in lines]"
                ),
                "each with its number in front: `1:first line`": (
                    "[f'{i}:{x}' for i, x in enumerate(lines, 1)]"
                ),
            },
        },
        lambda values: [
            ("",),
            ("x" * values["width"] + " y",),
            ("x" * (values["width"] + 3) + " and more",),
            ("a " * values["width"] + "a",),
        ],
    ),
    Family(
        "initials",
        "strings",
        "initials(name)",
        "`name` is words separated by one or more spaces, with none or more around them. Return one string: "
        "the $which letter of every word of at least $size letters, $form, and $mark after each.",
        """
def initials(name):
    return "".join(word[$which].$form() + "$mark" for word in name.split() if len(word) >= $size)
""",
        lambda rng, values: (
            "  " * rng.randint(0, 1) + "  ".join(rng.choice((w, w.title())) for w in words(rng, 2, 6)),
        ),
        {
            "which": {"first": "0", "last": "-1"},
            "size": range(2, 6),
            "form": {"as a capital": "upper", "as a small letter": "lower"},
            "mark": {"a dot": ".", "a dash": "-", "a slash": "/", "a star": "*"},
        },
        lambda values: [("",), ("   ",), ("x",), ("Ada  de  Lovelace",)],
    ),
    Family(
        "kindred-words",
        "strings",
        "kin(words)",
        "Two words are kin when they consist of the same letters, $letters. Return the groups of kin in the "
        "list `words` that have at least $least members. The members of a group are in alphabetical order, "
        "a repeated word as often as it occurs; the groups are in the order of $order.",
        """
def kin(words):
    groups = {}
    for word in words:
        groups.setdefault($letters, []).append(word)
    chosen = [sorted(group) for group in groups.values() if len(group) >= $least]
    return sorted(chosen, key=$order)
""",
        lambda rng, values: ([letters(rng, 2, 3, "abc") for _ in range(rng.randint(4, 14))],),
        {
            "letters": {
                "each as often": "''.join(sorted(word))",
                "however often each occurs": "''.join(sorted(set(word)))",
            },
            "least": range(1, 4),
            "order": {
                "their first members": "lambda group: group[0]",
                "their last members": "lambda group: group[-1]",
                "their sizes, the largest first, and of equal size in the order of their first members": (
                    "lambda group: (-len(group), group[0])"
                ),
            },
        },
        lambda values: [([],), (["abba", "ab", "baab", "ba", "c", "c", "aabb"],)],
    ),
    Family(
        "fence",
        "strings",
        "fence(text)",
        "Write `text` along a zigzag over $rails rails: its first character goes on the $first rail, the "
        "next on the next one, and so on to the other side and back again. Then read the rails from "
        "$reading, each from left to right, and return what is read, with '$mark' between the rails.",
        """
def fence(text):
    rails = [""] * $rails
    rail, step = $first, 1
    for c in text:
        rails[rail] += c
        if not 0 <= rail + step < $rails:
            step = -step
        rail += step
    return "$mark".join(rails$reading)
""",
        lambda rng, values: (letters(rng, 5, 20),),
        {
            "rails": range(2, 7),
            "first": {"top": "0", "bottom": "$rails - 1"},
            "reading": {"top to bottom": "", "bottom to top": "[::-1]"},
            "mark": {mark: mark for mark in "/|-"},
        },
        lambda values: [("",), ("a",), ("abcdefghijklm",)],
    ),
)
