"""What the loss of a learned Shapley explainer does not show: are its maps right, or upside down?"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyWarning
from seewhy.explainers.learned.learned_explainer import Seen
from seewhy.explainers.learned.learned_shapley import LearnedShapley
from seewhy.maps import min_max, pearson
from seewhy.masking.shapley import SETS_AT_A_TIME, permutation_values, set_function
from seewhy.metrics.curves import Curves, sizes_from_one
from seewhy.training.order import generator_of
from seewhy.training.trainable import Trainable
from seewhy.types import Logits, Scores

MEASURES = ("correlation", "correlation_log_odds", "srg")
"""With the Shapley values of the probability, and of the log-odds; and SRG, all of the predicted class."""
PAIRS = 4
"""Of permutations for each image that is watched."""
CURVE_SIZES = 24
"""Of the sets of an SRG."""
UPSIDE_DOWN = -0.05
"""Maps whose mean correlation is lower say the opposite of the sampled Shapley values."""


class Truth(NamedTuple):
    """What the maps of some images are compared with: it depends on the value function alone.

    classes  (n,) the predicted class of each
    values   (2, n, p) sampled Shapley values of its probability, and of its log-odds
    """

    classes: Tensor
    values: Float[Tensor, "2 n p"]


class Watched(NamedTuple):
    """numbers: by the names of ``MEASURES``, each a mean over the images. maps: (n, 2, h, w) ours and sampled, min-max."""

    numbers: dict[str, float]
    maps: Float[Tensor, "n 2 h w"]


class Monitor:
    """Compares the maps of a few held-out images with Shapley values that are sampled once, and orders players by them.

    Args:
        what: is trained; its network is in eval mode where it is measured.
        seed: of the permutations.
    """

    def __init__(self, what: LearnedShapley, seed: int) -> None:
        self.what, self.seed = what, seed
        self._truth: Truth | None = None

    def prepare(self, seen: Seen) -> None:
        """Sample the values of the first images of ``seen``, unless that is done."""
        if self._truth is None:
            self._truth = sampled(self.what, self._first(seen), self.seed)

    def measured(self, seen: Seen) -> Watched:
        """The measures of the first images of ``seen``, which are the same images each time."""
        self.prepare(seen)
        assert self._truth is not None
        what, seen, (classes, values) = self.what, self._first(seen), self._truth
        with torch.no_grad():
            scores = what.scores(seen).gather(2, classes[:, None, None].expand(-1, values.shape[2], 1))[:, :, 0]
        numbers = {
            "correlation": float(pearson(scores.cpu().double(), values[0]).mean()),
            "correlation_log_odds": float(pearson(scores.cpu().double(), values[1]).mean()),
            "srg": float(symmetric_gain(what, seen, classes, scores).mean()),
        }
        ids = what.players(seen.images[:1]).ids[0].cpu()
        both = torch.stack([scores.cpu().float(), values[0].float()], 1)
        return Watched(numbers, min_max(both.flatten(0, 1)[:, None]).view_as(both)[:, :, ids])

    def _first(self, seen: Seen) -> Seen:
        n = min(self.what.monitor, len(seen.images))
        return Seen(seen.images[:n], None, seen.logits[:n], tuple(f[:n] for f in seen.features))


def monitor_of(what: Trainable, seed: int) -> Monitor | None:
    """The monitor of a learned Shapley explainer that asks for one."""
    return Monitor(what, seed) if isinstance(what, LearnedShapley) and what.monitor else None


def sampled(what: LearnedShapley, seen: Seen, seed: int) -> Truth:
    """Shapley values of the predicted class of each image, from a few pairs of permutations."""
    classifier, players, classes = what.classifier, what.players(seen.images), seen.logits.argmax(1)
    game = what.value(seen.images, players)

    def read_of(image: int) -> Callable[[Logits], Float[Tensor, "r 2"]]:
        return lambda logits: torch.stack(both_scales(classifier, logits.double(), int(classes[image])), 1)

    found = []
    for i in range(len(seen.images)):
        v = set_function(game, i, read_of(i), SETS_AT_A_TIME, seen.images.device)
        found.append(permutation_values(v, players.p, PAIRS, generator_of(seed, "monitor", i)).values.T)
    return Truth(classes, torch.stack(found, 1))


def both_scales(classifier: Classifier, logits: Logits, of: int) -> tuple[Scores, Scores]:
    """The probability of a class, and its log-odds."""
    if classifier.multilabel:
        return logits[:, of].sigmoid(), logits[:, of]
    others = logits.index_fill(1, torch.tensor([of], device=logits.device), -torch.inf)
    odds = logits[:, of] - others.logsumexp(1)
    return odds.sigmoid(), odds


def symmetric_gain(what: LearnedShapley, seen: Seen, classes: Tensor, scores: Float[Tensor, "n p"]) -> Scores:
    """(n,) SRG over some sizes: the best players kept, less the worst players kept."""
    players = what.players(seen.images)
    order = scores.argsort(dim=1, descending=True, stable=True)
    pair = Curves(players, order, what.value(seen.images, players), SETS_AT_A_TIME)
    ks = sizes_from_one(players.p, CURVE_SIZES)
    best, worst = pair.kept(ks), pair.removed([players.p - k for k in ks])
    gains = []
    for logits in (best, worst):
        probabilities = what.classifier.to_probabilities(logits.flatten(0, 1)).view_as(logits)
        gains.append(probabilities.gather(2, classes[:, None, None].expand(-1, len(ks), 1)).mean((1, 2)))
    return gains[0] - gains[1]


def must_not_be_upside_down(numbers: dict[str, float], step: int) -> None:
    """A warning where the maps say the opposite of the sampled Shapley values: neither loss nor agreement would show it."""
    correlation = numbers["correlation"]
    if step and correlation < UPSIDE_DOWN:
        warnings.warn(
            f"the maps are upside down at step {step}: their correlation with sampled Shapley values is {correlation:.2f}, "
            f"and their SRG {100 * numbers['srg']:.0f} %, however low the loss is; train on, or give apart=true, small=true",
            SeewhyWarning,
            stacklevel=2,
        )
