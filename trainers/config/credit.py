"""The keys of `[grpo]` that say which token gets the credit for what was earned."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ludus.tools.section import Section
from ludus.trainers.advantages import registry as advantages
from ludus.trainers.config.values import NonNegative


class CreditKeys(Section):
    """Credit for what was earned."""

    credit: advantages.CreditName = Field(
        default="group", description=f"{advantages.described(advantages.CREDITS)}."
    )
    """Which token gets the credit for what an episode earned; goes with every loss."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """How much a reward counts one turn earlier, or one token earlier with `advantage = "reinforce_pp"` or
    `credit = "gae"`. For what discounts."""
    omega: NonNegative = 1.0
    """The weight of comparing turns in the same state, beside comparing episodes. For credit by anchor."""
    anchor_std: bool = True
    """Whether turns in the same state are compared in units of their standard deviation; without it, in those
    of the reward. For credit by anchor."""
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 1.0
    """How far credit by gae looks at what was earned: 1 to the episode's end, with no bias from the value
    model; 0 only to the next token, and relies on its value from there; between, a mixture with less noise
    than the one and less bias than the other."""
    gae_whiten: bool = True
    """Whether advantages by gae are whitened over all tokens of the batch: minus their mean, over their
    standard deviation."""
    advantage: Literal["default", advantages.AdvantageName] = Field(
        default="default",
        description=f"`default`: the loss's own; {advantages.described(advantages.ADVANTAGES)}.",
    )
    """What an episode's return is compared with; `default` is the loss's own choice, see
    [Losses](losses.md)."""

    @model_validator(mode="after")
    def _credit_is_consistent(self) -> Self:
        if self.credit == "group" and self.advantage != "reinforce_pp" and self.gamma != 1.0:
            raise ValueError(
                f'gamma = {self.gamma:g} discounts, but credit = "group" gives every token the whole return; '
                'take credit = "turn", "anchor" or "gae", or advantage = "reinforce_pp", or drop gamma'
            )
        if self.credit == "anchor" and self.advantage in ("reinforce_pp", "reinforce_pp_baseline"):
            raise ValueError(
                f'advantage = "{self.advantage}" whitens over the batch, but credit = "anchor" adds what it '
                'gives to a comparison within the group; take credit = "group", or another advantage'
            )
        if self.credit == "anchor" and self.advantage == "role":
            raise ValueError(
                'advantage = "role" compares with a running mean, but credit = "anchor" adds what it gives '
                'to a comparison within the group; take credit = "group", or another advantage'
            )
        if self.credit != "anchor" and (self.omega != 1.0 or not self.anchor_std):
            name, value = ("anchor_std", "false") if self.omega == 1.0 else ("omega", f"{self.omega:g}")
            raise ValueError(
                f"{name} = {value} is about comparing turns in the same state, which credit = "
                f'"{self.credit}" does not do; take credit = "anchor", or drop {name}'
            )
        if self.credit == "turn" and self.advantage != "default":
            raise ValueError(
                f'advantage = "{self.advantage}" compares whole returns, but credit = "turn" compares what '
                'was earned from each turn on; take credit = "group", or drop advantage'
            )
        if self.credit == "gae" and self.advantage != "default":
            raise ValueError(
                f'advantage = "{self.advantage}" compares episodes with each other, but credit = "gae" '
                'compares with a value model; take credit = "group", or drop advantage'
            )
        if self.credit == "teacher" and (self.advantage != "default" or self.gamma != 1.0):
            name, value = (
                ("gamma", f"{self.gamma:g}")
                if self.advantage == "default"
                else ("advantage", f'"{self.advantage}"')
            )
            raise ValueError(
                f'{name} = {value} is about what episodes earn, but credit = "teacher" gives a token what '
                f"the teacher thinks of it alone; take another credit, or drop {name}"
            )
        if self.credit != "gae" and (self.gae_lambda != 1.0 or not self.gae_whiten):
            name, value = (
                ("gae_whiten", "false") if self.gae_lambda == 1.0 else ("gae_lambda", f"{self.gae_lambda:g}")
            )
            raise ValueError(
                f'{name} = {value} is about advantages over a value model, which credit = "{self.credit}" '
                f'does without; take credit = "gae", or drop {name}'
            )
        return self

    @property
    def compares_in_group(self) -> bool:
        """Whether only a difference to others of the same group teaches."""
        return self.credit not in ("gae", "teacher") and self.advantage not in ("reinforce_pp", "role")

    @property
    def compared_with(self) -> str:
        """What takes the place of the group, as a phrase."""
        if self.credit == "gae":
            return 'credit = "gae" compares with a value model'
        if self.credit == "teacher":
            return 'credit = "teacher" compares with a teacher'
        if self.advantage == "role":
            return 'advantage = "role" compares with what the seat earned before'
        return f'advantage = "{self.advantage}" compares with the whole batch'
