"""Attention times its gradient (Chefer, Gur & Wolf, ICCV 2021), equations 5 and 6."""

from collections.abc import Sequence

from seewhy.classifier.attention import Transformer
from seewhy.explainers.attention.attention_method import (
    AttentionGradientMap,
    HeadWeights,
    StartBlock,
    TokenMatrix,
    Tokens,
    over_heads,
)


class AttentionGradients(AttentionGradientMap, name="attention_gradients", family="attention", paper="chefer2021generic"):
    """Attention weights times the class's gradients by them, through all blocks with their skips. Not negative.

    A block is A = the mean over heads of (gradient * weights)⁺ (eq. 5). From the first block to the last, R = R + A R, and R
    begins as the identity I (eq. 6). The map is what the head reads of R - I, without class tokens and registers. An
    attention pooling at the end of the network has no skip: there R = A R, and nothing is subtracted. No relevance is
    propagated, so that every network will do whose attention can be read.

    Args:
        start_block: the first block of the product.
    """

    start_block: StartBlock = 0

    def tokens(self, transformer: Transformer, weights: Sequence[HeadWeights], gradients: Sequence[HeadWeights]) -> Tokens:
        blocks = [over_heads((g * w).clamp(min=0)) for g, w in zip(gradients, weights, strict=True)]  # eq. 5
        return transformer.rows(through_blocks(blocks[self.start_block :], transformer.pooled))


def through_blocks(blocks: Sequence[TokenMatrix], pooled: bool) -> TokenMatrix:
    """(I + A_L) ... (I + A_1) - I: what each query of the last block has of each token.

    The last I is what a token has of itself in any case. It says nothing, and beside it the rest would be rounded away where
    the head averages the patches.

    Args:
        blocks: A_1 to A_L.
        pooled: is the last one an attention pooling, which has no skip?
    """
    made, *others = blocks
    for number, block in enumerate(others, 2):
        through = block + block @ made
        made = through if pooled and number == len(blocks) else made + through
    return made
