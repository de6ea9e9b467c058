"""Transformer interpretability beyond attention visualization (TiBA; Chefer, Gur & Wolf, CVPR 2021)."""

import torch
from jaxtyping import Int
from torch import Tensor

from seewhy.classifier.relevance import RelevancePass
from seewhy.explainers.attention.attention_gradients import through_blocks
from seewhy.explainers.attention.attention_method import NeedsAttention, StartBlock, over_heads, weight_gradients
from seewhy.explainers.options import BatchSize
from seewhy.types import ClassAttribution, Images


class Tiba(NeedsAttention, name="tiba", family="attention", paper="chefer2021beyond"):
    """Relevance of the attention weights times the class's gradients, through all blocks with their skips. Not negative.

    A block is I + the mean over heads of (gradient * relevance)⁺ (eq. 13), and the map is what the head reads of the product
    of all blocks (eq. 14), without class tokens and registers. Relevance starts with 1 at the class and comes back to the
    attention weights by the rules of layer-wise relevance propagation (see ``classifier.relevance``). What a token has of
    itself in any case, I, is subtracted from the product. An attention pooling at the end of the network has no skip, and
    no I. The paper of Salvage calls this method LRP.

    The released code takes one image and one class at a time, since it scales the parts of a sum over the whole batch. Here
    they are scaled image by image, and all classes share two forward passes. Rows are not normalized, as in the released
    code. Relevance is computed from a pass in float64: see ``RelevancePass`` for the reason.

    LRP is said to be patented: the README of LXT, a library by the authors of AttnLRP, says that LRP "can only be used free
    of charge for personal and scientific purposes". Where this matters, choose ``attention_gradients``.

    Args:
        start_block: the first block of the product.

    Raises:
        UnsuitedError: relevance would pass a function that has no rule. The line names it.
    """

    start_block: StartBlock = 0
    batch_size: BatchSize = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.classifier.relevance_by_image  # a network with a function without a rule is refused here, not during a run

    def maps(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        transformer, maps = self.classifier.transformer, []
        size = self.batch_size if self.classifier.relevance_by_image else 1
        for some, wanted in zip(images.split(size), classes.split(size), strict=True):
            leaf = some.detach().requires_grad_()
            with self.classifier.running(gradients=True):
                gradients = weight_gradients(*transformer.read(leaf), wanted)
                with RelevancePass(leaf):
                    read = transformer.read(leaf)
                relevances = weight_gradients(*read, wanted)  # the backward of this pass is the rules
                found = []
                for gradient, relevance in zip(gradients, relevances, strict=True):
                    blocks = [over_heads((g * r).clamp(min=0)) for g, r in zip(gradient, relevance, strict=True)]  # eq. 13
                    product = through_blocks(blocks[self.start_block :], transformer.pooled)  # eq. 14
                    found.append(transformer.rows(product).to(some.dtype))
            maps.append(transformer.as_maps(torch.stack(found, 1).detach(), some))
        return torch.cat(maps)
