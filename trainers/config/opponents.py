"""`[opponents]`: who sits on the other seats of games while training."""

from typing import Annotated, Literal

from pydantic import Field

from ludus.agents.games import SELF
from ludus.tools.section import Section
from ludus.trainers.config.values import Count, CountOrNone, Positive

LEAGUE = "league"

Name = Annotated[str, Field(min_length=1)]


class LeagueSection(Section):
    """Past checkpoints of the policy as opponents, beginning with the one that GRPO starts from."""

    every: Count = 10
    """GRPO steps after which the policy, as it is then, joins the league."""
    size: Annotated[int, Field(ge=2)] = 8
    """The most of them; as many models are in memory. Where there are more, those stay that are spread most
    evenly over the run, the first and the last among them."""
    choice: Literal["uniform", "pfsp"] = "pfsp"
    """How one of them is drawn. `uniform`: all alike. `pfsp`: by the square of what the policy lately lost to
    each, its mean score taken from 1 (prioritised fictitious self-play; Vinyals et al., Nature 575, 2019)."""
    folder: str = ""
    """A folder with further models, one in each subfolder, which are members from the beginning and to the
    end, such as checkpoints of another run with the same tokenizer."""


class RatingSection(Section):
    """How strong the policy is, while it trains: games with scripted players, whose strength stays the same,
    and with the members of the league."""

    every: CountOrNone = 20
    """GRPO steps between two measurements, at `evaluation.temperature`; 0 leaves them out. The first and the
    last step are always followed by one."""
    pairs: Count = 20
    """Pairs of games with each opponent: the same seed, the policy once on either seat."""
    anchors: Annotated[list[Name], Field(min_length=1)] = Field(default_factory=lambda: ["random", "oracle"])
    """Scripted players of the game. The first has 0 Elo points, the others what they score against each
    other."""


class OpponentsSection(Section):
    """Who sits on the other seats of games while training by GRPO and RFT, in the place of the opponent in
    the environment's arguments, against whom the policy is primed, validated and evaluated."""

    weights: Annotated[dict[Name, Positive], Field(min_length=1)] = Field(default_factory=lambda: {SELF: 1.0})
    """Opponents by name, each with its weight: its part of the groups is that over the sum of all. `self`:
    the policy itself, whose seats are all trained on. `league`: past checkpoints of it. Any other name is
    that of a scripted player of the game, such as `random`, `oracle:75` or `minimax:3`."""
    league: LeagueSection = LeagueSection()
    """The members of `league`."""
    rating: RatingSection = RatingSection()
    """What shows whether it gets stronger."""

    @property
    def scripted(self) -> list[str]:
        """The names of scripted players."""
        named = [name for name in self.weights if name not in (SELF, LEAGUE)]
        return list(dict.fromkeys([*named, *(self.rating.anchors if self.rating.every else [])]))
