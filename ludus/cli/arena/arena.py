"""`ludus arena GAME --players A B …`: players of a game against each other, rated."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ludus.agents.choose import SCRIPTED, URLS
from ludus.cli.errors import INCOMPLETE, UsageError
from ludus.cli.models import ModelChoice, choose_model
from ludus.cli.options import Arguments, OutputFolder
from ludus.cli.runs import RUNS
from ludus.cli.server import Server, ServerFlags
from ludus.cli.values import parse_arguments
from ludus.tools.wording import did_you_mean

if TYPE_CHECKING:
    from ludus.agents.arena.run import Contestant
    from ludus.agents.policy import Policy
    from ludus.envs.games.form import Game

PATIENCE_S = 0.05
"""How long a model waits for the games in which the other side is thinking before it answers the rest."""
_FAULTS = 0.02
"""With a larger share of faults the exit code is 3."""


@dataclass(frozen=True)
class Arena:
    """Let players of a game play each other, and rate them on Elo's scale, with 95% intervals.

    Games are played in pairs with the same seed and the seats swapped, several at once, and kept as they end:
    if it was interrupted or killed, the same command goes on. Beside models, scripted players are anchors:
    their ratings are known, so that ratings from different arenas compare. The exit code is 3 if more than 2%
    of the games ended in a fault, which counts for nobody.
    """

    game: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="GAME", help_behavior_hint="")]
    """TicTacToe, ConnectFour, … (docs/games.md)."""
    players: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PLAYER …", help_behavior_hint="")]
    """Two or more: the game's scripted players (random, oracle, minimax:3, …) and models as in `ludus eval
    --model`: the URL of a server, a run, a model's or an adapter's folder, a name on the hub. NAME=PLAYER
    gives one a name of your own."""
    games: int = 20
    """Games of each two players that meet; an even number."""
    schedule: Literal["round-robin", "swiss"] = "round-robin"
    """round-robin: everybody meets everybody. swiss: a few rounds, in each of which those meet who stand next
    to each other."""
    arg: Arguments = ()
    """A keyword argument of the game; the value as in TOML or JSON. May be given several times."""
    seed: int = 0
    """What chance and players draw follows from it."""
    error_limit: int = 3
    """With so many illegal or malformed moves a player loses the game."""
    reply_seconds: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Time for one reply; who takes longer loses the game. Default: no limit."""
    temperature: float = 1.0
    """Sampling temperature of the models; at 0, games between them repeat themselves."""
    out: OutputFolder = None
    """The arena's folder. Default: runs/arena/GAME."""
    server: Server = field(default_factory=ServerFlags)

    def execute(self) -> int:
        self._refuse()
        from ludus.agents.arena.folder import RESULTS, Settings
        from ludus.agents.arena.run import arena
        from ludus.agents.arena.standings import standings
        from ludus.cli.arena.progress import watch
        from ludus.cli.arena.table import print_standings
        from ludus.envs.games import make_game
        from ludus.report.arena.page import write_arena_report
        from ludus.tools.files import write_file

        arguments = parse_arguments(self.arg)
        try:
            rules = make_game(self.game, **arguments)
        except TypeError as refusal:
            raise UsageError(f"{self.game} refuses its arguments: {refusal}") from refusal
        players = _named_players(self.players, rules)
        models = {name: made for name, made in players.items() if isinstance(made, ModelChoice)}
        if not any(choice.path.startswith(URLS) for choice in models.values()):
            self.server.refuse_for(" ".join(self.players))
        sampling = self._sampling(models) if models else {}
        settings = Settings(
            self.game,
            {name: made if isinstance(made, str) else _shown(made) for name, made in players.items()},
            self.games,
            self.schedule,
            self.seed,
            self.error_limit,
            self.reply_seconds,
            arguments,
            sampling,
            version("ludus"),
        )
        folder = self.out or RUNS / "arena" / self.game
        try:
            with watch(settings) as listener:
                games = arena(settings, self._contestants(players), folder, self.server.concurrency, listener)
        except KeyboardInterrupt as interruption:
            interruption.add_note(f"games that ended are kept in {folder}: the same command goes on")
            raise
        found = standings(settings, games)
        write_file(folder / RESULTS, json.dumps(found.to_json(), indent=1) + "\n")
        print_standings(found)
        print(f"report: {write_arena_report(found, games, folder)}")
        return INCOMPLETE if found.faults > _FAULTS * found.games else 0

    def _refuse(self) -> None:
        """
        Raises:
            UsageError: an option has a value that cannot work.
        """
        if not 0 <= self.temperature < math.inf:
            raise UsageError(f"--temperature {self.temperature}: must be 0 (greedy) or more, and finite")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: must be 0 or more")
        if self.games < 2 or self.games % 2:
            raise UsageError(
                f"--games {self.games}: give an even number, 2 or more; games are played in pairs with the "
                "seats swapped"
            )
        if self.reply_seconds is not None and not 0 < self.reply_seconds < math.inf:
            raise UsageError(f"--reply-seconds {self.reply_seconds}: must be more than 0, and finite")

    def _sampling(self, models: Mapping[str, ModelChoice]) -> dict[str, Any]:
        """What of the options decides how models answer, as the folder's settings record it."""
        text = {"system": self.server.system, "written_calls": self.server.written_calls}
        return {
            "temperature": self.temperature,
            "max_tokens": {name: self._max_tokens(choice) for name, choice in models.items()},
            **{name: value for name, value in text.items() if value},
            **self.server.options().recorded(),
        }

    def _max_tokens(self, choice: ModelChoice) -> int:
        return self.server.max_tokens or choice.max_tokens

    def _contestants(self, players: Mapping[str, "str | ModelChoice"]) -> "list[Contestant]":
        """Players of one model share it."""
        from ludus.agents.arena.run import Contestant
        from ludus.agents.match import GamePlayer

        loaded: dict[str, Policy] = {}

        def model(choice: ModelChoice) -> "Policy":
            if choice.path not in loaded:
                loaded[choice.path] = self._policy(choice)
            return loaded[choice.path]

        def contestant(name: str, made: "str | ModelChoice") -> Contestant:
            if isinstance(made, str):
                return Contestant(name, lambda: GamePlayer(made.removeprefix(SCRIPTED)))
            return Contestant(name, lambda: model(made))

        return [contestant(name, made) for name, made in players.items()]

    def _policy(self, choice: ModelChoice) -> "Policy":
        from ludus.agents.choose import choose_policy

        return choose_policy(
            choice.path,
            temperature=self.temperature,
            max_tokens=self._max_tokens(choice),
            seed=self.seed,
            concurrency=self.server.concurrency,
            system=self.server.system,
            engine=choice.engine,
            server=self.server.options(),
            written_calls=self.server.written_calls,
            patience_s=PATIENCE_S,
        )


def _named_players(given: tuple[str, ...], rules: "Game[Any]") -> dict[str, "str | ModelChoice"]:
    """The players by name, each as `scripted:NAME` or a model.

    Raises:
        UsageError: there are fewer than two, two have one name, or one is neither a scripted player nor a
            model.
        ArgumentError: a scripted player's number is wrong.
    """
    players: dict[str, str | ModelChoice] = {}
    for text in given:
        named = re.fullmatch(r"([\w.:-]+)=(.+)", text)
        name, what = (named[1], named[2]) if named else (text, text)
        if name in players:
            raise UsageError(
                f"two players have the name {name}: give one another, as in other={what}, or drop it"
            )
        players[name] = _player(what, rules)
    if len(players) < 2:
        raise UsageError("an arena needs at least two players: name one more, such as random")
    return players


def _player(text: str, rules: "Game[Any]") -> "str | ModelChoice":
    from ludus.envs.games.player import named, player_names

    known = player_names(rules)
    if text.removeprefix(SCRIPTED).partition(":")[0] in known or text.startswith(SCRIPTED):
        named(rules, text.removeprefix(SCRIPTED), "player")
        return SCRIPTED + text.removeprefix(SCRIPTED)
    choice = choose_model(text)
    if choice.path == text and "/" not in text and not Path(text).exists():
        hint = did_you_mean(text.partition(":")[0], known, otherwise=f"{rules.name} has {', '.join(known)}")
        raise UsageError(
            f"there is no player {text}: {hint}; a model is a URL, a run, a folder, or OWNER/NAME on the hub"
        )
    return choice


def _shown(choice: ModelChoice) -> str:
    from ludus.agents.bench.player import PlayerChoice

    return PlayerChoice(choice.path).shown
