"""Which number of the logits a method raises or reads: the selector of Opti-CAM, the reward of extremal perturbation."""

from typing import Literal, get_args

import torch
from torch.nn.functional import logsigmoid

from seewhy.errors import SeewhyError
from seewhy.model import Classifier
from seewhy.types import Logits, Scores, Targets

Selector = Literal["logit", "probability", "log_probability", "contrast"]
"""The target's logit, probability (a sigmoid if multi-label), its logarithm, or the logit minus the highest other."""


def select(classifier: Classifier, logits: Logits, targets: Targets, selector: Selector) -> Scores:
    """(n,) the selected number of each row's own target."""
    return select_all(classifier, logits, selector).gather(1, targets[:, None]).squeeze(1)


def select_all(classifier: Classifier, logits: Logits, selector: Selector) -> Logits:
    """(n, k) the same for every class."""
    match selector:
        case "logit":
            return logits
        case "probability":
            return classifier.to_probabilities(logits)
        case "log_probability":
            return logsigmoid(logits) if classifier.multilabel else logits.log_softmax(1)
        case "contrast":
            two = logits.topk(2, dim=1)
            first = torch.arange(logits.shape[1], device=logits.device) == two.indices[:, :1]
            return logits - torch.where(first, two.values[:, 1:], two.values[:, :1])
    raise SeewhyError(f"unknown selector {selector!r}: use {', '.join(get_args(Selector))}")
