"""Whether verifiers is installed as it is needed here."""

from ludus.tools.extras import require_version

KNOWN = "0.4"
"""The version whose interfaces are met."""


def require_verifiers() -> None:
    """
    Raises:
        UserError: it is not there, or of another version.
    """
    require_version("verifiers", KNOWN)
