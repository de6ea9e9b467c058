"""Names of classes: read from a file, and found."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_models import TINY

from seewhy.classifier.classifier import Classifier
from seewhy.data.class_names import class_index, find_class, find_classes, read_class_names
from seewhy.errors import SeewhyError, SeewhyWarning

BY_NUMBERS = ("0", "1", "10", "11", "2")


@pytest.fixture
def numbered() -> Classifier:
    return replace(TINY["cnn"](), classes=BY_NUMBERS)


def test_names_of_classes(tmp_path: Path) -> None:
    imagenet = read_class_names("imagenet")
    assert len(imagenet) == 1000
    assert (imagenet[0], imagenet[207]) == ("tench", "golden retriever")
    (tmp_path / "names.txt").write_text("\ufefftench\r\n  gold fish \r\n\r\nÄffchen\r\n", encoding="utf-8")
    assert read_class_names(tmp_path / "names.txt") == ("tench", "gold fish", "Äffchen")
    (tmp_path / "names.csv").write_text('index,wnid,name\n1,b,"goldfish, Carassius"\n0,a,tench\n', encoding="utf-8")
    assert read_class_names(str(tmp_path / "names.csv")) == ("tench", "goldfish, Carassius")
    (tmp_path / "unnumbered.csv").write_text("name\ntench\ngoldfish\n")
    assert read_class_names(tmp_path / "unnumbered.csv") == ("tench", "goldfish")
    assert read_class_names(["a", "b"]) == ("a", "b")


def test_a_class_by_index_or_name() -> None:
    classes = ("tench, Tinca tinca", "Golden_Retriever", "crane", "Crane", "3")
    classifier = replace(TINY["cnn"](), classes=classes)
    for name in (1, "1", " 1 ", "golden retriever", "GOLDEN_RETRIEVER", "golden_Retriever "):
        assert classifier.class_index(name) == 1
    assert classifier.class_index("tench, tinca tinca") == 0
    assert classifier.class_index("tench") == 0, "the first of several names"
    assert classifier.class_index("3") == 4, "a text that is a name is the name"
    assert classifier.class_index(3) == 3, "an integer is an index"
    assert (classifier.class_index("crane"), classifier.class_index("Crane")) == (2, 3)
    with pytest.raises(SeewhyError, match="2 classes are called 'CRANE'; give the index: 2 'crane', 3 'Crane'"):
        classifier.class_index("CRANE")
    with pytest.raises(SeewhyError, match=r"Did you mean 'Golden_Retriever'\?"):
        classifier.class_index("goldn retriever")


@pytest.mark.parametrize("index", range(5))
def test_names_that_are_numbers_are_names_in_a_text(numbered: Classifier, index: int) -> None:
    """The order of folders that are called 0, 1, 10, 11, 2: "10" is the third class and not the eleventh."""
    assert numbered.class_index(BY_NUMBERS[index]) == index
    assert class_index(BY_NUMBERS[index], BY_NUMBERS, "here") == index
    assert class_index(str(index), BY_NUMBERS, "here", "index") == index, "a column that says index"  # type: ignore[arg-type]
    for integer in (index, np.int64(index), torch.tensor(index), torch.tensor([index])):
        assert numbered.class_index(integer) == index


def test_a_number_that_is_no_name_is_refused_where_all_names_are_numbers(numbered: Classifier) -> None:
    """ "3" is no index there: whoever writes it thinks of a name."""
    for wrong in ("3", "01", "-1"):
        with pytest.raises(SeewhyError, match=f"class '{wrong}' does not exist. Every class is called by a number"):
            numbered.class_index(wrong)
    with pytest.raises(SeewhyError, match="label '3' is no class"):
        class_index("3", BY_NUMBERS, "label")
    with pytest.raises(SeewhyError, match="class 10 does not exist: the classifier has classes 0 to 4"):
        numbered.class_index(10)


def test_numbers_of_any_length_and_script(numbered: Classifier) -> None:
    small = TINY["cnn"]()
    for wrong in ("9" * 5000, "٣", "²", "1.0", "1e0", "+1", "1_0"):
        with pytest.raises(SeewhyError, match="does not exist"):
            small.class_index(wrong)
        with pytest.raises(SeewhyError, match="is no class"):
            class_index(wrong, small.classes, "label")
    assert small.class_index("0" * 5000 + "3") == 3


def test_names_that_differ_in_case_or_underscores_alone() -> None:
    classes = ("a_b", "a b", "A_B", "cat", "cat")
    assert [find_class(name, classes, 5) for name in classes[:3]] == [0, 1, 2]
    assert [class_index(name, classes, "label") for name in classes[:3]] == [0, 1, 2]
    cats = "3 'cat', 4 'cat'"
    for name, indices in {"A b": "0 'a_b', 1 'a b', 2 'A_B'", "cat": cats, "CAT": cats}.items():
        with pytest.raises(SeewhyError, match=f"classes are called '{name}'; give the index: {indices}"):
            find_class(name, classes, 5)


def test_a_csv_file_of_names(tmp_path: Path) -> None:
    path = tmp_path / "NAMES.CSV"
    path.write_text('index,name\n2,"10"\n0,0\n1,1\n')
    assert read_class_names(path) == ("0", "1", "10"), "the suffix in capitals"
    path.write_text("index,name\n0,a\n1,\n2,c\n")
    with pytest.raises(SeewhyError, match="class 1 has no name"):
        read_class_names(path)
    path.write_text("name\n" + "x" * 200_000)
    with pytest.raises(SeewhyError, match="no csv file that can be read"):
        read_class_names(path)


IMAGENET = (
    "tench, Tinca tinca",
    "Labrador retriever",
    "pug, pug-dog",
    "crane",
    "crane",
    "Cardigan, Cardigan Welsh corgi",
    "cardigan",
)
"""Names as timm has them for ImageNet."""


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("Labrador retriever,pug", [1, 2]),
        ("labrador_retriever, PUG", [1, 2]),
        ("pug, pug-dog", [2]),
        ("pug, pug-dog,tench", [2, 0]),
        ("tench,Tinca tinca", [0]),
        ("pug-dog", [2]),
        ("Cardigan", [5]),  # as its caption shows it; another class is called cardigan
        ("cardigan", [6]),
        ("2,tench", [2, 0]),
    ],
)
def test_classes_are_found_by_the_names_that_captions_show(text: str, indices: list[int]) -> None:
    assert find_classes(text, IMAGENET, len(IMAGENET)) == indices


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("crane,pug", "2 classes are called 'crane'; give the index: 3 'crane', 4 'crane'"),
        ("CARDIGAN WELSH CORGI,pugg", r"Did you mean 'pug'\?"),
        ("Labrador", r"Did you mean 'Labrador retriever'\?"),
        ("tinca tnca", r"Did you mean 'tinca tinca'\?"),
    ],
)
def test_an_ambiguous_or_mistyped_name_is_answered_with_candidates(text: str, says: str) -> None:
    with pytest.raises(SeewhyError, match=says):
        find_classes(text, IMAGENET, len(IMAGENET))


def test_a_name_that_is_the_caption_of_another_class_too_is_said() -> None:
    with pytest.warns(
        SeewhyWarning, match="'maillot' is class 0; captions call class 1 so too: for that give 'maillot, tank"
    ):
        assert find_class("maillot", ("maillot", "maillot, tank suit"), 2) == 0
