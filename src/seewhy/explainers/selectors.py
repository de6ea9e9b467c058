"""The score that a method reads from the logits: the selector of Opti-CAM, the reward of extremal perturbation."""

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.types import Images, Logits, Scores, Targets

Selector = Literal["logit", "probability", "log_probability", "log_odds", "contrast"]
"""The target's logit, probability p (a sigmoid if multi-label), its logarithm, the logarithm of p / (1 - p), or the logit
minus the highest other."""


def scores_of(
    classifier: Classifier, images: Images, classes: Int[Tensor, "n k"], selector: Selector
) -> Float[Tensor, "n k"]:
    """The selected numbers of each image's own classes, from one pass of the images."""
    return select_all(classifier, classifier.logits(classifier.fast_layout(images)), selector).gather(1, classes)


def select(classifier: Classifier, logits: Logits, targets: Targets, selector: Selector) -> Scores:
    """(n,) the selected number of each row's own target."""
    return select_all(classifier, logits, selector).gather(1, targets[:, None]).squeeze(1)


def select_all(classifier: Classifier, logits: Logits, selector: Selector) -> Logits:
    """(n, k) the same for every class."""
    if selector != "logit":
        classifier.must_have_probabilities()
    match selector:
        case "logit":
            return logits
        case "probability":
            return classifier.to_probabilities(logits)
        case "log_probability":
            return logsigmoid(logits) if classifier.multilabel else logits.log_softmax(1)
        case "log_odds" if classifier.multilabel:
            return logits
        case "log_odds":
            # 1 - p is the others' sum: a network that is certain has none left in this precision. Only the highest can be.
            first = _highest(logits)
            others = logits.masked_fill(first, -torch.inf).logsumexp(1, keepdim=True)
            p = logits.softmax(1).masked_fill(first, 0)
            return torch.where(first, logits - others, logits.log_softmax(1) - (-p).log1p())
        case "contrast":
            two = logits.topk(2, dim=1)
            first = _highest(logits)
            return logits - torch.where(first, two.values[:, 1:], two.values[:, :1])
    raise SeewhyError(f"unknown selector {selector!r}: use {', '.join(get_args(Selector))}")


def _highest(logits: Logits) -> Bool[Tensor, "n k"]:
    """Which class has the highest logit: one in each row."""
    return torch.arange(logits.shape[1], device=logits.device) == logits.argmax(1, keepdim=True)
