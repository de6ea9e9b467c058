"""ViT-Shapley (Covert et al., 2023), and FastSHAP (Jethani et al., 2022) with a CNN decoder."""

from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seewhy.explainers.learned.learned_explainer import Seen, ValuedSets
from seewhy.explainers.learned.learned_shapley import LearnedShapley, PlayerTerms
from seewhy.masking.coalitions import kernel_sets, released_sets
from seewhy.options import Doc


class ViTShapley(LearnedShapley, name="vit_shapley", family="learned", paper="covert2023vitshapley"):
    """Shapley values of the probability of each class, by least squares over random sets. Signed.

    The values minimize the squared error of v(none) + sum_{i in S} phi_i against the surrogate's v(S), times the number of
    players, in the mean over sets and classes. The additive efficient normalization then spreads what is missing evenly, so
    that they sum to v(all) - v(none). With head=cnn it is FastSHAP.

    Args:
        sampler: "kernel": the Shapley kernel, exactly, as FastSHAP draws it. "released": the sampler of ViT-Shapley's code,
            which draws the empty and the full set too. Both draw pairs of a set and its complement.
        normalize: add what is missing of v(all) - v(none), in equal parts, in the training and in the maps.
        bounded: the head's outputs go through tanh, as in the released code.

    Source: section 4 and its released code. v(all) is the prediction of the explained network itself: one pass gives it, and
    a surrogate is trained to repeat it.
    """

    sampler: Annotated[Literal["kernel", "released"], Doc("How sets are drawn.")] = "kernel"
    normalize: Annotated[bool, Doc("Additive efficient normalization.")] = True
    bounded: Annotated[bool, Doc("The outputs go through tanh.")] = True

    def draw(
        self, scores: Float[Tensor, "n p k"] | None, seen: Seen, p: int, generator: torch.Generator
    ) -> Bool[Tensor, "n m p"]:
        sampler = kernel_sets if self.sampler == "kernel" else released_sets
        return torch.stack([sampler(self.sets, p, generator) for _ in range(len(seen.images))])

    def terms(self, made: PlayerTerms, level: Float[Tensor, "n t k"] | None, seen: Seen) -> PlayerTerms:
        made = made.tanh() if self.bounded else made
        if not self.normalize:
            return made
        whole = self.classifier.to_probabilities(seen.logits).to(made)
        return additively_normalized(made[:, :, 0], self.empty_probabilities, whole)[:, :, None]

    @property
    def empty_probabilities(self) -> Float[Tensor, "k"]:
        """v(none): the probabilities of an image without any player."""
        return self.classifier.to_probabilities(self.net.empty[None])[0]

    def signed(self, terms: PlayerTerms) -> Float[Tensor, "n p k"]:
        return terms[:, :, 0]

    def errors(self, terms: PlayerTerms, sets: ValuedSets) -> Float[Tensor, "n m"]:
        phi = terms[:, :, 0]
        values = self.classifier.to_probabilities(sets.logits.flatten(0, 1)).view_as(sets.logits).to(phi)
        sums = self.empty_probabilities.to(phi) + sets.kept.to(phi) @ phi
        return phi.shape[1] * (sums - values).square().mean(2)


def additively_normalized(
    phi: Float[Tensor, "n p k"], empty: Float[Tensor, "k"], whole: Float[Tensor, "n k"]
) -> Float[Tensor, "n p k"]:
    """phi + (v(all) - v(none) - sum of phi) / p: the values then sum to v(all) - v(none)."""
    missing = whole - empty.to(phi) - phi.sum(1)
    return phi + missing[:, None] / phi.shape[1]
