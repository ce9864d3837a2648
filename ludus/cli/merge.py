"""`ludus merge ADAPTER --out DIR`: base and adapter as one model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ludus.cli.models import choose_model


@dataclass(frozen=True)
class Merge:
    """Add a LoRA adapter to its base's weights, and write the whole model, for whatever cannot load adapters.

    Evaluating, benching and training need no merging: they take the adapter itself.
    """

    adapter: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ADAPTER", help_behavior_hint="")]
    """The adapter: its folder, its name on the hub, or a run that trained one."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
    """A new folder for the model."""

    def execute(self) -> int:
        adapter = choose_model(self.adapter).path
        from ludus.agents.adapters.merge import merge_adapter

        merge_adapter(adapter, self.out)
        print(f"merged: {self.out}")
        return 0
