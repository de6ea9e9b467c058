"""From a picture to an explanation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from seewhy.classifier.classifier import Classifier, frozen, must_be_classifier
from seewhy.data.pictures import as_rgb, check_size, read_picture, see, to_tensor
from seewhy.errors import SeewhyError, cause
from seewhy.explainers import EXPLAINERS, Explainer, ExplainsClasses
from seewhy.explainers import explainer as build
from seewhy.explanation import overlay

Picture = str | Path | Image.Image | Tensor | NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a classifier gave a class its score: one map, and what it belongs to.

    map          (h, w) raw, on the part of the picture that the network saw; CPU, float
    target       index of the class that is explained
    class_name   its name
    probability  what the classifier gives it, in [0, 1]
    explainer    name of the method
    image        (c, h, w) in [0, 1], what the network saw
    name         name of the picture
    """

    map: Tensor = field(repr=False)
    target: int
    class_name: str
    probability: float
    explainer: str
    image: Tensor = field(repr=False)
    name: str = "picture"

    @property
    def caption(self) -> str:
        return f"{self.class_name.partition(',')[0]}  {percent(self.probability)}"

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
        content = BytesIO()
        if path.suffix == ".npy":
            np.save(content, self.map.numpy())
        elif Image.registered_extensions().get(path.suffix.lower()) in Image.SAVE:
            self.overlay().save(content, Image.registered_extensions()[path.suffix.lower()])
        else:
            raise SeewhyError(f"cannot write {path}: name it .png for the overlay or .npy for the raw map")
        partial = path.with_name(path.name + ".partial")
        try:
            partial.write_bytes(content.getvalue())
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise SeewhyError(f"cannot write {path}: {error.strerror or error}") from None

    def _repr_png_(self) -> bytes:
        content = BytesIO()
        self.overlay().save(content, "PNG")
        return content.getvalue()


def explain(
    picture: Picture,
    classifier: Classifier,
    explainer: str | Explainer = "grad_cam",
    target: int | str | None = None,
) -> Explanation:
    """Explain one class of one picture.

    Args:
        picture: a file, a Pillow image, an array (h, w, 3) of bytes, or a tensor (c, h, w) in [0, 1] that is given to the
            network as it is.
        classifier: from ``seewhy.load``, or your own.
        explainer: a name ("seewhy list explainers" lists them) or an explainer with your options.
        target: a class by index or name; the predicted one by default.

    Raises:
        SeewhyError: a broken picture, an unknown name or class, a network that returns NaN.
    """
    must_be_classifier(classifier)
    image, name = prepare(picture, classifier)
    probabilities = predict(image, classifier, name)
    wanted = int(probabilities.argmax()) if target is None else classifier.class_index(target)
    method = build(explainer, classifier) if isinstance(explainer, str) else explainer
    methods = {EXPLAINERS.name_of(type(method)): method}
    return explain_targets(image, classifier, methods, [wanted], probabilities, name)[0]


def explain_targets(
    image: Tensor,
    classifier: Classifier,
    explainers: Mapping[str, Explainer],
    targets: Sequence[int],
    probabilities: Tensor,
    name: str,
) -> list[Explanation]:
    """Several classes of one prepared image under several methods; all classes in one pass where a method can."""
    explanations = []
    classes = torch.tensor(targets, device=image.device)
    for method, explainer in explainers.items():
        if len(targets) > 1 and isinstance(explainer, ExplainsClasses):
            maps = explainer.explain_classes(image[None], classes)[0]
        else:
            maps = torch.cat([explainer.explain(image[None], c[None]) for c in classes])
        if not torch.isfinite(maps).all():
            raise SeewhyError(f"{method} gives NaN for {name}: look for overflow in the network, or choose another method")
        maps = maps.cpu().to(torch.promote_types(maps.dtype, torch.float32))  # NumPy knows no bfloat16
        for target, attribution in zip(targets, maps, strict=True):
            probability = float(probabilities[target])
            label = classifier.class_name(target)
            explanations.append(Explanation(attribution, target, label, probability, method, image.cpu(), name))
    return explanations


def prepare(picture: Picture, classifier: Classifier) -> tuple[Tensor, str]:
    """(c, h, w) as the network sees it, on its device; and a name for the picture."""
    if isinstance(picture, Tensor):
        if picture.ndim != 3 or not picture.is_floating_point():
            raise SeewhyError(
                f"a picture as a tensor is (c, h, w) of floats in [0, 1], got {picture.dtype} {tuple(picture.shape)}"
            )
        classifier.check_classes(picture[None], torch.empty(1, 0, dtype=torch.long))
        return classifier.to_device(picture[None].detach())[0], "tensor"
    if isinstance(picture, str | Path):
        name, opened = Path(picture).name, read_picture(picture)
    elif isinstance(picture, Image.Image):
        name, opened = "picture", picture
    elif isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.shape[2:] not in ((), (3,), (4,)) or picture.ndim < 2:
            raise SeewhyError(
                f"a picture as an array is (h, w), (h, w, 3) or (h, w, 4) of bytes, got {picture.dtype} {picture.shape}"
            )
        name, opened = "array", Image.fromarray(picture)
    else:
        raise SeewhyError(f"a picture is a file, a Pillow image, an array or a tensor, not {type(picture).__name__}")
    check_size(f"the {name}", opened.size)
    opened = as_rgb(opened, f"the {name}")
    image = to_tensor(see(opened, classifier.view))
    if len(classifier.mean) == 1:
        image = to_tensor(see(opened, classifier.view).convert("L").convert("RGB"))[:1]
    return classifier.to_device(image[None])[0], name


def predict(image: Tensor, classifier: Classifier, name: str) -> Tensor:
    """(k,) probabilities of one prepared image; SeewhyError if the network fails, or returns NaN or infinity."""
    kind = type(classifier.module).__name__
    with frozen(classifier.module), torch.no_grad():
        try:
            logits = classifier.logits(image[None])
            finite = bool(torch.isfinite(logits).all())
        except SeewhyError:
            raise
        except Exception as error:  # the network is the user's own and may fail in any way
            size = " x ".join(map(str, image.shape))
            raise SeewhyError(f"{kind} fails on {name}, given as {size} ({cause(error)}): check its input size") from error
        if not finite:
            raise SeewhyError(f"{kind} returns NaN or infinite logits for {name}: check its weights and its preprocessing")
        return classifier.to_probabilities(logits)[0].cpu()


def percent(probability: float) -> str:
    """Two significant places near 0 and 1, so that 99.98 % is not 100 %."""
    text = f"{100 * probability:.1f}"
    return f"{'>99.9' if text == '100.0' and probability < 1 else '<0.1' if text == '0.0' and probability > 0 else text} %"
