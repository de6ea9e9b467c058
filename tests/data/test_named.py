"""A dataset by name: in the form that the classifier takes, and what is said about mistakes."""

from pathlib import Path
from typing import Any

import pytest
from support.picture_folders import paint, voc
from support.tiny_models import TINY

import seewhy
from seewhy.data import VOC, Folder, Shapes, batches
from seewhy.data.named import SeesPictures, dataset
from seewhy.errors import SeewhyError

DOG = ("dog", (11, 6, 20, 15))


def test_a_classifier_of_one_class_takes_single_labels(tmp_path: Path) -> None:
    voc(tmp_path, a=(DOG,))
    found = dataset(f"voc:{tmp_path}", TINY["cnn"]())
    assert next(batches(found, 1)).labels.tolist() == [3]  # type: ignore[union-attr]


def test_a_path_alone_is_known_by_its_annotations(tmp_path: Path) -> None:
    root = voc(tmp_path / "set", a=(("cat", (3, 4, 20, 15)),))
    assert isinstance(dataset(str(root), seewhy.load("factories:small"), options={"multilabel": "true"}), VOC)


def test_the_classifier_says_how_it_sees(tmp_path: Path) -> None:
    classifier = TINY["cnn_multilabel"]()
    assert isinstance(classifier, SeesPictures)
    for i in range(5):
        paint(tmp_path / f"{'x' * i}_.png")
    found = dataset(f"folder:{tmp_path}", classifier, 3)
    assert isinstance(found, Folder)
    assert (found.path, found.view, found.classes, found.limit) == (tmp_path, classifier.view, classifier.classes, 3)
    assert not found.gray
    made = dataset("shapes", seewhy.load("shapes"), options={"seed": "3", "shortcut": "random"})
    assert made == Shapes(n=200, size=seewhy.load("shapes").input_size[0], seed=3, shortcut="random")
    assert len(dataset("shapes", seewhy.load("shapes"), 7, {"split": "train"})) == 7


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            "shape",
            {},
            r"unknown dataset 'shape', and no such folder or csv file. Did you mean 'shapes'\? Known: folder, shapes",
        ),
        ("folder", {}, "dataset folder needs a path: folder:PATH"),
        ("shapes:here", {}, "dataset shapes has no path: write shapes"),
        ("shapes", {"sed": "1"}, r"dataset shapes has no option 'sed'. Did you mean 'seed'\? Options: multilabel, n, seed"),
        ("folder:gone", {"view": "1"}, "dataset folder has no option 'view'. Options: boxes_column, gray, limit, white$"),
        ("shapes", {"size": "8"}, "shapes cannot take size=8: give a whole number of at least 32"),
        ("shapes", {"seed": "-1"}, "shapes cannot take seed=-1: give a whole number of at least 0"),
        ("folder:gone", {"limit": "0"}, "folder cannot take limit=0: give a whole number of at least 1 or null"),
        ("folder:gone", {"gray": "maybe"}, "folder cannot take gray='maybe': give true or false"),
    ],
)
def test_mistakes(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(SeewhyError, match=said):
        dataset(name, seewhy.load("shapes"), options=options)
