"""What several tables share: kinds of values, and the hint at what was probably meant."""

from typing import Annotated, Any, Literal

from pydantic import Field

from ludus.tools.wording import did_you_mean

Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Schedule = Literal["constant", "linear", "cosine"]


def nearest(name: object, choices: Any, listed: bool = False) -> str:
    """The choice that was probably meant or, if none is similar and the message has not `listed` them, all of
    them."""
    everything = f"there is {', '.join(choices)}" if len(choices) < 30 and not listed else ""
    hint = did_you_mean(name, choices, otherwise=everything)
    return f"; {hint}" if hint else ""
