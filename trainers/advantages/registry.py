"""The kinds of advantage, by the names that `grpo.advantage` takes. Imports nothing heavy."""

from typing import Literal

AdvantageName = Literal["grpo", "dr_grpo", "rloo"]

ADVANTAGES: dict[AdvantageName, str] = {
    "grpo": "the return less the group's mean, over its standard deviation (arXiv:2402.03300)",
    "dr_grpo": "the return less the group's mean (arXiv:2503.20783)",
    "rloo": "the return less the mean of the group's others (arXiv:2402.14740)",
}


def described() -> str:
    """The kinds in a phrase each, for the configuration's help."""
    return "; ".join(f"`{name}`: {about}" for name, about in ADVANTAGES.items())
