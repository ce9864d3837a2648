"""Checks of environment arguments. Each returns the value as plain Python, or raises `ArgumentError`.

Numbers may be NumPy's: `np.int64(3)` is returned as `3`, `np.float32(0.5)` as `0.5`. In every message the
argument comes first, then what was given, then what would be right.
"""

import inspect
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from numbers import Real
from typing import Any

import numpy as np

from ludus.envs.errors import ArgumentError, UnknownArgumentError
from ludus.tools.wording import did_you_mean

Constructor = Callable[..., None]


def argument_names(cls: type) -> list[str] | None:
    """The keyword arguments of a class's constructor; None where it takes any."""
    # Not the class's own signature, which is that of a `__new__` which takes anything.
    parameters = [*inspect.signature(cls.__init__).parameters.values()][1:]  # type: ignore[misc]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters]


def refuse_unknown_arguments(cls: type, names: Iterable[str]) -> None:
    """For a class's `__new__`: Python's refusal, with what was meant and what there is.

    Raises:
        UnknownArgumentError: the constructor takes no argument of such a name.
    """
    known = argument_names(cls)
    for name in names:
        if known is not None and name not in known:
            hint = did_you_mean(name, known, otherwise="there is none like it.")
            raise UnknownArgumentError(
                f"{cls.__name__}.__init__() got an unexpected keyword argument {name!r}; {hint} "
                f"{cls.__name__} takes {', '.join(known) or 'none'}"
            )


def takes_arguments_of(base: type, *left_out: str, **defaults: Any) -> Callable[[Constructor], Constructor]:
    """For a constructor that passes its `**arguments` on to that of `base`.

    `inspect.signature` then shows the arguments of `base` in their place, so that they are checked and listed
    by name: without those `left_out`, and with these `defaults` instead of the base's.
    """

    def decorate(constructor: Constructor) -> Constructor:
        @wraps(constructor)
        def decorated(self: Any, *args: Any, **kwargs: Any) -> None:
            constructor(self, *args, **{**defaults, **kwargs})

        *own, _ = inspect.signature(constructor).parameters.values()
        _, *inherited = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]
        passed_on = [
            argument.replace(
                kind=argument.KEYWORD_ONLY, default=defaults.get(argument.name, argument.default)
            )
            for argument in inherited
            if argument.name not in left_out
        ]
        decorated.__signature__ = inspect.Signature([*own, *passed_on])  # type: ignore[attr-defined]
        return decorated

    return decorate


def unknown(argument: str, given: object, choices: Iterable[str]) -> str:
    """What to say about a name that is not among the `choices`."""
    choices = [*choices]
    hint = did_you_mean(given, choices)
    if not choices:
        return f"{argument}: {given!r} is unknown; there are none"
    return f"{argument}: {given!r} is unknown; {f'{hint} C' if hint else 'c'}hoose from {', '.join(choices)}"


def as_flag(argument: str, given: Any) -> bool:
    """True or False; a text such as "no" would count as True, and is refused."""
    if not isinstance(given, bool | np.bool_):
        raise ArgumentError(f"{argument}={given!r}: give True or False")
    return bool(given)


def as_integer(argument: str, given: Any, least: int, most: int) -> int:
    """An integer from `least` to `most`."""
    try:
        number = None if isinstance(given, bool) else operator.index(given)
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        raise ArgumentError(f"{argument}={given!r}: give an integer from {least} to {most}")
    return number


def as_action(given: Any, names: Sequence[str]) -> int:
    """The number of one of several actions, also from an array without dimensions, such as other libraries'
    policies return."""
    try:
        number = -1 if isinstance(given, bool) else operator.index(given)
    except TypeError:
        number = -1
    if not 0 <= number < len(names):
        *others, last = (f"{number} ({name})" for number, name in enumerate(names))
        raise ArgumentError(f"action {given!r}: give {', '.join(others)} or {last}")
    return number


def as_seed(given: Any) -> int:
    """A seed: an integer ≥ 0."""
    try:
        seed = operator.index(given)
    except TypeError:
        raise ArgumentError(
            f"seed={given!r} is a {type(given).__name__}; give an integer ≥ 0, or None to go on without"
        ) from None
    if seed < 0:
        raise ArgumentError(f"seed={seed} is negative; give an integer ≥ 0")
    return seed


def as_integers(argument: str, given: Any, least: int, most: int) -> tuple[int, ...]:
    """One integer or several, each from `least` to `most`."""
    several = given if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    integers = tuple(as_integer(argument, number, least, most) for number in several)
    if not integers:
        raise ArgumentError(f"{argument}={given!r} is empty; give an integer from {least} to {most}")
    return integers


def as_number(argument: str, given: Any, least: float, most: float) -> float:
    """A number from `least` to `most`."""
    if isinstance(given, bool) or not isinstance(given, Real) or not least <= float(given) <= most:
        raise ArgumentError(f"{argument}={given!r}: give a number from {least} to {most}")
    return float(given)


def as_share(argument: str, given: Any) -> float:
    """A number from 0 to 1."""
    return as_number(argument, given, 0, 1)


def as_choice(argument: str, given: Any, choices: Iterable[str]) -> str:
    """One of the `choices`."""
    choices = [*choices]
    if given not in choices:
        raise ArgumentError(unknown(argument, given, choices))
    return str(given)


def as_choices(argument: str, given: Any, choices: Iterable[str]) -> tuple[str, ...]:
    """One or several of the `choices`, in the order given; None stands for all."""
    choices = [*choices]
    if given is None:
        return tuple(choices)
    if not isinstance(given, Iterable):
        raise ArgumentError(f"{argument}={given!r}: give a name, or a list of names")
    chosen = (given,) if isinstance(given, str) else tuple(given)
    if not chosen:
        raise ArgumentError(f"{argument}={given!r} is empty; choose from {', '.join(choices)}")
    return tuple(as_choice(argument, name, choices) for name in chosen)


def as_url(argument: str, given: Any) -> str:
    """A URL that begins with `http://` or `https://`."""
    if not str(given).startswith(("http://", "https://")):
        raise ArgumentError(f"{argument}={given!r}: give a URL, as in {argument}='http://localhost:8000'")
    return str(given)


def as_weights(given: Mapping[str, float] | None, defaults: Mapping[str, float]) -> dict[str, float]:
    """The default weights of reward terms, with those given in their place."""
    if given is not None and not isinstance(given, Mapping):
        example = next(iter(defaults), "correct")
        raise ArgumentError(f"weights={given!r}: give weights by term, as in weights={{{example!r}: 1.0}}")
    weights = dict(defaults)
    for name, weight in (given or {}).items():
        if name not in defaults:
            raise ArgumentError(unknown("weights", name, defaults))
        if isinstance(weight, bool) or not isinstance(weight, Real) or not math.isfinite(weight):
            raise ArgumentError(f"weights: {name}={weight!r}: give a finite number")
        weights[name] = float(weight)
    return weights


def refuse_unknown_options(options: Mapping[str, Any], known: Sequence[str]) -> None:
    """For `reset`."""
    for name in options:
        if name not in known:
            raise ArgumentError(unknown("options", name, known))
