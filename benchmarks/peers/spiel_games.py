"""Moves per second of OpenSpiel's board games, in an environment of its own (`pip install open_spiel`).

    python benchmarks/peers/spiel_games.py 0.4 5

Takes seconds and repeats; prints a line of JSON. OpenSpiel plays one game at a time: before each move its
legal moves and its observation are asked for, and one of the moves is drawn.
"""

import json
import random
import statistics
import sys
import time
from importlib.metadata import version

import pyspiel

GAMES = {"TicTacToe": "tic_tac_toe", "ConnectFour": "connect_four"}


def moves_per_second(id: str, seconds: float, repeats: int) -> float:
    game, source = pyspiel.load_game(id), random.Random(0)
    rates = []
    for _ in range(repeats):
        moves, begun, state = 0, time.perf_counter(), game.new_initial_state()
        while (passed := time.perf_counter() - begun) < seconds:
            for _ in range(64):
                state.observation_tensor(state.current_player())
                state.apply_action(source.choice(state.legal_actions()))
                if state.is_terminal():
                    state = game.new_initial_state()
            moves += 64
        rates.append(moves / passed)
    return statistics.median(rates)


def main() -> None:
    seconds, repeats = float(sys.argv[1]), int(sys.argv[2])
    rates = {name: moves_per_second(id, seconds, repeats) for name, id in GAMES.items()}
    print(json.dumps({"rates": rates, "versions": {"open_spiel": version("open_spiel")}}))


if __name__ == "__main__":
    main()
