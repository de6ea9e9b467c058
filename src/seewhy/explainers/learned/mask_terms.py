"""The terms of the losses that train one mask for each class: what a mask shows, how large it is, how smooth it is."""

from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, logsigmoid

from seewhy.errors import SeewhyError
from seewhy.options import AtLeast
from seewhy.types import Attribution, ClassAttribution, Logits, Scores

Weight = Annotated[float, AtLeast(0)]
"""Of a term of a loss."""


def classes_in(labels: Tensor, k: int) -> Bool[Tensor, "n k"]:
    """The classes that the labels say are in each image: (n,) indices, or (n, k) zeros and ones."""
    if labels.ndim == 2:
        return labels > 0
    return torch.arange(k, device=labels.device) == labels[:, None]


def classes_predicted(logits: Logits, multilabel: bool) -> Bool[Tensor, "n k"]:
    """The classes that the network sees: those above a probability of one half, or the most probable one."""
    return logits > 0 if multilabel else classes_in(logits.argmax(1), logits.shape[1])


def merged(masks: ClassAttribution, chosen: Bool[Tensor, "n k"]) -> Attribution:
    """For each pixel the highest mask of the chosen classes; 0 for an image of which no class is chosen."""
    return masks.masked_fill(~chosen[:, :, None, None], 0).amax(1)


def classification(logits: Logits, present: Bool[Tensor, "n k"], multilabel: bool) -> Scores:
    """(n,) binary cross entropy, the mean over all classes; or the cross entropy of the one class that is present."""
    if multilabel:
        return binary_cross_entropy_with_logits(logits, present.to(logits.dtype), reduction="none").mean(1)
    if not bool((present.sum(1) == 1).all()):
        raise SeewhyError(
            "labels with several classes in an image, or with none, are for a network with sigmoids: load it with multilabel"
        )
    return cross_entropy(logits, present.to(torch.uint8).argmax(1), reduction="none")


def negative_entropy(logits: Logits) -> Scores:
    """(n,) the mean over C classes of p log p, p a softmax: from -log(C) / C where all classes are level, to 0."""
    logs = logits.log_softmax(1)
    return (logs.exp() * logs).mean(1)


def log_probabilities(logits: Logits, multilabel: bool) -> Float[Tensor, "n k"]:
    return logsigmoid(logits) if multilabel else logits.log_softmax(1)


def out_of_bounds(masks: Attribution, least: float, most: float) -> Scores:
    """(n,) how far the area of each mask is below the share ``least`` of the image or above the share ``most``.

    The values of a mask are sorted, highest first. The highest ``least`` of them should be 1, those after the highest
    ``most`` should be 0, and the ones between are free.
    """
    q = masks.flatten(1).sort(1, descending=True).values
    z = q.shape[1]
    low, high = (int(share * z + 1e-6) for share in (least, most))  # 100 * 0.29 is 28.999... in floating point
    return ((1 - q[:, :low]).sum(1) + q[:, high:].sum(1)) / z


def variation(masks: Attribution, power: int = 1, mirrored: bool = False) -> Scores:
    """(n,) the anisotropic total variation, over the number of pixels: the differences of neighbors, to a ``power``.

    ``mirrored`` counts the last difference of each row and column twice, which mirroring at the border does.
    """
    down, right = ((masks[:, 1:] - masks[:, :-1]).abs() ** power, (masks[:, :, 1:] - masks[:, :, :-1]).abs() ** power)
    total = down.sum((1, 2)) + right.sum((1, 2))
    if mirrored:
        total = total + down[:, -1].sum(1) + right[:, :, -1].sum(1)
    return total / masks[0].numel()
