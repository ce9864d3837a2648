"""The kinds of credit and of advantage, by the names that the configuration takes. Imports nothing heavy."""

from collections.abc import Mapping
from typing import Any, Literal

CreditName = Literal["group", "turn", "anchor", "gae", "teacher"]

CREDITS: dict[CreditName, str] = {
    "group": "every token has the advantage of its episode's return over its group's, by `grpo.advantage`",
    "turn": "a token has the advantage of what was earned from its turn on, discounted by `grpo.gamma` for "
    "each turn, over the mean of the others in the group from the same turn on",
    "anchor": "as `group`, plus `grpo.omega` times the advantage of what was earned from the turn on, "
    "discounted by `grpo.gamma` for each turn, over the group's turns in the same state (GiGPO, "
    "arXiv:2505.10978)",
    "gae": "a token has the advantage of what was earned from it on over what a value model, `[critic]`, "
    "expected there, by `grpo.gae_lambda` and discounted by `grpo.gamma` for each token (arXiv:1506.02438)",
    "teacher": "a token has what a teacher, `[distillation]`, thinks of it, and nothing of what the episode "
    "earned",
}

AdvantageName = Literal["grpo", "dr_grpo", "rloo", "reinforce_pp", "reinforce_pp_baseline", "role"]

ADVANTAGES: dict[AdvantageName, str] = {
    "grpo": "the return minus the group's mean, divided by its standard deviation (arXiv:2402.03300)",
    "dr_grpo": "the return minus the group's mean (arXiv:2503.20783)",
    "rloo": "the return minus the mean of the others in the group (arXiv:2402.14740)",
    "reinforce_pp": "what was earned from the token on, discounted by `grpo.gamma` for each token, whitened "
    "over all tokens of the batch (REINFORCE++, arXiv:2501.03262)",
    "reinforce_pp_baseline": "the return minus the group's mean, whitened over all tokens of the batch",
    "role": "the return minus a running mean of what the same seat of the same game earned in earlier steps "
    "(SPIRAL, arXiv:2506.24119); for `[opponents]`",
}


SCORERS = {"arithmetic": "ludus.trainers.advantages.arithmetic_steps:arithmetic_steps"}
"""Scorers of the steps of a reply, by name, as `module:function`."""


def described(kinds: Mapping[Any, str]) -> str:
    """A phrase about each kind, for the configuration's help."""
    return "; ".join(f"`{name}`: {about}" for name, about in kinds.items())
