"""Opti-CAM (Zhang et al., 2024), equations 8 to 11 and 16 to 19, A1 and A2."""

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.explainers.gradients import attached
from seewhy.explainers.optimized.feature_masks import FeatureMask, combination, still_moves
from seewhy.explainers.selectors import Wanted
from seewhy.types import FeatureMap, Images, Scores


class OptiCAM(FeatureMask, name="opti_cam", family="optimized", paper="zhang2024opticam"):
    """The convex combination of feature maps that, as a mask, makes the target's logit highest, found by Adam. Not negative.

    The map is the mask in [0, 1] after the last step, so that nothing has to be rescaled to use it as one.

    Where the paper is silent or its code differs: masks act on pixels, before the network's own normalization, as in the
    released code (``baseline="mean_color"`` masks the normalized image). Each image stops for itself, as the text says; the
    code stops a batch when its summed loss rises. A constant map is a mask of zeros, where the code divides by zero.

    A batch gives what single images give, to 1e-11 in float64. In float32 the passes of another batch round differently, and
    a hundred steps of Adam can magnify that to a tenth of the mask at some pixels; the scores hardly differ.

    Args:
        normalization: of the map to a mask: by its "range" (eq. 16), its "maximum" (eq. 17) or "sigmoid" (eq. 18).
        learning_rate: Adam's.
        steps: passes of an image at most, each forward and backward.
        batch_size: images, or classes of an image, that are optimized at a time.
    """

    def optimized(
        self, images: Images, removed: Images, features: FeatureMap, wanted: Wanted, aim: Scores
    ) -> Float[Tensor, "n d"]:
        """u after the last step."""
        u = self.start_of(features).requires_grad_()
        adam = torch.optim.Adam([u], lr=self.learning_rate)
        active, before = torch.arange(len(images), device=images.device), torch.full_like(aim, torch.inf)
        for _ in range(self.steps):
            mask = self.mask(combination(features[active], u[active]), images.shape[-2:])
            loss = self.loss(images[active], removed[active], mask, wanted[active], aim[active])
            (u.grad,) = torch.autograd.grad(attached(loss).sum(), u)
            going = still_moves(loss.detach() - before, self.tolerance)
            kept, active, before = u.detach().clone(), active[going], loss.detach()[going]
            if not len(active):
                break
            adam.step()
            still = torch.ones(len(u), dtype=torch.bool, device=u.device)
            still[active] = False
            u.data[still] = kept[still]
        return u.detach()
