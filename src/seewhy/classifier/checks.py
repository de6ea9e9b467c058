"""Checks of what a caller gives: a network, its preprocessing, images, and classes."""

import re
from collections.abc import Sequence
from inspect import signature
from math import isnan
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from seewhy.data.pictures import CropMode, Interpolation, Recipe, View
from seewhy.errors import SeewhyError, cause

TENSORS = {
    "images": "floats (n, c, h, w)",
    "targets": "one class index for each image (n,)",
    "classes": "class indices (m,)",
}
"""What the tensors hold that a caller gives."""
PIXEL_TOLERANCE = 0.01
"""Images may leave [0, 1] by this much."""
NO_GRADIENTS = (
    "the network computes without gradients (no_grad, inference_mode, detach, NumPy or quantized layers inside, or a layer "
    "after which nothing depends on it): mend it, or choose a method that needs none, such as rise"
)
"""Why a method that needs gradients cannot explain a network."""
NO_INPUTS = ("label", "output_", "return_", "interpolate", "head_mask")
"""How the options of networks begin that are no inputs."""
USUAL_SIZES = (224, 384, 256, 299)
"""Pixels a side for which many networks were made."""
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
MAX_NORMALIZED = 30
"""Images with values below 0 and none above this are taken for normalized ones, in the words of the error."""


def must_be_network(module: nn.Module) -> None:
    """SeewhyError for a module that cannot be explained: its layers are hidden, or it can have no gradients."""
    if isinstance(module, torch.jit.ScriptModule):
        raise SeewhyError("a TorchScript module hides its layers: give the module that it was made from")
    if any(is_lazy(t) for t in module.parameters()):
        raise SeewhyError("the network has lazy layers, which have no weights yet: run it once on an image")
    if any(t.is_meta and type(t.data) is Tensor for t in module.parameters()):  # of others, only their class knows
        raise SeewhyError("the network is on the meta device, where weights have no numbers: load its weights first")
    if any(t.is_inference() for t in [*module.parameters(), *module.buffers()]):
        raise SeewhyError("the network was made in torch.inference_mode, which leaves it no gradients: make it outside")
    kind = type(module).__name__
    if hasattr(module, "get_image_features") and hasattr(module, "get_text_features"):
        raise SeewhyError(
            f"{kind} compares images with texts, and has no classes of its own: load it by seewhy.load('hf/ID', texts=[...])"
            ", or give the embeddings of the texts to seewhy.similarity_classifier"
        )
    if (reads := getattr(module, "main_input_name", "pixel_values")) not in ("pixel_values", "x", "images"):  # Hugging Face
        raise SeewhyError(f"{kind} reads {reads}, not pixels: wrap it in a module that takes images (n, c, h, w)")
    try:
        inputs = signature(module.forward).parameters.values()
    except (TypeError, ValueError):  # code without a signature
        return
    places = [p for p in inputs if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    lacking = [p.name for p in inputs if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if not places:
        raise SeewhyError(f"forward of {kind} takes no input: give a network that takes images (n, c, h, w)")
    if more := [name for name in lacking if name != places[0].name]:
        raise SeewhyError(
            f"{kind} takes more than images (its forward needs {', '.join(more)}): wrap it in a module that takes the "
            "images alone and gives it the rest"
        )


def why_it_fails(module: nn.Module, images: Tensor, error: Exception, name: str = "an image") -> str:
    """In one line, why the network fails on ``images`` (n, c, h, w), and what to do."""
    said, convolutions = str(error), [m for m in module.modules() if isinstance(m, CONVOLUTIONS)]
    others = [p.name for p in list(signature(module.forward).parameters.values())[1:] if p.default is None]
    others = [name for name in others if not name.startswith(NO_INPUTS)]
    channels = re.search(r"to have (\d+) channels, but got (\d+) channels", said)
    if convolutions and not any(isinstance(m, nn.Conv2d) for m in convolutions):
        kind = type(convolutions[0]).__name__
        cure = f"it begins with {kind}, which takes no images (n, c, h, w): wrap it in a module that makes its input of them"
    elif channels is not None:
        cure = f"it takes {channels[1]} channels: give mean and std one number for each"
    elif "same device" in said or "device type" in said:
        cure = "put all of it on one device"
    elif (size := _size_that_works(module, images)) is not None:
        side = size[0] if size[0] == size[1] else size
        cure = f"it takes images of {size[0]} x {size[1]}: give it such images, with input_size={side}"
    elif others:
        cure = f"its forward also takes {', '.join(others)}: if it needs them, wrap it in a module that gives them"
    else:
        cure = "check what it takes, and its input size"
    given = " x ".join(map(str, images.shape[1:]))
    return f"{type(module).__name__} fails on {name}, given as {given} ({cause(error)}): {cure}"


def _size_that_works(module: nn.Module, images: Tensor) -> tuple[int, int] | None:
    """Another height and width than that of the ``images`` (n, c, h, w) with which the network works; None if none is known.

    The sizes that its modules name are tried, and usual ones.
    """
    named = [getattr(part, name, None) for part in module.modules() for name in ("img_size", "image_size", "input_size")]
    named.append(getattr(getattr(module, "config", None), "image_size", None))
    pairs = [tuple(size) if isinstance(size, list | tuple) else (size, size) for size in (*named, *USUAL_SIZES)]
    sizes = [pair for pair in pairs if len(pair) == 2 and all(type(side) is int and 0 < side <= 1024 for side in pair)]
    for size in dict.fromkeys(sizes):
        if size != images.shape[-2:]:
            try:
                with torch.no_grad():
                    module(images.new_zeros(1, images.shape[1], *size))
            except Exception:
                continue
            return size
    return None


def is_quantized(module: nn.Module) -> bool:
    """Does the network compute with integers, in layers that have no gradients?"""
    kinds = (type(part) for part in [*module.modules(), *module.parameters(), *(p.data for p in module.parameters())])
    return any("quantiz" in kind.__module__ or "torchao" in kind.__module__ for kind in kinds)


def must_be_normalization(mean: Sequence[float], std: Sequence[float]) -> None:
    """SeewhyError unless there is one mean and one positive standard deviation per channel, of pixels in [0, 1]."""
    if len(mean) != len(std):
        raise SeewhyError(f"mean has {len(mean)} numbers and std {len(std)}; give one per channel to both")
    if not all(s > 0 for s in std):
        raise SeewhyError(f"std must be positive, got {std}")
    if not all(-1 <= m <= 2 for m in mean):
        raise SeewhyError(f"mean {mean} is not that of pixels in [0, 1]: divide mean and std by 255")


def must_be_view(view: View) -> None:
    """SeewhyError unless a picture can be resized and cropped in this way."""
    for name, kinds in (("interpolation", Interpolation), ("crop_mode", CropMode), ("recipe", Recipe)):
        if getattr(view, name) not in get_args(kinds):
            raise SeewhyError(f"{name} is one of {', '.join(get_args(kinds))}; got {getattr(view, name)!r}")
    if not _is_size(view.size) or not 0 < view.crop <= 1:
        raise SeewhyError(f"input_size {view.size} and crop {view.crop} describe no picture")
    if view.resize is not None and not _is_size(view.resize):
        raise SeewhyError(f"resize is the height and width of a box in pixels, got {view.resize}")


def _is_size(given: object) -> bool:
    """Is it a height and a width in pixels?"""
    sides = list(given) if isinstance(given, Sequence) else []
    return len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides)


def must_be_tensors(**given: object) -> None:
    """SeewhyError for an argument that is no tensor, or no tensor (n,) of classes; the keywords name the arguments."""
    for name, value in given.items():
        if not isinstance(value, Tensor):
            raise SeewhyError(f"{name} must be a tensor of {TENSORS[name]}, not of type {type(value).__name__}")
        if name != "images" and value.ndim != 1:
            raise SeewhyError(f"{name} must be a tensor of {TENSORS[name]}, got {tuple(value.shape)}")


def must_be_images(images: Tensor, channels: int) -> None:
    """SeewhyError unless these are images (n, c, h, w) in [0, 1], at least one, of as many channels as the network takes."""
    must_be_tensors(images=images)
    if images.ndim != 4 or not images.is_floating_point():
        raise SeewhyError(f"images must be floats (n, c, h, w), got {images.dtype} {tuple(images.shape)}")
    if not len(images):
        raise SeewhyError(f"there are no images: the batch is {tuple(images.shape)}")
    must_have_channels(images, channels)
    if not (images.amin() >= -PIXEL_TOLERANCE and images.amax() <= 1 + PIXEL_TOLERANCE):  # also false for NaN
        low, high = float(images.amin()), float(images.amax())
        if isnan(low):
            raise SeewhyError("images must be in [0, 1], and these hold NaN")
        normalized = low < -PIXEL_TOLERANCE and high <= MAX_NORMALIZED
        cure = "do not normalize them, the classifier does" if normalized else "divide bytes by 255"
        raise SeewhyError(f"images must be in [0, 1], these are in [{low:.3g}, {high:.3g}]: {cure}")


def must_have_channels(images: Tensor, channels: int) -> None:
    """SeewhyError for images of another number of channels than the network takes."""
    if images.shape[1] != channels:
        raise SeewhyError(f"images have {images.shape[1]} channels, the classifier takes {channels}")


def must_be_classes(classes: Tensor, n_images: int, n_classes: int) -> None:
    """SeewhyError unless ``classes`` (n, m) has a row of class indices for each image."""
    if n_images != len(classes):
        raise SeewhyError(f"{n_images} images and {len(classes)} targets: give one target for each image")
    if classes.dtype not in (torch.int64, torch.int32):
        raise SeewhyError(f"targets must be class indices, of type int64, got {classes.dtype}")
    if classes.numel() and not 0 <= int(classes.min()) <= int(classes.max()) < n_classes:
        wrong = int(classes.min()) if classes.min() < 0 else int(classes.max())
        raise SeewhyError(f"class {wrong} does not exist: the classifier has classes 0 to {n_classes - 1}")
