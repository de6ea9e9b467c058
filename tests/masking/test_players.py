"""The division of an image into players."""

import numpy as np
import torch

from seewhy.masking.players import divide


def test_players_of_an_image() -> None:
    image = torch.zeros(1, 3, 10, 7)
    players = divide(image, "patches", 4)
    assert players.p == 6
    assert players.sizes()[0].tolist() == [16, 12, 16, 12, 8, 6]
    assert players.means(torch.arange(70.0).view(1, 10, 7))[0, 5].item() == np.mean([60, 61, 62, 67, 68, 69])
    kept = torch.tensor([[True, False, False, False, False, True]])
    assert players.pixels(torch.tensor([0]), kept)[0].sum() == 22


def test_superpixels_follow_the_image() -> None:
    images = torch.linspace(0, 0.2, 24).expand(1, 3, 24, 24).clone()
    images[0, :, :, 12:] += 0.7
    players = divide(images, "superpixels", 6)
    left, right = set(players.ids[0, :, :11].flatten().tolist()), set(players.ids[0, :, 13:].flatten().tolist())
    assert len(left) > 1
    assert not left & right
    assert (players.sizes().sum(1) == 576).all()
