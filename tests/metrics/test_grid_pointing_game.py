"""The grid pointing game: where images are put, what is scored, and what it needs."""

from dataclasses import dataclass, replace

import pytest
import torch
from support.metric_cases import SIZE, case_of
from torch import Tensor

from seewhy import Classifier
from seewhy.errors import SeewhyError
from seewhy.metrics import Case, Companions, metric
from seewhy.metrics.grid_pointing_game import assembled


def test_a_full_grid_holds_the_images_as_they_are() -> None:
    pictures = torch.rand(9, 3, 5, 7)
    grid, area = assembled(pictures, 3, 5, shrink=False)
    assert grid.shape == (3, 15, 21)
    for i in range(9):
        row, column = i // 3, i % 3
        cell = slice(5 * row, 5 * row + 5), slice(7 * column, 7 * column + 7)
        assert torch.equal(grid[:, cell[0], cell[1]], pictures[i])
        assert bool(area[cell].all()) == (i == 5)
        assert bool(area[cell].any()) == (i == 5)


def test_a_shrunk_grid_has_the_size_of_an_image_and_every_pixel_belongs_to_a_cell() -> None:
    """Pictures of one color stay of that color; 16 pixels in three cells are 5, 5 and 6."""
    pictures = torch.arange(9.0).view(9, 1, 1, 1).expand(9, 3, 16, 16) / 10
    grid, area = assembled(pictures, 3, 4, shrink=True)
    assert grid.shape == (3, 16, 16)
    assert torch.allclose(grid[0, 7, 7], torch.tensor(0.4))
    assert area.sum() == 5 * 5
    sizes = torch.tensor([5, 5, 6])
    torch.testing.assert_close(
        grid[0], (torch.arange(9.0).view(3, 3) / 10).repeat_interleave(sizes, 0).repeat_interleave(sizes, 1)
    )


@dataclass(frozen=True)
class Finder:
    """A map of 1 where the pixels have the color of the class, and of a part of it elsewhere."""

    classifier: Classifier
    elsewhere: float = 0.0
    family = "reference"
    class_specific = True
    paper = ""

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        color = (targets.float() + 1)[:, None, None] / 10
        return torch.where((images[:, 0] - color).abs() < 0.01, 1.0, self.elsewhere)


def colored_case(elsewhere: float = 0.0, n: int = 6, **changes: object) -> Case:
    """Image i has the color of class i % 3; the companions have the colors of classes 0 to 4, the last two twice."""
    base = case_of("cnn", n=n)
    color = (base.explained.float() + 1)[:, None, None, None] / 10
    images = color.expand(n, 3, SIZE, SIZE) + 0.005 * torch.rand(
        n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)
    )
    classes = torch.tensor([0, 1, 2, 3, 4, 3, 4])
    companions = Companions(((classes.float() + 1)[:, None, None, None] / 10).expand(7, 3, SIZE, SIZE), classes)
    given = {"images": images, "explainer": Finder(base.classifier, elsewhere), "companions": companions, **changes}
    return replace(base, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", ["shrunk", "full"])
def test_the_share_of_the_map_on_the_right_image(scale: str) -> None:
    """No other image has the color: all of the map, or with 0.2 elsewhere one in 1 + 3 x 0.2."""
    assert metric("grid_pointing_game", scale=scale).score(colored_case()).tolist() == pytest.approx([1] * 6)
    some = metric("grid_pointing_game", scale=scale).score(colored_case(0.2))
    assert some.tolist() == pytest.approx([1 / 1.6] * 6, abs=1e-5)
    assert metric("grid_pointing_game").score(colored_case(-1.0)).tolist() == pytest.approx([1] * 6)  # negative is nothing


def test_a_map_that_is_the_same_for_every_class_scores_chance() -> None:
    case = case_of("cnn", "fake_cam")
    assert metric("grid_pointing_game").score(case).tolist() == pytest.approx([0.25] * 3, abs=0.01)


def test_too_few_classes_are_one_line() -> None:
    with pytest.raises(SeewhyError, match="3 x 3 needs images of 9 classes, and the network sees 5 in the data: give fewer"):
        metric("grid_pointing_game", cells=3).score(colored_case())
