"""The built-in networks: their grids, and pictures of other sizes than in their training."""

import pytest
import torch

from seewhy.classifier.shapes_models import INPUT_SIZE, ShapesCNN, ShapesViT


@pytest.mark.parametrize(("h", "w"), [(INPUT_SIZE, INPUT_SIZE), (64, 64), (96, 128)])
def test_both_have_a_cell_for_every_eight_pixels(h: int, w: int) -> None:
    images = torch.rand(2, 3, h, w)
    cnn, vit = ShapesCNN().eval(), ShapesViT().eval()
    with torch.no_grad():
        features = cnn.layer3(cnn.layer2(cnn.layer1(cnn.act1(cnn.bn1(cnn.conv1(images))))))
        assert features.shape[-2:] == (h // 8, w // 8)
        assert vit.forward_features(images).shape == (2, 1 + h // 8 * (w // 8), 96)
        assert cnn(images).shape == vit(images).shape == (2, 6)


def test_positions_are_interpolated_only_for_another_size() -> None:
    vit = ShapesViT().eval()
    assert vit._positions(12, 12) is vit.pos_embed
    wide = vit._positions(12, 24)
    assert torch.equal(wide[:, :1], vit.pos_embed[:, :1]), "the class token keeps its position"
    assert wide.shape == (1, 1 + 12 * 24, 96)


def test_the_sizes_are_as_documented() -> None:
    parameters = [sum(p.numel() for p in network().parameters()) for network in (ShapesCNN, ShapesViT)]
    assert [round(n / 1e6, 2) for n in parameters] == [0.22, 0.43]
