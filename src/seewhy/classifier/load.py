"""A classifier by name, with the preprocessing and the class names of its own weights."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from seewhy.classifier.checkpoint import classes_of_head, find_weights, must_be_sound, put_weights
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.sources import MODELS, VIEW_FIELDS, Request
from seewhy.data.class_names import read_class_names
from seewhy.errors import SeewhyError
from seewhy.options import checked, from_text, pairs

CLASSIFIER_OPTIONS = (
    "mean", "std", "size", "input_size", "crop", "crop_mode", "interpolation", "multilabel", "feature_layer",
    "n_prefix_tokens", "channel_order", "resize", "recipe", "outputs",
)  # fmt: skip
"""Options of the classifier; all other options but ``weights_place`` are the architecture's."""
CLASSES_OPTION = {"timm": "num_classes", "torchvision": "num_classes", "hf": "num_labels", "factory": "num_classes"}
"""The option of each source's architectures that sets the number of classes."""


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    classes: str | Path | Sequence[str] | None = None,
    options: Mapping[str, object] | None = None,
) -> Classifier:
    """The classifier called ``name``, in eval mode on the CPU.

    Args:
        name: a timm model ("resnet50.a1_in1k"), "torchvision/NAME", "hf/ID or folder", "shapes" (built in; also
            "shapes/vit", "shapes/cnn_shortcut"), or "package.module:factory", which returns a module or Classifier.
        weights: a file of weights (see ``checkpoint.load_weights``); by default the source's own weights. The number of
            classes is that of the weights, unless an option such as num_classes=10 sets it.
        classes: "imagenet", a text file with a name per line, a csv file with a column "name", or a list of names; by
            default the names that come with the source's own weights.
        options: of the preprocessing (mean, std, size, crop, crop_mode, interpolation, multilabel, feature_layer,
            n_prefix_tokens, channel_order, resize, recipe, outputs), of the file of weights (weights_place, where the file
            holds several networks), and of the architecture (all others, such as pad_type="same" or num_classes=10).

    Raises:
        SeewhyError: the name or an option is unknown, the weights do not fit or are not available, class names are wrong.
    """
    chosen = dict(options or {})
    view = {key: chosen.pop(key) for key in CLASSIFIER_OPTIONS if key in chosen}
    place = chosen.pop("weights_place", None)
    names = None if classes is None else read_class_names(classes)
    source, short = _source(name)
    classifier = MODELS[source](Request(short, chosen, pretrained=weights is None))
    if weights is not None:
        classifier = _with_weights(classifier, Request(short, chosen, pretrained=False), source, weights, place, names)
    must_be_sound(classifier.module, name)
    if source != "factory":
        usual = dict.fromkeys(VIEW_FIELDS, ORIGINS.get(source, "the source {}").format(name))
        classifier = replace(classifier, origins={**usual, **classifier.origins})
    if names is not None:
        names_from = f"given as {classes}" if isinstance(classes, str | Path) else "given"
        classifier = replace(classifier, classes=names, origins={**classifier.origins, "classes": names_from})
    classifier.module.eval()
    return with_view(classifier, view)


ORIGINS = {"hf": "the processor and configuration of {}", "shapes": "the built-in network {}"}
"""Where preprocessing comes from, of the sources that do not say more."""


def _with_weights(
    classifier: Classifier, request: Request, source: str, path: str | Path, place: object, names: Sequence[str] | None
) -> Classifier:
    """The classifier with the weights of a file, built again with their number of classes if it is another one."""
    found = find_weights(classifier.module, path, None if place is None else str(place))
    k, option = classes_of_head(classifier.module, found), CLASSES_OPTION.get(source)
    if k is not None and option is not None and not {"num_classes", "num_labels"} & set(request.options):
        if names is not None and len(names) != k:
            raise SeewhyError(f"the weights in {path} have {k} classes, but {len(names)} class names were given")
        with suppress(SeewhyError):  # a factory may take no such option: then the shapes are an error
            classifier = MODELS[source](replace(request, options={**request.options, option: k}))
    put_weights(classifier.module, found)
    said = {"weights": f"{Path(path).name}, {found.said}"} if found.said else {}
    said |= {} if k is None else {"n_classes": f"as in the head of {Path(path).name}"}
    return replace(classifier, origins={**classifier.origins, **said})


def with_view(classifier: Classifier, view: Mapping[str, Any]) -> Classifier:
    """The classifier with other preprocessing; ``mean``, ``std`` and ``size`` may be one number or one per channel."""
    changes = {"input_size" if key == "size" else key: value for key, value in view.items()}
    for key, n in (("mean", len(classifier.mean)), ("std", len(classifier.mean)), ("input_size", 2)):
        if key in changes:
            changes[key] = _several(changes[key], n)
            if len(changes[key]) != n:
                raise SeewhyError(f"{key} has {len(changes[key])} numbers; give one, or {n}: {key}={','.join(['1'] * n)}")
    if "resize" in changes and changes["resize"] is not None:
        changes["resize"] = tuple(_several(changes["resize"], 2))
    elif {"input_size", "crop"} & set(changes):
        changes["resize"] = None  # a box that was given for another size or crop
    origins = {**classifier.origins, **dict.fromkeys(changes, "given as an option")}
    return replace(classifier, **checked(Classifier, "the classifier", changes), origins=origins)


def _several(value: object, n: int) -> Sequence[object]:
    """n values, from one value, from a sequence, or from text with commas."""
    if isinstance(value, str) and "," in value:
        return [from_text(Classifier, {"mean": part})["mean"] for part in value.split(",")]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value if len(value) != 1 else [value[0]] * n
    return [value] * n


def on_device(classifier: Classifier, device: str) -> Classifier:
    """The classifier, its network moved to ``device``: "cpu", "cuda", "cuda:1", "mps". SeewhyError for an unknown one."""
    try:
        classifier.module.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise SeewhyError(f"cannot use device {device!r}: {str(error).splitlines()[0]}") from None
    return classifier


def _source(name: str) -> tuple[str, str]:
    """The source that a model's name speaks of, and the name within this source."""
    prefix, _, rest = name.partition("/")
    if name == "shapes":
        return "shapes", "cnn"
    if prefix in MODELS and rest:
        return prefix, rest
    if ":" in name and not name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        return "factory", name
    return "timm", name


def parse_options(texts: Sequence[str]) -> dict[str, object]:
    """``["pad_type=same", "mean=0.5"]`` as a dict; a value that is JSON is read as JSON, any other as text."""
    return from_text(Classifier, pairs(texts))
