"""Errors, by who must react: the user, the model, or nobody (a fault)."""


class UserError(Exception):
    """A problem the user can fix: a wrong value, a missing file, a corrupt checkpoint.

    The message is one line that names the thing, the likely cause and the fix; the command line prints it
    after `error: ` and exits with 1. A subclass names the kind (`class CheckpointError(UserError)`); one
    caused by the way the command was called, such as a wrong configuration, sets `exit_code = 2`. Any other
    exception is a bug and keeps its traceback.
    """

    exit_code: int = 1


class DataError(UserError):
    """A data file cannot be used. The line names the file, the line or row in it, and what is wrong."""


class ToolError(Exception):
    """A tool call that the model got wrong: it reads the message and can try again."""


class ToolFault(RuntimeError):
    """Something under a tool broke on our side: the episode is a fault, never reward 0."""
