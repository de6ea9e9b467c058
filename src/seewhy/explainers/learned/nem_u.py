"""NEM-U (Møller et al., ICML 2024), as in equation 1 of NEMt (Møller et al., 2025)."""

from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from seewhy.explainers.learned.explanation_mask import ExplanationMask, Neighborhood
from seewhy.explainers.learned.learned_explainer import Seen, Step
from seewhy.explainers.learned.settings import Settings
from seewhy.explainers.learned.unet import decoder
from seewhy.options import AtLeast, Doc
from seewhy.types import ClassAttribution, Embeddings, Images, Scores

Distance = Literal["cosine", "negative_cosine", "euclidean"]
Regularizer = Literal["difference", "product", "none"]


class NEMU(ExplanationMask, name="nem_u", family="learned", paper="moller2024nemu", class_specific=False):
    """The smallest part of the image that keeps the network's embedding, by a decoder. No label is read. In [0, 1].

    With m the mask, d a distance of embeddings, x the embedding of the image, and a, b those of the image under m and under
    1 - m, the loss is the mean over the images of d(x, a) + sparsity * mean(m) + contrast * B. The printed B is
    d(x, a) - d(a, b): what is kept and what is removed shall differ. The released code has -d(a, b) * d(x, a), which is
    small wherever the first term is, so that little makes the masks binary.

    Args:
        embedding: what is kept: the "embedding" (the input of the last linear layer, or what a network of embeddings
            returns) or the "logits".
        neighborhood: the paper of NEM-U has no filter, and that of NEMt leaves it open.
    """

    settings: ClassVar[Settings] = Settings(epochs=10, optimizer="adamw", learning_rate=5e-3, schedule="one_cycle")

    neighborhood: Neighborhood = 0
    embedding: Literal["embedding", "logits"] = "embedding"
    distance: Annotated[
        Distance,
        Doc(
            'Of two embeddings: "cosine" is (1 - cos) / 2; "negative_cosine" is -cos, which counts twice as much against '
            'the area; "euclidean" is divided by the sum of both lengths. All but the second are in [0, 1].'
        ),
    ] = "cosine"
    sparsity: Annotated[float, AtLeast(0), Doc("Weight of the mask's mean, the paper's first lambda.")] = 1 / 8
    contrast: Annotated[float, AtLeast(0), Doc("Weight of the regularizer B, the paper's second lambda.")] = 1 / 4
    regularizer: Annotated[
        Regularizer, Doc('B: the printed "difference", the "product" of the released code, or "none".')
    ] = "difference"

    def new_network(self) -> nn.Module:
        return decoder(self.decoder, self.classifier)

    def loss(self, seen: Seen, generator: torch.Generator) -> Step:
        masks = self.finished(self.ready(seen.images, *seen.features), seen.images, generator)
        kept = masks[:, 0]
        with torch.no_grad():
            whole = self.embedded(seen.images)
        inside = self.embedded(self.masked(seen.images, kept))
        change = self.apart(whole, inside)
        terms = {"change": change.mean(), "area": self.sparsity * kept.mean()}
        if self.regularizer != "none":
            outside = self.embedded(self.masked(seen.images, 1 - kept))
            terms["contrast"] = self.contrast * self.binary(change, self.apart(inside, outside)).mean()
        return Step(terms, masks)

    def masks(self, seen: Seen, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        masks = self.finished(self.ready(seen.images, *seen.features), seen.images)
        return masks.expand(-1, classes.shape[1], -1, -1)

    def embedded(self, images: Images) -> Embeddings:
        """(n, d) what shall be kept, in single precision at least."""
        found = self.classifier.embed(images) if self.embedding == "embedding" else self.classifier.logits(images)
        return found if found.dtype == torch.float64 else found.float()

    def apart(self, a: Embeddings, b: Embeddings) -> Scores:
        """(n,) the distance of embeddings."""
        match self.distance:
            case "cosine":
                return (1 - cosine_similarity(a, b)) / 2
            case "negative_cosine":
                return -cosine_similarity(a, b)
            case "euclidean":
                return (a - b).norm(dim=1) / (a.norm(dim=1) + b.norm(dim=1)).clamp_min(torch.finfo(a.dtype).tiny)

    def binary(self, change: Scores, inside_outside: Scores) -> Float[Tensor, "n"]:
        """B, for each image."""
        return change - inside_outside if self.regularizer == "difference" else -inside_outside * change
