"""Single key presses from the terminal, without waiting for Enter."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SEQUENCES = {"A": "up", "B": "down", "C": "right", "D": "left"}
"""Last characters of the sequences for the arrow keys: ESC [ A, or ESC O A in application mode."""
_LETTERS = {"w": "up", "s": "down", "d": "right", "a": "left", "q": "quit"}


@contextmanager
def key_presses() -> Iterator[None]:
    """Inside the context, keys arrive one by one and are not echoed; no change if stdin is not a terminal.

    Ctrl-C still interrupts.
    """
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def read_key() -> str:
    """`up`, `down`, `left`, `right` for the arrows and WASD, `quit` for q; else the character itself.

    The end of the input counts as `quit`.
    """
    character = sys.stdin.read(1)
    if character == "\x1b":
        sys.stdin.read(1)
        return _SEQUENCES.get(sys.stdin.read(1), "")
    if character in ("", "\x04"):
        return "quit"
    return _LETTERS.get(character.lower(), character)
