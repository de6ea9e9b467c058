"""Texts and templates as a person gives them."""

from pathlib import Path

import pytest

from seewhy.data.texts import prompts, read_templates, read_texts
from seewhy.errors import SeewhyError


def test_texts_are_a_list_a_line_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("a dog, asleep\n\n  a cat \n")
    assert read_texts(["a dog, asleep", "a cat"]) == ("a dog, asleep", "a cat")
    assert read_texts("a dog, a cat") == ("a dog", "a cat")
    assert read_texts(str(file)) == read_texts(file) == ("a dog, asleep", "a cat")


def test_a_csv_file_gives_its_column_of_names(tmp_path: Path) -> None:
    file = tmp_path / "texts.csv"
    file.write_text("index,name\n1,cat\n0,dog\n")
    assert read_texts(file) == ("dog", "cat")


def test_a_text_that_is_also_the_name_of_a_file_stays_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dog").write_text("a wolf\n")
    monkeypatch.chdir(tmp_path)
    assert read_texts("dog") == ("dog",)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "an empty text"),
        (["a dog", "  "], "an empty text"),
        ("a dog,", "an empty text"),
        (["a dog", "A_Dog"], "'A_Dog' is given twice"),
        ("nowhere.txt", "nowhere.txt': no such file"),
    ],
)
def test_texts_that_cannot_be_meant(given: str | list[str], words: str) -> None:
    with pytest.raises(SeewhyError, match=words) as error:
        read_texts(given)
    assert "\n" not in str(error.value)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n")
    with pytest.raises(SeewhyError, match=r"texts .*texts\.txt: the file is empty"):
        read_texts(tmp_path / "texts.txt")


def test_a_text_takes_its_place_in_a_template_as_it_is() -> None:
    assert prompts(["a {b}", "c"], "the {}, small") == ["the a {b}, small", "the c, small"]
    assert read_templates(None) == ("{}",)
    assert read_templates("a photo of a {}") == ("a photo of a {}",)


def test_templates_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "templates.txt").write_text("a photo of a {}.\na drawing of a {}.\n")
    assert read_templates(tmp_path / "templates.txt") == ("a photo of a {}.", "a drawing of a {}.")


@pytest.mark.parametrize("given", ["a photo", "{} and {}", []])
def test_a_template_without_one_place_is_refused(given: str | list[str]) -> None:
    with pytest.raises(SeewhyError, match="template"):
        read_templates(given)
