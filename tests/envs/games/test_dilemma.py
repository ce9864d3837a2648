"""The iterated prisoner's dilemma: payoffs, and its well-known players."""

import pytest

from ludus.envs.games import make_game
from ludus.envs.games.dilemma import COOPERATE, DEFECT
from ludus.envs.games.player import named
from ludus.envs.games.values import best_response, expected

GAME = make_game("PrisonersDilemma", rounds=5)


@pytest.mark.parametrize(
    ("first", "second", "earned"),
    [
        ("cooperate", "cooperate", (3, 3)),
        ("defect", "defect", (1, 1)),
        ("cooperate", "defect", (0, 5)),
        ("tit-for-tat", "grim", (3, 3)),
        ("tit-for-tat", "defect", (4 / 5, 9 / 5)),
        ("grim", "defect", (4 / 5, 9 / 5)),
        ("win-stay-lose-shift", "defect", (2 / 5, 17 / 5)),
        ("oracle", "tit-for-tat", (17 / 5, 12 / 5)),
    ],
)
def test_what_players_earn_from_each_other(first: str, second: str, earned: tuple[float, float]) -> None:
    assert expected(GAME, (named(GAME, first), named(GAME, second))) == pytest.approx(earned)


def test_nothing_is_better_against_tit_for_tat_than_the_oracle() -> None:
    other = named(GAME, "tit-for-tat")
    assert best_response(GAME, (other, other), 0) == pytest.approx(17 / 5)


def test_only_mutual_defection_is_an_equilibrium_of_one_round() -> None:
    single = make_game("PrisonersDilemma", rounds=1)
    gains = {
        name: best_response(single, (named(single, name),) * 2, 0)
        - expected(single, (named(single, name),) * 2)[0]
        for name in ("cooperate", "defect")
    }
    assert gains == {"cooperate": 2, "defect": 0}


def test_a_view_has_the_seats_own_move_first() -> None:
    state = GAME.play(GAME.start(), {0: DEFECT, 1: COOPERATE})
    assert GAME.view(state, 0) == ((DEFECT, COOPERATE),)
    assert GAME.view(state, 1) == ((COOPERATE, DEFECT),)
    assert GAME.tell(GAME.view(state, 1)).startswith("1. you cooperate, other defect")
