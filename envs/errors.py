"""`ArgumentError`: an environment was asked for something that it does not offer."""

import difflib
import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from ludus.tools.errors import UserError


class ArgumentError(UserError, ValueError):
    """A wrong argument, option or seed. The message names the value, the likely cause and the fix."""

    exit_code = 2


def unknown(kind: str, name: object, owner: str, known: Sequence[str]) -> str:
    """What to say about a name that is not `known`: the nearest one, and all of them."""
    near = difflib.get_close_matches(str(name), known, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else "."
    return f"{owner} knows no {kind} {name!r}{guess} It knows: {', '.join(map(str, known)) or 'none'}"


def refuse_unknown_arguments(cls: type, names: Iterable[str]) -> None:
    """For `__new__`, before Python's own refusal, which says neither what was meant nor what there is.

    Raises:
        ArgumentError: the constructor takes no argument of such a name.
    """
    known = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for name in names:
        if name not in known:
            raise ArgumentError(unknown("argument", name, cls.__name__, [*known][1:]))


def as_names(argument: str, given: Any) -> tuple[Any, ...]:
    """The names that an argument gives: several, or a single one.

    Raises:
        ArgumentError: it is nothing of the kind.
    """
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, Iterable):
        raise ArgumentError(f"{argument}={given!r}: give a name, or a list of names")
    return tuple(given)


def as_flag(argument: str, given: Any) -> bool:
    """
    Raises:
        ArgumentError: it is neither True nor False; a text such as "no" would count as True.
    """
    if not isinstance(given, bool):
        raise ArgumentError(f"{argument}={given!r}: give True or False")
    return given


def as_integer(argument: str, given: Any, least: int, most: int) -> int:
    """
    Raises:
        ArgumentError: it is no integer from `least` to `most`.
    """
    if type(given) is not int or not least <= given <= most:
        raise ArgumentError(f"{argument}={given!r}: give an integer from {least} to {most}")
    return given


def as_share(argument: str, given: Any) -> float:
    """
    Raises:
        ArgumentError: it is no number from 0 to 1.
    """
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
        raise ArgumentError(f"{argument}={given!r}: give a number from 0 to 1")
    return float(given)


def as_kinds(given: Any, known: Sequence[str], owner: str) -> tuple[str, ...]:
    """The kinds of task that an environment is asked for; None stands for all.

    Raises:
        ArgumentError: naming the one that is none, and all that there are.
    """
    chosen = tuple(known) if given is None else as_names("kinds", given)
    for kind in chosen:
        if kind not in known:
            raise ArgumentError(unknown("kind", kind, owner, known))
    if not chosen:
        raise ArgumentError(f"kinds={given!r} is empty; choose from {', '.join(known)}")
    return chosen
