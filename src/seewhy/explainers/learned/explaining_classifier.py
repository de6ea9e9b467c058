"""Classify by explaining: the prediction is the sum of what each part of the picture contributes (Salvage, section 4.3)."""

from dataclasses import dataclass, fields
from typing import ClassVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.base import Family
from seewhy.explainers.classes import as_column, for_each
from seewhy.explainers.learned.learned_explainer import Seen
from seewhy.explainers.learned.learned_shapley import LearnedShapley
from seewhy.types import Attribution, ClassAttribution, Classes, Images, Logits, Targets


class ExplainingNetwork(nn.Module):
    """From normalized images to the logits that a learned Shapley explainer gives them: u(N).

    One pass of the explained network, or none where the explainer has an encoder of its own. Gradients reach the images.
    """

    def __init__(self, explainer: LearnedShapley) -> None:
        super().__init__()
        self.explainer = explainer
        self.explained = explainer.classifier.module if explainer.layers else None
        self.explaining = explainer.ready

    def forward(self, normalized: Tensor) -> Logits:
        found = self.contributions(self.explainer.classifier.to_pixels(normalized))
        return self.explainer.logits_of_sums(found.sum(1))

    def contributions(self, images: Images) -> Float[Tensor, "n p k"]:
        """What each player adds to the number of each class, for images in [0, 1]."""
        explainer, classifier = self.explainer, self.explainer.classifier
        parts = images.split(1) if explainer.layers and classifier.mixes_images(images) else [images]
        return torch.cat([explainer.contributions(self._seen(part)) for part in parts])

    def _seen(self, images: Images) -> Seen:
        """As ``LearnedExplainer.see``, and the graph stays attached."""
        explainer, classifier = self.explainer, self.explainer.classifier
        with classifier.running(gradients=torch.is_grad_enabled()), classifier.capture(*explainer.layers) as outputs:
            logits = classifier.logits(images)
        return Seen(images, None, logits, tuple(classifier.as_grid(outputs[x], images, x) for x in explainer.layers))


@dataclass(frozen=True, eq=False)
class ExplainingClassifier(Classifier):
    """A classifier whose prediction is the sum of what each part of the picture contributes.

    It is a ``Classifier``: explainers, metrics and evaluations take it.

    Source: Salvage (Naouar et al., 2025), section 4.3, equation 6.
    """

    @property
    def explainer(self) -> LearnedShapley:
        """The learned explainer that it is made of."""
        return cast(ExplainingNetwork, self.module).explainer

    def contributions(self, images: Images) -> Float[Tensor, "n p k"]:
        """What each of the p players contributes to each class, for images in [0, 1]. This is no estimate.

        Of ``salvage`` the contributions of a class sum to its logit. Of ``vit_shapley`` they sum to its probability less
        that of the empty picture, before the sum is cut to [0, 1] and scaled.
        """
        with self.running():
            return cast(ExplainingNetwork, self.module).contributions(images).to(images.dtype)

    def as_explainer(self) -> "Contributions":
        """The explainer whose map of a class shows the contributions to it."""
        return Contributions(self)


@dataclass(frozen=True)
class Contributions:
    """A map of what each part of the picture contributes to a class, by a classifier that is a sum of them. Signed.

    Args:
        classifier: what is explained.
    """

    family: ClassVar[Family] = "learned"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "salvage2025"

    classifier: ExplainingClassifier

    def explain(self, images: Images, targets: Targets) -> Attribution:
        """The contributions of the players to the target of each image, on their pixels."""
        return self._maps(images, as_column(targets))[:, 0]

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        """The contributions of the players to k classes of every image, on their pixels."""
        return self._maps(images, for_each(images, classes))

    def _maps(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        self.classifier.check_classes(images, classes)
        of_players = self.classifier.contributions(images).transpose(1, 2)
        own = of_players.gather(1, classes.to(images.device)[:, :, None].expand(-1, -1, of_players.shape[2]))
        return self.classifier.explainer.spread(own, images)


def classifier_of(explainer: LearnedShapley) -> ExplainingClassifier:
    """The classifier that a trained explainer is. UntrainedError before its training.

    It takes pictures as the explained network does, and has its classes.
    """
    classifier = explainer.classifier
    classifier.must_have_probabilities()
    same = {f.name: getattr(classifier, f.name) for f in fields(Classifier) if f.name not in ("module", "feature_layer")}
    return ExplainingClassifier(ExplainingNetwork(explainer), **{**same, "outputs": "logits", "n_prefix_tokens": None})
