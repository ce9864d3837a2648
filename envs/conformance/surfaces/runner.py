"""`compare`: one policy, played directly and through a surface; everything that is seen must be the same."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ludus.envs.conformance.episodes import play
from ludus.envs.conformance.surfaces.breaking import BREAKING, FAULT
from ludus.envs.conformance.surfaces.comparison import Comparison, Difference, as_json, facts
from ludus.envs.conformance.surfaces.policy import KINDS, reply
from ludus.envs.conformance.surfaces.surface import Direct, DirectSession, Lost, Seen, Session, Surface
from ludus.envs.faults import EnvironmentFault

MOST_TURNS = 24
"""Replies after which an episode is left, and the next one begun."""


def compare(
    surface: Surface,
    environment: str,
    /,
    *,
    seeds: Sequence[int] = (11, 12),
    members: int = 2,
    kinds: Sequence[str] = KINDS,
    **arguments: Any,
) -> Comparison:
    """Play an environment directly and through a surface, and compare all that is seen.

    For each seed and kind of replies (see `policy.KINDS`), a group of episodes begins from the same start;
    its members say different things, and are played through the surface turn by turn beside each other, in
    sessions that stay open from group to group. Then the environment breaks at one step, which must be told
    as a fault and cost the episode alone; and a connection is lost in the middle of an episode, which must be
    told before anything else goes on, and leave other sessions alone.

    Args:
        environment: an id; `module:ID` imports the module first.
        seeds: of the episodes' starts.
        members: episodes in a group.
        kinds: of replies.
        arguments: keyword arguments of the environment.

    Raises:
        UserError: the environment is not a chat, or the surface's packages are missing.
        EnvironmentFault: the environment breaks when it is played directly: nothing can be said then.
    """
    direct = Direct().open(environment, arguments)
    run = _Run(surface, environment, arguments, direct)
    try:
        run.tools()
        for seed in seeds:
            good = run.good(seed)
            for kind in kinds:
                run.group(kind, seed, good, members)
        run.fault(seeds[0])
        if surface.connects:
            run.lost(seeds[0])
    finally:
        run.close()
    return Comparison(
        surface.name, environment, run.episodes, run.steps, tuple(run.differences), run.left_out
    )


@dataclass(frozen=True, slots=True)
class _Episode:
    """An episode as it went directly: what was said, and what was seen, the start first."""

    name: str
    seed: int
    replies: tuple[Any, ...]
    seen: tuple[Seen, ...]


@dataclass
class _Run:
    surface: Surface
    id: str
    arguments: Mapping[str, Any]
    direct: DirectSession
    sessions: list[Session] = field(default_factory=list)
    episodes: int = 0
    steps: int = 0
    differences: list[Difference] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def close(self) -> None:
        for session in (*self.sessions, self.direct):
            session.close()

    def tools(self) -> None:
        session = self._session(0)
        session.reset(0)
        offered, through = as_json(self.direct.tools), as_json(session.tools)
        if offered != through:
            self._differs("the tools", 0, "tools", offered, through)

    def good(self, seed: int) -> list[Any]:
        """The oracle's replies; another agent's, where there is no oracle."""
        env = self.direct.env
        scripted = getattr(env.unwrapped, "scripted", {})
        agent = scripted.get("oracle") or scripted.get("random")
        if agent is None:
            return []
        steps = list(play(env, agent(env.unwrapped, seed), seed))[: MOST_TURNS + 1]
        return [step.action for step in steps[1:]]

    def group(self, kind: str, seed: int, good: Sequence[Any], members: int) -> None:
        """Members of a group, turn by turn beside each other."""
        played = [self._played(kind, seed, member, good) for member in range(members)]
        going = {
            member: self._session(member)
            for member, episode in enumerate(played)
            if self._begins(episode, self._session(member))
        }
        for turn in range(MOST_TURNS):
            for member, session in [*going.items()]:
                if not self._goes_on(played[member], session, turn):
                    del going[member]

    def fault(self, seed: int) -> None:
        """A fault is told as one, and the session plays on."""
        good = self.good(seed)
        # In the second turn, where the first reply can be said and does not end the episode.
        at = 1 if len(good) > 1 and not self.surface.refuses(good[0]) else 0
        arguments = {"environment": self.id, "arguments": dict(self.arguments), "at": at}
        direct, session = Direct().open(BREAKING, arguments), self.surface.open(BREAKING, arguments)
        try:
            name = f"a fault in turn {at + 1}"
            episode = _Episode(
                name, seed, tuple(good[:at]), (direct.reset(seed), *map(direct.step, good[:at]))
            )
            if self._begins(episode, session) and self._goes_to_its_end(episode, session):
                told = self._raised(session, "", EnvironmentFault)
                if FAULT not in told:
                    self._differs(name, at + 1, "fault", FAULT, told)
                told = self._raised(session, "", Lost, EnvironmentFault)
                if told.startswith("nothing"):
                    self._differs(name, at + 2, "fault", "the episode is over", told)
                self._begins(episode, session)
        finally:
            direct.close()
            session.close()

    def lost(self, seed: int) -> None:
        """A lost connection is told, and costs one episode."""
        name = "a lost connection"
        episode, beside = (self._played("oracle", start, 0, self.good(start)) for start in (seed, seed + 1))
        unlucky, other = (self.surface.open(self.id, self.arguments) for _ in range(2))
        try:
            if self._begins(episode, unlucky) and self._begins(beside, other):
                unlucky.cut()
                told = self._raised(unlucky, "", Lost)
                if told.startswith("nothing"):
                    self._differs(name, 1, "told", "that the episode is lost", told)
                self._goes_to_its_end(beside, other)
                if self._begins(episode, unlucky):
                    self._goes_to_its_end(episode, unlucky)
        finally:
            unlucky.close()
            other.close()

    def _session(self, number: int) -> Session:
        while len(self.sessions) <= number:
            self.sessions.append(self.surface.open(self.id, self.arguments))
        return self.sessions[number]

    def _played(self, kind: str, seed: int, member: int, good: Sequence[Any]) -> _Episode:
        """An episode, played directly, as far as it can be said through the surface."""
        tools = self.direct.tools
        replies: list[Any] = []
        seen = [self.direct.reset(seed)]
        while not seen[-1].ended and len(replies) < MOST_TURNS:
            said = reply(kind, seed, member, len(replies), good, tools)
            if why := self.surface.refuses(said):
                self.left_out[why] += 1
                break
            replies.append(said)
            seen.append(self.direct.step(said))
        self.episodes += 1
        name = f"{kind}, seed {seed}, member {member}"
        return _Episode(name, seed, tuple(replies), tuple(seen))

    def _begins(self, episode: _Episode, session: Session) -> bool:
        return self._same(episode, 0, lambda: session.reset(episode.seed))

    def _goes_on(self, episode: _Episode, session: Session, turn: int) -> bool:
        """Say the next reply; False where the episode has none, or has come out otherwise."""
        if turn >= len(episode.replies):
            return False
        self.steps += 1
        return self._same(episode, turn + 1, lambda: session.step(episode.replies[turn]))

    def _goes_to_its_end(self, episode: _Episode, session: Session) -> bool:
        return all(self._goes_on(episode, session, turn) for turn in range(len(episode.replies)))

    def _same(self, episode: _Episode, turn: int, see: Callable[[], Seen]) -> bool:
        before, expected = len(self.differences), facts(episode.seen[turn])
        try:
            found = facts(see())
        except (EnvironmentFault, Lost) as told:
            self._differs(episode.name, turn, type(told).__name__, "no such thing", str(told))
            return False
        for fact, value in expected.items():
            if found[fact] == value:
                continue
            if fact in self.surface.lacks:
                self.left_out[f"{fact}: {self.surface.lacks[fact]}"] += 1
            else:
                self._differs(episode.name, turn, fact, value, found[fact])
        return len(self.differences) == before

    def _raised(self, session: Session, said: Any, *kinds: type[Exception]) -> str:
        """What the client was told instead of an answer."""
        try:
            seen = session.step(said)
        except kinds as told:
            return str(told)
        except (EnvironmentFault, Lost) as told:
            return f"nothing of the kind, but {type(told).__name__}: {told}"
        return f"nothing: the reply was answered with the reward {seen.reward}"

    def _differs(self, episode: str, turn: int, fact: str, direct: str, through: str) -> None:
        self.differences.append(Difference(episode, turn, fact, direct, through))
