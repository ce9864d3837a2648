"""Whether TRL is installed as it is needed here."""

from ludus.tools.extras import require_version

KNOWN = "1.16"
"""The version whose experimental interfaces are met: they change without notice."""


def require_trl() -> None:
    """
    Raises:
        UserError: it is not there, or of another version.
    """
    require_version("trl", KNOWN)
