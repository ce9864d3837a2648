"""Which datasets of reasoning-gym and which games of TextArena keep the contract as environments of Ludus.

    python benchmarks/foreign.py                           # all
    python benchmarks/foreign.py reasoning-gym countdown   # these, the others as they were

Needs the extras `reasoning-gym` and `textarena`. Every dataset and game goes through the checks of `ludus
check` whose outcome depends on it, `ABOUT_THE_TASK`, with five episodes of each scripted agent. The others,
among them other processes and vector forms, are about the environment, and the tests make them of one each.
Of datasets it is also measured how long an item takes, in seconds of the processor, whether it would change
with the hash seed or with the global generators if those were not set, and what junk is worth. Prints a line
for each, and brings `benchmarks/results/foreign.json` and the tables in the docs up to date.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
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
ABOUT_THE_TASK = (
    *("spaces", "info", "rewards", "limits", "malformed replies", "hostile replies", "seeds", "instances"),
    *("threads", "snapshots", "anchors", "scripted agents"),
)
EPISODES = 5
SEEDS = (3, 14)
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


def main(arguments: Sequence[str]) -> None:
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for library in arguments[:1] or LIBRARIES:
        known = results.setdefault(library, {"measured": {}, "found": {}})
        for name, found in LIBRARIES[library](arguments[1:]):
            known["found"][name] = found
            known["measured"] = machine(library)
            RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            print(f"{name:28} {found['outcome']}", flush=True)
        write_table(library, known["found"])


def datasets(names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    names = names or REASONING_GYM.names()
    plain, hashed, drawn = (unpinned(names, *pins) for pins in ((0, 0), (1, 0), (0, 1)))
    for name in names:
        found = examine("ludus/ReasoningGym-v0", dataset=name)
        found |= judged(name)
        found["item_s"] = round(plain[name][1], 4)
        found["follows"] = [
            what
            for what, other in (("hash seed", hashed), ("global generators", drawn))
            if other[name][0] != plain[name][0]
        ]
        yield name, found


def games(names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    known = set()
    for name in names or TEXTARENA.names():
        game = name.partition("-v0")[0]
        if game in known:
            continue  # another size of the same
        known.add(game)
        try:
            players = gymnasium.make("ludus/TextArena-v0", game=name).unwrapped.players
        except ArgumentError as error:
            yield name, {"outcome": str(error).partition(": ")[2], "players": 0, "agents": {}}
        else:
            yield name, {**examine("ludus/TextArena-v0", game=name), "players": players}


def judged(dataset: str) -> dict[str, Any]:
    """What the dataset's scorer makes of texts that answer nothing: the highest mark, and what it raised."""
    env = gymnasium.make("ludus/ReasoningGym-v0", dataset=dataset)
    marks, raised = [0.0], set()
    for seed in SEEDS:
        for text in JUNK:
            env.reset(seed=seed)
            info = env.step(reply(text))[-1]
            marks.append(info["reward_terms"]["score"])
            _, raises, error = env.unwrapped.verdict.failure.partition("the scorer raised ")
            raised |= {error.partition(":")[0]} if raises else set()
    return {"junk_mark": round(max(marks), 2), "raises": sorted(raised)}


def unpinned(names: Sequence[str], hash_seed: int, generator: int) -> Mapping[str, Any]:
    """For each dataset, its items for `SEEDS`, and seconds per item."""
    done = subprocess.run(
        [sys.executable, "-c", UNPINNED, json.dumps([names, SEEDS, generator])],
        env={"PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        check=True,
    )
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


def examine(id: str, **arguments: Any) -> dict[str, Any]:
    """What the checks say of an environment with these arguments."""
    try:
        report = check(id, episodes=EPISODES, only=ABOUT_THE_TASK, **arguments)
    except EnvironmentFault as fault:
        return {"outcome": f"fault: {fault}", "agents": {}}
    said = report.checks[-1].detail
    rates = {name: float(rate) for name, rate in re.findall(r"([a-z-]+) (\d\.\d\d) \(", said)}
    wrong = [f"{failure.name}: {failure.detail.partition('; success')[0]}" for failure in report.failures]
    return {"outcome": "; ".join(wrong) or "conforms", "agents": rates}


def write_table(library: str, found: Mapping[str, Any]) -> None:
    """The table in the library's page."""
    page = ROOT / PAGES[library]
    head, rows = TABLES[library]
    played = {name: one for name, one in sorted(found.items()) if one["agents"]}
    lines = [head, *(rows(name, one) for name, one in played.items())]
    conform = sum(one["outcome"] == "conforms" for one in played.values())
    table = f"{conform} of {len(played)} conform.\n\n" + "\n".join(lines)
    if refused := sorted(set(found) - set(played)):
        lines = [f"- `{name}`: {found[name]['outcome']}" for name in refused]
        table += "\n\nNot played:\n\n" + "\n".join(lines)
    text = re.sub(
        r"(<!-- table -->\n).*(<!-- end of table -->)",
        lambda match: f"{match[1]}\n{table}\n\n{match[2]}",
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    page.write_text(text, encoding="utf-8")


def dataset_row(name: str, one: Mapping[str, Any]) -> str:
    follows = " and ".join(one["follows"])
    junk = ", ".join([f"{one['junk_mark']:g}" if one["junk_mark"] else "", *one["raises"]]).strip(", ")
    return f"| `{name}` | {verdict(one)} | {junk} | {follows} | {one['item_s']:.3f} |"


def game_row(name: str, one: Mapping[str, Any]) -> str:
    rates = [f"{one['agents'][agent]:.0%}" for agent in ("oracle", "random")]
    return f"| `{name}` | {one['players']} | {verdict(one)} | {' | '.join(rates)} |"


def verdict(one: Mapping[str, Any]) -> str:
    """Whether it conforms, or why not, in a few words."""
    agents = one["agents"]
    if one["outcome"] == "conforms":
        return "yes"
    parts = [
        f"`{name}` wins {rate:.0%}" for name, rate in agents.items() if name.startswith("cheater") and rate
    ]
    if agents.get("oracle", 1.0) < 1:
        parts.append(f"the oracle wins {agents['oracle']:.0%}")
    return "no: " + ("; ".join(parts) or one["outcome"].replace("|", "\\|"))


LIBRARIES: Mapping[str, Callable[[Sequence[str]], Iterator[tuple[str, dict[str, Any]]]]] = {
    "reasoning-gym": datasets,
    "textarena": games,
}
PAGES = {
    "reasoning-gym": "docs/environments/reasoning_gym.md",
    "textarena": "docs/environments/text_arena.md",
}
TABLES: Mapping[str, tuple[str, Callable[[str, Mapping[str, Any]], str]]] = {
    "reasoning-gym": (
        "| dataset | conforms | junk gets | unpinned: varies with | s per item |\n|---|---|---|---|---|",
        dataset_row,
    ),
    "textarena": (
        "| game | players | conforms | oracle wins | random wins |\n|---|---|---|---|---|",
        game_row,
    ),
}


if __name__ == "__main__":
    main(sys.argv[1:])
