"""`Bank`: the items of a recipe that can be played, on two sides, and those that are left out and why."""

import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.envs.graded.gates import OtherAnswers, failed_gate
from ludus.envs.graded.items import Item, read_items, stamp
from ludus.envs.graded.recipe import Recipe
from ludus.envs.graded.split import held_out_of, near_duplicates
from ludus.envs.graded.templates import MissingColumn, fill
from ludus.tools.errors import DataError, UserError
from ludus.tools.files import cache_directory, write_file
from ludus.tools.wording import counted, did_you_mean

_LOG = logging.getLogger("ludus.graded")
WORTH_KEEPING_S = 1.0
"""Gates that took longer are remembered on disk."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An item that is not played."""

    item: Item
    kind: str
    """In a few words, for counting."""
    why: str


@dataclass(frozen=True, slots=True)
class Bank:
    """What can be played."""

    recipe: Recipe
    training: tuple[Item, ...]
    held_out: tuple[Item, ...]
    left_out: tuple[LeftOut, ...]

    def __str__(self) -> str:
        kinds = Counter(left.kind for left in self.left_out)
        reasons = "; ".join(f"{count:,} {kind}" for kind, count in kinds.items())
        sides = f"{counted(len(self.training), 'item')} to train on, {len(self.held_out):,} held out"
        return f"{sides}, {len(self.left_out):,} left out{f': {reasons}' if reasons else ''}"


_banks: dict[Any, Bank] = {}
_lock = threading.Lock()


def open_bank(recipe: Recipe) -> Bank:
    """The bank of a recipe; read and put through the gates once in a process, as long as its files stay as
    they are.

    Raises:
        ArgumentError: no item has a column that a template names.
        DataError: a file cannot be read, or no item is left to train on.
        UserError: what grades broke.
    """
    sources = (recipe.items, recipe.answers, recipe.held_out)
    key = (recipe.model_dump_json(by_alias=True), *map(stamp, sources))
    with _lock:
        if key not in _banks:
            _banks[key] = _fill(recipe)
            if _banks[key].left_out:
                _LOG.warning("%s (`ludus grade` lists them)", _banks[key])
        return _banks[key]


def _fill(recipe: Recipe) -> Bank:
    read = read_items(recipe.items, recipe.answers)
    apart = read_items(recipe.held_out) if recipe.held_out else ()
    check_columns(recipe, [*read, *apart])
    left_out: list[LeftOut] = []
    asked: dict[str, Item] = {}
    # Those of a file of held-out items first: what is in both is held out.
    for item in (*apart, *read):
        try:
            for place in recipe.places:
                place.value(item.values, None)
        except MissingColumn as error:
            left_out.append(LeftOut(item, "without a column", f"there is no {error}"))
            continue
        key = " ".join(fill(recipe.prompt, item.values).split())
        if key in asked:
            left_out.append(LeftOut(item, "asked twice", f"asks the same as {asked[key].place}"))
        else:
            asked[key] = item
    share = 0.0 if apart else recipe.held_out_share
    held = {id(item) for item in apart} or {id(asked[key]) for key in held_out_of(list(asked), share)}
    items = list(asked.values())
    failures = _through_the_gates(recipe, items)
    for item, why in zip(items, failures, strict=True):
        if why:
            left_out.append(LeftOut(item, "that fail a gate", why))
    passed = [item for item, why in zip(items, failures, strict=True) if not why]
    held_out = [item for item in passed if id(item) in held]
    training = [item for item in passed if id(item) not in held]
    prompts = [[fill(recipe.prompt, item.values) for item in side] for side in (training, held_out)]
    near = {index: (other, similarity) for index, other, similarity in near_duplicates(*prompts)}
    for index, (other, similarity) in near.items():
        why = f"{similarity:.0%} the same as {held_out[other].place}, which is held out"
        left_out.append(LeftOut(training[index], "near a held-out one", why))
    training = [item for index, item in enumerate(training) if index not in near]
    if not training:
        first = left_out[0]
        raise DataError(
            f"none of {counted(len(read), 'item')} is left to train on; {first.item.place}: {first.why}"
        )
    return Bank(recipe, tuple(training), tuple(held_out), tuple(left_out))


def check_columns(recipe: Recipe, items: Sequence[Item]) -> None:
    """
    Raises:
        ArgumentError: a template names what no item has.
    """
    for place in recipe.places:
        if not place.of_item:
            continue
        for item in items:
            try:
                place.value(item.values, None)
                break
            except MissingColumn:
                continue
        else:
            columns = list(items[0].values)
            hint = did_you_mean(place.steps[0], columns, otherwise=f"the first has {', '.join(columns)}")
            raise ArgumentError(f"{{{{{place.path}}}}}: none of {counted(len(items), 'item')} has it; {hint}")


def _through_the_gates(recipe: Recipe, items: Sequence[Item]) -> list[str]:
    """Why each item cannot be used; empty where it can.

    Raises:
        UserError: what grades broke.
    """
    path = cache_directory("graded") / f"{_key(recipe, items)}.json"
    if path.is_file():
        remembered: list[str] = json.loads(path.read_text(encoding="utf-8"))
        return remembered
    others = OtherAnswers(recipe, (item.values for item in items))

    def gate(item: Item) -> str:
        return failed_gate(recipe, item.values, others)

    begun = time.monotonic()
    try:
        if recipe.is_slow:
            with ThreadPoolExecutor(2 * (os.cpu_count() or 1), thread_name_prefix="ludus-gates") as threads:
                failures = list(threads.map(gate, items))
        else:
            failures = list(map(gate, items))
    except EnvironmentFault as fault:
        raise UserError(f"the items cannot be tried, since what grades them broke: {fault}") from fault
    if time.monotonic() - begun > WORTH_KEEPING_S:
        write_file(path, json.dumps(failures))
    return failures


def _key(recipe: Recipe, items: Sequence[Item]) -> str:
    """Changes with the recipe, the items, and the code that grades them."""
    digest = blake2b(recipe.model_dump_json(by_alias=True).encode(), digest_size=16)
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    for item in items:
        digest.update(json.dumps(item.values).encode())
    return digest.hexdigest()
