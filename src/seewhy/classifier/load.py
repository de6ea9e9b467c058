"""A classifier by name, with the preprocessing and the class names of its own weights."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from seewhy.classifier.checkpoint import classes_of_head, find_weights, must_be_sound, put_weights
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.model_files import must_be_no_file, must_be_one_name, whose_weights
from seewhy.classifier.similarity import embedding_of
from seewhy.classifier.sources import MODELS, VIEW_FIELDS, Request, towers_of
from seewhy.data.class_names import read_class_names
from seewhy.data.texts import BLANK, read_templates, read_texts
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
    texts: str | Path | Sequence[str] | None = None,
    template: str | Path | Sequence[str] | None = None,
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
            outputs="embedding" gives the network without its classifier.
        texts: the classes of a network that compares images with texts (CLIP, SigLIP, ...): a list, a text file with a text
            per line, or one line with commas. The logits are those of the network itself; of one text it is the cosine.
        template: the sentence around each text, as "a photo of a {}"; of several, the embeddings of a text are averaged.

    Raises:
        SeewhyError: the name or an option is unknown, the weights do not fit or are not available, class names are wrong,
            the network has no text tower, or a text cannot be read by it whole.
    """
    chosen = dict(options or {})
    view = {key: chosen.pop(key) for key in CLASSIFIER_OPTIONS if key in chosen}
    place = chosen.pop("weights_place", None)
    names = None if classes is None else read_class_names(classes)
    source, short = _source(name)
    if source == "timm":
        must_be_one_name(name)
        must_be_no_file(name)
    if texts is not None or template is not None:
        if texts is None or classes is not None or "outputs" in view:
            raise SeewhyError("the texts are the classes: give texts (--texts) without class names and without outputs")
        request = Request(short, chosen, pretrained=weights is None)
        classifier = _over_texts(name, request, source, weights, place, read_texts(texts), read_templates(template))
        return with_view(classifier, view)
    embedding = view.get("outputs") == "embedding"
    request = Request(short, chosen, weights is None, embedding)
    classifier = MODELS[source](request)
    if weights is not None:
        classifier = _with_weights(classifier, replace(request, pretrained=False), source, weights, place, names)
    must_be_sound(classifier.module, name)
    if source != "factory":
        usual = dict.fromkeys(VIEW_FIELDS, ORIGINS.get(source, "the source {}").format(name))
        classifier = replace(classifier, origins={**usual, **classifier.origins})
    if names is not None:
        names_from = f"given as {classes}" if isinstance(classes, str | Path) else "given"
        classifier = replace(classifier, classes=names, origins={**classifier.origins, "classes": names_from})
    classifier.module.eval()
    if embedding and source != "factory":
        classifier = embedding_of(classifier)
    return with_view(classifier, view)


def _over_texts(
    name: str,
    request: Request,
    source: str,
    weights: str | Path | None,
    place: object,
    texts: tuple[str, ...],
    templates: tuple[str, ...],
) -> Classifier:
    """The classifier over texts. A function of the user gets the texts, and the templates if there are any."""
    if source == "factory":
        more = {"texts": texts} if templates == (BLANK,) else {"texts": texts, "template": templates}
        return MODELS[source](replace(request, options={**request.options, **more}))
    if source != "hf":
        raise SeewhyError(
            f"{name} has no text tower, so that it reads no texts: give a network of Hugging Face that has one, such as "
            "hf/openai/clip-vit-base-patch32, or the embeddings of the texts to seewhy.similarity_classifier"
        )
    towers = towers_of(request)
    if weights is not None:
        put_weights(towers.module, find_weights(towers.module, weights, None if place is None else str(place)))
    must_be_sound(towers.module, name)
    return towers.classifier(texts, templates)


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
    try:
        put_weights(classifier.module, found)
    except SeewhyError as error:
        raise SeewhyError(f"{error}{whose_weights(Path(path))}") from None
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
        said = str(error).splitlines()[0]
        if said.startswith("Expected one of"):  # torch lists twenty kinds of devices
            said = "give cpu, cuda, cuda:1 or mps"
        raise SeewhyError(f"cannot use device {device!r}: {said}") from None
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
