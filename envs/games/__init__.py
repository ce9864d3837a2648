"""Games for several players, each written once, and the forms that follow from that.

from ludus.envs import games

env = games.aec("ConnectFour", render_mode="ansi")     # PettingZoo
env = games.parallel("PrisonersDilemma")
game = games.make_game("KuhnPoker")                    # the rules
"""

from typing import TYPE_CHECKING, Any

from ludus.envs.games.catalogue import GAMES, make_game

if TYPE_CHECKING:
    from ludus.envs.games.zoo import GameAEC, GameParallel

__all__ = ["GAMES", "aec", "make_game", "parallel"]


def aec(name: str, **arguments: Any) -> "GameAEC":
    """A game in PettingZoo's AEC form: one seat moves at a time. Needs the extra `games`.

    Args:
        name: one of `GAMES`.
        arguments: of `GameAEC`, and of the game.
    """
    from ludus.envs.games.zoo import GameAEC

    return GameAEC(name, **arguments)


def parallel(name: str, **arguments: Any) -> "GameParallel":
    """A game in PettingZoo's Parallel form: all seats act at once, and who is not to move is not heard. Needs
    the extra `games`.

    Args:
        name: one of `GAMES`.
        arguments: of `GameParallel`, and of the game.
    """
    from ludus.envs.games.zoo import GameParallel

    return GameParallel(name, **arguments)
