"""Text that leaves the program: on a terminal, on a page, and in a table."""

import csv
import io

import polars as pl
import pytest

from seewhy.text import csv_of, defused, printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tench, Äffchen 猫 👩\u200d🔬", "tench, Äffchen 猫 👩\u200d🔬"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("a\nb\r\tc\x00\x7f", r"a\nb\r\tc\x00\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("gpj.\u202egnp", r"gpj.\u202egnp"),
        ("a\u2028b\udcff", r"a\u2028b\udcff"),
    ],
)
def test_what_steers_a_terminal_is_written_as_its_code(text: str, expected: str) -> None:
    assert printable(text) == expected
    assert printable(text).encode("utf-8")
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"


FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "-", "=1", "--0.5"]
HARMLESS = ["-0.5", "+1e-3", "-inf", "0", "tench", "a=b", " =1", "", "'=1"]


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_cell_that_a_spreadsheet_would_compute_begins_with_an_apostrophe(cell: str) -> None:
    assert defused(cell) == "'" + cell


@pytest.mark.parametrize("cell", HARMLESS)
def test_numbers_and_names_stay(cell: str) -> None:
    assert defused(cell) == cell


def test_every_text_of_a_frame() -> None:
    cells = FORMULAS + HARMLESS
    frame = pl.DataFrame({"image_id": cells, "value": [-0.5] * len(cells), "explainer": cells[::-1]})
    rows = list(csv.DictReader(io.StringIO(csv_of(frame), newline="")))
    assert [row["image_id"] for row in rows] == [defused(cell) for cell in cells]
    assert [row["explainer"] for row in rows] == [defused(cell) for cell in cells[::-1]]
    assert {row["value"] for row in rows} == {"-0.5"}
