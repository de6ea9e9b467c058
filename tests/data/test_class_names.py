"""Names of classes: read from a file, and found."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.tiny_models import TINY

from seewhy.data.class_names import read_class_names
from seewhy.errors import SeewhyError


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
    assert classifier.class_index("3") == 3, "a number is an index"
    with pytest.raises(SeewhyError, match="2 classes are called 'crane'; give the index: 2, 3"):
        classifier.class_index("crane")
    with pytest.raises(SeewhyError, match=r"Did you mean 'golden retriever'\?"):
        classifier.class_index("goldn retriever")
