"""A network of Hugging Face with the preprocessing of its own image processor. Code in its folder is never run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seewhy.classifier.checkpoint import must_hold_numbers
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.hub_names import quiet
from seewhy.classifier.preprocessing import Pixels, Preprocessing, measure
from seewhy.errors import SeewhyError, cause

REFUSED = (
    "trust_remote_code",
    "weights_only",
    "quantization_config",
    "use_kernels",
    "allow_all_kernels",
    "ignore_mismatched_sizes",
)
"""Options of Transformers that run code, or that leave weights which no training has made."""
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers for the interpolation, as processors have them."""


def read_config(name: str, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The configuration of a folder or of a network on the hub, with ``options``; and the options that it does not have.

    SeewhyError where it needs code of its own, or where an option is not allowed.
    """
    try:
        from transformers import AutoConfig
    except ImportError:
        raise SeewhyError("models of Hugging Face need transformers: pip install 'seewhy[hf]'") from None
    refused = [key for key in options if key in REFUSED]
    if refused:
        raise SeewhyError(f"seewhy does not take the option {refused[0]} of Transformers: it runs the code of {name}, "
                          "or explains weights that were not trained")  # fmt: skip
    config, rest = AutoConfig.from_pretrained(name, trust_remote_code=False, return_unused_kwargs=True, **options)
    _must_need_no_code(name, getattr(config, "auto_map", None), ("AutoConfig", "AutoModelForImageClassification"))
    if "/" in str(getattr(config, "_attn_implementation", "")):
        raise SeewhyError(f"{name} asks for code of the hub ({config._attn_implementation}), which is never run")
    if getattr(config, "quantization_config", None) is not None:
        raise SeewhyError(
            f"{name} has quantized weights, which have no gradients: explain the network before it is quantized"
        )
    return config, rest


def build(name: str, config: Any, options: Mapping[str, Any], pretrained: bool) -> Classifier:
    """The classifier of a folder or of a network on the hub. SeewhyError where its weights or its processor do not fit."""
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    with quiet():
        processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
        _must_need_no_code(name, getattr(processor, "auto_map", None), ("AutoImageProcessor", "AutoFeatureExtractor"))
        if pretrained:
            module, loaded = AutoModelForImageClassification.from_pretrained(
                name, config=config, trust_remote_code=False, output_loading_info=True, **options
            )
            _must_be_whole(name, type(module).__name__, loaded)
            must_hold_numbers(_folder(name))
        elif options:
            raise TypeError(f"unknown options {', '.join(options)}")
        else:
            module = AutoModelForImageClassification.from_config(config, trust_remote_code=False)
        found = measured(processor, name, getattr(config, "num_channels", 3))
    names = [config.id2label[i] for i in range(config.num_labels)]
    view = found.view
    return Classifier(
        module,
        mean=found.mean,
        std=found.std,
        input_size=view.size,
        classes=() if all(n.startswith("LABEL_") for n in names) else tuple(names),
        multilabel=config.problem_type == "multi_label_classification",
        crop=view.crop,
        crop_mode=view.crop_mode,  # type: ignore[arg-type]
        interpolation=view.interpolation,  # type: ignore[arg-type]
        channel_order=found.channel_order,  # type: ignore[arg-type]
        resize=view.resize,
        recipe=view.recipe,  # type: ignore[arg-type]
    )


def measured(processor: Any, name: str, channels: int = 3) -> Preprocessing:
    """The steps of an image processor (see ``preprocessing.measure``); ``name`` begins the error."""

    def process(picture: Image.Image) -> Pixels:
        try:
            output = processor(images=picture, return_tensors="np")
        except Exception as error:  # a processor may have any keys, and fail in any way
            raise SeewhyError(f"it cannot prepare a picture ({cause(error)})") from None
        if "pixel_values" not in output:
            raise SeewhyError(f"it makes {' and '.join(output)} of a picture, not pixel_values")
        return np.asarray(output["pixel_values"][0], np.float64)

    declared = RESAMPLE.get(getattr(processor, "resample", None) or 0, "bilinear")
    try:
        return measure(process, 1 if channels == 1 else 3, declared)
    except SeewhyError as error:
        what = f"the image processor of {name} ({type(processor).__name__}) has steps that seewhy does not know"
        raise SeewhyError(f"{what}: {error}. Prepare the pictures yourself, with seewhy.Classifier(network, ...)") from None


def _must_need_no_code(name: str, auto_map: object, keys: tuple[str, ...]) -> None:
    """SeewhyError where a folder says that its network or its processor is code of its own."""
    own = [str(auto_map[key]) for key in keys if key in auto_map] if isinstance(auto_map, Mapping) else []
    if own:
        raise SeewhyError(f"{name} needs code of its own ({own[0]}), which is never run: build the network yourself, "
                          "and give seewhy.Classifier(network, ...)")  # fmt: skip


def _must_be_whole(name: str, kind: str, loaded: Mapping[str, Any]) -> None:
    """SeewhyError where weights are missing or have another shape: Transformers would fill them with random numbers."""
    faults = {
        "missing": [key for key in sorted(loaded["missing_keys"]) if not key.endswith("num_batches_tracked")],
        "of another shape": [str(key) for key in sorted(loaded["mismatched_keys"])],
    }
    said = "; ".join(f"{len(keys)} {what}: {', '.join(keys[:4])}" for what, keys in faults.items() if keys)
    if said:
        raise SeewhyError(f"{name} has not all weights of {kind}, which would be random: {said}")


def _folder(name: str) -> Path:
    """The folder of a network: itself, or where the hub's client keeps what it has downloaded."""
    from transformers.utils import cached_file

    return Path(name) if Path(name).is_dir() else Path(str(cached_file(name, "config.json", local_files_only=True))).parent
