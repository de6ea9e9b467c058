"""One picture, explained: ``explain`` prepares it, runs the network, makes the maps, and returns explanations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seewhy.classifier.absent import AbsentClassifier
from seewhy.classifier.checks import why_it_fails
from seewhy.classifier.classifier import Classifier, frozen, must_be_classifier
from seewhy.classifier.identity import compared_with
from seewhy.classifier.turns import on_cpu_by_default
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, Explainer
from seewhy.explainers import explainer as build
from seewhy.explainers.base import maps_and_errors
from seewhy.explanation import overlay
from seewhy.explanation.prepare import Picture, prepare
from seewhy.files import safely, write_atomically


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a classifier gave a class its score: one map, with its class, method and picture.

    map          (h, w) raw, on the part of the picture that the network saw; CPU, float
    target       index of the explained class
    class_name   name of the explained class
    probability  of the explained class, in [0, 1]; None where the network returns values, which have no probability, and
                 where the network is not there
    explainer    name of the method
    image        (c, h, w) in [0, 1], the network's input
    name         name of the picture
    value        the number explained, of a network that returns values of a regression or an embedding; else None
    short_name   the class in captions and names of files: its first name, but the whole of a text
    error        (h, w) the standard error of each pixel's value, of a method that samples and says how sure it is; else None
    """

    map: Tensor = field(repr=False)
    target: int
    class_name: str
    probability: float | None
    explainer: str
    image: Tensor = field(repr=False)
    name: str = "picture"
    value: float | None = None
    short_name: str = ""
    error: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.short_name:
            object.__setattr__(self, "short_name", self.class_name.partition(",")[0])

    @property
    def caption(self) -> str:
        """The class and its probability; or the output and its value; the class alone where the network is not there."""
        if self.probability is None and self.value is None:
            return self.short_name
        said = f"{self.value:.4g}" if self.probability is None else percent(self.probability)
        return f"{self.short_name}  {said}"

    def overlay(self, size: int = 448) -> Image.Image:
        """The map over the picture, with class, probability and method in a caption; ``size`` pixels on the short side."""
        drawn = overlay.overlay(self.image, self.map, size)
        return overlay.captioned(
            drawn, [self.caption, self.explainer + ("" if self.map.std() > 0 else " (the map is constant)")]
        )

    def save(self, path: str | Path) -> None:
        """Write the overlay (.png, .jpg, …) or the raw map (.npy) to ``path``; whole or not at all."""
        path = Path(path)
        if not path.parent.is_dir():
            raise SeewhyError(f"cannot write {path}: there is no folder {path.parent}")
        kind = Image.registered_extensions().get(path.suffix.lower(), "")
        if path.suffix != ".npy" and kind not in Image.SAVE:
            raise SeewhyError(f"cannot write {path}: name it .png for the overlay or .npy for the raw map")
        with safely(path):
            if path.suffix == ".npy":
                write_atomically(path, lambda content: np.save(content, self.map.numpy()))
            else:
                write_atomically(path, partial(self.overlay().save, format=kind))

    def _repr_png_(self) -> bytes:
        content = BytesIO()
        self.overlay().save(content, "PNG")
        return content.getvalue()


@on_cpu_by_default()
def explain(
    picture: Picture,
    classifier: Classifier,
    explainer: str | Explainer = "grad_cam",
    target: int | str | None = None,
    white: int | float | None = None,
) -> Explanation:
    """Explain one class of one picture.

    Args:
        picture: a file, a Pillow image, an array (h, w, 3) of bytes, or a tensor (c, h, w) in [0, 1]. The network gets a
            tensor unchanged.
        classifier: from ``seewhy.load``, or your own.
        explainer: a name ("seewhy list explainers" lists them) or an explainer with your options.
        target: a class by index or name; by default the predicted class.
        white: the value that is white in a picture of more than 8 bits, such as 4095 of a 12-bit X-ray that is kept in 16
            bits; by default the largest of its type. DICOM says it itself.

    Raises:
        SeewhyError: the picture is broken, the explainer or the class is unknown, or the network returns NaN.
    """
    must_be_classifier(classifier)
    image, name = prepare(picture, classifier, None if white is None else float(white))
    scores = predict(image, classifier, name)
    if target is not None:
        wanted = classifier.class_index(target)
    elif scores is not None:
        wanted = int(scores.argmax())
    else:
        raise SeewhyError("the predicted class is what a network says, and there is none: give target")
    method = build(explainer, classifier) if isinstance(explainer, str) else explainer
    methods = {EXPLAINERS.name_of(type(method)): method}
    return explain_targets(image, classifier, methods, [wanted], scores, name)[0]


def explain_targets(
    image: Tensor,
    classifier: Classifier,
    explainers: Mapping[str, Explainer],
    targets: Sequence[int],
    scores: Tensor | None,
    name: str,
) -> list[Explanation]:
    """Explanations of several classes of one prepared image by several methods, method by method.

    ``scores`` (k,) are those of ``predict``; None where the network is not there.
    """
    explanations = []
    classes = torch.tensor(targets, device=image.device)
    for method, explainer in explainers.items():
        maps, errors = maps_and_errors(explainer, image[None], classes)
        if not torch.isfinite(maps).all():
            raise SeewhyError(f"{method} gives NaN for {name}: look for overflow in the network, or choose another method")
        kept = torch.promote_types(maps.dtype, torch.float32)  # NumPy has no bfloat16
        of_errors = [None] * len(targets) if errors is None else errors[0].cpu().to(kept)
        for target, attribution, error in zip(targets, maps[0].cpu().to(kept), of_errors, strict=True):
            label, probability, value = classifier.class_name(target), None, None
            if scores is not None:
                score = float(scores[target])
                probability, value = (None, score) if classifier.returns_values else (score, None)
            short = label if compared_with(classifier) else ""
            explanations.append(
                Explanation(attribution, target, label, probability, method, image.cpu(), name, value, short, error)
            )
    return explanations


def predict(image: Tensor, classifier: Classifier, name: str) -> Tensor | None:
    """(k,) probabilities of one prepared image, or its values where the network returns values.

    None where the network is not there (see ``AbsentClassifier``).

    SeewhyError if the network fails, or returns NaN or infinity.
    """
    kind = type(classifier.module).__name__
    if isinstance(classifier, AbsentClassifier):
        return None
    with frozen(classifier.module), torch.no_grad():
        try:
            logits = classifier.logits(image[None])
            finite = bool(torch.isfinite(logits).all())
        except SeewhyError:
            raise
        except Exception as error:  # the network is the user's own and may fail in any way
            raise SeewhyError(why_it_fails(classifier.module, image[None], error, name)) from error
        if not finite:
            raise SeewhyError(f"{kind} returns NaN or infinite logits for {name}: check its weights and its preprocessing")
        return (logits if classifier.returns_values else classifier.to_probabilities(logits))[0].cpu()


def percent(probability: float) -> str:
    """The probability in percent; ">99.9 %" and "<0.1 %" near the ends, so that 99.98 % is not 100 %."""
    text = f"{100 * probability:.1f}"
    return f"{'>99.9' if text == '100.0' and probability < 1 else '<0.1' if text == '0.0' and probability > 0 else text} %"
