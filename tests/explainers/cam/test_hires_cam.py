"""HiResCAM: where its negative part is cut."""

import torch
from support.tiny_models import TINY
from torch import Tensor

from seewhy.explainers import HiResCAM
from seewhy.explainers.gradients import feature_gradients
from seewhy.maps import upsample


def test_the_negative_part_is_cut_on_the_grid_as_other_libraries_do(batch: tuple[Tensor, Tensor]) -> None:
    classifier, (images, targets) = TINY["cnn"](), batch
    features, gradients = feature_gradients(classifier, images, targets, "5")
    coarse = (features * gradients).sum(1)
    cut = HiResCAM(classifier, "5", negative="cut").explain(images, targets)
    torch.testing.assert_close(cut, upsample(coarse.relu(), images.shape[-2:]))
    kept = HiResCAM(classifier, "5").explain(images, targets)
    torch.testing.assert_close(kept, upsample(coarse, images.shape[-2:]))
    assert (kept.clamp_min(0) - cut).abs().max() > 0.1 * cut.max()  # so clamping the enlarged map is no such picture
    several = HiResCAM(classifier, "5", negative="cut").explain_classes(images, targets)
    torch.testing.assert_close(several[0, 0], cut[0])
