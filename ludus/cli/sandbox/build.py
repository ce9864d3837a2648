"""`ludus sandbox build`: the image of the backend `docker`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class SandboxBuild:
    """Make the image that LUDUS_SANDBOX=docker runs programs in.

    It starts from the official Python image or, if no image registry can be reached, from a tar of a root
    filesystem, such as `debootstrap --variant=minbase --include=python3 bookworm DIR` makes.
    """

    from_tar: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """A tar of a root filesystem with python3 (3.11 or newer) to start from."""
    package: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME", help_behavior_hint="")
    ] = ()
    """A distribution that programs may import. May be given several times."""

    def execute(self) -> int:
        from ludus.tools.sandbox.build import build_image

        name = build_image(self.package, self.from_tar, say=print)
        print(f"{name} is ready: LUDUS_SANDBOX=docker")
        return 0
