"""What a model's tokens cost, from a table that the user gives.

["gpt-oss-120b"]
input = 0.10      # US dollars for a million tokens
cached = 0.05     # of the prompt's, those that the server had in its cache; default: as input
output = 0.50
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ludus.agents.bench.result import Result
from ludus.tools.errors import UserError
from ludus.tools.wording import did_you_mean

_MILLION = 1_000_000


class PriceError(UserError):
    """A table of prices cannot be read, or lacks the model."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens."""

    input: float
    output: float
    cached: float

    def of(self, result: Result) -> float:
        """US dollars for one episode."""
        fresh = result.prompt_tokens - result.cached_tokens
        dollars = fresh * self.input + result.cached_tokens * self.cached
        return (dollars + result.completion_tokens * self.output) / _MILLION


def read_prices(path: Path) -> dict[str, Price]:
    """
    Raises:
        PriceError: it is not a table of prices.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PriceError(f"{path} cannot be read ({error.strerror}): name a TOML file of prices") from None
    except ValueError as error:
        raise PriceError(f"{path} is not TOML ({error}): mend it") from None
    return {model: _price(path, model, fields) for model, fields in content.items()}


def price_of(prices: Mapping[str, Price], model: str) -> Price:
    """The price of a run's model, which may be written `URL#NAME` there and as `NAME` in the table.

    Raises:
        PriceError: the table does not have it.
    """
    name = model.rpartition("#")[2]
    for known in (model, name):
        if known in prices:
            return prices[known]
    hint = did_you_mean(name, prices, otherwise=f"it has {', '.join(prices) or 'none'}")
    raise PriceError(f"the table of prices has no {name!r}: {hint}")


def _price(path: Path, model: str, fields: Any) -> Price:
    wrong = PriceError(
        f"{path}: [{model!r}] needs input and output, and may have cached: US dollars for a million tokens, "
        "such as input = 0.1"
    )
    if not isinstance(fields, dict) or not {"input", "output"} <= fields.keys() <= {
        "input",
        "output",
        "cached",
    }:
        raise wrong
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in fields.values()):
        raise wrong
    if not all(0 <= value < float("inf") for value in fields.values()):
        raise wrong
    numbers = {name: float(value) for name, value in fields.items()}
    return Price(numbers["input"], numbers["output"], numbers.get("cached", numbers["input"]))
