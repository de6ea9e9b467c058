"""The grammar of targets: which class of an image is explained, or scored."""

import re
import warnings

import torch
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.data.class_names import find_classes, meant
from seewhy.errors import SeewhyError, SeewhyWarning
from seewhy.options import whole_number
from seewhy.registry import did_you_mean
from seewhy.types import Logits, Targets

TARGETS = ("label", "predicted", "second", "least", "present")
"""Targets by name. Any other target is a class, by its name or index; a class that is called like a target, by its index."""

WITHOUT_LABELS = ("predicted", "second", "least")
"""Those that a network alone answers."""


def class_of_target(
    target: str, logits: Logits, labels: Tensor | None, classifier: Classifier, data_name: str = "the data"
) -> Targets:
    """(n,) the class that ``target`` means for each image; of several labels the likeliest.

    Args:
        target: one of ``TARGETS``, or a class.
        logits: (n, k) of the images.
        labels: (n,) class indices, or (n, k) zeros and ones; None where they are unknown.
        classifier: knows the names of the classes.
        data_name: what an error calls the data.

    Raises:
        SeewhyError: the target needs labels that are unknown; there is no such target or class.
    """
    if target in TARGETS:
        _say_what_is_meant(target, classifier)
    match target:
        case "predicted":
            return logits.argmax(1)
        case "second" if logits.shape[1] < 2:
            raise SeewhyError("target second: the network has one output alone")
        case "second":
            return logits.topk(2, dim=1).indices[:, 1]
        case "least":
            return logits.argmin(1)
        case "label" | "present":
            known = need_labels(labels, f"target {target}", data_name)
            return known if known.ndim == 1 else logits.masked_fill(known <= 0, -torch.inf).argmax(1)
    try:
        return torch.full((len(logits),), classifier.class_index(target), device=logits.device)
    except SeewhyError as error:
        hint = did_you_mean(target, list(TARGETS)) or (" Give one class here." if "," in target else "")
        raise SeewhyError(f"target {target!r} is none of {', '.join(TARGETS)}, and no class.{hint} {error}") from None


def _say_what_is_meant(word: str, classifier: Classifier) -> None:
    """A warning where a class is called like a target: the default "predicted" must not become a class by its name."""
    for index in meant(word, classifier.classes):
        said = f"target {word!r} is no class here, although class {index} is called so: give the index {index} for the class"
        warnings.warn(said, SeewhyWarning, stacklevel=3)


def need_labels(labels: Tensor | None, what: str, data_name: str) -> Tensor:
    """The labels; SeewhyError where they are unknown. ``what`` is what needs them."""
    if labels is None:
        raise SeewhyError(f"{what} needs the true classes, which {data_name} does not have")
    return labels


def classes_of_targets(text: str, classifier: Classifier, probabilities: Tensor | None) -> list[int]:
    """The classes of one image that the command line names.

    Args:
        text: "predicted", "second", "least", "top:K", "all", or a class by name or index, or several with commas. "top3",
            "top-3" and "top 3" are top:3, unless a class is called so.
        classifier: knows the names of the classes.
        probabilities: (k,) of the image; None where there is no network that could say them.

    Raises:
        SeewhyError: there is no such target or class, or no network that could say which it is.
    """
    if text == "label" and not meant(text, classifier.classes):
        raise SeewhyError("target 'label' is the true class, which a picture does not say: name the class")
    if (top := re.fullmatch(r"top[ _-]?([0-9]+)", text.strip().lower())) and not meant(text, classifier.classes):
        text = f"top:{top[1]}"
    if text == "all" or text.startswith("top:"):
        _say_what_is_meant(text, classifier)
    if text == "all":
        return list(range(classifier.n_classes))
    if probabilities is None:
        if text.startswith("top:") or text in WITHOUT_LABELS:
            raise SeewhyError(
                f"target {text!r} is what a network says, and there is none: name a class, all, or give --model"
            )
        return find_classes(text, classifier.classes, classifier.n_classes)
    if text.startswith("top:"):
        k = whole_number(text[4:])
        if k is None or not 1 <= k <= len(probabilities):
            raise SeewhyError(f"target {text!r}: write top:K with K from 1 to {len(probabilities)}")
        return probabilities.topk(k).indices.tolist()
    if text in WITHOUT_LABELS:
        return class_of_target(text, probabilities[None], None, classifier).tolist()
    try:
        return find_classes(text, classifier.classes, classifier.n_classes)
    except SeewhyError as error:
        hint = did_you_mean(text, [*WITHOUT_LABELS, "all", "top:K"])
        raise SeewhyError(f"target {text!r} is no class.{hint} {error}" if hint else error) from None
