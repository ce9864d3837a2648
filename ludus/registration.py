"""Registers the environments with Gymnasium, by entry point: nothing is imported before it is made."""

from typing import Any

import gymnasium

from ludus.envs.games.catalogue import COMPILED, GAMES

_ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "ludus/Arithmetic-v0": {"entry_point": "ludus.envs.math.arithmetic.environment:Arithmetic"},
    "ludus/ArithmeticChallenge-v0": {
        "entry_point": "ludus.envs.math.arithmetic_challenge.environment:ArithmeticChallenge",
    },
    "ludus/Assistant-v0": {"entry_point": "ludus.envs.assistant.office.environment:Assistant"},
    "ludus/Calendar-v0": {"entry_point": "ludus.envs.assistant.calendar.environment:Calendar"},
    "ludus/CodeFunction-v0": {"entry_point": "ludus.envs.code.function.environment:CodeFunction"},
    "ludus/CodeFunctionRepl-v0": {"entry_point": "ludus.envs.code.function.repl:CodeFunctionRepl"},
    "ludus/CodeRepair-v0": {"entry_point": "ludus.envs.code.repair.environment:CodeRepair"},
    "ludus/Countdown-v0": {"entry_point": "ludus.envs.puzzles.countdown.environment:Countdown"},
    "ludus/DataAnalysis-v0": {"entry_point": "ludus.envs.code.analysis.environment:DataAnalysis"},
    "ludus/Graded-v0": {"entry_point": "ludus.envs.graded.environment:Graded"},
    "ludus/Market-v0": {
        "entry_point": "ludus.envs.market.environment:Market",
        "vector_entry_point": "ludus.envs.market.vector:MarketVector",
    },
    "ludus/MarketChat-v0": {"entry_point": "ludus.envs.market.chat.environment:MarketChat"},
    "ludus/HiddenWord-v0": {"entry_point": "ludus.envs.puzzles.hidden_word.environment:HiddenWord"},
    "ludus/MathTool-v0": {"entry_point": "ludus.envs.math.mathtool.environment:MathTool"},
    "ludus/Maze-v0": {"entry_point": "ludus.envs.puzzles.maze.environment:Maze"},
    "ludus/MinichessValue-v0": {
        "entry_point": "ludus.envs.puzzles.minichess_value.environment:MinichessValue",
    },
    "ludus/PacMan-v0": {
        "entry_point": "ludus.envs.grid.pacman.environment:PacMan",
        "vector_entry_point": "ludus.envs.grid.pacman.vector:PacManVector",
    },
    "ludus/PacManChat-v0": {"entry_point": "ludus.envs.grid.pacman.chat.environment:PacManChat"},
    "ludus/PacManVision-v0": {"entry_point": "ludus.envs.grid.pacman.chat.vision:PacManVision"},
    "ludus/PacManWhere-v0": {"entry_point": "ludus.envs.grid.pacman.chat.where:PacManWhere"},
    "ludus/Quest-v0": {"entry_point": "ludus.envs.text.quest.environment:Quest"},
    "ludus/Search-v0": {"entry_point": "ludus.envs.assistant.search.environment:Search"},
    "ludus/Sudoku-v0": {"entry_point": "ludus.envs.puzzles.sudoku.environment:Sudoku"},
    "ludus/Weather-v0": {"entry_point": "ludus.envs.assistant.weather.environment:Weather"},
}
for _name, _module in GAMES.items():
    _ENVIRONMENTS[f"ludus/{_name}-v0"] = {"entry_point": f"{_module}:{_name}Env"}
    if _name in COMPILED:
        _ENVIRONMENTS[f"ludus/{_name}-v0"]["vector_entry_point"] = f"ludus.envs.games.vector:{_name}Vector"
    _ENVIRONMENTS[f"ludus/{_name}Chat-v0"] = {"entry_point": f"{_module}:{_name}Chat"}

_FOREIGN: dict[str, dict[str, Any]] = {
    "ludus/Gem-v0": {"entry_point": "ludus.envs.foreign.gem.environment:Gem"},
    "ludus/OpenEnv-v0": {"entry_point": "ludus.envs.foreign.openenv.environment:OpenEnv"},
    "ludus/ReasoningGym-v0": {"entry_point": "ludus.envs.foreign.reasoning_gym.environment:ReasoningGym"},
    "ludus/TextArena-v0": {"entry_point": "ludus.envs.foreign.textarena.environment:TextArena"},
}


def register_environments() -> None:
    """Register the environments that are not registered yet; a second call changes nothing."""
    for id, entry in {**_ENVIRONMENTS, **_FOREIGN}.items():
        if id not in gymnasium.registry:
            # Gymnasium's wrappers would refuse a step after `restore` in a fresh instance. The environments
            # refuse one without either themselves, and `ludus check` checks more than Gymnasium's checker.
            gymnasium.register(id=id, order_enforce=False, disable_env_checker=True, **entry)


def environment_ids() -> list[str]:
    """The ids of the environments that Ludus registers, but those of other libraries."""
    return list(_ENVIRONMENTS)


def foreign_ids() -> list[str]:
    """The ids of the environments whose tasks are another library's, an extra of its own each."""
    return list(_FOREIGN)
