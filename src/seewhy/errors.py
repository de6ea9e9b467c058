"""The one exception that a user is meant to read."""


class SeewhyError(ValueError):
    """A mistake that the user can mend: one line that says what was wrong, where, and what to do.

    The command line prints the line and leaves with status 2; everything else is a bug and keeps its traceback.
    """
