"""Raw attention (Dosovitskiy et al., 2021): what the tokens that the head reads attend to in the last block."""

from collections.abc import Sequence

from seewhy.classifier.attention import Transformer
from seewhy.explainers.attention.attention_method import AttentionMap, HeadWeights, Tokens, over_heads


class RawAttention(AttentionMap, name="raw_attention", family="attention", paper="dosovitskiy2021vit", class_specific=False):
    """Attention weights of the last block, averaged over its heads. Not negative; the same for every class.

    The map is the row of the class token. Where the head averages the patches it is the mean of their rows; where the head
    reads two class tokens (distilled DeiT), the mean of the two; where the network ends in an attention pooling (SigLIP),
    the weights of the pooling. A weight says what was read in one block, and not what the output depends on.
    """

    def tokens(self, transformer: Transformer, weights: Sequence[HeadWeights]) -> Tokens:
        return transformer.rows(over_heads(weights[-1]))
