"""`ArgumentError`: an environment was asked for something that it does not offer."""

from ludus.tools.errors import UserError


class ArgumentError(UserError, ValueError):
    """A wrong argument, option or seed. The message names the value, the likely cause and the fix."""

    exit_code = 2
