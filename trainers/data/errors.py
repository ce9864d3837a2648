"""What is wrong with a data file."""

from ludus.tools.errors import UserError


class DataError(UserError):
    """A data file cannot be trained on. The line names the file, the line or row in it, and what is wrong."""
