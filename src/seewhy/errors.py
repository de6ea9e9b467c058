"""The one exception that a user is meant to read."""

from math import log10

MAX_CAUSE_LENGTH = 200
"""Letters of a foreign error message that are shown."""


class SeewhyError(ValueError):
    """A mistake that the user can correct. The message is one line: what is wrong, where, and what to do.

    The command line prints the line and exits with status 2. Any other exception is a bug and keeps its traceback.
    """


class ImageError(SeewhyError):
    """One image is wrong; another image may work."""


class UnsuitedError(SeewhyError):
    """A method is not defined for this network; a caller that asked for every method can leave it out."""


def cause(error: BaseException) -> str:
    """An error in one line: the message of a SeewhyError; of any other error its kind and the first line of its message."""
    if isinstance(error, SeewhyError):
        return " ".join(str(error).split())
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:MAX_CAUSE_LENGTH]}" if lines else type(error).__name__


def short_number(number: int) -> str:
    """A whole number for a message; a long one as a power of ten."""
    return str(number) if abs(number) < 10**12 else f"{'-' * (number < 0)}10^{int(log10(abs(number)))}"
