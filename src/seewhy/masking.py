"""What stands for "removed": baselines, in pixel space."""

from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from seewhy.errors import SeewhyError
from seewhy.model import Classifier
from seewhy.types import Images

Baseline = Literal["black", "white", "mean_color", "blur"]


def baseline_images(baseline: Baseline | float | Tensor, classifier: Classifier, images: Images) -> Images:
    """What ``images`` become when everything is removed, (n, c, h, w) in [0, 1].

    Args:
        baseline: "black" is 0 and "white" 1; "mean_color" is the classifier's own mean, which is what a mask on the
            *normalized* image fades to; "blur" is a Gaussian blur of the image itself, its standard deviation a tenth of
            the shorter side; a number is that gray; a tensor must broadcast to the images.
    """
    if isinstance(baseline, Tensor):
        return baseline.to(images).expand_as(images)
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
            return gaussian_blur(images, [2 * reach + 1] * 2, [sigma] * 2)
    raise SeewhyError(f"unknown baseline {baseline!r}: use black, white, mean_color, blur, a number or a tensor")
