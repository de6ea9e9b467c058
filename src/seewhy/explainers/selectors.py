"""The score that a method reads from the logits: the selector of Opti-CAM, the reward of extremal perturbation."""

from typing import Annotated, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.options import AtLeast
from seewhy.types import Images, Logits

Word = Literal["logit", "probability", "log_probability", "log_odds", "contrast", "finer"]
"""The target's logit, probability p (a sigmoid if multi-label), its logarithm, the logarithm of p / (1 - p), the logit
minus the highest other, or the logit against those of the most similar classes ("finer")."""
Finer = tuple[Literal["finer"], Annotated[float, AtLeast(0)], Annotated[int, AtLeast(1)]]
"""The selector "finer" with its strength and its number of similar classes, such as ("finer", 1.0, 5)."""
Selector = Word | Finer
Wanted = Int[Tensor, "... similar"]
"""Each class that is explained, and behind it the m similar classes that "finer" compares it with. Others have none."""
FINER: Finer = ("finer", 0.6, 3)
"""The strength and the number of similar classes of the published code's aggregate (Zhang et al., 2025)."""


def finer(selector: Selector) -> Finer | None:
    """The selector "finer" with its numbers; None for another selector."""
    return FINER if selector == "finer" else selector if isinstance(selector, tuple) else None


def with_similar(
    classifier: Classifier, images: Images, classes: Int[Tensor, "n j"], selector: Selector, batch: int
) -> Wanted:
    """(n, j, 1 + m) each image's own classes and, for "finer", the classes that are most similar to each on this image.

    Only "finer" takes a pass of the images, ``batch`` at a time. The similar classes are those of the whole image, and stay
    the same while a method masks the image.
    """
    if finer(selector) is None:
        return classes.long()[..., None]
    with classifier.running():
        logits = [classifier.logits(classifier.fast_layout(some)) for some in images.split(batch)]
    return similar_classes(classifier, torch.cat(logits), classes, selector)


def similar_classes(classifier: Classifier, logits: Logits, classes: Int[Tensor, "n j"], selector: Selector) -> Wanted:
    """(n, j, 1 + m) each row's own classes and, for "finer", the m classes whose logits are nearest to that of each.

    All other classes, where there are fewer than m. Of classes that are equally near the first one comes first.
    """
    classes = classes.long()[..., None]
    if (chosen := finer(selector)) is None:
        return classes
    classifier.must_have_probabilities()  # the values of a regression are no classes that resemble each other
    found, m = [], min(chosen[2], logits.shape[1] - 1)
    for row, own in zip(logits.detach(), classes, strict=True):  # a table of all classes by all for one image at a time
        apart = (row - row[own]).abs().scatter(1, own, torch.inf)
        found.append(apart.sort(dim=1, stable=True).indices[:, :m])
    return torch.cat([classes, torch.stack(found)], 2)


def scores_of(classifier: Classifier, images: Images, wanted: Wanted, selector: Selector) -> Float[Tensor, "n j"]:
    """(n, j) the selected number of each image's own classes, from one pass of the images."""
    return select(classifier, classifier.logits(classifier.fast_layout(images)), wanted, selector)


def select(classifier: Classifier, logits: Logits, wanted: Wanted, selector: Selector) -> Float[Tensor, "n j"]:
    """(n, j) the selected number of each row's own classes.

    "finer" is y_c - strength * mean_d y_d over the similar classes d, the mean of Finer-CAM's y_c - strength * y_d.
    """
    if finer(selector) is not None:
        return less_similar(logits.gather(1, wanted.flatten(1)).view(wanted.shape), selector)
    return select_all(classifier, logits, selector).gather(1, wanted[..., 0])


def less_similar(values: Float[Tensor, "n j similar *rest"], selector: Selector) -> Float[Tensor, "n j *rest"]:
    """Of numbers that add up as logits do: the class's own, less the part of its similar classes that "finer" takes away."""
    own, chosen = values[:, :, 0], finer(selector)
    return own if chosen is None else own - chosen[1] * values[:, :, 1:].mean(2)


def select_all(classifier: Classifier, logits: Logits, selector: Selector) -> Logits:
    """(n, k) the selected number of every class, for all selectors but "finer"."""
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
    raise SeewhyError(f"unknown selector {selector!r}: use {', '.join(get_args(Word))}")


def _highest(logits: Logits) -> Bool[Tensor, "n k"]:
    """Which class has the highest logit: one in each row."""
    return torch.arange(logits.shape[1], device=logits.device) == logits.argmax(1, keepdim=True)
