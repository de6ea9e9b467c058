"""Where classifiers come from: timm, torchvision, Hugging Face, the package itself, and the user's own code.

Each source imports its own library when it is asked, since each of them is slow to import.
"""

import importlib
import inspect
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import wraps
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from threading import RLock
from typing import Any
from urllib.parse import urlsplit

from torch import nn

from seewhy.classifier import hugging_face
from seewhy.classifier.checkpoint import load_weights, must_hold_numbers
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.shapes_models import INPUT_SIZE, MEAN, STD, ShapesCNN, ShapesViT
from seewhy.classifier.text_tower import TwoTowers, has_text_tower, two_towers
from seewhy.data.shapes.shapes import Shapes
from seewhy.errors import SeewhyError, cause
from seewhy.registry import Registry, did_you_mean


@dataclass(frozen=True)
class Request:
    """A request to a source: the network's name, its options, and whether its own weights are wanted.

    embedding: the network may have no classifier, since its embedding is wanted.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = True
    embedding: bool = False


VIEW_FIELDS = (
    *("mean", "std", "input_size", "crop", "crop_mode", "interpolation", "resize", "recipe", "channel_order"),
    *("classes", "multilabel"),
)
"""Fields of a classifier that sources fill."""
MODELS: Registry[Callable[[Request], Classifier]] = Registry("source of models", group="seewhy.models")


@MODELS.register("timm")
def _timm(request: Request) -> Classifier:
    import timm
    from timm.data import resolve_model_data_config

    refused = [key for key in ("checkpoint_path", "pretrained_strict") if key in request.options]
    if refused:
        raise SeewhyError(
            f"seewhy does not take timm's option {refused[0]}: give a file with --weights, or weights= in Python"
        )
    with _building(request, request.name), hub_in_one_try():
        if request.pretrained and request.name.startswith("local-dir:"):
            must_hold_numbers(Path(request.name.removeprefix("local-dir:")))
        try:
            module = timm.create_model(request.name, pretrained=request.pretrained, **request.options)
        except RuntimeError as error:
            if "Unknown model" not in str(error):
                raise
            hint = did_you_mean(request.name.partition(".")[0], ["shapes", *timm.list_models()])
            raise SeewhyError(f"timm has no model {request.name!r}.{hint} 'seewhy list models WORD' finds names") from None
    given = getattr(module, "pretrained_cfg", None) or {}
    if request.pretrained:
        _must_keep_its_head(request.name, getattr(module, "num_classes", 0), given.get("num_classes"))
    config = resolve_model_data_config(module)
    gray = len(config["mean"]) == 3 and request.options.get("in_chans") == 1
    mean, std = ((sum(v) / 3,) if gray else tuple(v) for v in (config["mean"], config["std"]))
    size = _height_width(request.options.get("img_size") or config["input_size"][1:])
    tag = getattr(module, "pretrained_cfg", {})
    known_by = ".".join(filter(None, (tag.get("architecture") or request.name, tag.get("tag"))))
    origins = dict.fromkeys(VIEW_FIELDS, f"timm's configuration of {known_by}")
    classes = _imagenet_names(module) if request.pretrained else ()
    projects = getattr(module, "num_classes", None) == given.get("num_classes")
    if "img_size" in request.options:
        origins["input_size"] = "given as img_size"
    return Classifier(
        module,
        mean=mean,
        std=std,
        input_size=size,
        origins=origins,
        classes=classes,
        outputs="embedding" if not classes and projects and _is_image_tower(known_by) else None,
        crop=config["crop_pct"],
        crop_mode=config["crop_mode"] if config["crop_mode"] in ("squash", "border") else "center",
        interpolation=config["interpolation"] if config["interpolation"] != "random" else "bilinear",
    )


def _height_width(size: Any) -> tuple[int, int]:
    """(height, width) from one number, or from two."""
    return (size, size) if isinstance(size, int) else tuple(size)


def _must_keep_its_head(name: str, n: int, pretrained: int | None) -> None:
    """SeewhyError where a network of ``n`` classes has weights for another number: its head would be new, and random."""
    if n and pretrained and n != pretrained:
        raise SeewhyError(
            f"num_classes={n} leaves {name} a random head, since its weights have {pretrained} classes: "
            "give weights that were trained so, with --weights or weights="
        )


def _is_image_tower(known_by: str) -> bool:
    """Is it the image tower of a network that compares images with texts? Its last layer makes no classes."""
    return any(kind in known_by for kind in ("clip", "_pe_core")) and "_ft_" not in known_by


def _imagenet_names(module: nn.Module) -> tuple[str, ...]:
    """Class names that timm has for the data set of the weights' training."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(module)
    if subset is None:
        return tuple(getattr(module, "pretrained_cfg", {}).get("label_names") or ())
    info = ImageNetInfo(subset)
    return tuple(info.index_to_description(i) for i in range(info.num_classes()))


@MODELS.register("torchvision")
def _torchvision(request: Request) -> Classifier:
    import torchvision

    name, _, tag = request.name.partition(".")
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise SeewhyError(f"torchvision has no classifier {name!r}.{did_you_mean(name, known)}")
    enum = torchvision.models.get_model_weights(name)
    if tag and tag not in enum.__members__:
        raise SeewhyError(f"{name} has no weights {tag!r}; it has {', '.join(enum.__members__)}")
    weights = enum[tag] if tag else enum.DEFAULT
    if request.pretrained and isinstance(n := request.options.get("num_classes"), int):
        _must_keep_its_head(name, n, len(weights.meta["categories"] or ()))
    with _building(request, name):
        module = torchvision.models.get_model(name, weights=weights if request.pretrained else None, **request.options)
    view = weights.transforms()
    return Classifier(
        module,
        mean=tuple(view.mean),
        std=tuple(view.std),
        input_size=_height_width(request.options.get("image_size") or view.crop_size[0]),
        classes=tuple(weights.meta["categories"] or ()) if request.pretrained else (),
        crop=view.crop_size[0] / view.resize_size[0],
        interpolation=view.interpolation.value,
        origins=dict.fromkeys(VIEW_FIELDS, f"torchvision's transforms of {weights}"),
    )


@MODELS.register("hf")
def _hugging_face(request: Request) -> Classifier:
    with _building(request, request.name), hub_in_one_try():
        config, rest = hugging_face.read_config(request.name, request.options)
        if config.model_type != "timm_wrapper":
            if not hugging_face.has_classifier(config) and request.embedding:
                return hugging_face.build_embedding(request.name, config, rest, request.pretrained)
            if not hugging_face.has_classifier(config) and has_text_tower(config):
                raise SeewhyError(
                    f"{request.name} compares images with texts, and has no classes of its own: give texts=['a dog', ...] "
                    "(--texts), or outputs=embedding (--model-option outputs=embedding) for its image tower"
                )
            told = "num_labels" in request.options
            return hugging_face.build_from_hub(request.name, config, rest, request.pretrained, told)
    # timm's networks are built by timm, which knows how pictures are prepared for them
    where = "local-dir" if Path(request.name).is_dir() else "hf-hub"
    options = {"num_classes" if key == "num_labels" else key: value for key, value in request.options.items()}
    return _timm(replace(request, name=f"{where}:{request.name}", options=options))


def towers_of(request: Request) -> TwoTowers:
    """The image tower and the text tower of a network of Hugging Face, not yet put together."""
    with _building(request, request.name), hub_in_one_try():
        config, rest = hugging_face.read_config(request.name, request.options)
        return two_towers(request.name, config, rest, request.pretrained)


@MODELS.register("factory")
def _factory(request: Request) -> Classifier:
    with _working_folder_importable():
        built = _call(_find_factory(request.name), request)
    if isinstance(built, Classifier):
        defaults = {f.name: f.default for f in fields(Classifier) if f.name in VIEW_FIELDS}
        own = [name for name, default in defaults.items() if getattr(built, name) != default]
        return replace(built, origins={**dict.fromkeys(own, f"given by {request.name}"), **built.origins})
    if not isinstance(built, nn.Module):
        raise SeewhyError(f"model {request.name!r} returned a {type(built).__name__}; return a module or a Classifier")
    return Classifier(built)


def _find_factory(name: str) -> Callable[..., object]:
    """The function that "package.module:function" names."""
    module_name, _, function_name = name.partition(":")
    if "/" in module_name or module_name.endswith(".py"):
        meant = f"{'.'.join(Path(module_name).with_suffix('').parts)}:{function_name}"
        raise SeewhyError(f"model {name!r}: write the module as Python imports it, --model {meant}")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise SeewhyError(f"model {name!r}: no module named {error.name!r} can be imported") from None
    except Exception as error:  # the user's own code may fail in any way
        raise SeewhyError(f"model {name!r}: {module_name} cannot be imported ({cause(error)})") from error
    factory = getattr(module, function_name, None)
    if not callable(factory):
        functions = [key for key, value in vars(module).items() if callable(value)]
        hint = did_you_mean(function_name, functions)
        raise SeewhyError(f"model {name!r}: {module_name} has no function {function_name!r}.{hint}")
    return factory


def _call(factory: Callable[..., object], request: Request) -> object:
    """The result of the user's function; SeewhyError for options that it does not take, and if it fails."""
    try:
        inspect.signature(factory).bind(**request.options)
    except TypeError as error:
        raise SeewhyError(f"model {request.name!r} does not take these options {request.options}: {error}") from None
    try:
        return factory(**request.options)
    except SeewhyError:
        raise
    except Exception as error:  # the user's own code may fail in any way
        raise SeewhyError(f"model {request.name!r} cannot be made ({cause(error)})") from error


_settings = RLock()
"""Held while a source changes what all threads share: the paths of imports, the settings of a hub."""


def _one_thread_at_a_time(block: Callable[[], Iterator[None]]) -> Callable[[], Iterator[None]]:
    @wraps(block)
    def run() -> Iterator[None]:
        with _settings:
            yield from block()

    return run


@contextmanager
@_one_thread_at_a_time
def _working_folder_importable() -> Iterator[None]:
    """Inside the block a module in the working folder can be imported, as with ``python -m``."""
    added = "" not in sys.path
    if added:
        sys.path.insert(0, "")
    try:
        yield
    finally:
        if added and "" in sys.path:
            sys.path.remove("")


def _weights_of(name: str) -> Traversable:
    """The file of a built-in network."""
    return files("seewhy.classifier") / "weights" / f"shapes_{name}.safetensors"


SURROGATES = tuple(name for name in ("vit_surrogate", "cnn_surrogate") if _weights_of(name).is_file())
"""Of the built-in networks: those that tools/train_surrogates.py has stored."""
SHAPES = ("cnn", "vit", "cnn_shortcut", "cnn_multilabel", "cnn_permuted", *SURROGATES)
"""The networks that come with the package. cnn_shortcut was trained on pictures with a tag that gives the class away.
cnn_permuted learned pictures with permuted labels by heart. The surrogates know parts of pictures."""


@MODELS.register("shapes")
def _shapes(request: Request) -> Classifier:
    if request.name not in SHAPES:
        hint = did_you_mean(request.name, list(SHAPES))
        raise SeewhyError(f"shapes has no network {request.name!r}.{hint} Known: {', '.join(SHAPES)}")
    if request.options:
        raise SeewhyError(f"the networks of shapes take no options such as {next(iter(request.options))!r}")
    module = ShapesViT() if request.name.startswith("vit") else ShapesCNN()
    if request.pretrained:
        with as_file(_weights_of(request.name)) as path:
            load_weights(module, path)
    return Classifier(
        module,
        mean=MEAN,
        std=STD,
        input_size=(INPUT_SIZE, INPUT_SIZE),
        classes=Shapes.classes,
        crop=1.0,
        multilabel=request.name.endswith("multilabel"),
    )


@contextmanager
@_one_thread_at_a_time
def hub_in_one_try() -> Iterator[None]:
    """Inside the block the hub's client prints nothing and, where the hub has no address, does not retry for a minute.

    Without an address the client works offline: it reads what it has downloaded before. Behind a proxy the proxy looks up
    the address.
    """
    from huggingface_hub import constants as hub
    from huggingface_hub.utils import logging as hub_log

    offline, verbosity = hub.HF_HUB_OFFLINE, hub_log.get_verbosity()
    hub_log.set_verbosity_error()
    try:
        if not any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
            socket.getaddrinfo(urlsplit(hub.ENDPOINT).hostname, None)
    except OSError:
        hub.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = offline
        hub_log.set_verbosity(verbosity)


@contextmanager
def _building(request: Request, name: str) -> Iterator[None]:
    """Inside the block, SeewhyError where a library or a hub does not give the network ``name``, or its weights."""
    try:
        yield
    except SeewhyError:
        raise
    except TypeError as error:
        raise SeewhyError(f"{name} does not take these options {request.options}: {error}") from None
    except Exception as error:  # a hub can raise any exception
        what = f"cannot build {request.name!r} with the options {request.options}"
        if Path(name.removeprefix("local-dir:")).is_dir():
            what = f"cannot load the network in the folder {name.removeprefix('local-dir:')}"
        elif request.pretrained:
            cure = "without network give a file with --weights, or weights= in Python"
            what = f"cannot get the weights of {request.name!r}: {cure}"
        raise SeewhyError(f"{what} ({cause(error)})") from None
