"""Positive saliency (Llorente et al., 2023), equation 3."""

from seewhy.explainers.gradient.signs import SignedSaliency
from seewhy.explainers.gradients import largest_positive


class PositiveSaliency(
    SignedSaliency, name="positive_saliency", family="gradient", paper="llorente2023positive", merge=largest_positive
):
    """Where more intensity raises the target's logit: the largest positive gradient of a pixel (eq. 3). Not negative."""
