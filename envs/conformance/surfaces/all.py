"""The surfaces by name."""

from collections.abc import Mapping
from importlib import import_module

from ludus.envs.conformance.surfaces.surface import Surface
from ludus.tools.errors import UserError
from ludus.tools.wording import did_you_mean

SURFACES: Mapping[str, str] = {
    "copies": "ludus.envs.conformance.surfaces.copies:Copies",
    "mcp": "ludus.envs.conformance.surfaces.mcp:Mcp",
    "openenv": "ludus.envs.conformance.surfaces.openenv:OpenEnv",
    "openenv-back": "ludus.envs.conformance.surfaces.openenv:OpenEnvBack",
    "trl": "ludus.agents.trl.surface:Trl",
    "verifiers": "ludus.agents.verifiers.surface:Verifiers",
}
"""Where each is; what it needs is imported when it is made. One on a higher floor is known by its name
alone."""


def surface(name: str) -> Surface:
    """
    Raises:
        UserError: there is no such surface, or the packages that it needs are missing.
    """
    if name not in SURFACES:
        raise UserError(f"there is no surface {name!r}: {did_you_mean(name, SURFACES)}")
    module, _, kind = SURFACES[name].partition(":")
    made: Surface = getattr(import_module(module), kind)()
    return made
