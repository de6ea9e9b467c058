"""NEMt (Møller et al., 2025), equation 2 in the form that makes sense of it."""

from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import one_hot

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers.learned.explanation_mask import ExplanationMask, FirstMask
from seewhy.explainers.learned.learned_explainer import Seen, Step
from seewhy.explainers.learned.settings import Settings
from seewhy.explainers.learned.unet import decoder
from seewhy.explainers.selectors import select_all
from seewhy.options import AtLeast, Doc
from seewhy.types import ClassAttribution, Logits, Scores

SelectedOutput = Annotated[
    Literal["probability", "logit"],
    Doc(
        'The output whose change counts: the "probability", as in the released code, or the "logit", as printed. Logits, '
        "and the values of a regression, have no scale of their own: their change c is taken as tanh(c / s), with s the "
        "standard deviation of the explained output over the batch."
    ),
]
WhichChange = Annotated[
    Literal["drop", "any"],
    Doc('What counts: a "drop" of the output, so that the mask is evidence for it; or "any" change, as printed.'),
]
MaskSparsity = Annotated[float, AtLeast(0), Doc("Weight of the mask's mean, the paper's lambda.")]


class NEMt(ExplanationMask, name="nemt", family="learned", paper="moller2025nemt", class_specific=False):
    """The smallest part whose removal lowers the target's output most, by a decoder trained for one target. In [0, 1].

    With e the explanation, the loss is the mean over the images of sparsity * mean(e) - (p(x) - p(x under 1 - e))^2. In the
    printed equation 2 the mask that is kept is also the mask that must be small. Then nothing kept is best for every image,
    whatever the network. The released code trains the mask of what is kept, and shows its complement: that is the form
    here.

    Args:
        target: the output that is explained, the same at every explanation: of each image the "predicted" class or its
            "label" (of several labels the mean), or one class by its name or index. What ``explain`` is asked for does not
            matter: see ``nemt_classes`` for that.
        form: "released" is what the released code computes: the change of all targets of the batch is averaged for every
            image, any change counts, and one kernel smooths the batch.
    """

    settings: ClassVar[Settings] = Settings(epochs=10, optimizer="adamw", learning_rate=5e-3, schedule="one_cycle")

    start: FirstMask = 0.8  # a network that hardly reacts to a small change leaves masks that start small without a gradient
    target: Annotated[int | str, AtLeast(0)] = "predicted"
    selector: SelectedOutput = "probability"
    direction: WhichChange = "drop"
    sparsity: MaskSparsity = 0.5
    form: Literal["sound", "released"] = "sound"

    @property
    def needs_labels(self) -> bool:
        return self.target == "label"

    def new_network(self) -> nn.Module:
        self.targets(torch.zeros(1, self.classifier.n_classes), torch.zeros(1, dtype=torch.long))  # an unknown class is said
        return decoder(self.decoder, self.classifier)

    def loss(self, seen: Seen, generator: torch.Generator) -> Step:
        released = self.form == "released"
        logits = self.ready(seen.images, *seen.features)
        masks = self.finished(logits, seen.images, generator, 1 if released else None)
        targets = self.targets(seen.logits, seen.labels)
        under = self.classifier.logits(self.masked(seen.images, 1 - masks[:, 0]))
        change = change_of(self.classifier, seen.logits, under, self.selector, targets)
        squared = change.square() if released or self.direction == "any" else change.clamp_min(0).square()
        own = targets.mean(0).expand_as(targets) if released else targets
        return Step({"area": self.sparsity * masks.mean(), "change": -(own * squared).sum(1).mean()}, masks)

    def masks(self, seen: Seen, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        masks = self.finished(self.ready(seen.images, *seen.features), seen.images)
        return masks.expand(-1, classes.shape[1], -1, -1)

    def targets(self, logits: Logits, labels: Tensor | None) -> Float[Tensor, "n k"]:
        """The weights of the explained outputs of each image; they sum to 1, or to 0 for an image without any label."""
        k = logits.shape[1]
        if self.target == "predicted":
            return one_hot(logits.argmax(1), k).to(logits.dtype)
        if self.target == "label":
            if labels is None:
                raise SeewhyError("the loss reads labels, and the dataset has none: give target=predicted")
            return of_labels(labels, k).to(logits)
        column = logits.new_full((len(logits),), self.classifier.class_index(self.target), dtype=torch.long)
        return one_hot(column, k).to(logits.dtype)


def of_labels(labels: Tensor, k: int) -> Float[Tensor, "n k"]:
    """The weights of the labels of each image: one, or of several labels equal parts."""
    if labels.ndim == 1:
        return one_hot(labels.long(), k).float()
    return labels.float() / labels.float().sum(1, keepdim=True).clamp_min(1)


def change_of(
    classifier: Classifier,
    whole: Logits,
    masked: Logits,
    selector: Literal["probability", "logit"],
    targets: Float[Tensor, "n k"],
) -> Float[Tensor, "n k"]:
    """How much each output drops from the whole to the masked image, in [-1, 1]; negative where it rises.

    Args:
        targets: the weights of the explained outputs, over which the scale of logits is taken.
    """
    before, after = (select_all(classifier, logits, selector) for logits in (whole, masked))
    if selector == "probability":
        return before - after
    explained: Scores = (before * targets).sum(1)
    scale = explained.std(correction=0)
    return ((before - after) / torch.where(scale > 0, scale, 1)).tanh()
