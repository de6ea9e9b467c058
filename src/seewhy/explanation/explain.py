"""Pictures, explained: ``explain`` prepares them, runs the network, makes the maps, and returns explanations."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from seewhy.classifier.absent import AbsentClassifier
from seewhy.classifier.checks import why_it_fails
from seewhy.classifier.classifier import Classifier, frozen, must_be_classifier
from seewhy.classifier.identity import compared_with
from seewhy.classifier.turns import on_cpu_by_default
from seewhy.data.pictures import list_pictures
from seewhy.errors import SeewhyError, SeewhyWarning
from seewhy.explainers import EXPLAINERS, Explainer
from seewhy.explainers import explainer as build
from seewhy.explainers.base import maps_and_errors
from seewhy.explainers.learned.folder import folder_labels, is_folder
from seewhy.explanation.expected import (
    AsExpectedError,
    ClassContrast,
    ClassContrasts,
    answering,
    contrasts_of,
    expected_class,
)
from seewhy.explanation.explanation import Explanation, Explanations
from seewhy.explanation.prepare import Picture, prepare
from seewhy.explanation.targets import classes_of_targets

Target = int | str
OneMethod = str | Explainer
SeveralMethods = Sequence[OneMethod] | Mapping[str, Explainer]


@overload
def explain(  # type: ignore[overload-overlap]
    picture: Picture,
    classifier: Classifier,
    explainer: OneMethod = "grad_cam",
    target: int | None = None,
    white: int | float | None = None,
) -> Explanation: ...
@overload
def explain(
    picture: Picture,
    classifier: Classifier,
    explainer: OneMethod = "grad_cam",
    target: Target | Sequence[Target] | None = None,
    white: int | float | None = None,
    *,
    expected: Target | None = None,
) -> Any: ...
@overload
def explain(
    picture: Picture | Sequence[Picture],
    classifier: Classifier,
    explainer: OneMethod | SeveralMethods = "grad_cam",
    target: Target | Sequence[Target] | None = None,
    white: int | float | None = None,
    *,
    expected: None = None,
) -> Explanations: ...
@overload
def explain(
    picture: Picture | Sequence[Picture],
    classifier: Classifier,
    explainer: OneMethod | SeveralMethods = "grad_cam",
    target: None = None,
    white: int | float | None = None,
    *,
    expected: Target,
) -> ClassContrasts: ...
@on_cpu_by_default()
def explain(
    picture: Picture | Sequence[Picture],
    classifier: Classifier,
    explainer: OneMethod | SeveralMethods = "grad_cam",
    target: Target | Sequence[Target] | None = None,
    white: int | float | None = None,
    *,
    expected: Target | None = None,
) -> Explanation | Explanations | ClassContrast | ClassContrasts:
    """Explain one class of one picture; or several pictures, classes or methods at once.

    One picture, one explainer and one class give an ``Explanation``. A list of any of them, a folder, "top:K" and "all" give
    ``Explanations``: a sequence in the order picture, explainer, class, which is also a sheet. Every picture is explained
    for every class by every explainer.

    Args:
        picture: a file, a Pillow image, an array (h, w, 3) of bytes, or a tensor (c, h, w) in [0, 1]. The network gets a
            tensor unchanged. A list of these are several pictures, and so is a folder.
        classifier: from ``seewhy.load``, or your own.
        explainer: a name ("seewhy list explainers" lists them), the folder of a learned explainer, or an explainer with your
            options. Several: a list, or a mapping from the names that they get in captions.
        target: a class by index or name; by default the predicted class. Or what the command line takes: "predicted",
            "second", "least", "top:3", "all", or names with commas. A class that is called like one of these is named by its
            index. Several: a list.
        white: the value that is white in a picture of more than 8 bits, such as 4095 of a 12-bit X-ray that is kept in 16
            bits; by default the largest of its type. DICOM says it itself.
        expected: the class that you expected, by index or name: why does the network not say it? The result is a
            ``ClassContrast`` of the predicted and the expected class, or ``ClassContrasts`` where there are several pictures
            or explainers. Of several pictures, those whose predicted class is the expected one are left out with a warning,
            and so are explainers whose map is the same for every class.

    Raises:
        SeewhyError: a picture is broken, an explainer or a class is unknown, or the network returns NaN; the predicted class
            is the expected one.
    """
    must_be_classifier(classifier)
    if expected is not None and target is not None:
        raise SeewhyError("expected is compared with the predicted class: leave target out")
    methods, one_method = _methods(explainer, classifier)
    prepared, one_picture = _prepared(picture, classifier, None if white is None else float(white))
    if expected is not None:
        contrasts = _contrasts(prepared, classifier, methods, expected)
        return contrasts[0] if one_picture and one_method else ClassContrasts(tuple(contrasts))
    found, one_class = list[Explanation](), _is_one(target)
    for image, name in prepared:
        scores = predict(image, classifier, name)
        classes = _classes(target, classifier, scores)
        one_class = one_class and len(classes) == 1
        found += explain_targets(image, classifier, methods, classes, scores, name)
    return found[0] if one_picture and one_method and one_class else Explanations(tuple(found))


def _prepared(
    picture: Picture | Sequence[Picture], classifier: Classifier, white: float | None
) -> tuple[list[tuple[Tensor, str]], bool]:
    """Every picture as the network sees it, with its name; and whether one picture was asked for.

    All are prepared before the first is explained, so that none turns out to be broken after an hour of work.
    """
    several = isinstance(picture, list | tuple)
    asked: list[Picture] = list(picture) if several else [picture]  # type: ignore[arg-type,list-item]
    if not asked:
        raise SeewhyError("there is no picture to explain: give one, or several")
    pictures, one = list[Picture](), not several
    for given in asked:
        if isinstance(given, str | Path) and Path(given).is_dir():
            pictures += list_pictures(Path(given))
            one = False
        else:
            pictures.append(given)
    found = [prepare(given, classifier, white) for given in pictures]
    if one:
        return found, True
    files = [isinstance(given, str | Path) for given in pictures]
    return [(image, name if files[i] else f"{name} {i + 1}") for i, (image, name) in enumerate(found)], False


def _methods(explainer: OneMethod | SeveralMethods, classifier: Classifier) -> tuple[dict[str, Explainer], bool]:
    """The explainers by the names of their explanations, and whether one was asked for."""
    if isinstance(explainer, Mapping) and explainer:
        return dict(explainer), False
    several = isinstance(explainer, list | tuple | Mapping)
    asked: list[OneMethod] = list(explainer) if several else [explainer]  # type: ignore[arg-type,list-item]
    names = [given for given in asked if isinstance(given, str)]
    folders = [name for name in names if is_folder(name)]
    labels = folder_labels(folders, [name for name in names if name not in folders])
    found: dict[str, Explainer] = {}
    for given in asked:
        method = build(given, classifier) if isinstance(given, str) else given
        name = labels.get(given, given) if isinstance(given, str) else EXPLAINERS.name_of(type(method))
        if name in found and several:
            raise SeewhyError(f"two explainers are called {name}: give a mapping from names of your own to explainers")
        found[name] = method
    if not found:
        raise SeewhyError("there is no explainer: give one, or several")
    return found, not several


def _is_one(target: Target | Sequence[Target] | None) -> bool:
    """Does the target ask for a single class? A text may still name several, with commas."""
    return target is None or isinstance(target, int) or (isinstance(target, str) and not _asks_for_several(target))


def _asks_for_several(target: str) -> bool:
    return target == "all" or target.startswith("top:")


def _classes(target: Target | Sequence[Target] | None, classifier: Classifier, scores: Tensor | None) -> list[int]:
    """The classes of one picture, each once. ``scores``: (k,) of ``predict``."""
    if target is None:
        if scores is None:
            raise SeewhyError("the predicted class is what a network says, and there is none: give target")
        return [int(scores.argmax())]
    if isinstance(target, str):
        return classes_of_targets(target, classifier, scores)
    if isinstance(target, list | tuple):
        classes = [c for one in target for c in _classes(one, classifier, scores)]
        if not classes:
            raise SeewhyError("there is no target: give a class, or several")
        return list(dict.fromkeys(classes))
    return [classifier.class_index(target)]  # type: ignore[arg-type]


def _contrasts(
    prepared: Sequence[tuple[Tensor, str]], classifier: Classifier, methods: Mapping[str, Explainer], expected: Target
) -> list[ClassContrast]:
    """A contrast for each picture and method, and a warning for what is left out; SeewhyError where all is left out."""
    kept, said = answering(methods)
    if said:
        warnings.warn(said, SeewhyWarning, stacklevel=4)
    found, reasons = list[ClassContrast](), list[AsExpectedError]()
    for image, name in prepared:
        try:
            found += explain_expected(image, classifier, kept, expected, predict(image, classifier, name), name)
        except AsExpectedError as reason:
            reasons.append(reason)
    if not found:
        raise reasons[0]
    for one in reasons:
        warnings.warn(str(one), SeewhyWarning, stacklevel=4)
    return found


def explain_expected(
    image: Tensor,
    classifier: Classifier,
    explainers: Mapping[str, Explainer],
    expected: Target,
    scores: Tensor | None,
    name: str,
) -> list[ClassContrast]:
    """A contrast of the predicted and the expected class of one prepared image by each method.

    ``AsExpectedError`` where the network says the class that was expected.
    """
    said, wanted = expected_class(expected, classifier, scores, name)
    return contrasts_of(explain_targets(image, classifier, explainers, [said, wanted], scores, name), said, wanted)


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
    seen, texts = image.cpu(), bool(compared_with(classifier))
    classes = torch.tensor(targets, device=image.device)
    for method, explainer in explainers.items():
        asked = classes if explainer.class_specific else classes[:1]  # a map that is the same for every class is made once
        maps, errors = maps_and_errors(explainer, image[None], asked)
        if not torch.isfinite(maps).all():
            raise SeewhyError(f"{method} gives NaN for {name}: look for overflow in the network, or choose another method")
        kept = torch.promote_types(maps.dtype, torch.float32)  # NumPy has no bfloat16
        of_maps = maps[0].cpu().to(kept).expand(len(targets), -1, -1)
        of_errors = [None] * len(targets) if errors is None else errors[0].cpu().to(kept).expand(len(targets), -1, -1)
        for target, attribution, error in zip(targets, of_maps, of_errors, strict=True):
            label, probability, value = classifier.class_name(target), None, None
            if scores is not None:
                score = float(scores[target])
                probability, value = (None, score) if classifier.returns_values else (score, None)
            short, specific = label if texts else "", explainer.class_specific
            explanations.append(
                Explanation(attribution, target, label, probability, method, seen, name, value, short, error, specific)
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
