"""Opti-CAM (Zhang et al., 2024) in a seventh of the steps: Adam moves the map, and the weights of the channels follow it."""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.explainers.gradients import attached
from seewhy.explainers.optimized.feature_masks import FeatureMask, combination, still_moves
from seewhy.explainers.options import LearningRate, SelectorOption, Steps
from seewhy.explainers.selectors import Wanted
from seewhy.maps import min_max
from seewhy.options import AtLeast
from seewhy.types import CoarseMap, FeatureMap, Images, Scores


class FastOptiCAM(FeatureMask, name="opti_cam_fast", family="optimized", paper="zhang2024opticam"):
    r"""A mask of Opti-CAM's kind in a seventh of its steps, seldom the same: Adam moves the map itself. Not negative.

    The masks are convex combinations of the feature maps, as Opti-CAM's are; the way to a good one is shorter. There a
    step on the variable $u$ moves the map by as much as the channels happen to agree: slowly where they are many and alike.
    Here Adam steps on the map $S$ itself, a number for each cell of the grid, and the weights $w = \mathrm{softmax}(u)$ are
    tilted until their map has taken the step, three times over:

    $$\Delta u_k = \langle F_k - S, v \rangle, \qquad \bigl(\mathrm{Cov}_w(F) + \lambda I\bigr)\, v = \alpha T - S,$$

    where $T$ is the map that is wanted, $\mathrm{Cov}_w(F) = \sum_k w_k (F_k - S)(F_k - S)^\top$ is the covariance of the
    feature maps over channels, and all maps are less their mean, since the range normalization removes it. $\alpha$ is the
    best for $S \approx \alpha T$. Without $\lambda$, the tilt is to first order the least one, in the metric of the weights
    (the Fisher information of a softmax), that moves $S$ by the right side; with it, a part of that, most where channels
    vary most. No $u_k$ moves by more than 4 at once. None of this takes a pass of the network. The best mask is kept.

    It is for layers with more channels than cells, as the last ones of trained networks are. Where there are fewer, a map
    cannot take most steps, and 100 steps of ``opti_cam`` get further.

    Args:
        normalization: of the map to a mask, always by its "range" (eq. 16). ``opti_cam`` has others.
        selector: the score, as in ``opti_cam``. The log-odds, in place of the logit, also lower the other classes, and go on
            rising where a network is all but certain, while the log-probability stands still.
        learning_rate: share of its range by which a cell of the map moves in the first step. It falls as 1 / (1 + t / 20).
        steps: passes of an image, each forward and backward. The first looks at the start.
        batch_size: images, or classes of an image, that are optimized at a time.
        damping: lambda, as a share of the mean variance: small follows the step closer, large keeps more channels. With
            less than 0.001, few channels have no stable solution.

    Source: the masks, Zhang et al. (2024), equations 8 to 11; the steps are seewhy's own, measured in its documentation.
    """

    normalization: Literal["range"] = "range"
    selector: SelectorOption = "log_odds"
    learning_rate: LearningRate = 0.2
    steps: Steps = 15
    damping: Annotated[float, AtLeast(1e-3)] = 0.2

    def optimized(
        self, images: Images, removed: Images, features: FeatureMap, wanted: Wanted, aim: Scores
    ) -> Float[Tensor, "n d"]:
        """The best u that the steps have seen."""
        u = self.start_of(features)
        step = torch.zeros_like(combination(features, u), requires_grad=True)
        adam = torch.optim.Adam([step], lr=self.learning_rate, betas=(0.85, 0.98))
        falling = torch.optim.lr_scheduler.LambdaLR(adam, lambda t: 1 / (1 + t / 20))
        best, lowest, before = u, torch.full_like(aim, torch.inf), torch.full_like(aim, torch.inf)
        going = torch.ones_like(aim, dtype=torch.bool)
        for t in range(self.steps):
            coarse = combination(features, u).requires_grad_()
            losses = self.loss(images, removed, self.mask(coarse, images.shape[-2:]), wanted, aim)
            loss = losses.detach()
            better = going & (loss < lowest)
            best, lowest = torch.where(better[:, None], u, best), torch.where(better, loss, lowest)
            going, before = going & still_moves(loss - before, self.tolerance), loss
            if t == self.steps - 1 or not going.any():
                break
            (slope,) = torch.autograd.grad(attached(losses).sum(), coarse)
            now = coarse.detach()
            step.data.zero_()
            step.grad = slope * (now.amax((1, 2), keepdim=True) - now.amin((1, 2), keepdim=True))
            adam.step()
            falling.step()
            u = torch.where(going[:, None], tilt(features, u, min_max(now) + step.detach(), self.damping), u)
        return best


def tilt(features: FeatureMap, u: Float[Tensor, "n d"], wanted: CoarseMap, damping: float) -> Float[Tensor, "n d"]:
    """The variable whose map looks more like ``wanted``, up to its scale and offset: three tilts."""
    with torch.autocast(u.device.type, enabled=False):
        target = centered(wanted.flatten(1))
        for _ in range(3):
            w = u.softmax(1)
            s = torch.einsum("nd,ndp->np", w, features.flatten(2))
            apart = centered(features.flatten(2) - s[:, None])
            s = centered(s)
            alpha = ((s * target).sum(1) / (target * target).sum(1).clamp_min(1e-12)).clamp_min(0)
            # Constant maps differ by rounding, and so do the weights' last digits where one channel has been chosen.
            rounding = torch.finfo(u.dtype).eps * features.square().mean((1, 2, 3))
            v = solve_damped(apart, w, alpha[:, None] * target - s, damping, rounding)
            change = torch.einsum("ndp,np->nd", apart, v)
            # The equation holds for small changes.
            u = u + change * (4 / change.abs().amax(1, keepdim=True).clamp_min(4))
        return u


def centered(maps: Float[Tensor, "*n p"]) -> Float[Tensor, "*n p"]:
    """Each map less its mean."""
    return maps - maps.mean(-1, keepdim=True)


def solve_damped(
    apart: Float[Tensor, "n d p"],
    w: Float[Tensor, "n d"],
    right: Float[Tensor, "n p"],
    damping: float,
    least: Float[Tensor, "n"],
) -> Float[Tensor, "n p"]:
    """v of (Cov + lambda I) v = right; through the channels where these are fewer than the cells (Woodbury)."""
    half = apart * w.sqrt()[:, :, None]
    ridge = (damping * half.square().sum(1).mean(1) + least).clamp_min(torch.finfo(w.dtype).tiny)[:, None, None]
    right = right[:, :, None]
    if half.shape[1] >= half.shape[2]:
        return solve_definite(half.mT @ half, ridge, right)[:, :, 0]
    return ((right - half.mT @ solve_definite(half @ half.mT, ridge, half @ right)) / ridge)[:, :, 0]


def solve_definite(
    matrix: Float[Tensor, "n m m"], ridge: Float[Tensor, "n 1 1"], right: Float[Tensor, "n m 1"]
) -> Float[Tensor, "n m 1"]:
    """By Cholesky: the batched LU of some LAPACKs fails on sound matrices when two threads share them. NaN stays NaN."""
    factor, _ = torch.linalg.cholesky_ex(matrix + ridge * torch.eye(matrix.shape[1]).to(matrix))
    return torch.cholesky_solve(right, factor)
