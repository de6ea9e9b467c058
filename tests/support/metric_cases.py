"""Cases that have all that any metric needs, on the tiny networks; and options that keep the costly metrics small."""

from typing import Any

import torch
from support.tiny_models import TINY
from torch import Tensor, nn

from seewhy import explainer
from seewhy.data import Parts
from seewhy.metrics import Case, Companions, Cost

SIZE = 16
SMALL: dict[str, dict[str, Any]] = {
    "deletion": {"steps": 5},
    "insertion": {"steps": 5},
    "lif": {"size": 4},
    "mif": {"size": 4},
    "srg": {"size": 4},
    "pixel_flipping": {"size": 6, "points": 5},
    "r_lif": {"size": 6, "n_draws": 3},
    "r_mif": {"size": 6, "n_draws": 3},
    "r_srg": {"size": 6, "n_draws": 3},
    "aopc": {"size": 4, "regions": 4},
    "faithfulness_estimate": {"features": 32},
    "faithfulness_correlation": {"subset_size": 24, "runs": 12},
    "road": {"shares": (0.2, 0.6)},
    "road_least": {"shares": (0.2, 0.6)},
    "f_fidelity": {"size": 4, "n_draws": 3, "shares": (0.3, 0.6)},
    "single_deletion": {"size": 4},
    "saco": {"groups": 5},
    "max_sensitivity": {"samples": 3},
    "parameter_randomization": {"n_layers": 2},
}
"""Options of metrics whose defaults are made for real images."""


def case_of(network: str, explainer_name: str = "grad_cam", n: int = 3, **changes: Any) -> Case:
    """Images, maps, regions, boxes and labels for a tiny network; distinct maps without symmetries."""
    classifier = TINY[network]()
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(n, 3, SIZE, SIZE, generator=generator)
    targets = torch.arange(n) % classifier.n_classes
    method = explainer(explainer_name, classifier)
    maps = torch.randn(n, SIZE, SIZE, generator=generator)
    boxes = tuple(torch.tensor([[2.0 + i, 3.0, 9.0 + i, 12.0], [0.0, 0.0, 3.0, 4.0]])[: 1 + i % 2] for i in range(n))
    regions = torch.zeros(n, SIZE, SIZE, dtype=torch.bool)
    for region, several in zip(regions, boxes, strict=True):
        for left, top, right, bottom in several.int().tolist():
            region[top:bottom, left:right] = True
    labels = targets
    if classifier.multilabel:
        labels = torch.zeros(n, classifier.n_classes).scatter(1, torch.stack([targets, (targets + 2) % 5], 1), 1.0)
    classes = torch.tensor([0, 2, 1])
    given: dict[str, Any] = {
        "labels": labels,
        "regions": regions,
        "boxes": boxes,
        "explainer": method,
        "cost": Cost(0.1, 3.0, 12.0),
        "class_maps": torch.randn(n, len(classes), SIZE, SIZE, generator=generator),
        "map_classes": classes,
        "parts": tuple(parts_of(image, seed) for seed, image in enumerate(images)),
        "companions": Companions(torch.rand(8, 3, SIZE, SIZE, generator=generator), torch.arange(8) % classifier.n_classes),
        "batch_size": 4,
    }
    return Case(classifier, images, targets, targets, **{"attributions": maps, **given, **changes})


def parts_of(image: Tensor, seed: int = 0) -> Parts:
    """Three rectangles of the image, and the image with each of them in another color."""
    regions = torch.zeros(3, SIZE, SIZE, dtype=torch.bool)
    for region, (top, left) in zip(regions, ((0, 1), (5, 6), (11, 2)), strict=True):
        region[top : top + 4, left : left + 5 + seed] = True
    color = torch.rand(3, 3, 1, 1, generator=torch.Generator().manual_seed(seed))
    return Parts(("square", "circle", "tag"), regions, torch.where(regions[:, None], color, image))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Three(nn.Module):
    """Registered in another order than they run: last, first, second. One parameter belongs to the network itself."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(6, 5)
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.scale = nn.Parameter(1 + 0.1 * noise(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x * self.scale))
        return self.last(torch.relu(self.norm(self.second(x))).mean((2, 3)))
