"""Attention flow (Abnar & Zuidema, 2020): a maximum flow through the attention weights of all blocks."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow
from torch import Tensor

from seewhy.classifier.attention import Transformer
from seewhy.errors import SeewhyError
from seewhy.explainers.attention.attention_method import AttentionMap, HeadWeights, Tokens, over_heads
from seewhy.options import AtLeast

WHOLE = 2**30
"""The capacity of 1: flows are in whole numbers of 32 bits."""


class AttentionFlow(
    AttentionMap, name="attention_flow", family="attention", paper="abnar2020quantifying", class_specific=False
):
    """The largest flow that the blocks' attention weights let through from the head to a token. In [0, 1].

    Tokens before each block are the nodes of a network. From token i after a block to token j before it an edge leads with
    the capacity (W_ij + [i = j]) / 2, where W is the mean of the attention weights over the heads, and the other half is the
    skip. The value of a patch is the maximum flow to its token from the head: from the class token after the last block, or
    from all tokens that the head reads, each with its share. An attention pooling at the end has no skip.

    The flow is exact for capacities that are rounded to 2^-30. Each token takes a maximum flow of its own, so an image takes
    one pass and then some seconds on one core for 197 tokens and 12 blocks.

    The flow into a token is at most all that the first block lets into it, and at most 1. In a network of 12 blocks on
    photographs it was the smaller of the two for every token: the map then shows the first block alone. Later blocks have
    so many paths that they bound nothing. The released code divides by the sum over the tokens, a constant of each image.

    Args:
        max_tokens: a larger number of tokens is refused. The time grows with about the third power of the number.
    """

    max_tokens: Annotated[int, AtLeast(1)] = 300

    def tokens(self, transformer: Transformer, weights: Sequence[HeadWeights]) -> Tokens:
        n, _, queries, m = weights[-1].shape
        if m > self.max_tokens:
            raise SeewhyError(
                f"attention_flow takes long for {m} tokens, and max_tokens is {self.max_tokens}: raise it, or take "
                "attention_rollout"
            )
        eye = torch.eye(m, dtype=weights[0].dtype, device=weights[0].device)
        fused = [over_heads(w) for w in weights]
        blocks = [(w + eye) / 2 for w in fused[: len(fused) - transformer.pooled]]
        chain = [*blocks, fused[-1]] if transformer.pooled else blocks
        head = transformer.shares(queries)[None]
        flows = [maximum_flows([head, *(block[i] for block in reversed(chain))]) for i in range(n)]
        return torch.stack(flows).to(weights[0])


def maximum_flows(capacities: Sequence[Float[Tensor, "_ _"]]) -> Float[Tensor, "m"]:
    """The maximum flow from one source to each node of the last layer, in float64.

    Each matrix has the capacities of the edges from the nodes of a layer (rows) to those of the next (columns). The first
    has one row: the source.
    """
    whole = [(c.detach().double().cpu().numpy() * WHOLE).round().astype(np.int32) for c in capacities]
    first = np.cumsum([0, *(len(c) for c in whole)])  # number of the first node of each layer
    edges = [np.nonzero(c) for c in whole]
    starts = np.concatenate([rows + at for (rows, _), at in zip(edges, first, strict=False)])
    ends = np.concatenate([columns + at for (_, columns), at in zip(edges, first[1:], strict=True)])
    size = int(first[-1]) + whole[-1].shape[1]
    network = csr_array((np.concatenate([c[e] for c, e in zip(whole, edges, strict=True)]), (starts, ends)), (size, size))
    flows = [maximum_flow(network, 0, int(sink)).flow_value for sink in range(first[-1], size)]
    return torch.tensor(flows, dtype=torch.float64) / WHOLE
