"""Negative saliency (Llorente et al., 2023), equation 4."""

from seewhy.explainers.gradient.signs import SignedSaliency
from seewhy.explainers.gradients import largest_negative


class NegativeSaliency(
    SignedSaliency, name="negative_saliency", family="gradient", paper="llorente2023positive", merge=largest_negative
):
    """Where less intensity raises the target's logit: the largest negative gradient of a pixel (eq. 4). Not negative."""
