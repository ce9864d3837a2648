"""What goes wrong when an environment is made or reset: the caller's mistakes."""

from ludus.tools.errors import UserError


class ArgumentError(UserError, ValueError):
    """A wrong argument, option, seed or action. The message names the value, the likely cause and the fix."""

    exit_code = 2


class UnknownArgumentError(UserError, TypeError):
    """A keyword argument that the constructor does not take.

    It is a `TypeError` and begins with Python's own words, so that libraries which try an argument out
    (`frameskip`, `render_mode`) see what they expect; then it says what there is.
    """

    exit_code = 2
