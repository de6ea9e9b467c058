"""v(S): the classifier on an image in which only the players of S are left."""

import pytest
import torch
from support.tiny_models import TINY

from seewhy.masking.baselines import baseline_images
from seewhy.masking.players import divide
from seewhy.masking.values import RemovePixels, Value, removal_game

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("division", ["pixels", "patches", "superpixels"])
def test_removed_players_have_the_pixels_of_the_baseline(division: str) -> None:
    """Pixel by pixel, for several sets of players of each image, in any order of rows."""
    classifier = TINY["cnn"]()
    players = divide(IMAGES, division, 5)  # type: ignore[arg-type]
    gone = baseline_images("blur", classifier, IMAGES)
    rows = torch.tensor([1, 0, 1])
    kept = torch.rand(3, players.p, generator=torch.Generator().manual_seed(1)) > 0.5
    found = RemovePixels(classifier, "blur")(IMAGES, players)(rows, kept)
    for row, i in enumerate(rows.tolist()):
        image = gone[i].clone()
        for y in range(16):
            for x in range(16):
                if kept[row, players.ids[i, y, x]]:
                    image[:, y, x] = IMAGES[i, :, y, x]
        torch.testing.assert_close(found[row], classifier.logits(image[None])[0].detach())


def test_all_players_are_the_image_and_none_is_the_baseline() -> None:
    classifier = TINY["cnn"]()
    players, gone = divide(IMAGES, "patches", 4), torch.rand(2, 3, 16, 16)
    game = removal_game(classifier, IMAGES, gone, players)
    rows, every = torch.arange(2), torch.ones(2, players.p, dtype=torch.bool)
    torch.testing.assert_close(game(rows, every), classifier.logits(IMAGES).detach())
    torch.testing.assert_close(game(rows, ~every), classifier.logits(gone).detach())
    assert not game(rows, every).requires_grad


def test_a_users_own_value_fits_the_protocol() -> None:
    assert isinstance(RemovePixels(TINY["cnn"]()), Value)
    assert isinstance(lambda images, players: None, Value)
