"""Moves per second of pgx's board games, on the CPU, in an environment of its own (`pip install pgx`).

    python benchmarks/peers/pgx_games.py 1024 0.4 5

Takes the number of games, seconds and repeats; prints a line of JSON. A call of a compiled function draws a
legal move in every game, makes it and begins anew where a game is over; it is called once per move, as a
training loop does that looks at what comes back.
"""

import json
import statistics
import sys
import time
from importlib.metadata import version

import jax
import pgx
from pgx.experimental import auto_reset

GAMES = {"TicTacToe": "tic_tac_toe", "ConnectFour": "connect_four"}


def moves_per_second(id: str, size: int, seconds: float, repeats: int) -> float:
    env = pgx.make(id)
    play = jax.vmap(auto_reset(env.step, env.init))

    @jax.jit
    def step(states, key):
        key, drawing, resetting = jax.random.split(key, 3)
        logits = jax.numpy.log(states.legal_action_mask.astype(jax.numpy.float32))
        actions = jax.random.categorical(drawing, logits, axis=-1)
        return play(states, actions, jax.random.split(resetting, size)), key

    states = jax.jit(jax.vmap(env.init))(jax.random.split(jax.random.PRNGKey(0), size))
    key = jax.random.PRNGKey(1)
    for _ in range(8):
        states, key = step(states, key)
    rates = []
    for _ in range(repeats):
        jax.block_until_ready(states)
        calls, begun = 0, time.perf_counter()
        while (passed := time.perf_counter() - begun) < seconds:
            states, key = step(states, key)
            jax.block_until_ready(states)
            calls += 1
        rates.append(calls * size / passed)
    return statistics.median(rates)


def main() -> None:
    size, seconds, repeats = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    rates = {name: moves_per_second(id, size, seconds, repeats) for name, id in GAMES.items()}
    print(json.dumps({"rates": rates, "versions": {each: version(each) for each in ("pgx", "jax")}}))


if __name__ == "__main__":
    main()
