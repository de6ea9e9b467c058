"""The one exception that a user is meant to read."""

MOST_LETTERS = 200
"""Of what foreign code says about its failure."""


class SeewhyError(ValueError):
    """A mistake that the user can mend: one line that says what was wrong, where, and what to do.

    The command line prints the line and leaves with status 2; everything else is a bug and keeps its traceback.
    """


class ImageError(SeewhyError):
    """What is wrong with one image; the next one may go well."""


class UnsuitedError(SeewhyError):
    """A method that is not defined for this network; whoever asked for every method can go on without it."""


def cause(error: BaseException) -> str:
    """An error in one line: the message of a SeewhyError; of any other error its kind and the first line of its message."""
    if isinstance(error, SeewhyError):
        return " ".join(str(error).split())
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0][:MOST_LETTERS]}" if said else type(error).__name__
