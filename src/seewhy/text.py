"""Text from files, made harmless where it leaves the program: on a terminal, on a page, and in a table."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Letters that steer a terminal, end a line or turn the direction of text, and bytes of file names that are no text."""
FORMULA = "^[=+\\-@\t\r\n]"
"""How a cell begins that a spreadsheet computes."""


def printable(text: str, keep: str = "") -> str:
    r"""``text`` in which each letter that steers a terminal is written as its code: an escape is ``\x1b``.

    ``keep`` holds letters that stay as they are, such as the ends of lines.
    """
    return STEERING.sub(lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode(), text)


def defused(cell: str) -> str:
    """A cell of a csv file, with an apostrophe before what a spreadsheet would compute; numbers such as -0.5 stay."""
    return f"'{cell}" if re.match(FORMULA, cell) and not _is_number(cell) else cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def csv_of(frame: "pl.DataFrame") -> str:
    """The frame as csv with a header, every text in it ``defused``."""
    import polars as pl

    text = pl.col(pl.String)
    formula = text.str.contains(FORMULA) & text.cast(pl.Float64, strict=False).is_null()
    return frame.with_columns(pl.when(formula).then("'" + text).otherwise(text).name.keep()).write_csv()
