"""Shapley values from random orders of the players (Castro et al., 2009), in pairs (Mitchell et al., 2022)."""

from dataclasses import KW_ONLY
from typing import Annotated

import torch

from seewhy.explainers.options import Samples, Seed
from seewhy.explainers.perturbation.player_maps import ShapleyMaps
from seewhy.masking.shapley import MOST_EXACT, SetFunction, ShapleyValues, exact_values, permutation_values
from seewhy.options import AtLeast


class PermutationShapley(ShapleyMaps, name="permutation_shapley", family="perturbation", paper="castro2009polynomial"):
    """Shapley values from random orders in which the players come: the mean gain by each player. Signed.

    The values sum to v(all) - v(none) exactly and are right on average; a pixel shows its player's value. Any number of
    players. Each order is also gone through backwards. ``explain_with_errors`` also returns the standard error of each
    value. Where all 2^p - 2 sets are not more than ``samples``, they are asked, and the values are exact. Several classes
    come for the passes of one.

    Args:
        samples: sets of players that are asked, besides the full and the empty one; at most, but two orders and their
            reverses are always gone through. An order and its reverse ask 2 (p - 1) sets.
        width: ends as soon as no 95 % interval is wider than this share of the range of the image's values, such as 0.1.
            0 asks all ``samples``.
    """

    samples: Samples = 2048
    width: Annotated[float, AtLeast(0)] = 0.0
    _: KW_ONLY
    seed: Seed = 0

    def shapley(self, v: SetFunction, p: int) -> ShapleyValues:
        if p <= MOST_EXACT and 2**p - 2 <= self.samples:
            return exact_values(v, p)
        generator = torch.Generator().manual_seed(self.seed)
        return permutation_values(v, p, self.samples // (2 * (p - 1)), generator, self.width)
