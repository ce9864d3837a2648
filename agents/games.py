"""`rollout_games`: games between a policy and others, many at once; each seat of the policy's is an episode.

The games go on in waves: in each, all who are to move in any game are asked, and the next one begins when the
last of them has answered. So what an engine computes together follows from the jobs alone, whatever the
timing, also where the seats belong to several engines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from ludus.agents.episode import Episode
from ludus.agents.match import GamePlayer, Match, Seat
from ludus.agents.policy import Policy, derive_seed
from ludus.agents.ratings import score
from ludus.agents.recording import Recorder
from ludus.agents.rollout import Job, Limits, RolloutError, run_blocking, run_together
from ludus.envs.games.environment import SEATS, GameChat
from ludus.envs.games.form import Game
from ludus.tools.errors import UserError

SELF = "self"
"""The opponent that is the policy itself: all seats are its own."""


@dataclass(frozen=True, slots=True)
class PlayedGame:
    """A game of a policy."""

    opponent: str
    seat: int
    """The policy's; against itself, the first."""
    outcome: tuple[float, ...] | None
    """What each seat got; None after a fault."""
    score: float | None
    """What the policy scored, 0 to 1, as `ratings.score` has it; None after a fault."""
    episodes: tuple[Episode, ...]
    """Of the policy's seats, in order: what each heard and said, and nothing of the others'. `Turn.actor` is
    the seat, `first` or `second`, and `task_kind` the opponent's name. The group's number is that of the
    start times the number of seats, plus the seat, so that no group mixes seats. A seat that never moved has
    no episode. Where anybody's engine broke, all are faults."""


def seats_of_policy(opponent: str) -> int:
    """How many seats of a game the policy plays against an opponent."""
    return Game.seats if opponent == SELF else 1


def rollout_games(
    policy: Policy,
    opponents: Mapping[str, Policy],
    jobs: Sequence[Job],
    limits: Limits | None = None,
    concurrency: int = 64,
) -> list[PlayedGame]:
    """Play games, in the order of the jobs.

    Args:
        policy: It plays the seat that `seat` of the environment gives or, against itself, every seat.
        opponents: Policies by the names that jobs give. Any other name is that of a scripted player.
        jobs: Environments of games in words, and starts with an `opponent`.
        limits: Of turns and tokens; a seat of the policy's that reaches one forfeits. Those of time do not
            apply: the rules of a game are no program that may hang.
        concurrency: Games played at the same time.

    Raises:
        ArgumentError: a game has no scripted player of that name.
        RolloutError: a policy raised something that is not a fault.
    """
    return run_blocking(_rollout(policy, opponents, jobs, limits, concurrency))


async def _rollout(
    policy: Policy,
    opponents: Mapping[str, Policy],
    jobs: Sequence[Job],
    limits: Limits | None,
    concurrency: int,
) -> list[PlayedGame]:
    played: dict[int, PlayedGame] = {}
    waiting = iter(enumerate(jobs))
    playing: dict[int, _Game] = {}
    try:
        while True:
            for index, job in islice(waiting, concurrency - len(playing)):
                playing[index] = _Game(policy, opponents, job, limits)
                playing[index].match.begin()
            if not playing:
                return [played[index] for index in range(len(jobs))]
            await run_together(game.move() for game in playing.values())
            for index in [index for index, game in playing.items() if game.match.is_over]:
                game = playing.pop(index)
                game.match.close()
                played[index] = game.played()
    finally:
        for game in playing.values():
            game.match.close()


class _Game:
    """One that is being played."""

    def __init__(
        self, policy: Policy, opponents: Mapping[str, Policy], job: Job, limits: Limits | None
    ) -> None:
        self._job = spec, start = job
        chair = _chair(job)
        dealt = chair.deal(start.seed)
        self._rules = chair.game
        seats = chair.game.seats
        self._seat = 0 if start.opponent == SELF else dealt.seat
        other = opponents.get(start.opponent) or GamePlayer(start.opponent)
        own = range(seats) if start.opponent == SELF else (dealt.seat,)
        recorders = {
            seat: Recorder(
                spec.id,
                spec.arguments,
                start.seed,
                start.group * seats + seat,
                start.sample,
                task_kind=start.opponent,
                actor=SEATS[seat],
            )
            for seat in own
        }
        chairs = [chair, *(_chair(job) for _ in range(1, seats))]
        self.match = Match(
            dealt.table,
            [
                Seat(
                    chair,
                    policy if seat in own else other,
                    derive_seed(start.seed, start.sample, seat),
                    recorders.get(seat),
                )
                for seat, chair in enumerate(chairs)
            ],
            limits=limits,
        )

    async def move(self) -> None:
        try:
            await self.match.move()
        except UserError:
            raise
        except Exception as error:
            spec, start = self._job
            where = f"{spec.id} (seed {start.seed}, move {len(self.match.plies)})"
            raise RolloutError(f"{where}: {type(error).__name__}: {error}") from error

    def played(self) -> PlayedGame:
        outcome, scored = self.match.outcome, None
        if outcome is not None:
            own_first = (outcome[self._seat], outcome[1 - self._seat])
            scored = score(own_first, self._rules.low, self._rules.high)
        opponent = self._job[1].opponent
        return PlayedGame(opponent, self._seat, outcome, scored, tuple(self.match.episodes()))


def _chair(job: Job) -> GameChat:
    chair = job[0].make().unwrapped
    assert isinstance(chair, GameChat), f"{job[0].id} is no game in words"
    return chair
