"""Finds the program in a reply to the function environments."""

import re
from dataclasses import dataclass

MOST_CHARACTERS = 20_000
"""Longer programs are not run."""
_BLOCK = re.compile(r"```[ \t]*([^\s`]*)[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_LANGUAGES = ("", "python", "python3", "py")


@dataclass(frozen=True)
class Program:
    """The program in a reply, or the reason why there is none."""

    code: str = ""
    complaint: str = ""


def program_in(text: str, function: str) -> Program:
    """The last Python block that defines the function, or the whole reply if it has no code block.

    Blocks marked as something else, such as output, do not count; if none defines the function, the last one
    is taken. A program that does not even name the function is refused.
    """
    blocks = _BLOCK.findall(text)
    codes = [code for language, code in blocks if language.lower() in _LANGUAGES]
    defines = re.compile(
        rf"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+{function}\b|^{function}[ \t]*[:=]", re.MULTILINE
    )
    codes = [code for code in codes if defines.search(code)] or codes
    code = (codes[-1] if codes else "" if blocks else text).strip()
    if not re.search(rf"\b{function}\b", code):
        return Program(complaint=f"There is no program that defines {function} in the reply.")
    if len(code) > MOST_CHARACTERS:
        return Program(complaint=f"The program is longer than {MOST_CHARACTERS} characters.")
    return Program(code)
