"""Baselines: what stands for "removed", in pixel space."""

from functools import cache
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import conv2d
from torchvision.transforms.v2.functional import gaussian_blur

from seewhy.classifier.checks import PIXEL_TOLERANCE
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.types import Images

Baseline = Literal["black", "white", "mean_color", "blur", "rise_blur", "darkest", "noise"]


def baseline_images(baseline: Baseline | float | Tensor, classifier: Classifier, images: Images) -> Images:
    """The images with everything removed, (n, c, h, w) in [0, 1].

    Args:
        baseline: "black" is 0 and "white" 1; "mean_color" is the classifier's own mean, to which a mask on the *normalized*
            image fades; "blur" is a Gaussian blur of the image itself, its standard deviation a tenth of
            the shorter side; "rise_blur" is the blur of RISE's code, whose kernel of 11 x 11 is nearly flat (a Gaussian of
            sigma 5, mirrored at the border of the kernel), over the normalized image padded with zeros;
            "darkest" is, for each image, the lowest value of its normalized array in every channel (Quantus' "black");
            "noise" is uniform, the same for every image; a number is that gray; a tensor is pixels in [0, 1] and must
            broadcast to the images.
    """
    if isinstance(baseline, Tensor):
        return _given(baseline, images)
    if isinstance(baseline, int | float):
        if not 0 <= baseline <= 1:
            raise SeewhyError(f"a gray baseline is in [0, 1], got {baseline}")
        return torch.full_like(images, float(baseline))
    match baseline:
        case "black":
            return torch.zeros_like(images)
        case "white":
            return torch.ones_like(images)
        case "mean_color":
            return images.new_tensor(classifier.mean)[:, None, None].expand_as(images)
        case "blur":
            sigma = min(images.shape[-2:]) / 10
            reach = min(int(3 * sigma), min(images.shape[-2:]) - 1)  # reflection needs the border to be shorter
            side = 2 * reach + 1  # along one axis after the other: the same to rounding, and a hundred times cheaper at 224
            return gaussian_blur(gaussian_blur(images, [1, side], [sigma] * 2), [side, 1], [sigma] * 2)
        case "rise_blur":
            channels = images.shape[1]
            kernel = images.new_tensor(_rise_kernel()).expand(channels, 1, -1, -1)
            return classifier.to_pixels(conv2d(classifier.normalize(images), kernel, padding=5, groups=channels))
        case "darkest":
            lowest = classifier.normalize(images).flatten(1).amin(1)[:, None, None, None]
            return classifier.to_pixels(lowest).expand_as(images)
        case "noise":
            generator = torch.Generator().manual_seed(0)
            return torch.rand(images.shape[1:], generator=generator, dtype=torch.float32).to(images).expand_as(images)
    raise SeewhyError(f"unknown baseline {baseline!r}: use {', '.join(get_args(Baseline))}, a number or a tensor")


def _given(baseline: Tensor, images: Images) -> Images:
    """The pixels that the user gave, for each image."""
    low, high = float(baseline.amin()), float(baseline.amax())
    if not (low >= -PIXEL_TOLERANCE and high <= 1 + PIXEL_TOLERANCE):  # also false for NaN
        raise SeewhyError(f"a baseline is pixels in [0, 1], not normalized; this one is in [{low:.3g}, {high:.3g}]")
    try:
        return baseline.to(images, copy=True).expand_as(images)  # a tensor from inference mode can be part of no graph
    except RuntimeError:
        shapes = f"{tuple(baseline.shape)} does not broadcast to images of {tuple(images.shape)}"
        raise SeewhyError(f"a baseline of {shapes}: give (c, 1, 1) or (c, h, w)") from None


@cache
def _rise_kernel() -> list[list[float]]:
    point = np.zeros((11, 11))
    point[5, 5] = 1
    return gaussian_filter(point, 5).tolist()


def blend(images: Images, masks: Float[Tensor, "n h w"], removed: Images) -> Images:
    """Each image under its mask: the image where the mask is 1, ``removed`` where it is 0."""
    return removed + masks[:, None] * (images - removed)


def masked_logits(
    classifier: Classifier, images: Images, masks: Float[Tensor, "n m h w"], removed: Images, batch_size: int
) -> Float[Tensor, "n m k"]:
    """Logits of every image under each of its m masks, ``batch_size`` masked images at a time.

    Masks that all images share are given as an expanded view. Call the function within ``classifier.running``.
    """
    n, m = masks.shape[:2]
    rows = torch.arange(n, device=images.device).repeat_interleave(m)
    logits = [
        classifier.logits(classifier.fast_layout(blend(images[i], masks[i, j], removed[i])))
        for i, j in zip(rows.split(batch_size), torch.arange(m, device=rows.device).repeat(n).split(batch_size), strict=True)
    ]
    return torch.cat(logits).unflatten(0, (n, m))
