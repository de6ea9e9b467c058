"""LeGrad (Bousselham et al., 2025): how the score of each block's own tokens depends on the block's attention weights."""

from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seewhy.classifier.attention import Attending
from seewhy.errors import SeewhyError
from seewhy.explainers.attention.attention_method import HeadWeights, NeedsAttention
from seewhy.options import AtLeast, Doc
from seewhy.types import ClassAttribution, Images


class LeGrad(NeedsAttention, name="legrad", family="attention", paper="bousselham2025legrad"):
    """Positive gradients of each block's own class score by its attention weights, averaged over the blocks. Not negative.

    The tokens after block l are averaged, and what follows the last block of the network makes a score s_l of the mean: the
    logit of the class, had the network ended there. The value of a patch is the mean of ReLU(ds_l / dA_l) over all heads of
    block l, all tokens that attend, and all blocks. A_l are the attention weights, after the softmax. Where the network ends
    in an attention pooling, the pooling reads the tokens of block l, and A_l are the weights of the pooling.

    One image takes two passes, and for each class a backward pass of each block's second half.

    The paper takes all blocks, its released code the last two for CLIP. The code also normalizes the pooled embedding, since
    its score is a cosine, and for SigLIP sets places to 0 that an empty text highlights. Neither is done here.

    Args:
        pooling: what stands for the tokens of a block: their "mean" over all tokens, as in the paper, or what the network's
            "own" head reads, such as the class token.
        blocks: how many of the last blocks are averaged. None is all.
    """

    pooling: Annotated[Literal["mean", "own"], Doc('"mean" of all tokens or what the "own" head reads.')] = "mean"
    blocks: Annotated[int, AtLeast(1)] | None = None

    def __post_init__(self) -> None:
        if (self.blocks or 1) > (most := len(self.classifier.blocks)):
            raise SeewhyError(f"legrad cannot read {self.blocks} blocks: the network has {most}")

    def maps(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        """All classes come from the same forward passes."""
        transformer = self.classifier.transformer
        parts = zip(images.split(self.batch_size), classes.split(self.batch_size), strict=True)
        return torch.cat([transformer.as_maps(self.tokens(some, wanted), some) for some, wanted in parts])

    def tokens(self, images: Images, classes: Int[Tensor, "n k"]) -> Float[Tensor, "n k m"]:
        """The value of each token, for each image's own classes; all images at a time."""
        classifier, names = self.classifier, self.classifier.blocks
        pooled, values = classifier.transformer.pooled, []
        with classifier.running(gradients=True):
            recorded, _ = classifier.record(images, names[-1])
            with classifier.capture(*names) as outputs:
                attentions = classifier.transformer.read(images.detach().requires_grad_())[1]
            chosen = list(zip(names, attentions, strict=False))[-(self.blocks or len(names)) :]
            for name, attention in chosen:
                tokens = outputs[name]
                if self.pooling == "mean" and not pooled:
                    tokens = tokens.mean(1, keepdim=True).expand_as(tokens)
                with Attending(len(images)) as after:
                    logits = classifier.run_from(recorded, tokens, images)
                weights = after.attentions[-1].weights if pooled else attention.weights
                values.append(torch.stack([positive_gradient(logits, column, weights) for column in classes.T], 1))
        return torch.stack(values).mean(0)


def positive_gradient(logits: Tensor, targets: Int[Tensor, "n"], weights: HeadWeights) -> Float[Tensor, "n m"]:
    """ReLU of the gradient of each image's logit by the weights, averaged over heads and queries."""
    score = logits.gather(1, targets[:, None]).sum()
    return torch.autograd.grad(score, weights, retain_graph=True)[0].relu().mean((1, 2))
