"""Makes and scores items of reasoning-gym; run by `child.py`, it imports nothing of the project.

Items follow from (dataset, settings, seed): the global generators, from which some datasets draw, are set
before anything is made or scored. What a model wrote is never evaluated as a program, though some of the
library's scorers would: they get a reader of literals and of formulas in place of `eval` and `parse_expr`.
"""

import ast
import dataclasses
import json
import random
import re
import sys
from functools import lru_cache
from typing import Any

import numpy as np
import reasoning_gym
import sympy
from reasoning_gym.factory import DATASETS
from sympy.core.random import seed as seed_sympy

NAMES = sorted(name for name in DATASETS if name != "composite")
"""Without the one that only mixes others."""
REFERENCES = ("example_answer", "example_correct_answer", "possible_answer")
"""Where, among an item's metadata, datasets keep a right answer that name no only one."""
OWN = ("seed", "size")
"""Settings that are the environment's."""

_FORMULA = re.compile(r"[A-Za-z0-9\s+\-*/^(),.]*")
_FUNCTIONS = {
    *("sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
    *("exp", "log", "ln", "sqrt", "Abs", "pi"),
}
_parse_expr = sympy.parse_expr


def answer(question: Any) -> Any:
    if question == "names":
        return NAMES
    what, dataset, settings, *rest = question
    if what == "settings":
        return problem_with(dataset, settings)
    if what == "item":
        return item(dataset, settings, *rest)
    return score(dataset, settings, *rest)


def problem_with(dataset: str, settings: str) -> str | list[str]:
    """What is wrong with the settings, an empty text if nothing is; or the names that there are, if one is
    unknown."""
    known = [field.name for field in dataclasses.fields(DATASETS[dataset][1]) if field.name not in OWN]
    if not set(json.loads(settings)) <= set(known):
        return known
    try:
        reasoning_gym.create_dataset(dataset, seed=0, size=1, **json.loads(settings))
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


def item(dataset: str, settings: str, seed: int) -> dict[str, str]:
    """The question, and a right answer; empty, if the dataset names none."""
    _, entry = made(dataset, settings, seed)
    found = (entry["answer"], *(entry["metadata"].get(name) for name in REFERENCES))
    reference = next((value for value in found if value is not None), "")
    if not isinstance(reference, str):
        reference = json.dumps(reference)
    return {"question": str(entry["question"]), "reference": reference}


def score(dataset: str, settings: str, seed: int, given: str) -> float:
    """What the dataset says of an answer: 1 if it is right."""
    maker, entry = made(dataset, settings, seed)
    _seed(seed)
    return float(maker.score_answer(given, entry))


@lru_cache(maxsize=1024)
def made(dataset: str, settings: str, seed: int) -> tuple[Any, dict[str, Any]]:
    """The dataset with one item, and that item."""
    _seed(seed)
    maker = reasoning_gym.create_dataset(dataset, seed=seed, size=1, **json.loads(settings))
    return maker, maker[0]


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    seed_sympy(seed)


def parse_formula(text: str, *arguments: Any, **named: Any) -> Any:
    """sympy's `parse_expr`, which evaluates what it reads as Python, for formulas alone."""
    words = re.findall(r"[A-Za-z]+", text)
    if (
        not _FORMULA.fullmatch(text)
        or re.search(r"\.\s*[A-Za-z]", text)
        or any(len(word) > 1 and word not in _FUNCTIONS for word in words)
    ):
        raise ValueError("this is no formula")
    return _parse_expr(text, *arguments, **named)


def _read_instead_of_evaluating() -> None:
    sympy.parse_expr = parse_formula
    for name, module in list(sys.modules.items()):
        if name.startswith("reasoning_gym.") and getattr(module, "parse_expr", None) is _parse_expr:
            module.parse_expr = parse_formula  # type: ignore[attr-defined]
    for dataset, _ in DATASETS.values():
        if "eval" in dataset.score_answer.__code__.co_names:
            sys.modules[dataset.__module__].eval = ast.literal_eval  # type: ignore[attr-defined]


_read_instead_of_evaluating()
