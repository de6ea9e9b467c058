"""What a caller gives is checked, and a mistake is one line."""

from typing import Any

import pytest
import torch
from support.command import as_users_run_it
from support.tiny_models import TINY, cnn, model_for
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, ExplainsClasses, explainer

IMAGES, TWO = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 3])


@pytest.mark.parametrize(
    ("images", "targets", "line"),
    [
        (torch.rand(3, 3, 16, 16), torch.tensor([0]), "3 images and 1 targets"),
        (torch.rand(1, 3, 16, 16), torch.tensor([0, 1]), "1 images and 2 targets"),
        (torch.rand(3, 16, 16), torch.tensor([0, 1, 2]), "images must be floats"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), torch.tensor([0]), "images must be floats"),
        (torch.rand(0, 3, 16, 16), torch.arange(0), r"there are no images: the batch is \(0, 3, 16, 16\)"),
        (torch.full((1, 3, 16, 16), 255.0), torch.tensor([0]), r"must be in \[0, 1\].*divide bytes by 255"),
        (torch.randn(1, 3, 16, 16) * 3, torch.tensor([0]), r"must be in \[0, 1\]"),
        (torch.full((1, 3, 16, 16), torch.nan), torch.tensor([0]), r"must be in \[0, 1\]"),
        (torch.rand(1, 3, 16, 16), torch.tensor([0.0]), "targets must be class indices"),
        (torch.rand(1, 3, 16, 16), torch.tensor([5]), "class 5 does not exist: the classifier has classes 0 to 4"),
        (torch.rand(1, 3, 16, 16), torch.tensor([-1]), "class -1 does not exist"),
    ],
)
def test_the_door_says_what_is_wrong_with_images_and_targets(images: Tensor, targets: Tensor, line: str) -> None:
    with pytest.raises(SeewhyError, match=line):
        TINY["cnn"]().check(images, targets)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_a_class_as_a_number_or_a_list_is_refused_in_one_line(name: str) -> None:
    """Other libraries take them."""
    images = torch.rand(1, 3, 16, 16)
    with as_users_run_it():
        method: Any = explainer(name, TINY[model_for(name)]())
        for targets in (0, [0]):
            with pytest.raises(
                SeewhyError, match=r"targets must be a tensor of one class index for each image \(n,\), not of"
            ):
                method.explain(images, targets)
        for targets in (torch.tensor(0), torch.tensor([[0]]), torch.tensor([[0, 1]])):
            with pytest.raises(SeewhyError, match=r"targets must be a tensor of .* for each image \(n,\), got \("):
                method.explain(images, targets)
        with pytest.raises(SeewhyError, match=r"images must be a tensor of floats \(n, c, h, w\), not of type ndarray"):
            method.explain(images.numpy(), torch.tensor([0]))
        if isinstance(method, ExplainsClasses):
            with pytest.raises(SeewhyError, match=r"classes must be a tensor of class indices \(m,\), not of type list"):
                method.explain_classes(images, [0, 1])
            with pytest.raises(SeewhyError, match=r"classes must be a tensor of class indices \(m,\), got \(1, 2\)"):
                method.explain_classes(images, torch.tensor([[0, 1]]))


@pytest.mark.parametrize(("targets", "line"), [(TWO.byte(), "torch.uint8"), (TWO.bool(), "torch.bool")])
def test_targets_that_would_be_read_as_a_mask_are_refused(targets: Tensor, line: str) -> None:
    with pytest.raises(SeewhyError, match=rf"^targets must be class indices, of type int64, got {line}$"):
        TINY["cnn"]().check(IMAGES, targets)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_scripted_network_is_refused_in_one_line() -> None:
    with pytest.raises(SeewhyError, match=r"^a TorchScript module hides its layers"):
        Classifier(torch.jit.trace(TINY["cnn"]().module, IMAGES), input_size=(16, 16))


def test_preprocessing_that_cannot_be_is_one_clear_line() -> None:
    with pytest.raises(SeewhyError, match="mean has 1 numbers and std 3"):
        Classifier(cnn(), mean=(0.5,))
    with pytest.raises(
        SeewhyError, match=r"mean \(123.0, 117.0, 104.0\) is not that of pixels .* divide mean and std by 255"
    ):
        Classifier(cnn(), mean=(123.0, 117.0, 104.0), std=(58.0, 57.0, 57.0))
    with pytest.raises(SeewhyError, match="std must be positive"):
        Classifier(cnn(), std=(0.5, 0.0, 0.5))
    with pytest.raises(SeewhyError, match="describe no picture"):
        Classifier(cnn(), input_size=(0, 16))


def test_one_number_is_the_height_and_the_width() -> None:
    with as_users_run_it():
        assert Classifier(cnn(), input_size=32).input_size == (32, 32)  # type: ignore[arg-type]
    for wrong in (0, -1, True, 32.0, (32,), (32, 32, 3), "32", None):
        with as_users_run_it(), pytest.raises(SeewhyError, match=r"^input_size .* describe no picture$"):
            Classifier(cnn(), input_size=wrong)  # type: ignore[arg-type]
