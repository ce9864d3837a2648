"""Which datasets of reasoning-gym and which games of TextArena keep the contract as environments of Ludus.

    python benchmarks/foreign.py                           # all that is not measured yet
    python benchmarks/foreign.py reasoning-gym countdown   # these, again

Needs the extras `reasoning-gym` and `textarena` (`.ci/foreign.sh` makes an environment that has them). Every
dataset and game goes through the checks of `ludus check` whose outcome depends on it (`ITEM_CHECKS`,
`GAME_CHECKS`), with five episodes of each scripted agent. The others are about the environment, and the tests
make all of them of one dataset and one game. Of datasets it is also measured what junk is worth, how long an
item takes, in seconds of the processor, and whether it would change with the hash seed or with the global
generators if those were not set. Prints a line for each, and brings `benchmarks/results/foreign.json`, after
each, and the tables in the docs up to date. What a version of a library was measured with is kept.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
from machine import machine

import ludus  # noqa: F401
from ludus.envs.conformance import check
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.envs.foreign.reasoning_gym.environment import LIBRARY as REASONING_GYM
from ludus.envs.foreign.reasoning_gym.scripted import JUNK, reply
from ludus.envs.foreign.textarena.environment import LIBRARY as TEXTARENA

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/foreign.json"
ITEM_CHECKS = ("seeds", "instances", "scripted agents")
"""What depends on a dataset: whatever else it does comes through one function of (item, answer)."""
GAME_CHECKS = ("info", "rewards", "limits", "malformed replies", "hostile replies", "seeds", "instances")
GAME_CHECKS += ("threads", "snapshots", "anchors", "scripted agents")
EPISODES = 5
MOST_TURNS = 30
"""Of a game, so that the oracle's rehearsals end."""
SEEDS = (0, 1)
UNPINNED = """
import json, random, sys, time
import numpy, reasoning_gym
names, seeds, generator = json.loads(sys.argv[1])
found, sys.stdout = {}, sys.stderr
for name in names:
    random.seed(generator), numpy.random.seed(generator)
    begun = time.process_time()
    try:
        said = repr([reasoning_gym.create_dataset(name, seed=seed, size=1)[0] for seed in seeds])
    except Exception as error:
        said = repr(error)
    found[name] = said, (time.process_time() - begun) / len(seeds)
print(json.dumps(found), file=sys.__stdout__)
"""
"""Makes items without pinning anything."""

Found = dict[str, Any]
"""What was found of a dataset or game."""


@dataclass(frozen=True)
class Source:
    """A library whose datasets or games are measured."""

    names: Callable[[], Sequence[str]]
    measure: Callable[[str], Found]
    finish: Callable[[Mapping[str, Found]], None]
    """Adds what is measured of all together."""
    page: str
    head: str
    row: Callable[[str, Found], str]


def main(arguments: Sequence[str]) -> None:
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for library in arguments[:1] or SOURCES:
        source, measured = SOURCES[library], machine(library)
        known = results.get(library, {})
        is_current = known.get("measured", {}).get("versions") == measured["versions"]
        found: dict[str, Found] = known["found"] if is_current else {}
        results[library] = {"measured": measured, "found": found}
        for name in arguments[1:] or [name for name in source.names() if name not in found]:
            found[name] = source.measure(name)
            write(results)
            print(f"{name:28} {found[name]['outcome']}", flush=True)
        source.finish(found)
        write(results)
        write_table(source, found)


def write(results: Mapping[str, Any]) -> None:
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def examine(id: str, checks: Sequence[str], **arguments: Any) -> Found:
    """What the checks say of an environment with these arguments."""
    try:
        report = check(id, episodes=EPISODES, only=checks, **arguments)
    except EnvironmentFault as fault:
        return {"outcome": f"fault: {fault}", "agents": {}}
    said = report.checks[-1].detail
    rates = {name: float(rate) for name, rate in re.findall(r"([a-z-]+) (\d\.\d\d) \(", said)}
    wrong = [f"{failure.name}: {failure.detail.partition('; success')[0]}" for failure in report.failures]
    return {"outcome": "; ".join(wrong) or "conforms", "agents": rates}


def dataset(name: str) -> Found:
    """The checks; and the highest mark that texts got which answer nothing, and what the scorer raised."""
    env = gymnasium.make("ludus/ReasoningGym-v0", dataset=name)
    marks, raised = [0.0], set()
    for seed in SEEDS:
        for text in JUNK:
            env.reset(seed=seed)
            info = env.step(reply(text))[-1]
            marks.append(info["reward_terms"]["score"])
            _, raises, error = env.unwrapped.verdict.failure.partition("the scorer raised ")
            raised |= {error.partition(":")[0]} if raises else set()
    checked = examine("ludus/ReasoningGym-v0", ITEM_CHECKS, dataset=name)
    return {**checked, "junk_mark": round(max(marks), 2), "raises": sorted(raised)}


def measure_items(found: Mapping[str, Found]) -> None:
    """How long items take, and with what they would vary, of the datasets of which that is not known."""
    names = [name for name, one in found.items() if "item_s" not in one]
    if not names:
        return
    plain, hashed, drawn = (unpinned(names, *pins) for pins in ((0, 0), (1, 0), (0, 1)))
    for name in names:
        others = {"hash seed": hashed[name], "global generators": drawn[name]}
        varies = [what for what, other in others.items() if other[0] != plain[name][0]]
        found[name].update(item_s=round(plain[name][1], 4), varies_with=varies)


def unpinned(names: Sequence[str], hash_seed: int, generator: int) -> Mapping[str, Any]:
    """For each dataset, its items for `SEEDS` as a text, and seconds per item."""
    done = subprocess.run(
        [sys.executable, "-c", UNPINNED, json.dumps([names, SEEDS, generator])],
        env={"PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        check=True,
    )
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


def games() -> list[str]:
    """The ids of TextArena, the first of each game: the others are other sizes of it."""
    first: dict[str, str] = {}
    for name in TEXTARENA.names():
        first.setdefault(name.partition("-v0")[0], name)
    return list(first.values())


def game(name: str) -> Found:
    try:
        players = gymnasium.make("ludus/TextArena-v0", game=name).unwrapped.players
    except ArgumentError as error:
        return {"outcome": str(error).partition(": ")[2], "players": 0, "agents": {}}
    checked = examine("ludus/TextArena-v0", GAME_CHECKS, game=name, max_turns=MOST_TURNS)
    return {**checked, "players": players}


def write_table(source: Source, found: Mapping[str, Found]) -> None:
    """The table in the library's page."""
    played = {name: one for name, one in sorted(found.items()) if one["agents"]}
    conform = sum(one["outcome"] == "conforms" for one in played.values())
    lines = [f"{conform} of {len(played)} conform.", "", source.head]
    lines += [source.row(name, one) for name, one in played.items()]
    if refused := sorted(set(found) - set(played)):
        lines += ["", "Not played:", "", *(f"- `{name}`: {found[name]['outcome']}" for name in refused)]
    if missing := [name for name in source.names() if name not in found]:
        lines += ["", f"Not measured yet: {', '.join(f'`{name}`' for name in missing)}."]
    page = ROOT / source.page
    text = re.sub(
        r"(<!-- table -->\n).*(<!-- end of table -->)",
        lambda match: "\n".join([match[1], *lines, "", match[2]]),
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    page.write_text(text, encoding="utf-8")


def dataset_row(name: str, one: Found) -> str:
    junk = ", ".join([*([f"{one['junk_mark']:g}"] if one["junk_mark"] else []), *one["raises"]])
    varies = " and ".join(one["varies_with"])
    outcome = verdict(one, "another item's answer")
    return f"| `{name}` | {outcome} | {junk} | {varies} | {one['item_s']:.3f} |"


def game_row(name: str, one: Found) -> str:
    rates = [f"{one['agents'][agent]:.0%}" for agent in ("oracle", "random")]
    outcome = verdict(one, "`random`")
    return f"| `{name}` | {one['players']} | {outcome} | {' | '.join(rates)} |"


def verdict(one: Found, random: str) -> str:
    """Whether it conforms, or why not, in a few words.

    Args:
        random: What the random agent does."""
    if one["outcome"] == "conforms":
        return "yes"
    agents = one["agents"]
    cheaters = {name: rate for name, rate in agents.items() if name.startswith("cheater") and rate}
    parts = [f"`{name}` wins {rate:.0%}" for name, rate in cheaters.items()]
    if "random must not" in one["outcome"]:
        parts.append(f"{random} wins {agents['random']:.0%}")
    if agents.get("oracle", 1.0) < 1:
        parts.append(f"the oracle wins {agents['oracle']:.0%}")
    return "no: " + ("; ".join(parts) or one["outcome"].replace("|", "\\|"))


SOURCES: Mapping[str, Source] = {
    "reasoning-gym": Source(
        REASONING_GYM.names,
        dataset,
        measure_items,
        "docs/environments/reasoning_gym.md",
        "| dataset | conforms | junk gets | unpinned: varies with | s per item |\n|---|---|---|---|---|",
        dataset_row,
    ),
    "textarena": Source(
        games,
        game,
        lambda found: None,
        "docs/environments/text_arena.md",
        "| game | players | conforms | oracle wins | random wins |\n|---|---|---|---|---|",
        game_row,
    ),
}


if __name__ == "__main__":
    main(sys.argv[1:])
