"""A message for the user is one line that can be shown and read, whatever it repeats."""

import pickle

import pytest

from seewhy.classifier.load import parse_options
from seewhy.data.class_names import find_class
from seewhy.errors import ImageError, SeewhyError, cause

MOST = 1_500
"""Letters of a line that a reader reads."""


@pytest.mark.parametrize("given", ["a" * 5_000, "ab " * 5_000, "[" * 5_000, "\x1b" * 900, "\udce9" * 900, "9" * 4_000])
def test_a_message_cuts_what_it_repeats(given: str) -> None:
    said = str(SeewhyError(f"class {given!r} does not exist: give another"))
    assert len(said) < 2_000
    assert said.startswith("class '")
    assert said.endswith("does not exist: give another"), "the end says what to do"
    assert said.isprintable()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("two\nlines", "two lines"),
        ("a \t tab", "a tab"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("caf\udce9.png", "caf\\udce9.png"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("café 日本 ↑", "café 日本 ↑"),
    ],
)
def test_a_message_is_one_line_that_a_terminal_shows(given: str, line: str) -> None:
    assert str(SeewhyError(given)) == str(ImageError(given)) == line


def test_a_cut_message_stays_as_it_is_when_it_goes_on() -> None:
    first = SeewhyError("x" * 5_000)
    assert str(SeewhyError(str(first))) == str(first)
    assert str(pickle.loads(pickle.dumps(first))) == str(first)
    assert cause(first) == str(first)


def test_the_error_of_other_code_is_cut_too() -> None:
    assert cause(ValueError("\x1b[2J" + "z" * 9_000)).startswith("ValueError: \\x1b[2Jzz")
    assert len(cause(ValueError("z " * 9_000))) < 300


@pytest.mark.parametrize("given", ["a" * 5_000, "\x1b[2J"])
def test_what_a_user_gave_is_repeated_so_everywhere(given: str) -> None:
    for call in (lambda: find_class(given, ["cat"], 1), lambda: parse_options([given])):
        with pytest.raises(SeewhyError) as error:
            call()
        assert len(str(error.value)) < MOST
        assert str(error.value).isprintable()
