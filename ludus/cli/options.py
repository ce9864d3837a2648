"""Types of options that several commands share, with the placeholders that `--help` shows for their
values."""

from pathlib import Path
from typing import Annotated

import tyro

EnvironmentId = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ID", help_behavior_hint="")]
Arguments = Annotated[
    tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="KEY=VALUE", help_behavior_hint="")
]
AgentName = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
ModelName = Annotated[str | None, tyro.conf.arg(metavar="URL|PATH|RUN", help_behavior_hint="")]
OutputFolder = Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")]
OutputFile = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")]
