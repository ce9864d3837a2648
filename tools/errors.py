"""`UserError`: a problem that the person at the keyboard can mend."""


class UserError(Exception):
    """A problem the user can mend: a wrong value, a missing file, a corrupt checkpoint.

    The message is one line that names the thing, the likely cause and the fix; the command line prints it
    after `error: ` and exits with 1. A subclass names the kind (`class CheckpointError(UserError)`); one
    whose cause is the way the command was called, such as a wrong configuration, sets `exit_code = 2`.
    Everything else that is raised is a bug and keeps its traceback.
    """

    exit_code: int = 1
