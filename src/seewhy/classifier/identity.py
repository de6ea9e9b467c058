"""The identity of a classifier: what makes the results of two comparable, and one the network of a training; its origins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Annotated, Any

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.similarity import SimilarityNetwork
from seewhy.describe import as_json, digest_of, weights_digest
from seewhy.options import AtLeast, AtMost

PREPARING = (
    *("input_size", "crop", "crop_mode", "interpolation", "resize", "recipe"),
    *("mean", "std", "channel_order", "multilabel"),
)
"""Fields that say how a picture is prepared."""
IMAGENETS = ("mean", "std")
"""Fields whose defaults are those of ImageNet."""
MAX_CLASSES_TRAINED = 10**6
"""More classes are a damaged file."""
_Positive = Annotated[int, AtLeast(1)]


@dataclass(frozen=True)
class ExplainedNetwork:
    """The network that an explainer, or a surrogate, was trained for.

    module      its kind
    weights     digest of its weights and buffers, as in the manifest of an evaluation
    layers      its layers that the explainer reads; none where the explainer has a network of its own
    classes     their names; empty if unknown
    the others  as in ``seewhy.Classifier``
    """

    module: str
    weights: str
    layers: list[str]
    n_classes: Annotated[int, AtLeast(1), AtMost(MAX_CLASSES_TRAINED)]
    classes: list[str]
    mean: list[float]
    std: list[float]
    input_size: list[_Positive]
    channel_order: str = "rgb"
    multilabel: bool = False

    def difference(self, now: "ExplainedNetwork") -> str:
        """Why ``now`` is another network, in words; empty if it is the same. The size of images may be another one."""
        for name in ("mean", "std", "channel_order", "multilabel"):
            there, here = getattr(self, name), getattr(now, name)
            if there != here:
                return f"{name} {here}, and not {there}"
        return "" if self.weights == now.weights else "other weights"


def explained_network(classifier: Classifier, layers: Sequence[str]) -> ExplainedNetwork:
    """The network of a classifier, as a folder says it."""
    return ExplainedNetwork(
        module=type(classifier.module).__name__,
        weights=weights_digest(classifier.module),
        layers=list(layers),
        n_classes=classifier.n_classes,
        classes=list(classifier.classes),
        mean=[float(v) for v in classifier.mean],
        std=[float(v) for v in classifier.std],
        input_size=list(classifier.input_size),
        channel_order=classifier.channel_order,
        multilabel=classifier.multilabel,
    )


def classifier_identity(classifier: Classifier) -> dict[str, object]:
    """The classifier's kind, its preprocessing and its classes as JSON; not its weights (see ``weights_digest``)."""
    compared = {"compared_with": as_json(about)} if (about := compared_with(classifier)) else {}
    return {
        "module": type(classifier.module).__name__,
        "input_size": list(classifier.input_size),
        "mean": list(classifier.mean),
        "std": list(classifier.std),
        "crop": classifier.crop,
        "crop_mode": classifier.crop_mode,
        "interpolation": classifier.interpolation,
        "channel_order": classifier.channel_order,
        "resize": list(classifier.resize) if classifier.resize else None,
        "recipe": classifier.recipe,
        "classes": f"{classifier.n_classes} with the names {digest_of(chr(10).join(classifier.classes).encode())}",
        "multilabel": classifier.multilabel,
        "outputs": classifier.ending,
        "feature_layer": classifier.feature_layer,
        "n_prefix_tokens": classifier.n_prefix_tokens,
        **compared,
    }


def compared_with(classifier: Classifier) -> dict[str, object]:
    """The texts and templates, or the pictures, to which the network says how similar an image is; empty for any other."""
    return classifier.module.about if isinstance(classifier.module, SimilarityNetwork) else {}


def origin_of(classifier: Classifier, name: str) -> str:
    """Where the value of the field ``name`` came from: in the words of who made the classifier, "default" or "given"."""
    default = next(f.default for f in fields(Classifier) if f.name == name)
    usual = "default, ImageNet's" if name in IMAGENETS else "default"
    return classifier.origins.get(name) or (usual if getattr(classifier, name) == default else "given")


def about_classifier(classifier: Classifier, layer: str | None = None) -> dict[str, dict[str, object]]:
    """What a manifest says of the classifier: of each field its value, and where the value came from.

    Args:
        classifier: is asked how it ends, and how many outputs it has.
        layer: the feature layer, where a method reads it.
    """
    about = {name: {"value": as_json(getattr(classifier, name)), "from": origin_of(classifier, name)} for name in PREPARING}
    counted = "n_outputs" if classifier.returns_values else "classes"
    unnamed = ", ".join(filter(None, ("without names", classifier.origins.get("n_classes"))))
    names_from = origin_of(classifier, "classes") if classifier.classes else unnamed
    about[counted] = {"value": classifier.n_classes, "from": names_from}
    about["outputs"] = {
        "value": classifier.ending_in_words,
        "from": classifier.origins.get("outputs") or ("given" if classifier.outputs else "found by a probe"),
    }
    if "weights" in classifier.origins:
        about["weights"] = {"value": classifier.origins["weights"], "from": "given"}
    if compared := compared_with(classifier):
        about["compared_with"] = {"value": as_json(compared), "from": "given"}
    if layer is not None:
        found = "found by a probe" if classifier.feature_layer is None else ""
        about["feature_layer"] = {"value": layer, "from": found or origin_of(classifier, "feature_layer")}
    return about


def in_lines(about: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lines for a person: how a picture becomes the input, what is known of the network, and which weights were taken."""

    def said(*pairs: tuple[str, object]) -> str:
        groups = groupby(((text, str(origin)) for text, origin in pairs), key=lambda pair: pair[1])
        return "; ".join(", ".join(text for text, _ in some) + (f" ({origin})" if origin else "") for origin, some in groups)

    value, origin = ({name: entry[key] for name, entry in about.items()} for key in ("value", "from"))
    size, mode = value["input_size"], value["crop_mode"]
    crop = f"{mode} crop {value['crop']:.4g}" if value["crop"] != 1 or mode != "squash" else "squashed, no crop"
    resized = [(f"resized to {' x '.join(map(str, value['resize']))}", origin["resize"])] if value["resize"] else []
    picture = said(
        (f"{size[0]} x {size[1]}", origin["input_size"]),
        *resized,
        (crop, origin["crop"]),
        (str(value["interpolation"]), origin["interpolation"]),
        (f"mean {numbers(value['mean'])}", origin["mean"]),
        (f"std {numbers(value['std'])}", origin["std"]),
        *([("channels in the order BGR", origin["channel_order"])] if value["channel_order"] == "bgr" else []),
    )
    counted = "classes" if "classes" in value else "n_outputs"
    parts = [(f"{value[counted]} {'classes' if counted == 'classes' else 'outputs'}", origin[counted])]
    parts.append((str(value["outputs"]), origin["outputs"]))
    if "feature_layer" in value:
        parts.append((f"feature layer {value['feature_layer']}", origin["feature_layer"]))
    weights = [f"weights: {value['weights']}"] if "weights" in value else []
    templates = value.get("compared_with", {}).get("templates", ["{}"])
    sentences = [f"texts in: {'; '.join(templates)}"] if templates != ["{}"] else []
    return [f"input: {picture}", f"network: {said(*parts)}", *sentences, *weights]


def numbers(values: object) -> str:
    """Numbers with four digits and commas; a single one where all are the same."""
    texts = [f"{v:.4g}" for v in values] if isinstance(values, list) else [str(values)]
    return texts[0] if len(set(texts)) == 1 else ",".join(texts)
