"""Players divide each image: every pixel belongs to one."""

import numpy as np
import pytest
import torch
from support.command import as_users_run_it

from seewhy.errors import SeewhyError
from seewhy.masking.players import Players, divide


def test_pixels_are_players_in_reading_order() -> None:
    players = divide(torch.zeros(2, 3, 4, 5), "pixels")
    assert players.each_pixel
    assert players.p == 20
    assert players.counts.tolist() == [20, 20]
    assert torch.equal(players.ids[1], torch.arange(20).view(4, 5))
    maps = torch.rand(2, 4, 5)
    assert torch.equal(players.means(maps), maps.flatten(1))
    kept = torch.zeros(1, 20, dtype=torch.bool)
    kept[0, 7] = True
    assert players.pixels(torch.tensor([1]), kept).nonzero().tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(("h", "w", "size"), [(8, 8, 4), (10, 7, 4), (5, 9, 16), (6, 6, 1)])
def test_a_patch_is_a_square_and_smaller_at_the_right_and_lower_border(h: int, w: int, size: int) -> None:
    players = divide(torch.zeros(1, 3, h, w), "patches", size)
    across = -(-w // size)
    assert players.p == across * -(-h // size)
    for y in range(h):
        for x in range(w):
            assert players.ids[0, y, x] == (y // size) * across + x // size
    sizes = [min(size, h - y) * min(size, w - x) for y in range(0, h, size) for x in range(0, w, size)]
    assert players.sizes()[0].tolist() == sizes


def test_means_and_pixels_of_players_of_different_numbers() -> None:
    """Image 0 has two players, image 1 has three; player 2 of image 0 owns nothing."""
    ids = torch.tensor([[[0, 0], [1, 0]], [[0, 1], [2, 2]]])
    players = Players(ids, torch.tensor([2, 3]))
    maps = torch.tensor([[[1.0, 2.0], [5.0, 3.0]], [[1.0, 2.0], [3.0, 5.0]]])
    assert players.p == 3
    assert players.sizes().tolist() == [[3, 1, 0], [1, 1, 2]]
    assert players.means(maps).tolist() == [[2, 5, 0], [1, 2, 4]]
    chosen = torch.tensor([[True, False, True], [False, False, True]])
    found = players.pixels(torch.tensor([0, 1]), chosen)
    assert found.tolist() == [[[True, True], [False, True]], [[False, False], [True, True]]]


def test_superpixels_are_numbered_without_gaps_and_alone_as_in_a_batch() -> None:
    images = torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    players = divide(images, "superpixels", 9)
    for i, n in enumerate(players.counts.tolist()):
        assert players.ids[i].unique().tolist() == list(range(n))
        assert torch.equal(divide(images[i : i + 1], "superpixels", 9).ids[0], players.ids[i])


@pytest.mark.parametrize(("division", "size"), [("cells", 4), ("patches", 0), ("patches", -1)])
def test_an_unknown_division_is_one_line(division: str, size: int) -> None:
    with (
        as_users_run_it(),
        pytest.raises(SeewhyError, match=r"^players are pixels, patches or superpixels of a size from 1 on; not"),
    ):
        divide(torch.zeros(1, 3, 8, 8), division, size)  # type: ignore[arg-type]


def test_superpixels_follow_the_image() -> None:
    images = torch.linspace(0, 0.2, 24).expand(1, 3, 24, 24).clone()
    images[0, :, :, 12:] += 0.7
    players = divide(images, "superpixels", 6)
    left, right = set(players.ids[0, :, :11].flatten().tolist()), set(players.ids[0, :, 13:].flatten().tolist())
    assert len(left) > 1
    assert not left & right
    assert (players.sizes().sum(1) == 576).all()


def test_players_of_an_image() -> None:
    image = torch.zeros(1, 3, 10, 7)
    players = divide(image, "patches", 4)
    assert players.p == 6
    assert players.sizes()[0].tolist() == [16, 12, 16, 12, 8, 6]
    assert players.means(torch.arange(70.0).view(1, 10, 7))[0, 5].item() == np.mean([60, 61, 62, 67, 68, 69])
    kept = torch.tensor([[True, False, False, False, False, True]])
    assert players.pixels(torch.tensor([0]), kept)[0].sum() == 22
