"""Whether OpenEnv is installed as it is needed here."""

from importlib import metadata

from ludus.tools.errors import UserError
from ludus.tools.extras import how_to_install

SPOKEN = "0.10"
"""The version whose protocol is spoken."""


def require_openenv() -> None:
    """
    Raises:
        UserError: it is not there, of another version, or overwritten by its older self.
    """
    try:
        found = metadata.version("openenv")
    except metadata.PackageNotFoundError:
        raise UserError(f"this needs openenv, which is not installed: {how_to_install('openenv')}") from None
    if not f"{found}.".startswith(f"{SPOKEN}."):
        raise UserError(
            f"openenv {found} is installed, and its protocol is spoken as of {SPOKEN}: "
            f"{how_to_install('openenv')}"
        )
    try:
        old = metadata.version("openenv-core")
    except metadata.PackageNotFoundError:
        return
    raise UserError(
        f"openenv-core {old} is installed over openenv, in the same folder: pip uninstall openenv-core "
        f"openenv, then {how_to_install('openenv')}"
    )
