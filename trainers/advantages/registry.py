"""The kinds of advantage, by the names that `grpo.advantage` takes. Imports nothing heavy."""

from typing import Literal

AdvantageName = Literal["grpo", "dr_grpo", "rloo"]

ADVANTAGES: dict[AdvantageName, str] = {
    "grpo": "the return minus the group's mean, divided by its standard deviation (arXiv:2402.03300)",
    "dr_grpo": "the return minus the group's mean (arXiv:2503.20783)",
    "rloo": "the return minus the mean of the others in the group (arXiv:2402.14740)",
}


def described() -> str:
    """A phrase about each kind, for the configuration's help."""
    return "; ".join(f"`{name}`: {about}" for name, about in ADVANTAGES.items())
