"""NEMt for every class by one training, the future work of its authors (Møller et al., 2025)."""

from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers.learned.explanation_mask import ExplanationMask, FirstMask
from seewhy.explainers.learned.learned_explainer import Seen, Step
from seewhy.explainers.learned.nemt import MaskSparsity, SelectedOutput, WhichChange, change_of, of_labels
from seewhy.explainers.learned.settings import Settings
from seewhy.explainers.learned.unet import DecoderKind, decoder
from seewhy.options import AtLeast, AtMost
from seewhy.types import ClassAttribution, Images, Probabilities, Targets

CLASS_LENGTH = 32
"""Length of the vector that stands for a class."""
ABSENT = 0.1
"""A class with a lower probability can lose so little that an empty mask is best for it."""


class ConditionalDecoder(nn.Module):
    """A decoder that is told the class of each mask: by a vector of the class, and by the probability that it has.

    The vector of a class is learned; or, if a linear layer makes the logits, it is made of the weights of its class there,
    so that something is known of a class that was never drawn.
    """

    head: Tensor

    def __init__(self, kind: DecoderKind, classifier: Classifier) -> None:
        super().__init__()
        self.decoder = decoder(kind, classifier, 1, CLASS_LENGTH + 1)
        self.layers, k = self.decoder.layers, classifier.n_classes
        known = classifier.head is not None and classifier.head.out_features == k
        weights = classifier.head.weight.detach().float().cpu() if known and classifier.head is not None else torch.empty(0)
        centered = weights - weights.mean(0) if known else weights
        self.register_buffer("head", centered / centered.std().clamp_min(1e-12) if known else weights, persistent=False)
        self.vectors = nn.Linear(weights.shape[1], CLASS_LENGTH) if known else nn.Embedding(k, CLASS_LENGTH)

    def forward(
        self, images: Images, *features: Tensor, classes: Int[Tensor, "n m"], probabilities: Float[Tensor, "n m"]
    ) -> Float[Tensor, "n m gh gw"]:
        """Logits of the masks of m classes of each image."""
        flat = classes.flatten()
        vectors = self.vectors(self.head[flat] if len(self.head) else flat)
        condition = torch.cat([vectors, probabilities.flatten()[:, None].to(vectors)], 1)
        return self.decoder(images, *features, condition=condition)[:, 0].unflatten(0, classes.shape)


class NEMtClasses(ExplanationMask, name="nemt_classes", family="learned", paper="moller2025nemt"):
    """The smallest part whose removal lowers a class's output most, for any class after one training. In [0, 1].

    The loss of an image is that of ``nemt`` for one class, drawn anew at every step: half of the time a class that is there
    (its label, or the predicted one), half of the time another, which is drawn by the square roots of the probabilities or
    uniformly. A class that is not in the image has nothing to lose, so its mask learns to be empty.

    Args:
        how: "conditional": the decoder is told the class, and its probability; each class costs a run of the decoder.
            "heads": the decoder has a mask for each class, and one run makes them all. There, the masks of all classes with
            a probability below 0.1 are also told at every step to be small, for which no pass is needed.
        present: which classes are there: the "predicted" one (of a multi-label network all above 1/2), or the "label".
        drawn: how often the drawn class is one that is there.
    """

    settings: ClassVar[Settings] = Settings(epochs=20, optimizer="adamw", learning_rate=5e-3, schedule="one_cycle")

    start: FirstMask = 0.8  # absent classes ask for less: masks that start small vanish before they know the class
    how: Literal["conditional", "heads"] = "conditional"
    present: Literal["predicted", "label"] = "predicted"
    selector: SelectedOutput = "probability"
    direction: WhichChange = "drop"
    sparsity: MaskSparsity = 0.5
    drawn: Annotated[float, AtLeast(0), AtMost(1)] = 0.5

    @property
    def needs_labels(self) -> bool:
        return self.present == "label"

    def new_network(self) -> nn.Module:
        if self.how == "heads":
            return decoder(self.decoder, self.classifier, self.classifier.n_classes)
        return ConditionalDecoder(self.decoder, self.classifier)

    def loss(self, seen: Seen, generator: torch.Generator) -> Step:
        classes = self.draw(seen, generator)
        column = classes[:, None]
        if self.how == "heads":
            every = self.finished(self.ready(seen.images, *seen.features), seen.images, generator)
            masks = every.gather(1, column[:, :, None, None].expand(-1, 1, *every.shape[-2:]))
        else:
            masks = self.finished(self.conditional(seen, column), seen.images, generator)
        under = self.classifier.logits(self.masked(seen.images, 1 - masks[:, 0]))
        targets = torch.zeros_like(seen.logits).scatter_(1, column, 1)
        change = change_of(self.classifier, seen.logits, under, self.selector, targets).gather(1, column)
        squared = (change if self.direction == "any" else change.clamp_min(0)).square()
        terms = {"area": self.sparsity * masks.mean(), "change": -squared.mean()}
        if self.how == "heads" and not self.classifier.returns_values:
            absent = (self.classifier.to_probabilities(seen.logits) < ABSENT).to(every.dtype)
            areas = (absent * every.mean((2, 3))).sum(1) / absent.sum(1).clamp_min(1)
            terms["silence"] = self.sparsity * areas.mean()
        return Step(terms, masks)

    def masks(self, seen: Seen, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        classes = classes.to(seen.images.device)
        if self.how == "heads":
            every = self.ready(seen.images, *seen.features)
            chosen = every.gather(1, classes[:, :, None, None].expand(-1, -1, *every.shape[-2:]))
            return self.finished(chosen, seen.images)
        exported = torch.compiler.is_compiling()  # then the number of images is a symbol, and all classes are one run
        at_once = classes.shape[1] if exported else max(1, self.batch_size // len(classes))
        parts = [self.finished(self.conditional(seen, some), seen.images) for some in classes.split(at_once, 1)]
        return torch.cat(parts, 1)

    def conditional(self, seen: Seen, classes: Int[Tensor, "n m"]) -> Float[Tensor, "n m gh gw"]:
        """The logits of the masks of m classes of each image."""
        shares = self.shares(seen.logits).to(seen.images).gather(1, classes)
        return self.ready(seen.images, *seen.features, classes=classes, probabilities=shares)

    def shares(self, logits: Float[Tensor, "n k"]) -> Probabilities:
        """The probabilities; zeros for a network that has none."""
        return torch.zeros_like(logits) if self.classifier.returns_values else self.classifier.to_probabilities(logits)

    def draw(self, seen: Seen, generator: torch.Generator) -> Targets:
        """A class for each image."""
        logits = seen.logits.detach().float().cpu()
        n, k = logits.shape
        there = torch.nn.functional.one_hot(logits.argmax(1), k).float()
        if self.present == "label":
            if seen.labels is None:
                raise SeewhyError("the loss reads labels, and the dataset has none: give present=predicted")
            there = of_labels(seen.labels.cpu(), k)
        elif self.classifier.multilabel:
            there = torch.maximum(there, (logits > 0).float())
        roots = self.shares(logits).sqrt()
        others = roots / roots.sum(1, keepdim=True).clamp_min(1e-12) + 1 / k
        is_there = (torch.rand(n, generator=generator) < self.drawn) & (there.sum(1) > 0)
        weights = torch.where(is_there[:, None], there, others)
        return torch.multinomial(weights, 1, generator=generator)[:, 0].to(seen.logits.device)
