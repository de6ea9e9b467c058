"""The layers that the probe finds, and features as a grid."""

import pytest
import torch
from support.metric_cases import Three
from support.tiny_models import TinyViT, cnn, tiny
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.probe import layers_top_down
from seewhy.errors import SeewhyError


def grid(h: int, w: int, d: int = 5, n: int = 2) -> Tensor:
    """Numbered so that every cell and channel is different."""
    return torch.arange(float(n * d * h * w)).view(n, d, h, w)


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (96, 32), (224, 160)])
@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
def test_tokens_lose_their_prefix_and_become_a_grid(prefix: int, size: tuple[int, int]) -> None:
    """Row after row, also for images that are not square."""
    expected = grid(size[0] // 16, size[1] // 16)
    tokens = expected.flatten(2).transpose(1, 2)
    tokens = torch.cat([torch.full((2, prefix, 5), -1.0), tokens], 1)
    images = torch.zeros(2, 3, *size)
    declared = Classifier(cnn(), n_prefix_tokens=prefix)
    assert torch.equal(declared.as_grid(tokens, images), expected)
    assert torch.equal(Classifier(cnn(), input_size=size, n_prefix_tokens=prefix).as_grid(tokens), expected)


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (96, 32)])
def test_channels_last_maps_are_permuted_and_cnn_maps_pass(size: tuple[int, int]) -> None:
    """Square grids with as many channels as cells a side are the first kind that is tried: a CNN's."""
    expected = grid(size[0] // 8, size[1] // 8)
    images, classifier = torch.zeros(2, 3, *size), Classifier(cnn())
    assert torch.equal(classifier.as_grid(expected, images), expected)
    assert torch.equal(classifier.as_grid(expected.permute(0, 2, 3, 1), images), expected)


def test_as_grid_says_what_fits_nowhere() -> None:
    images = torch.zeros(2, 3, 64, 64)
    with pytest.raises(SeewhyError, match="17 tokens, which after 2 prefix tokens form no grid"):
        Classifier(cnn(), n_prefix_tokens=2).as_grid(torch.zeros(2, 17, 4), images)
    with pytest.raises(SeewhyError, match=r"shape \(2, 8\) has no grid"):
        Classifier(cnn()).as_grid(torch.zeros(2, 8), images)


def test_prefix_tokens_are_read_off_the_network() -> None:
    images = torch.rand(1, 3, 16, 16)
    for extra in (0, 1, 4):
        classifier = tiny(TinyViT(extra=extra))
        with classifier.capture("norm") as outputs:
            classifier.logits(images)
        assert outputs["norm"].shape[1] == 17 + extra
        assert torch.equal(
            classifier.as_grid(outputs["norm"], images), outputs["norm"][:, 1 + extra :].transpose(1, 2).view(1, 12, 4, 4)
        )


def test_a_grid_may_be_as_wide_as_there_are_classes() -> None:
    """A last dimension of that size made it look like a map of the classes."""
    module = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    classifier = Classifier(module.eval(), input_size=(16, 16))
    assert classifier.class_map_layer is None
    assert classifier.live_layer(None) == "1"


def test_channels_that_fit_the_image_better_by_chance_are_not_taken_for_a_side() -> None:
    classifier = Classifier(cnn(), input_size=(317, 396))
    features = torch.zeros(1, 64, 80, 99)  # 64 : 80 is nearer to 317 : 396 than 80 : 99 is
    assert classifier.as_grid(features).shape == (1, 64, 80, 99)
    assert classifier.as_grid(features.permute(0, 2, 3, 1)).shape == (1, 64, 80, 99)


def test_layers_are_ordered_as_they_run(batch: tuple[Tensor, Tensor]) -> None:
    module = Three().eval()
    assert layers_top_down(module, batch[0][:1]) == ["last", "norm", "second", "first", ""]
    assert all(not m._forward_pre_hooks for m in module.modules())


class Attentive(nn.Module):
    """An attention whose last linear layer is never called: PyTorch reads its weights alone."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 5)
        self.patch = nn.Conv2d(3, 4, 4, 4)
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        return self.head(self.attention(x, x, x)[0].mean(1))


def test_a_layer_that_is_never_called_stays_with_its_neighbor(batch: tuple[Tensor, Tensor]) -> None:
    found = layers_top_down(Attentive().eval(), batch[0][:1])
    assert found == ["head", "attention.out_proj", "attention", "patch"]
