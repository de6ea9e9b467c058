"""ViT-Shapley (Covert et al., 2023), and FastSHAP (Jethani et al., 2022) with a CNN decoder."""

from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.explainers.learned.learned_explainer import Seen, ValuedSets
from seewhy.explainers.learned.learned_shapley import LearnedShapley, PlayerTerms
from seewhy.explainers.learned.noisy_shapley import noisy_shapley
from seewhy.masking.coalitions import kernel_sets, released_sets
from seewhy.options import Doc
from seewhy.types import Logits

LEAST_PROBABILITY = 1e-6
"""Of a probability that is a sum of values: a smaller sum, or one beyond 1, is an error of the network."""


class ViTShapley(LearnedShapley, name="vit_shapley", family="learned", paper="covert2023vitshapley"):
    """Shapley values of the probability of each class, by least squares over random sets. Signed.

    The values minimize the squared error of v(none) + sum_{i in S} phi_i against the surrogate's v(S), times the number of
    players, in the mean over sets and classes. The additive efficient normalization then spreads what is missing evenly, so
    that they sum to v(all) - v(none). With head=cnn it is FastSHAP.

    Args:
        labels: "sets" are ViT-Shapley's. "noisy" is stochastic amortization (Covert et al., 2024): each image's sets give a
            noisy Shapley value of each player, right in the mean, and the network learns these by plain regression. It needs
            sampler=kernel and normalize=true.
        sampler: "kernel": the Shapley kernel, exactly, as FastSHAP draws it. "released": the sampler of ViT-Shapley's code,
            which draws the empty and the full set too. Both draw pairs of a set and its complement.
        normalize: add what is missing of v(all) - v(none), in equal parts, in the training and in the maps.
        bounded: the head's outputs go through tanh, as in the released code.

    Source: section 4 and its released code. v(all) is the prediction of the explained network itself: one pass gives it, and
    a surrogate is trained to repeat it.
    """

    labels: Annotated[
        Literal["sets", "noisy"],
        Doc('What is learned: "sets": the values of sets. "noisy": unbiased Shapley values that few sets give.'),
    ] = "sets"
    sampler: Annotated[Literal["kernel", "released"], Doc("How sets are drawn.")] = "kernel"
    normalize: Annotated[bool, Doc("Additive efficient normalization.")] = True
    bounded: Annotated[bool, Doc("The outputs go through tanh.")] = True

    def __post_init__(self) -> None:
        if self.labels == "noisy" and not (self.sampler == "kernel" and self.normalize):
            raise SeewhyError("labels=noisy is unbiased for sampler=kernel and normalize=true alone: leave both as they are")

    def draw(
        self, scores: Float[Tensor, "n p k"] | None, seen: Seen, p: int, generator: torch.Generator
    ) -> Bool[Tensor, "n m p"]:
        sampler = kernel_sets if self.sampler == "kernel" else released_sets
        return torch.stack([sampler(self.sets, p, generator) for _ in range(len(seen.images))])

    def terms(self, made: PlayerTerms, level: Float[Tensor, "n t k"] | None, seen: Seen) -> PlayerTerms:
        made = self.limited(made)
        if not self.normalize:
            return made
        whole = self.classifier.to_probabilities(seen.logits).to(made)
        return additively_normalized(made[:, :, 0], self.empty_probabilities, whole)[:, :, None]

    def limited(self, made: PlayerTerms) -> PlayerTerms:
        """The values before the normalization."""
        return made.tanh() if self.bounded else made

    def contributions(self, seen: Seen) -> Float[Tensor, "n p k"]:
        """The values before the normalization: after it they sum to v(all) - v(none), whatever the network has learned."""
        return self.limited(self.raw(seen)[0])[:, :, 0]

    def logits_of_sums(self, sums: Float[Tensor, "n k"]) -> Logits:
        """Of v(none) + sum of phi, which is a probability but for the error of the network.

        What is below 0 is cut, and of several labels what is above 1. A softmax scales the others to a sum of 1.
        """
        p = (self.empty_probabilities.to(sums) + sums).clamp_min(LEAST_PROBABILITY)
        return p.clamp_max(1 - LEAST_PROBABILITY).logit() if self.classifier.multilabel else p.log()

    @property
    def empty_probabilities(self) -> Float[Tensor, "k"]:
        """v(none): the probabilities of an image without any player."""
        return self.classifier.to_probabilities(self.net.empty[None])[0]

    def signed(self, terms: PlayerTerms) -> Float[Tensor, "n p k"]:
        return terms[:, :, 0]

    def errors(self, terms: PlayerTerms, sets: ValuedSets) -> Float[Tensor, "n m"]:
        phi, there = terms[:, :, 0], sets.there
        values = self.classifier.to_probabilities(sets.logits.flatten(0, 1)).view_as(sets.logits).to(phi)
        empty = self.empty_probabilities.to(phi)
        if self.labels == "noisy":  # of values that are normalized the sum is v(all) - v(none)
            full = empty + phi.detach().sum(1)
            wanted = noisy_shapley(sets.kept, values, empty.expand_as(full), full, there)
            return (phi - wanted).square().sum(1).mean(1, keepdim=True).expand(there.shape)
        sums = empty + sets.kept.to(phi) @ phi
        return phi.shape[1] * (sums - values).square().mean(2)


def additively_normalized(
    phi: Float[Tensor, "n p k"], empty: Float[Tensor, "k"], whole: Float[Tensor, "n k"]
) -> Float[Tensor, "n p k"]:
    """phi + (v(all) - v(none) - sum of phi) / p: the values then sum to v(all) - v(none)."""
    missing = whole - empty.to(phi) - phi.sum(1)
    return phi + missing[:, None] / phi.shape[1]
