"""Scene deletion: the map against what really happens when an object, a distractor or the tag was never there."""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.metrics.base import Measure
from seewhy.metrics.case import Case
from seewhy.metrics.correlation import leveled
from seewhy.metrics.options import ValueOption
from seewhy.options import Doc
from seewhy.types import Logits, Scores, Targets


class SceneDeletion(
    Measure,
    name="scene_deletion",
    family="ordering",
    better="higher",
    range=(-1.0, 1.0),
    needs=("parts",),
    reads="raw",
    explains="label",
    paper="hesse2023funnybirds",
):
    r"""Scene deletion: of every two parts of the scene, does the one that matters more have more attribution?

    $$\mathrm{SceneD} = \frac{\sum_{i < j} (\Delta_i - \Delta_j)\, \operatorname{sign}(a_i - a_j)}
    {\sum_{i < j} |\Delta_i - \Delta_j|}, \qquad \Delta_i = p(x) - p(x_{-i}),$$

    where $x_{-i}$ is the image as it would be if part $i$ had never been there, drawn anew, and $a_i$ is the mean (or the
    sum) of the attribution on the visible pixels of part $i$. The bare ground, which belongs to no part, counts as a part
    whose absence costs nothing.

    Rewards: maps that are high where something is that the network needs, and low where something is that it does not need
    or that speaks against the class. A pair of parts counts by how much their effects differ.

    Fooled by: nothing that stands for "removed", since nothing does. The parts are few and coarse: the order of pixels
    within a part is not seen. Parts that hide each other share their pixels' effects.

    Defined: 0 where all effects are equal. A constant map scores 0: two equal means are half right. An image of a single
    part and no bare ground scores 0.

    Args:
        reads_part: the "mean" over the pixels of a part. The "sum" is what a map that adds up to effects promises, and
            favors large parts for every map without negative values.
        ground: does the bare ground count as a part whose absence costs nothing?

    Source: this library, for its built-in pictures; after the single deletion of FunnyBirds (Hesse et al., 2023), which
    removes the parts of drawn birds.
    """

    value: ValueOption = "probability"
    reads_part: Annotated[Literal["mean", "sum"], Doc('What is read of a part: the "mean" or the "sum".')] = "mean"
    ground: Annotated[bool, Doc("The bare ground counts as a part whose absence costs nothing.")] = True

    def score(self, case: Case) -> Scores:
        parts = case.require("parts", "scene_deletion")
        scores = [
            concordance(leveled(self._claims(m, p.regions.to(m.device))[None]), leveled(effect[None]))[0]
            for m, p, effect in zip(case.attributions, parts, self._effects(case), strict=True)
        ]
        return torch.stack(scores).to(case.attributions)

    def _claims(self, attribution: Float[Tensor, "h w"], regions: Tensor) -> Float[Tensor, "m"]:
        """What the map says of each part, and of the bare ground."""
        bare = ~regions.any(0, keepdim=True)
        if self.ground and bare.any():
            regions = torch.cat([regions, bare])
        sums = (attribution * regions).sum((1, 2))
        return sums if self.reads_part == "sum" else sums / regions.sum((1, 2))

    def _effects(self, case: Case) -> list[Float[Tensor, "m"]]:
        """What the absence of each part costs, and 0 for the bare ground; these do not depend on the map."""
        parts = case.require("parts", "scene_deletion")
        counts = [len(p.images) for p in parts]
        without = case.run(torch.cat([p.images for p in parts]).to(case.images))
        of_parts = case.scored.repeat_interleave(torch.tensor(counts, device=case.scored.device))
        whole, left = self._value(case, case.logits, case.scored), self._value(case, without, of_parts)
        found = []
        for before, after, p in zip(whole, left.split(counts), parts, strict=True):
            bare = self.ground and bool((~p.regions.any(0)).any())
            found.append(torch.cat([before - after, after.new_zeros(1)]) if bare else before - after)
        return found

    def _value(self, case: Case, logits: Logits, classes: Targets) -> Scores:
        answers = logits if self.value == "logit" else case.classifier.to_probabilities(logits)
        return answers.gather(1, classes[:, None]).squeeze(1)


def concordance(claims: Float[Tensor, "n m"], effects: Float[Tensor, "n m"]) -> Scores:
    """The share of pairs in the right order minus that in the wrong one, each weighed by the difference of its effects."""
    i, j = torch.triu_indices(claims.shape[1], claims.shape[1], 1).to(claims.device)
    difference = effects[:, i] - effects[:, j]
    total = difference.abs().sum(1)
    return (difference * (claims[:, i] - claims[:, j]).sign()).sum(1) / torch.where(total > 0, total, 1)
