"""Games with known answers, and what the literal re-writings of ordering metrics take."""

from typing import Any

import torch
from support import metric_oracles as oracle
from support.metric_cases import case_of
from torch import Tensor, nn

from seewhy import Classifier, explainer
from seewhy.classifier.classifier import frozen
from seewhy.masking.baselines import baseline_images
from seewhy.masking.players import Players
from seewhy.metrics import Case

NETWORKS = ("cnn", "vit_registers")


def doubled(network: str, **changes: Any) -> Case:
    """A case in float64: the oracles are too."""
    case = case_of(network, **changes)
    classifier = Classifier(
        case.classifier.module.double(), case.classifier.mean, case.classifier.std, case.classifier.input_size
    )
    method = explainer("grad_cam", classifier)
    return Case(
        classifier,
        case.images.double(),
        case.explained,
        case.scored,
        case.attributions.double(),
        regions=case.regions,
        explainer=method,
        batch_size=7,
    )


def network_of(case: Case) -> oracle.V:
    def f(x: oracle.Array) -> oracle.Array:
        with frozen(case.classifier.module), torch.no_grad():
            return case.classifier.logits(torch.from_numpy(x)[None])[0].numpy()

    return f


def parts(case: Case, i: int, baseline: str) -> tuple[oracle.V, oracle.Array, int, oracle.Array, oracle.Array]:
    """Network, image, class, map and baseline of image i."""
    removed = baseline_images(baseline, case.classifier, case.images)[i]  # type: ignore[arg-type]
    image, maps = case.images[i].numpy(), case.attributions[i].numpy()
    return network_of(case), image, int(case.scored[i]), maps, removed.numpy()


class Additive:
    """A game whose value is the sum of the weights of who is there: v(S) = sum of w; class 1 has the value, class 0 none."""

    def __init__(self, weights: list[float]) -> None:
        self.weights = torch.tensor(weights)

    def __call__(self, images: Tensor, players: Players) -> Any:
        def logits(rows: Tensor, kept: Tensor) -> Tensor:
            value = (kept * self.weights).sum(1)
            return torch.stack([torch.zeros_like(value), value], 1)

        return logits


def additive_case(weights: list[float], maps: list[float], **changes: Any) -> Case:
    """Four players, the quarters of an image of 4 x 4; their attributions are ``maps``."""
    attribution = torch.tensor(maps).view(1, 2, 2).repeat_interleave(2, 1).repeat_interleave(2, 2)
    classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), (0.0,) * 3, (1.0,) * 3, (4, 4))
    one = torch.ones(1, dtype=torch.long)
    given = {"value": Additive(weights), **changes}
    return Case(
        classifier, torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)), one, one, attribution, **given
    )
