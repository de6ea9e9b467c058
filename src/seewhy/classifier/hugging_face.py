"""A network of Hugging Face with the preprocessing of its own image processor. Code in its folder is never run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seewhy.classifier.checkpoint import COUNTS, must_hold_numbers
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.hub_names import quiet
from seewhy.classifier.preprocessing import Pixels, Preprocessing, measure_steps
from seewhy.classifier.similarity import ImageTower
from seewhy.errors import SeewhyError, cause

REFUSED = ("trust_remote_code", "weights_only", "use_kernels", "allow_all_kernels", "quantization_config", "state_dict")
"""Options of Transformers that let a folder run code, or exchange its weights."""
OF_THE_HUB = ("revision", "subfolder", "cache_dir", "token", "local_files_only", "force_download", "proxies")
"""Options that say where the files are; the processor, the configuration and the weights are there together."""
PROCESSOR_FIELDS = (
    "mean", "std", "input_size", "crop", "crop_mode", "resize", "interpolation", "recipe", "channel_order",
)  # fmt: skip
"""Fields of a classifier that its processor determines."""
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers for the interpolation, as processors have them."""


NO_CLASSIFIER = (
    ". It was saved without a classifier: give outputs=embedding (--model-option outputs=embedding) for its embedding, "
    "which relax explains, or a picture with similar_to (--similar-to)"
)
"""What can be done with a network that has no classifier."""


def read_config(name: str, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The configuration of a folder or of a network on the hub, with ``options``; and the options that it does not have.

    SeewhyError where it needs code of its own, or where an option is not allowed.
    """
    try:
        from transformers import AutoConfig, PretrainedConfig
    except ImportError:
        raise SeewhyError("models of Hugging Face need transformers: pip install 'seewhy[hf]'") from None
    for key in REFUSED:
        if key in options:
            raise SeewhyError(f"seewhy does not take the option {key} of Transformers: no code of {name} is run")
    where = {key: value for key, value in options.items() if key in OF_THE_HUB}
    written, _ = PretrainedConfig.get_config_dict(name, **where)
    must_need_no_code(name, written, ("AutoConfig", "AutoModelForImageClassification"))
    config, rest = AutoConfig.from_pretrained(name, trust_remote_code=False, return_unused_kwargs=True, **options)
    kernel = str(getattr(config, "_attn_implementation", ""))
    if "/" in kernel:
        raise SeewhyError(f"{name} asks for code of the hub ({kernel}), which is never run: remove attn_implementation")
    if getattr(config, "quantization_config", None) is not None:
        raise SeewhyError(
            f"{name} has quantized weights, which have no gradients: explain the network before it is quantized"
        )
    return config, {**rest, **where}


def build_from_hub(
    name: str, config: Any, options: Mapping[str, Any], pretrained: bool, as_many_as_told: bool = False
) -> Classifier:
    """The classifier of a folder or of a network on the hub. SeewhyError where its weights or its processor do not fit.

    With ``as_many_as_told`` the number of classes is that of the configuration, also where its head has another one.
    """
    from transformers import AutoModelForImageClassification

    where = {key: value for key, value in options.items() if key in OF_THE_HUB}
    with quiet():
        processor = _processor(name, where)
        if pretrained:
            module = _trained(AutoModelForImageClassification, name, config, options, as_many_as_told)
        else:
            module = _untrained(AutoModelForImageClassification, config, options)
        view = _fields(processor, name, getattr(config, "num_channels", 3))
    names = _names(config)
    return Classifier(
        module,
        classes=() if all(n.startswith(NO_NAME) for n in names) else tuple(names),
        multilabel=config.problem_type == "multi_label_classification",
        **view,
    )


def build_embedding(name: str, config: Any, options: Mapping[str, Any], pretrained: bool) -> Classifier:
    """The network of a folder or of the hub without a classifier: it returns the embedding of images.

    Of a network with a text tower it is that of the image tower, in the space that both towers share.
    """
    import transformers

    architecture = next(iter(getattr(config, "architectures", None) or ()), "")
    projects = architecture.endswith("VisionModelWithProjection")
    kind = getattr(transformers, architecture) if projects else transformers.AutoModel
    where = {key: value for key, value in options.items() if key in OF_THE_HUB}
    with quiet():
        processor = _processor(name, where)
        module = _trained(kind, name, config, options, True) if pretrained else _untrained(kind, config, options)
        view = _fields(processor, name, getattr(getattr(config, "vision_config", config), "num_channels", 3))
    return Classifier(ImageTower(module.eval()), outputs="embedding", **view)


def has_classifier(config: Any) -> bool:
    """Was the network saved with a classifier? Also where its configuration does not say which kind of network it is."""
    architectures = getattr(config, "architectures", None) or ()
    return not architectures or any("ForImageClassification" in name for name in architectures)


def _processor(name: str, where: Mapping[str, Any]) -> Any:
    """The image processor of a folder or of the hub."""
    from transformers import AutoImageProcessor
    from transformers.image_processing_base import ImageProcessingMixin

    written, _ = ImageProcessingMixin.get_image_processor_dict(name, **where)
    must_need_no_code(name, written, ("AutoImageProcessor", "AutoFeatureExtractor"))
    return AutoImageProcessor.from_pretrained(name, trust_remote_code=False, **where)


def _fields(processor: Any, name: str, channels: int) -> dict[str, Any]:
    """The fields of a classifier that its processor determines, and where they came from."""
    found = measured(processor, name, channels)
    view = found.view
    return {
        "mean": found.mean,
        "std": found.std,
        "input_size": view.size,
        "crop": view.crop,
        "crop_mode": view.crop_mode,
        "interpolation": view.interpolation,
        "channel_order": found.channel_order,
        "resize": view.resize,
        "recipe": view.recipe,
        "origins": dict.fromkeys(PROCESSOR_FIELDS, f"the {type(processor).__name__} of {name}, measured"),
    }


NO_NAME = "LABEL_"
"""How the names begin that Transformers gives to classes without a name."""


def _names(config: Any) -> list[str]:
    """The names of the classes. A configuration may name some of them or none; of names that count from 1, none is sure."""
    known = config.id2label if max(config.id2label, default=0) < config.num_labels else {}
    return [str(known.get(i, f"{NO_NAME}{i}")) for i in range(config.num_labels)]


def _untrained(kind: Any, config: Any, options: Mapping[str, Any]) -> Any:
    """The network with random weights; TypeError for an option that it does not have."""
    if rest := [key for key in options if key not in OF_THE_HUB]:
        raise TypeError(f"no option of this network is called {', '.join(rest)}")
    return kind.from_config(config, trust_remote_code=False) if hasattr(kind, "from_config") else kind(config)


def _trained(kind: Any, name: str, config: Any, options: Mapping[str, Any], as_many_as_told: bool) -> Any:
    """The network with the weights of its folder; SeewhyError where Transformers would fill it with random numbers."""
    from transformers.utils.hub import cached_file

    if Path(name).is_dir():
        must_hold_numbers(Path(name))  # first, since it says of a pickle with code what it is
    module, loaded = kind.from_pretrained(
        name,
        config=config,
        trust_remote_code=False,
        output_loading_info=True,
        **{**options, "ignore_mismatched_sizes": True},
    )
    faults = {
        "missing": [key for key in sorted(loaded["missing_keys"]) if not key.endswith(COUNTS)],
        "of another shape": [
            f"{key} is {tuple(file)}, the network has {tuple(own)}" for key, file, own in sorted(loaded["mismatched_keys"])
        ],
    }
    said = "; ".join(f"{len(keys)} {what}: {', '.join(keys[:4])}" for what, keys in faults.items() if keys)
    others = [(tuple(file), tuple(own)) for _, file, own in loaded["mismatched_keys"]]
    sizes = {file[0] if file[1:] == own[1:] and own[0] == config.num_labels else 0 for file, own in others}
    unsure = not as_many_as_told and all(n.startswith(NO_NAME) for n in _names(config))
    if unsure and not faults["missing"] and len(sizes) == 1 and 0 not in sizes:
        config.num_labels = sizes.pop()  # a configuration without id2label does not say how many classes there are
        return _trained(kind, name, config, options, as_many_as_told=True)
    if said:
        cure = "" if has_classifier(config) or "Classification" not in type(module).__name__ else NO_CLASSIFIER
        raise SeewhyError(f"{name} has not all weights of {type(module).__name__}, which would be random: {said}{cure}")
    if not Path(name).is_dir():
        must_hold_numbers(Path(str(cached_file(name, "config.json", local_files_only=True))).parent)
    return module


def measured(processor: Any, name: str, channels: int = 3) -> Preprocessing:
    """The steps of an image processor (see ``preprocessing.measure_steps``); ``name`` begins the error."""

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
        return measure_steps(process, 1 if channels == 1 else 3, declared)
    except SeewhyError as error:
        what = f"the image processor of {name} ({type(processor).__name__}) has steps that seewhy does not know"
        raise SeewhyError(f"{what}: {error}. Prepare the pictures yourself, with seewhy.Classifier(network, ...)") from None


def must_need_no_code(name: str, written: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    """SeewhyError where a folder's file says that its network or its processor is code of its own."""
    auto_map = written.get("auto_map") or {}
    own = [str(auto_map[key]) for key in keys if key in auto_map]
    if own:
        raise SeewhyError(
            f"{name} needs code of its own ({own[0]}), which is never run: build the network yourself, "
            "and give seewhy.Classifier(network, ...)"
        )
