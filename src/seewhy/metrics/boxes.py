"""Localization by boxes, as weakly supervised object localization has it (Opti-CAM, appendix B)."""

from math import log
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import find_objects, label
from torch import Tensor
from torch.nn.functional import interpolate, logsigmoid

from seewhy.maps import read
from seewhy.metrics.case import Case
from seewhy.metrics.regions import Localization, OnRegion
from seewhy.options import AtLeast, Doc
from seewhy.types import Attribution, Scores

Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Boxes = Float[Tensor, "m 4"]


class LocalizationError(
    Localization, name="localization_error", better="lower", needs=("boxes",), reads="raw", paper="zhang2024opticam"
):
    r"""How far the box around the map's largest blob is from every box of the object.

    $$\mathrm{LE} = 1 - \max_{B \in \mathcal{B}} \mathrm{IoU}(B, B_p)$$

    The predicted box $B_p$ encloses the largest component of the pixels above the map's mean; pixels touch by side or
    corner (8 neighbors). $\mathcal{B}$ are the boxes of the object. Boxes end after their last pixel. This is the IoU
    itself, not the count of images with an IoU below a half that ImageNet's challenge reports.

    Rewards: one compact blob that spans the whole object and no more.

    Fooled by: images that the object fills, where the whole image is a good box (that of a constant map); and by maps
    whose two ends alone reach the ends of the object.

    Defined: components of equal size each give a box, and the score is the mean over them. A constant map, above whose
    mean nothing is, predicts the whole image. 1 where the object has no box. Neither scale nor shift of a map matter.

    Source: Opti-CAM (Zhang et al. 2024), appendix B, eq. A2; the neighborhood and the ties are this library's.
    """

    def score(self, case: Case) -> Scores:
        return localization_error(case.attributions, case.require("boxes"))


class OfficialMetric(
    Localization, name="official_metric", better="lower", needs=("boxes", "labels"), reads="raw", paper="zhang2024opticam"
):
    r"""Localization error, with 1 wherever the classifier is wrong.

    $$\mathrm{OM} = 1 - \mathbb{1}[c_p = c] \max_{B \in \mathcal{B}} \mathrm{IoU}(B, B_p)$$

    Box and boxes as in ``localization_error``; $c_p$ is the class with the highest logit and $c$ the label.

    Rewards: what ``localization_error`` rewards, on images that the classifier gets right.

    Fooled by: the classifier. Its errors count as the map's, so only maps of the same network compare.

    Defined: as ``localization_error``. Where several classes share the highest logit, their share that is right takes the
    place of 0 or 1. Of a multi-label image any present class is right.

    Source: Opti-CAM (Zhang et al. 2024), appendix B, eq. A1.
    """

    def score(self, case: Case) -> Scores:
        first = case.logits == case.logits.amax(1, keepdim=True)
        right = (first & case.present_classes()).sum(1) / first.sum(1)
        overlap = 1 - localization_error(case.attributions, case.require("boxes"))
        return 1 - right.to(overlap) * overlap


class PixelF1(OnRegion, name="pixel_f1", reads="min_max", paper="zhang2024opticam"):
    r"""Harmonic mean of the share of the map on the object and the share of the object under the map.

    $$F_1 = \frac{2PR}{P + R} = \frac{2 \sum_{i \in R_U} s_i}{|R_U| + \sum_i s_i}, \qquad
    P = \frac{\sum_{i \in R_U} s_i}{\sum_i s_i}, \quad R = \frac{\sum_{i \in R_U} s_i}{|R_U|}$$

    Here $s$ is the min-max map and $R_U$ the region: the union of the boxes in the paper. $P$ is ``energy_pointing_game``.

    Rewards: high values on all of the object and low ones elsewhere.

    Fooled by: large objects, since a map of 1 nearly everywhere scores $2u / (1 + u)$ on a region that covers the share
    $u$; and by saturation, which raises recall without any new insight.

    Defined: 0 for a constant map (also for a region that is the whole image) and for an empty region. Neither scale nor
    shift of a map matter.

    Source: Opti-CAM (Zhang et al. 2024), appendix B, eq. A3 and A4.
    """

    def score(self, case: Case) -> Scores:
        s, regions = read(case.attributions, "min_max"), case.require("regions")
        below = s.sum((1, 2)) + regions.sum((1, 2))
        return 2 * (s * regions).sum((1, 2)) / torch.where(below > 0, below, 1)


class BoxAccuracy(
    Localization, name="box_accuracy", better="higher", needs=("boxes",), reads="min_max", paper="choe2020evaluating"
):
    r"""Share of images whose box overlaps enough, at the one threshold that suits the whole dataset best.

    $$\mathrm{BA} = \frac{1}{|\Delta|} \sum_{\delta \in \Delta} \max_{\eta} \frac{1}{n} \sum_{x}
    \max_{B \in \mathcal{B}_x} \mathbb{1}\left[\mathrm{IoU}(B, B_p^\eta) \ge \delta\right]$$

    $B_p^\eta$ encloses the largest component (8 neighbors) of the pixels of the min-max map above $\eta$. The score of an
    image is one 0 or 1 for each pair of $\eta$ and $\delta$, threshold by threshold; ``reduce`` makes the figure.

    Rewards: maps of which some level set is a compact blob that spans the object.

    Fooled by: images that the object fills; by the choice of the best threshold on the very data that are scored, which
    favors small datasets; and at $\delta = 0.3$ by a box in the middle.

    Defined: as ``localization_error``: components of equal size are averaged, an empty mask (a constant map) predicts the
    whole image, an image without boxes scores 0.

    Source: Choe et al. 2020, MaxBoxAccV2; Opti-CAM (Zhang et al. 2024), appendix B, eq. A5.
    """

    thresholds: Annotated[int, AtLeast(1), Doc(r"Number of $\eta$: 0, 1/thresholds, 2/thresholds, ... below 1.")] = 20
    overlaps: Annotated[tuple[float, ...], Doc(r"The $\delta$.")] = (0.3, 0.5, 0.7)

    def score(self, case: Case) -> Float[Tensor, "n m"]:
        maps = read(case.attributions, "min_max")
        boxes, overlaps = case.require("boxes"), maps.new_tensor(self.overlaps)
        rows = []
        for eta in (i / self.thresholds for i in range(self.thresholds)):
            found = [best_overlaps(m, b) for m, b in zip((maps > eta).cpu().numpy(), boxes, strict=True)]
            rows.append(torch.stack([(iou.to(maps)[:, None] >= overlaps).to(maps.dtype).mean(0) for iou in found]))
        return torch.cat(rows, 1)

    def reduce(self, scores: Tensor) -> float:
        hits = scores.double().mean(0).view(self.thresholds, len(self.overlaps))
        return float(hits.amax(0).mean())


class SaliencyMetric(
    Localization,
    name="saliency_metric",
    better="lower",
    range=(log(0.05), torch.inf),
    reads="raw",
    paper="zhang2024opticam",
):
    r"""Size of the box around the map's largest blob against the probability of the class: small and sure is good.

    $$\mathrm{SM} = \ln \max\left(0.05, \frac{|B_p|}{hw}\right) - \ln p^c$$

    $B_p$ as in ``localization_error``. With ``classified="image"`` $p^c$ is that of the whole image, as Opti-CAM's
    appendix words it: then the second term is the same for all maps of an image. With "crop" the network sees the inside
    of the box alone, enlarged to the image's size, as Dabkowski and Gal, who proposed it, have it.

    Rewards: a small box, down to a twentieth of the image; with "crop" also one in which the class is still recognized.

    Fooled by: with "image", every small box wherever it is. With "crop", texture and enlargement: a network that knows
    grass by its texture needs no more than a piece of it.

    Defined: logarithms are natural and that of $p^c$ is taken from the logits, so a tiny probability stays finite. A
    constant map has the whole image for its box. Components of equal size each give a box and the score is the mean over
    them. The score is below 0 where the box is small and the network sure. Neither scale nor shift of a map matter.

    Source: Opti-CAM (Zhang et al. 2024), appendix B, eq. A7; Dabkowski and Gal 2017, section 3.2.
    """

    classified: Annotated[
        Literal["image", "crop"],
        Doc('What the probability is of: the whole "image" or the "crop" (bilinear, enlarged to the image\'s size).'),
    ] = "image"

    def score(self, case: Case) -> Scores:
        maps = case.attributions
        boxes = [predicted_boxes(m) for m in above_mean(maps)]
        counts = [len(found) for found in boxes]
        each = torch.arange(len(maps), device=maps.device).repeat_interleave(torch.tensor(counts, device=maps.device))
        if self.classified == "image":
            logits = case.logits[each]
        else:
            crops = [_enlarged(image, box) for image, found in zip(case.images, boxes, strict=True) for box in found]
            logits = case.run(torch.cat(crops))
        case.classifier.must_have_probabilities()
        logs = logsigmoid(logits) if case.classifier.multilabel else logits.log_softmax(1)
        sure = logs.gather(1, case.scored[each, None])[:, 0]
        sides = torch.cat(boxes)[:, 2:] - torch.cat(boxes)[:, :2]
        shares = (sides.prod(1) / maps[0].numel()).to(maps)
        scores = shares.clamp_min(0.05).log() - sure
        return torch.stack([of_one.mean() for of_one in scores.split(counts)]).to(maps.dtype)


def localization_error(attributions: Attribution, boxes: tuple[Tensor, ...]) -> Scores:
    """1 - the best IoU of the predicted box with a box of the object."""
    overlaps = [best_overlaps(m, b).mean() for m, b in zip(above_mean(attributions), boxes, strict=True)]
    return 1 - torch.stack(overlaps).to(attributions)


def above_mean(attributions: Attribution) -> Mask:
    """Pixels above their map's mean, which is taken in double precision."""
    maps = attributions.cpu().numpy().astype(np.float64)
    return np.asarray(maps > maps.mean((1, 2), keepdims=True))


def predicted_boxes(mask: Mask) -> Boxes:
    """Box (left, top, right, bottom) of the largest 8-connected component; of each, if several are the largest.

    The whole image if the mask is empty.
    """
    parts, count = label(mask, np.ones((3, 3)))
    if not count:
        return torch.tensor([[0, 0, mask.shape[1], mask.shape[0]]], dtype=torch.float64)
    sizes = np.bincount(parts.ravel())[1:]
    found = [where for where, size in zip(find_objects(parts), sizes, strict=True) if size == sizes.max()]
    return torch.tensor([[x.start, y.start, x.stop, y.stop] for y, x in found], dtype=torch.float64)


def best_overlaps(mask: Mask, boxes: Tensor) -> Float[Tensor, "m"]:
    """The best IoU of each box that the mask predicts with any of ``boxes``; 0 if there are none."""
    predicted, boxes = predicted_boxes(mask)[:, None], boxes.cpu().double().reshape(-1, 4)[None]
    if not boxes.numel():
        return torch.zeros(len(predicted), dtype=torch.float64)
    sides = torch.minimum(predicted[..., 2:], boxes[..., 2:]) - torch.maximum(predicted[..., :2], boxes[..., :2])
    shared = sides.clamp_min(0).prod(2)
    areas = [(b[..., 2:] - b[..., :2]).clamp_min(0).prod(2) for b in (predicted, boxes)]
    return (shared / (areas[0] + areas[1] - shared)).amax(1)


def _enlarged(image: Tensor, box: Tensor) -> Tensor:
    left, top, right, bottom = (int(v) for v in box)
    return interpolate(image[None, :, top:bottom, left:right], image.shape[-2:], mode="bilinear", align_corners=False)
