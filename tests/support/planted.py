"""For the tests of masks for each class: small networks, pictures with planted squares, and two terms as loops."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier


class Given(nn.Module):
    """A network with one parameter: the logits (n, k, h, w) that it answers with, whatever it is asked."""

    layers = ()

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, images: Tensor, *_: Tensor) -> Float[Tensor, "n k h w"]:
        return self.logits[: len(images)]


class Pixels(nn.Module):
    """Each pixel's own logits: a few 1 x 1 convolutions of its color."""

    layers = ()

    def __init__(self, k: int, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 1), nn.Tanh(), nn.Conv2d(width, k, 1))

    def forward(self, images: Tensor, *_: Tensor) -> Float[Tensor, "n k h w"]:
        return self.body(images - 0.5)


class MeanColor(nn.Module):
    """A logit for each color channel: its mean over the picture, times ``gain``, less ``offset``."""

    def __init__(self, gain: float = 20.0, offset: float = 2.0) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 3, 1)
        self.head.weight.data = gain * torch.eye(3)[:, :, None, None]
        self.head.bias.data.fill_(-offset)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x).mean((2, 3))


def color_classifier(multilabel: bool) -> Classifier:
    """It sees how much red, green and blue is in a picture; removed pixels are black."""
    return Classifier(MeanColor(), (0.0,) * 3, (1.0,) * 3, (16, 16), multilabel=multilabel)


def planted(n: int, several: bool, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures of 16 x 16 with squares of 4 x 4 in pure colors on dark gray; labels (n,) or (n, 3); regions (n, 3, h, w)."""
    generator = torch.Generator().manual_seed(seed)
    images, regions = torch.full((n, 3, 16, 16), 0.05), torch.zeros(n, 3, 16, 16, dtype=torch.bool)
    labels = torch.arange(n) % 3
    for i in range(n):
        wanted = [int(labels[i])] + ([(int(labels[i]) + 1) % 3] if several and i % 2 else [])
        for place, c in enumerate(wanted):
            top, left = torch.randint(0, 5, (2,), generator=generator).tolist()
            top += 8 * place
            regions[i, c, top : top + 4, left : left + 4] = True
            images[i, c][regions[i, c]] = 1.0
    return images, regions.any(3).any(2).float() if several else labels, regions


def bounds_as_printed(mask: list[list[float]], a: float, b: float) -> float:
    """Eqs. 4 and 5 of Stalder et al. 2022, with q_mask where the paper prints q_max twice."""
    q = sorted((value for row in mask for value in row), reverse=True)
    z = len(q)
    q_min = [1.0 if i < int(z * a) else 0.0 for i in range(z)]
    q_max = [1.0 if i < int(z * b) else 0.0 for i in range(z)]
    return sum(max(q_min[i] - q[i], 0) + max(q[i] - q_max[i], 0) for i in range(z)) / z


def variation_as_printed(mask: list[list[float]], power: int = 1) -> float:
    """Eq. 7, the differences that leave the image left out."""
    h, w = len(mask), len(mask[0])
    total = 0.0
    for i in range(h):
        for j in range(w):
            total += abs(mask[i][j] - mask[i + 1][j]) ** power if i + 1 < h else 0
            total += abs(mask[i][j] - mask[i][j + 1]) ** power if j + 1 < w else 0
    return total / (h * w)
