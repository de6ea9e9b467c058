"""Grad-ECLIP (Zhao et al., 2024): gradients of the class token's attention, times values and loosened attention."""

from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity, pad

from seewhy.classifier.attention import BlockAttention, Transformer
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.explainers.attention.attention_method import NeedsAttention, Tokens
from seewhy.explainers.gradients import attached
from seewhy.maps import min_max
from seewhy.options import AtLeast, Doc
from seewhy.types import ClassAttribution, Images


class GradECLIP(NeedsAttention, name="grad_eclip", family="attention", paper="zhao2024gradeclip"):
    """Values of each patch, weighted by the gradient of the class token's attention and by loosened attention. Not negative.

    The class token's attention output is o, before its projection, and the score is S: the similarity to a text, or a logit.
    Channel c has the weight w_c = dS / do_c. Patch i has the weight lambda_i = cos(q, k_i), brought to [0, 1] over the
    patches: attention weights of CLIP are sparse, and this is their loosened form. Heads lie side by side in o, q, k_i and
    v_i. The map is ReLU(sum over c of w_c lambda_i v_ic). An attention pooling at the end of the network (SigLIP) takes the
    place of the class token. Of two class tokens (distilled DeiT) the sums are added before the ReLU.

    Deviations: the released code computes the last block again with one head, which is another network than the one that is
    explained, and takes q and k after the output projection. Here all are those of the network itself.

    Args:
        blocks: how many of the last blocks are summed before the ReLU. The paper's picture maps have 1.
    """

    blocks: Annotated[int, AtLeast(1), Doc("Number of last blocks.")] = 1

    def __post_init__(self) -> None:
        transformer = self.classifier.transformer
        if not class_queries(transformer):
            kind = type(self.classifier.module).__name__
            raise UnsuitedError(f"grad_eclip reads a class token, and {kind} averages its patches. Use grad_cam or rise")
        most = 1 if transformer.pooled else transformer.n_blocks
        if self.blocks > most:
            where = "an attention pooling is one block" if transformer.pooled else f"the network has {most}"
            raise SeewhyError(f"grad_eclip cannot read {self.blocks} blocks: {where}")

    def maps(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        transformer, maps = self.classifier.transformer, []
        for some, wanted in zip(images.split(self.batch_size), classes.split(self.batch_size), strict=True):
            with self.classifier.running(gradients=True):
                logits, attentions = transformer.read(some.detach().requires_grad_())
                last, found = attentions[-self.blocks :], []
                for column in wanted.T:
                    score = attached(logits).gather(1, column[:, None]).sum()
                    gradients = torch.autograd.grad(score, [a.output for a in last], retain_graph=True)
                    sums = [channel_sums(transformer, *pair) for pair in zip(last, gradients, strict=True)]
                    found.append(torch.stack(sums).sum(0).relu())
            maps.append(transformer.as_maps(torch.stack(found, 1).detach(), some))
        return torch.cat(maps)


def class_queries(transformer: Transformer) -> list[int]:
    """The queries that stand for the image: class tokens that the head reads, or those of an attention pooling."""
    reads = transformer.reads if transformer.pooled else transformer.reads[: transformer.prefix]
    return reads.nonzero().flatten().tolist()


def channel_sums(transformer: Transformer, block: BlockAttention, gradient: Float[Tensor, "n h q e"]) -> Tokens:
    """The sum over c of w_c lambda_i v_ic for each token i, before the ReLU."""
    key, value = _side_by_side(block.key), _side_by_side(block.value)
    sums = torch.zeros_like(value[..., 0])
    for query in class_queries(transformer):
        q, w = (_side_by_side(part)[:, query, None] for part in (block.query, gradient))
        cosines = cosine_similarity(q, key, dim=2)[:, transformer.prefix :]
        loosened = pad(min_max(cosines[:, None])[:, 0], (transformer.prefix, 0))  # tokens before the patches are no part
        sums = sums + (w * value).sum(2) * loosened
    return sums


def _side_by_side(heads: Float[Tensor, "n h m e"]) -> Float[Tensor, "n m he"]:
    """The channels of all heads of each token, one after the other."""
    return heads.transpose(1, 2).flatten(2)
