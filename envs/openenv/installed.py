"""Whether OpenEnv is installed as it is needed here."""

from importlib import metadata

from ludus.tools.errors import UserError
from ludus.tools.extras import how_to_install, require_version

SPOKEN = "0.10"
"""The version whose protocol is spoken."""


def require_openenv() -> None:
    """
    Raises:
        UserError: it is not there, of another version, or overwritten by its older self.
    """
    require_version("openenv", SPOKEN)
    try:
        old = metadata.version("openenv-core")
    except metadata.PackageNotFoundError:
        return
    raise UserError(
        f"openenv-core {old} is installed over openenv, in the same folder: pip uninstall openenv-core "
        f"openenv, then {how_to_install('openenv')}"
    )
