"""Who plays whom: round robin and Swiss, every meeting in pairs of games with the seats swapped."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ludus.agents.policy import derive_seed
from ludus.tools.content import content_key


@dataclass(frozen=True, slots=True, order=True)
class Fixture:
    """A game to play."""

    first: str
    """Who has the first seat."""
    second: str
    number: int
    """Of the pair of games among those of the same two players."""

    @property
    def players(self) -> tuple[str, str]:
        """Both, in the order of their names: the same for both games of a pair."""
        return min(self.first, self.second), max(self.first, self.second)

    def seed(self, seed: int) -> int:
        """Of the game, in an arena with this seed: the same for both games of a pair, whoever else plays."""
        return derive_seed(content_key(self.players), seed, self.number)


def meeting(one: str, other: str, pairs: int) -> list[Fixture]:
    """All games of two players."""
    return [Fixture(*seats, number) for number in range(pairs) for seats in ((one, other), (other, one))]


def round_robin(names: Collection[str], pairs: int) -> list[Fixture]:
    """Everybody against everybody, so that at any time all have played about as many games."""
    order = sorted(names)
    return [
        fixture
        for number in range(pairs)
        for place, one in enumerate(order)
        for other in order[place + 1 :]
        for fixture in (Fixture(one, other, number), Fixture(other, one, number))
    ]


def swiss_rounds(players: int) -> int:
    """As many rounds as a knock-out tournament has."""
    return max(1, (players - 1).bit_length())


def swiss_round(
    scores: Mapping[str, float], met: Collection[frozenset[str]]
) -> tuple[list[tuple[str, str]], str | None]:
    """The next round: neighbours in the table meet, if they have not met before.

    Args:
        scores: of all players so far; of equal ones the order of names decides.
        met: who has met; a name alone has rested.

    Returns:
        Who meets, and who rests where their number is odd: the last in the table who has not rested before.
    """
    table = sorted(scores, key=lambda name: (-scores[name], name))
    resting: Sequence[str | None] = [None]
    if len(table) % 2:
        resting = [name for name in reversed(table) if frozenset({name}) not in met] or table[-1:]
    for name in resting:
        if (found := _matched([each for each in table if each != name], met)) is not None:
            return found, name
    # Everybody has met who could: some meet again.
    name = resting[0]
    return _matched([each for each in table if each != name], ()) or [], name


def _matched(table: Sequence[str], met: Collection[frozenset[str]]) -> list[tuple[str, str]] | None:
    """Everybody with the next in the table as far as may be; None where no such matching exists."""
    if not table:
        return []
    first, *rest = table
    for other in rest:
        if frozenset({first, other}) not in met:
            further = _matched([name for name in rest if name != other], met)
            if further is not None:
                return [(first, other), *further]
    return None
