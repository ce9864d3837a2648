"""Moves per second of the board games that compiled code plays, and the time of ConnectFour's oracle.

    python benchmarks/games.py --pgx-python /path/to/venv/bin/python --spiel-python /path/to/venv/bin/python

Agents draw legal moves by the masks of `info`, `random` opponents answer, and finished games begin anew; a
step has the agent's move and, where the game goes on, the opponent's, and both are counted. pgx and OpenSpiel
run beside in their own environments (see `benchmarks/peers/`); without an option, one is left out. Prints two
tables and writes `benchmarks/results/games.json`. The project's limits are 1,000,000 moves/s at 1,024 games,
and 50 ms at the 99th percentile for a move of the oracle's from the eighth ply on.
"""

import argparse
import json
import random
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from machine import machine

import ludus
from ludus.envs.games import make_game
from ludus.envs.games.player import choose, named

RESULTS = Path(__file__).parent / "results" / "games.json"
PEERS = Path(__file__).parent / "peers"
NAMES = ("TicTacToe", "ConnectFour")
SECONDS, REPEATS = 0.4, 5
SIZE, THREADS = 1024, (1, 2)
LIMITS = {"moves_per_second": 1_000_000, "oracle_p99_ms": 50}
FROM_PLY, OWN = 8, 0.8
"""In this share of plies the oracle's move is made, else a random one: it sees lost positions, too."""


def rates(name: str, threads: int) -> dict[str, float]:
    """Steps and moves per second, the median over repeats."""
    env: Any = gymnasium.make_vec(f"ludus/{name}-v0", num_envs=SIZE, opponent="random", threads=threads)
    noise = np.random.default_rng(0).random((64, SIZE, env.single_action_space.n), np.float32)
    _, infos = env.reset(seed=0)
    masks = infos["action_mask"]

    def step(number: int) -> np.ndarray:
        nonlocal masks
        seen, *_, infos = env.step((noise[number % 64] * masks).argmax(1))
        masks = infos["action_mask"]
        return seen

    # Moves are counted before, not while time is taken: discs that came, and in a new game all there are.
    before, moves, counted = step(0).sum((1, 2, 3)), 0.0, 200
    for number in range(1, 1 + counted):
        after = step(number).sum((1, 2, 3))
        moves += np.where(after >= before, after - before, after).sum()
        before = after
    found = []
    for _ in range(REPEATS):
        calls, begun = 0, time.perf_counter()
        while (passed := time.perf_counter() - begun) < SECONDS:
            step(calls)
            calls += 1
        found.append(calls * SIZE / passed)
    env.close()
    steps = statistics.median(found)
    return {"steps": steps, "moves": steps * float(moves) / (counted * SIZE)}


def oracle(games: int) -> dict[str, float]:
    """Milliseconds of a move, from the eighth ply on."""
    game, source = make_game("ConnectFour"), random.Random(0)
    player = named(game, "oracle")
    choose(game, player, game.start(), 0, 0.5)
    taken = []
    for _ in range(games):
        state = game.start()
        while game.to_move(state):
            begun = time.perf_counter()
            move = choose(game, player, state, state.mover, source.random())
            if state.taken.bit_count() >= FROM_PLY:
                taken.append(1000 * (time.perf_counter() - begun))
            legal = game.legal(state, state.mover)
            state = game.play(state, {state.mover: move if source.random() < OWN else source.choice(legal)})
    p50, p99 = map(float, np.percentile(taken, (50, 99)))
    return {"moves": len(taken), "p50": p50, "p99": p99, "max": max(taken)}


def peer(python: str | None, script: str, *words: object) -> dict[str, Any]:
    """What another library's script says; nothing without its interpreter."""
    if python is None:
        return {"rates": {}, "versions": {}}
    command = [python, str(PEERS / script), *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pgx-python", help="the interpreter of an environment with pgx and jax in it")
    parser.add_argument("--spiel-python", help="the interpreter of an environment with open_spiel in it")
    parser.add_argument("--games", type=int, default=100, help="in which the oracle's moves are timed")
    options = parser.parse_args()
    own = {name: {str(threads): rates(name, threads) for threads in THREADS} for name in NAMES}
    peers = {
        "pgx": peer(options.pgx_python, "pgx_games.py", SIZE, SECONDS, REPEATS),
        "open_spiel": peer(options.spiel_python, "spiel_games.py", SECONDS, REPEATS),
    }
    heads = (*(f"{threads} threads" for threads in THREADS), *peers)
    print(f"{f'moves/s, {SIZE} games':<24}" + "".join(f"{head:>12}" for head in heads))
    for name in NAMES:
        figures = [own[name][str(threads)]["moves"] for threads in THREADS]
        figures += [peers[each]["rates"].get(name, float("nan")) for each in peers]
        print(f"{name:<24}" + "".join(f"{figure:>12,.0f}" for figure in figures))
    times = oracle(options.games)
    print(f"\noracle, {times['moves']} moves: 50% {times['p50']:.2f} ms, 99% {times['p99']:.2f} ms, "
          f"at most {times['max']:.2f} ms")  # fmt: skip
    best = {name: max(each["moves"] for each in own[name].values()) for name in NAMES}
    result = {
        "games": SIZE,
        "per_second": own,
        "peers": peers,
        "oracle_ms": times,
        "limits": LIMITS,
        "within_limits": min(best.values()) >= LIMITS["moves_per_second"]
        and times["p99"] <= LIMITS["oracle_p99_ms"],
        "ludus": ludus.__version__,
        **machine("gymnasium", "numpy", "numba"),
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
