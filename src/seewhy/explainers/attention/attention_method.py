"""Methods that read attention weights: a number for each token becomes a map."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seewhy.classifier.attention import BlockAttention, Transformer
from seewhy.errors import SeewhyError
from seewhy.explainers.base import ClassMaps
from seewhy.explainers.gradients import attached
from seewhy.explainers.options import BatchSize
from seewhy.options import AtLeast, Doc
from seewhy.types import ClassAttribution, Images

Tokens = Float[Tensor, "n m"]
"""A number for each token of each image, with the prefix tokens."""
HeadWeights = Float[Tensor, "n h _ _"]
"""Attention weights (n, h, q, m) of a block, or what belongs to each of them: a gradient, a relevance."""
TokenMatrix = Float[Tensor, "n _ _"]
"""A number (n, q, m) for each pair of tokens; row i belongs to the token that attends."""
StartBlock = Annotated[int, AtLeast(0), Doc("The first block that counts; 0 is the first of the network.")]


class NeedsAttention(ClassMaps):
    """A method that is defined for transformers whose blocks all attend to the same tokens."""

    batch_size: BatchSize = 32

    def __post_init__(self) -> None:
        blocks = self.classifier.transformer.n_blocks  # a network without attention is refused here, not during a run
        if (start := getattr(self, "start_block", 0)) >= blocks:
            raise SeewhyError(f"start_block is {start}, but the network has {blocks} blocks, 0 to {blocks - 1}")


class AttentionMap(NeedsAttention):
    """A method of attention weights alone: one forward pass. A subclass says how they become numbers, in ``tokens``."""

    @abstractmethod
    def tokens(self, transformer: Transformer, weights: Sequence[HeadWeights]) -> Tokens:
        """A number for each token, from the weights of each block."""

    @final
    def maps(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        transformer, maps = self.classifier.transformer, []
        for some in images.split(self.batch_size):
            with self.classifier.running():
                attentions = transformer.read(some)[1]
            maps.append(transformer.as_maps(self.tokens(transformer, [a.weights for a in attentions]), some))
        return torch.cat(maps)[:, None].expand(-1, classes.shape[1], -1, -1).clone()


class AttentionGradientMap(NeedsAttention):
    """A method of attention weights and the gradients of a class's logit by them: one forward pass for all classes.

    A subclass says how they become numbers, in ``tokens``.
    """

    @abstractmethod
    def tokens(self, transformer: Transformer, weights: Sequence[HeadWeights], gradients: Sequence[HeadWeights]) -> Tokens:
        """A number for each token, from the weights of each block and the gradients of the score by them."""

    @final
    def maps(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        transformer, maps = self.classifier.transformer, []
        for some, wanted in zip(images.split(self.batch_size), classes.split(self.batch_size), strict=True):
            with self.classifier.running(gradients=True):
                logits, attentions = transformer.read(some.detach().requires_grad_())
                weights = [a.weights.detach() for a in attentions]
                found = [self.tokens(transformer, weights, g) for g in weight_gradients(logits, attentions, wanted)]
            maps.append(transformer.as_maps(torch.stack(found, 1).detach(), some))
        return torch.cat(maps)


def weight_gradients(
    logits: Tensor, attentions: Sequence[BlockAttention], classes: Int[Tensor, "n k"]
) -> Iterator[list[HeadWeights]]:
    """For each column of ``classes``: the gradient of each image's logit by the weights of each block."""
    weights = [a.weights for a in attentions]
    for column in classes.T:
        score = attached(logits).gather(1, column[:, None]).sum()
        yield list(torch.autograd.grad(score, weights, retain_graph=True))


def over_heads(weights: HeadWeights) -> TokenMatrix:
    """The mean over heads."""
    return weights.mean(1)
