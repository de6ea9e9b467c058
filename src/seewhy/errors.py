"""The one exception that a user is meant to read."""

from math import log10

from seewhy.text import printable

MAX_CAUSE_LENGTH = 200
"""Letters of a foreign error message that are shown."""
MAX_WORD_LENGTH = 300
"""Letters of a word, such as a path or a number, that an error repeats."""
MAX_LINE_LENGTH = 1_200
"""Letters of an error."""


class SeewhyError(ValueError):
    """A mistake that the user can correct. The message is one line: what is wrong, where, and what to do.

    The command line prints the line and exits with status 2. Any other exception is a bug and keeps its traceback. A message
    repeats what was given, and that may be anything: see ``one_line``.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


class ImageError(SeewhyError):
    """One image is wrong; another image may work."""


class UnsuitedError(SeewhyError):
    """A method is not defined for this network; a caller that asked for every method can leave it out."""


class UntrainedError(UnsuitedError):
    """A learned explainer is asked for maps before its training."""


class SeewhyWarning(UserWarning):
    """What may not be meant so, and is answered all the same. The command line shows it as one line."""


def cause(error: BaseException) -> str:
    """An error in one line: the message of a SeewhyError; of any other error its kind and the first line of its message."""
    if isinstance(error, SeewhyError):
        return str(error)
    lines = str(error).strip().splitlines()
    return one_line(f"{type(error).__name__}: {lines[0][:MAX_CAUSE_LENGTH]}" if lines else type(error).__name__)


def one_line(text: str) -> str:
    """``text`` in one line that every terminal can show and a reader can read.

    Long words lose their middle, and so does a long line: its end says what to do. A letter that cannot be printed, such as
    the one that begins a command to the terminal, becomes its escape.
    """
    words = " ".join(_cut(word, MAX_WORD_LENGTH) for word in text.split())
    return printable(_cut(words, MAX_LINE_LENGTH))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most * 2 // 3]}…{text[-(most - 1 - most * 2 // 3) :]}"


def short_number(number: int) -> str:
    """A whole number for a message; a long one as a power of ten."""
    return str(number) if abs(number) < 10**12 else f"{'-' * (number < 0)}10^{int(log10(abs(number)))}"
