"""How environments report a broken sandbox."""

from collections.abc import Iterator
from contextlib import contextmanager

from ludus.envs.faults import EnvironmentFault
from ludus.tools.sandbox import SandboxFault


@contextmanager
def sandbox_faults() -> Iterator[None]:
    """Turn a `SandboxFault` into an `EnvironmentFault`.

    Raises:
        EnvironmentFault: the sandbox broke, through no fault of the agent.
    """
    try:
        yield
    except SandboxFault as fault:
        raise EnvironmentFault(f"the sandbox broke: {fault}") from fault
