"""The surrogates that come with the package know parts of pictures better than the networks that they stand for."""

import pytest
import torch

import seewhy
from seewhy.classifier.sources import SURROGATES
from seewhy.data.shapes.shapes import Shapes
from seewhy.masking.coalitions import sets_of_sizes
from seewhy.masking.surrogate import Surrogate, load_surrogate
from seewhy.training.surrogate import divergence


@pytest.mark.parametrize("name", SURROGATES)
def test_a_built_in_surrogate_says_of_half_a_picture_more_of_what_its_network_says_of_the_whole(name: str) -> None:
    explained = seewhy.load(f"shapes/{name.removesuffix('_surrogate')}")
    surrogate = load_surrogate(f"shapes/{name}", explained)
    images = Shapes(n=32).batch(range(32)).images
    players, rows = surrogate.players(images), torch.arange(32)
    kept = sets_of_sizes(torch.full((32,), players.p // 2), players.p, torch.Generator().manual_seed(0))
    target, network = explained.logits(images).detach(), Surrogate.of(explained)
    own, without = (float(divergence(target, value(images, players)(rows, kept))) for value in (surrogate, network))
    assert own < 0.9 * without
    whole = surrogate.classifier.logits(images).argmax(1)
    assert (whole == target.argmax(1)).float().mean() > 0.85
