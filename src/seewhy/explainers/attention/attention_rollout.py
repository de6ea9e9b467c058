"""Attention rollout (Abnar & Zuidema, 2020), equation 1."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch

from seewhy.classifier.attention import Transformer
from seewhy.explainers.attention.attention_method import (
    AttentionMap,
    HeadWeights,
    StartBlock,
    TokenMatrix,
    Tokens,
    over_heads,
)
from seewhy.options import AtLeast, Below, Doc

Fusion = Literal["mean", "max", "min"]


class AttentionRollout(
    AttentionMap, name="attention_rollout", family="attention", paper="abnar2020quantifying", class_specific=False
):
    """The product of all blocks' attention weights, with their skips. Not negative; the same for every class.

    A block is A = (W + I) / 2 with rows of sum 1: W are its attention weights, fused over the heads, and I is the skip
    (eq. 1). The map is what the head reads of the product A_L ... A_1, without class tokens and registers. An attention
    pooling at the end of the network has no skip, and its weights are multiplied as they are.

    Args:
        start_block: the first block of the product. ViT-Shapley's comparison starts at block 1.
        fusion: how heads become one: their mean, as in the paper, or their largest or smallest weight.
        discard_ratio: share of the lowest weights of each block that become 0 before the skip is added. The paper has 0.
    """

    start_block: StartBlock = 0
    fusion: Annotated[Fusion, Doc('"mean", "max" or "min" over the heads.')] = "mean"
    discard_ratio: Annotated[float, AtLeast(0), Below(1)] = 0.0

    def tokens(self, transformer: Transformer, weights: Sequence[HeadWeights]) -> Tokens:
        return transformer.rows(self.product(weights, transformer.pooled))

    def product(self, weights: Sequence[HeadWeights], pooled: bool) -> TokenMatrix:
        """A_L ... A_1; the last attention has no skip if it is ``pooled``."""
        blocks = weights[: len(weights) - pooled]
        eye = torch.eye(weights[0].shape[-1], dtype=weights[0].dtype, device=weights[0].device)
        rollout = eye.expand(len(weights[0]), -1, -1)
        for block in blocks[self.start_block :]:
            rollout = rows_sum_to_one(self.fused(block) + eye) @ rollout
        return rows_sum_to_one(self.fused(weights[-1])) @ rollout if pooled else rollout

    def fused(self, weights: HeadWeights) -> TokenMatrix:
        """One matrix of the heads, whose lowest weights are left out."""
        fused = over_heads(weights) if self.fusion == "mean" else getattr(weights, f"a{self.fusion}")(1)
        if not self.discard_ratio:
            return fused
        flat = fused.flatten(1)
        lowest = flat.argsort(dim=1, stable=True)[:, : int(flat.shape[1] * self.discard_ratio)]
        return flat.scatter(1, lowest, 0).view_as(fused)


def rows_sum_to_one(matrix: TokenMatrix) -> TokenMatrix:
    """Each row divided by its sum; a row of zeros stays."""
    return matrix / matrix.sum(-1, keepdim=True).clamp_min(torch.finfo(matrix.dtype).tiny)
