"""Gradients of scores: by pixels, by features, and of many classes, in bounded memory and on frozen parameters."""

from collections.abc import Callable, Generator, Iterator
from itertools import islice
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seewhy.classifier.checks import NO_GRADIENTS
from seewhy.classifier.classifier import Classifier, frozen
from seewhy.errors import SeewhyError
from seewhy.explainers.classes import for_each
from seewhy.explainers.selectors import Selector, select, similar_classes
from seewhy.types import Attribution, ChannelAttribution, ClassAttribution, Classes, FeatureMap, Images, Targets


class Point(NamedTuple):
    """The images at which a gradient is taken, and the factor of that gradient in the sum over points.

    Every gradient method is such a sum: saliency has one point, the image, and factor 1; integrated gradients has the
    points of a path, and the path's direction times the quadrature weight as factors.
    """

    images: Images
    factor: Tensor | float


Points = Callable[[slice], Iterator[Point]]
"""The points for some images of a batch, by their rows; those of image i depend on image i alone."""
Merge = Callable[[ChannelAttribution], Attribution]
"""One number a pixel from its color channels."""


def largest_magnitude(channels: ChannelAttribution) -> Attribution:
    """The largest absolute value over the color channels."""
    return channels.abs().amax(1)


def largest_positive(channels: ChannelAttribution) -> Attribution:
    """The largest positive value over the color channels, else 0."""
    return channels.relu().amax(1)


def largest_negative(channels: ChannelAttribution) -> Attribution:
    """The size of the largest negative value over the color channels, else 0."""
    return (-channels).relu().amax(1)


def channel_sum(channels: ChannelAttribution) -> Attribution:
    """The sum over the color channels, which keeps the sum over the image."""
    return channels.sum(1)


def input_gradients(
    classifier: Classifier, images: Images, targets: Targets, points: Points, batch_size: int
) -> ChannelAttribution:
    """Sum over the points of factor times the gradient of the target's logit by the pixels, (n, c, h, w)."""
    classifier.check(images, targets)
    total = torch.zeros_like(images)
    with frozen(classifier.module), torch.enable_grad():
        for start in range(0, len(images), batch_size):
            rows = slice(start, min(start + batch_size, len(images)))
            chosen = targets[rows]
            for group in _groups(points(rows), batch_size // len(chosen)):
                x = _leaf(torch.cat([p.images for p in group]))
                (gradient,) = torch.autograd.grad(attached(classifier.scores(x, chosen.repeat(len(group)))).sum(), x)
                for point, g in zip(group, gradient.split(len(chosen)), strict=True):
                    total[rows] += point.factor * g
    return total


def class_maps(
    classifier: Classifier, images: Images, classes: Classes, points: Points, merge: Merge, batch_size: int
) -> ClassAttribution:
    """The sum of ``input_gradients`` for each of ``classes``, its color channels merged, (n, k, h, w).

    One forward pass serves ``batch_size`` classes of an image. Where the embedding has fewer numbers than there are
    classes, the gradients of its numbers are computed instead.
    """
    classifier.check_classes(images, for_each(images, classes))
    maps = []
    with frozen(classifier.module), torch.enable_grad():
        for i, image in enumerate(images.detach().split(1)):
            found = image.new_zeros(len(classes), *image.shape[-2:])
            path = list(points(slice(i, i + 1)))
            for place, row in _class_gradients(classifier, image, classes, path, batch_size):
                found[place] = merge(row[None])[0]
            maps.append(found)
    return torch.stack(maps)


class Extremes(NamedTuple):
    """Gradients of the kept classes (n, m, c, h, w), and the two highest and lowest over all classes, entry by entry."""

    kept: Tensor
    highest: ChannelAttribution
    lowest: ChannelAttribution
    second_highest: ChannelAttribution
    second_lowest: ChannelAttribution


def class_extremes(classifier: Classifier, images: Images, keep: Tensor, points: Points, batch_size: int) -> Extremes:
    """How the gradients of the classes ``keep`` (n, m) compare with those of every class. Classes and images are checked.

    One image at a time, ``batch_size`` gradients at a time. Classes are never all in memory; where the embedding is
    smaller than the number of classes, its gradients are (d times one image) and the classes are their combinations.
    """
    results = []
    every = torch.arange(classifier.n_classes, device=images.device)
    with frozen(classifier.module), torch.enable_grad():
        for i, (image, wanted) in enumerate(zip(images.detach().split(1), keep, strict=True)):
            path = list(points(slice(i, i + 1)))
            kept = image.new_zeros(len(wanted), *image.shape[1:])
            highest, second_highest = (torch.full_like(image[0], -torch.inf) for _ in range(2))
            lowest, second_lowest = (torch.full_like(image[0], torch.inf) for _ in range(2))
            for index, row in _class_gradients(classifier, image, every, path, batch_size):
                second_highest = torch.maximum(second_highest, torch.minimum(highest, row))
                second_lowest = torch.minimum(second_lowest, torch.maximum(lowest, row))
                highest, lowest = torch.maximum(highest, row), torch.minimum(lowest, row)
                kept[wanted == index] = row
            results.append((kept, highest, lowest, second_highest, second_lowest))
    return Extremes(*(torch.stack(part) for part in zip(*results, strict=True)))


def _class_gradients(
    classifier: Classifier, image: Images, classes: Classes, path: list[Point], batch_size: int
) -> Iterator[tuple[int, Tensor]]:
    """Each of ``classes``, by its place there and in any order, and the gradient (c, h, w) of its logit, for one image."""
    head = classifier.head
    if head is None or head.out_features == 1 or head.in_features >= len(classes):
        rows = _jacobian_rows(classifier.logits, classes, path, batch_size)
        yield from enumerate(row for some in rows for row in some)
        return
    # logits = W e + b: back-propagate the d numbers of e instead of the k > d classes
    numbers = torch.arange(head.in_features, device=image.device)
    jacobian = image.new_empty(len(numbers), *image.shape[1:])
    filled = 0
    for gradients in _jacobian_rows(classifier.embed, numbers, path, batch_size):
        jacobian[filled : filled + len(gradients)] = gradients
        filled += len(gradients)
    # classes of equal weights tie exactly only if they are computed once: a product rounds rows by where they stand
    weights, same = head.weight.detach()[classes].unique(dim=0, return_inverse=True)
    for first in range(0, len(weights), batch_size):
        some = (weights[first : first + batch_size] @ jacobian.flatten(1)).unflatten(1, image.shape[1:])
        for i, row in enumerate(some, first):
            for place in (same == i).nonzero().flatten().tolist():
                yield place, row


def _jacobian_rows(
    function: Callable[[Images], Tensor], outputs: Tensor, path: list[Point], batch_size: int
) -> Iterator[Tensor]:
    """Rows of the Jacobian of ``function`` (1, c, h, w) -> (1, m) for ``outputs``, summed over the points of one image.

    ``batch_size`` rows at a time: a batch of copies of the image is differentiated with one row of the identity each.
    Batches are fast on every device, where ``is_grads_batched`` over a whole network leaves the fast kernels of a CPU.
    """
    copies = min(batch_size, len(outputs))
    graph: tuple[Tensor, Tensor] | None = None
    for wanted in outputs.split(copies):
        total = path[0].images.new_zeros(len(wanted), *path[0].images.shape[1:])
        for point in path:
            if graph is None or len(path) > 1:
                x = _leaf(point.images.repeat(copies, 1, 1, 1))
                graph = x, attached(function(x))
            one_hot = torch.zeros_like(graph[1])
            one_hot[torch.arange(len(wanted)), wanted] = 1
            (gradient,) = torch.autograd.grad(graph[1], graph[0], one_hot, retain_graph=len(path) == 1)
            total += point.factor * gradient[: len(wanted)]
        yield total


def feature_gradients(
    classifier: Classifier, images: Images, targets: Targets, layer: str, selector: Selector = "logit"
) -> tuple[FeatureMap, FeatureMap]:
    """Features of ``layer`` on their grid, and the gradient of the target's score by them, both (n, d, gh, gw).

    The graph starts at the layer: one forward pass, and the backward pass of what follows the layer.
    """
    with frozen(classifier.module), torch.enable_grad(), classifier.capture(layer, leaf=True) as outputs:
        scores = _selected(classifier, images.detach(), targets[:, None], selector)
        (gradient,) = torch.autograd.grad(scores.sum(), outputs[layer])
    return classifier.as_grid(outputs[layer].detach(), images, layer), classifier.as_grid(gradient, images, layer)


def feature_jacobian(
    classifier: Classifier, images: Images, classes: Classes, layer: str, batch_size: int, selector: Selector = "logit"
) -> Generator[tuple[FeatureMap, FeatureMap]]:
    """As ``feature_gradients``, for one class after another of every image: k pairs from one forward pass.

    The network is borrowed until the generator ends: use it under ``contextlib.closing``.

    The classes' vector-Jacobian products over the short suffix are batched, ``batch_size`` classes at a time.
    """
    with frozen(classifier.module), torch.enable_grad(), classifier.capture(layer, leaf=True) as outputs:
        scores = _selected(classifier, images.detach(), for_each(images, classes), selector)
        features = classifier.as_grid(outputs[layer].detach(), images, layer)
        for some in torch.arange(len(classes), device=scores.device).split(batch_size):
            one_hot = torch.zeros(len(some), *scores.shape, dtype=scores.dtype, device=scores.device)
            one_hot[torch.arange(len(some)), :, some] = 1
            (gradients,) = torch.autograd.grad(scores, outputs[layer], one_hot, retain_graph=True, is_grads_batched=True)
            for gradient in gradients:
                yield features, classifier.as_grid(gradient, images, layer)


def _selected(
    classifier: Classifier, images: Images, classes: Int[Tensor, "n j"], selector: Selector
) -> Float[Tensor, "n j"]:
    """The selected score of each image's own classes. The similar classes of "finer" are those of the same pass."""
    logits = attached(classifier.logits(images))
    return select(classifier, logits, similar_classes(classifier, logits, classes, selector), selector)


def attached(output: Tensor) -> Tensor:
    """The output of a network itself. SeewhyError if it was computed without a graph."""
    if not output.requires_grad:
        raise SeewhyError(NO_GRADIENTS)
    return output


def _leaf(images: Images) -> Images:
    """A leaf that requires its gradient, in the channels-last layout: convolutions of larger batches are faster in it."""
    return images.contiguous(memory_format=torch.channels_last).requires_grad_()


def _groups(points: Iterator[Point], size: int) -> Iterator[list[Point]]:
    while group := list(islice(points, max(size, 1))):
        yield group
