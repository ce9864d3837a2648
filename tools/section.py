"""`Section`: the base class of every table of a configuration."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Frozen, strict, without unknown keys; the string under a field is its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)
