"""What optimized masks are made of: published lengths, coarse grids, blurs and their pyramids, smooth maxima."""

from functools import lru_cache
from itertools import product
from math import ceil, log
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad, pixel_shuffle

from seewhy.types import Attribution, CoarseMap, Images

Size = tuple[int, int]


def size_of(images: Images) -> Size:
    return images.shape[-2], images.shape[-1]


def scaled(length: float, size: Size) -> float:
    """A length that was published for images of 224 pixels, in pixels of an image whose shorter side is another."""
    return length * min(size) / 224


def coarse_size(size: Size, cells: int) -> Size:
    """Of a grid with about ``cells`` cells along the shorter side of the image, and never more than pixels."""
    cells = min(cells, *size)
    return round(size[0] * cells / min(size)), round(size[1] * cells / min(size))


def blur(images: Images, sigma: float, reach: int | None = None) -> Images:
    """Gaussian blur, mirrored at the border, so that no dark frame appears. Always in the images' own precision.

    Args:
        sigma: in pixels.
        reach: in pixels, where the kernel ends; None is 4 sigma. Never beyond what mirroring allows.
    """
    reach = ceil(4 * sigma) if reach is None else reach
    if not sigma or not reach:
        return images
    rows, columns = (_blurring(s, sigma, min(reach, s - 1)).to(images) for s in size_of(images))
    with torch.autocast(images.device.type, enabled=False):
        return rows @ images @ columns.T


@lru_cache(maxsize=64)
def _blurring(side: int, sigma: float, reach: int) -> Tensor:
    """The matrix that blurs one axis."""
    offsets = torch.arange(-reach, reach + 1)
    weights = (-0.5 * (offsets.double() / sigma) ** 2).exp()
    sources = (torch.arange(side)[:, None] + offsets).abs()
    mirrored = torch.where(sources >= side, 2 * (side - 1) - sources, sources)
    matrix = torch.zeros(side, side, dtype=torch.float64)
    return matrix.scatter_add_(1, mirrored, (weights / weights.sum()).expand(side, -1))


def pyramid(images: Images, sigma: float, levels: int) -> Float[Tensor, "n levels c h w"]:
    """The images under ``levels`` blurs, from that of ``sigma`` pixels down to none."""
    return torch.stack([blur(images, sigma * (1 - level / (levels - 1))) for level in range(levels)], 1)


def blend_levels(blurs: Float[Tensor, "n levels c h w"], masks: Attribution) -> Images:
    """Each pixel at the level of the pyramid that its mask says, linearly between two: the image where the mask is 1."""
    height = masks * (blurs.shape[1] - 1)
    level = height.detach().floor().clamp(0, blurs.shape[1] - 2)
    index = level.long()[:, None, None].expand(-1, 1, blurs.shape[2], -1, -1)
    lower, upper = blurs.gather(1, index).squeeze(1), blurs.gather(1, index + 1).squeeze(1)
    return lower + (height - level)[:, None] * (upper - lower)


def smooth_maximum(points: CoarseMap, size: Size, step: int, sigma: float, coldness: float) -> Attribution:
    """m(u) = smax_v K(u - v) points(v), with the soft maximum smax f = sum f exp(coldness f) / sum exp(coldness f).

    A point stands in the middle of its cell of ``step`` x ``step`` pixels. Its bump is K = 1 up to sigma / 2, then falls
    as exp(-2 (d / sigma - 1/2)^2); a pixel looks at the points up to 1 + ceil(sigma / step) cells away. The outermost
    points are repeated beyond the border: with nothing there, equal points would make a mask that is highest at the border.
    """
    kernel = _kernel(step, sigma).to(points)
    wide = pad(points[:, None], [len(kernel) // 2] * 4, mode="replicate")[:, 0]
    phases = cast(Tensor, cast(Any, _SmoothMaximum).apply(wide, kernel, coldness))
    masks = pixel_shuffle(phases, step)[:, 0]
    top, left = (masks.shape[1] - size[0]) // 2, (masks.shape[2] - size[1]) // 2
    return masks[:, top : top + size[0], left : left + size[1]]


def _kernel(step: int, sigma: float) -> Tensor:
    """K for each offset of a cell, (2 radius + 1, 2 radius + 1), and each pixel of a cell, row by row."""
    radius = 1 + ceil(sigma / step)
    pixel = torch.arange(step, dtype=torch.float64) - (step - 1) / 2
    apart = pixel - step * torch.arange(-radius, radius + 1, dtype=torch.float64)[:, None]  # (offsets, step)
    distance = (apart[:, None, :, None] ** 2 + apart[None, :, None, :] ** 2).sqrt()
    kernel = (-2 * (distance / sigma - 0.5).clamp_min(0) ** 2).exp()
    return kernel.flatten(2)


class _SmoothMaximum(torch.autograd.Function):
    """Offset by offset, so that memory holds a few masks and not one for each of the offsets.

    Pixels are arranged by their place in the cell, (n, step^2, gh, gw): all of a place see the same kernel. A bump is
    f = K(u - v) points(v), for the pixels u of each cell and the point v of the cell at one offset. Bumps are scaled to
    g = coldness f / log 2, for the powers of two take an eighth of the time that those of e do.
    """

    @staticmethod
    def forward(ctx: Any, wide: Tensor, kernel: Tensor, coldness: float) -> Tensor:
        scale = coldness / log(2)
        scaled = scale * kernel
        total = weighted = wide.new_zeros(())
        for offset in product(range(len(kernel)), range(len(kernel))):
            g = scaled[offset][:, None, None] * _seen(wide, kernel, offset).contiguous()[:, None]
            e = g.exp2()
            total, weighted = total + e, torch.addcmul(weighted, g, e)
        ctx.save_for_backward(wide, kernel, total, weighted)
        ctx.scale = scale
        return weighted / (scale * total)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        wide, kernel, total, weighted = ctx.saved_tensors
        scaled, share, found = ctx.scale * kernel, gradients[0] / total, torch.zeros_like(wide)
        rest, share = share * (1 - log(2) * weighted / total), log(2) * share
        for offset in product(range(len(kernel)), range(len(kernel))):
            g = scaled[offset][:, None, None] * _seen(wide, kernel, offset).contiguous()[:, None]
            slope = torch.addcmul(rest, share, g).mul_(g.exp2_())  # of smax by f: e (1 + coldness (f - smax)) / total
            _seen(found, kernel, offset).add_(torch.einsum("p,nphw->nhw", kernel[offset], slope))
        return found, None, None


def _seen(wide: Tensor, kernel: Tensor, offset: tuple[int, int]) -> Tensor:
    """The points that the cells of the image see at an offset, (n, gh, gw); a view."""
    (y, x), around = offset, len(kernel) - 1
    return wide[:, y : y + wide.shape[1] - around, x : x + wide.shape[2] - around]
