"""A file, or a folder, in the place of a network's name: what it is, and the command that was meant."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from seewhy.classifier.checkpoint import fitting, module_class_in, names_in
from seewhy.classifier.foreign_files import what_is_foreign
from seewhy.errors import SeewhyError
from seewhy.files import did_you_mean_file, is_directory, is_file

SUFFIXES = (
    *(".pt", ".pth", ".pt2", ".ckpt", ".bin", ".safetensors", ".pkl", ".tar", ".onnx", ".h5", ".hdf5", ".keras", ".tflite"),
    *(".pb", ".mlmodel", ".mlpackage", ".engine", ".trt", ".gguf", ".npz", ".py"),
)
"""What names of files of networks end with, and no name of a network does."""
FAMILIES = {
    r"layer4\.0\.conv1\.weight": [
        *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d"),
        *(f"torchvision/{name}" for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")),
    ],
    r"features\.conv0\.weight": [f"torchvision/densenet{n}" for n in (121, 161, 169, 201)],
    r"features\.0\.weight": [
        *(f"torchvision/vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "_bn")),
        *("torchvision/alexnet", "torchvision/squeezenet1_0", "torchvision/squeezenet1_1"),
    ],
    r"features\.0\.0\.weight": [
        *(f"torchvision/{name}" for name in ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large")),
        *(f"torchvision/efficientnet_b{i}" for i in range(8)),
        *(f"torchvision/{name}_{size}" for name in ("convnext",) for size in ("tiny", "small", "base", "large")),
        *(f"torchvision/{name}" for name in ("swin_t", "swin_s", "swin_b", "efficientnet_v2_s")),
    ],
    r"blocks\.0\.attn\.qkv\.weight": [
        *(f"vit_{size}_patch16_224" for size in ("tiny", "small", "base", "large")),
        *("vit_base_patch32_224", "vit_small_patch14_dinov2", "vit_base_patch14_dinov2", "deit_tiny_distilled_patch16_224"),
    ],
    r"conv_stem\.weight": [
        *("mobilenetv2_100", "mobilenetv3_large_100", "efficientnet_lite0", *(f"efficientnet_b{i}" for i in range(5))),
    ],
    r"stages\.0\.blocks\.0\.conv_dw\.weight": [f"convnext_{size}" for size in ("tiny", "small", "base", "large")],
    r"encoder\.layers\.encoder_layer_0\.": [f"torchvision/vit_{size}" for size in ("b_16", "b_32", "l_16")],
}
"""Well-known architectures by a weight that all of a family have."""


def must_be_one_name(name: str) -> None:
    """SeewhyError for several networks in one name."""
    if "," in name:
        several = ", ".join(part.strip() for part in name.split(","))
        raise SeewhyError(
            f"{name!r} is no network: give one of {several} in each command; seewhy report RUN RUN shows several runs"
        )


def must_be_no_file(name: str) -> None:
    """SeewhyError where ``name`` is a file or a folder, and no network of timm: it says what the person may have meant.

    Nothing in the file is executed.
    """
    if is_directory(name):
        import timm

        if not timm.is_model(name):
            raise SeewhyError(_of_folder(Path(name)))
    elif Path(name).suffix.lower() in SUFFIXES or is_file(name):
        raise SeewhyError(_of_file(Path(name)))


def _of_folder(folder: Path) -> str:
    """What a folder is, as far as its configuration says it."""
    config: object = None
    with suppress(OSError, ValueError):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    known = config if isinstance(config, dict) else {}
    if "architecture" in known:
        return f"{folder} is a folder of timm: give --model local-dir:{folder}"
    if "model_type" in known or "architectures" in known:
        return f"{folder} is a folder of Hugging Face: give --model hf/{folder}"
    if {"method", "schema"} & {*known}:
        return f"{folder} is the folder of an explainer: give the network as --model, and --explainer {folder}"
    inside = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    more = f" --weights {folder / inside[0]}" if inside else ""
    return f"{folder} is a folder without config.json: give the name of the architecture, --model NAME{more}"


def _of_file(path: Path) -> str:
    """What a file is, and what to give in its place."""
    if path.suffix.lower() == ".py":
        name = ".".join(path.with_suffix("").parts)
        return f"{path} is a program: give --model {name}:FUNCTION, whose FUNCTION returns the network"
    if not path.is_file():
        return f"the file {path} does not exist{did_you_mean_file(path)}"
    if foreign := what_is_foreign(path):
        return f"{path} is {foreign}"
    if (kind := module_class_in(path)) is not None:
        return whole_module(path, kind)
    names = fitting(path, _candidates(path))
    first, others = next(names, None), [*names]
    if first is None:
        return (
            f"{path} holds weights, and no file of weights says which architecture they are of: give its name, "
            f"--model NAME --weights {path} ('seewhy list models WORD' finds names), or a function of yours that builds it, "
            f"--model package.module:function --weights {path}"
        )
    also = f" (or {', '.join(others)}, which has the same weights and another preprocessing)" if others else ""
    return f"{path} holds the weights of {first}: give --model {first} --weights {path}{also}"


def whose_weights(path: Path) -> str:
    """``". They are the weights of resnet18: give --model resnet18"`` for a well-known architecture; empty for others."""
    name = next(fitting(path, _candidates(path)), None)
    return "" if name is None else f". They are the weights of {name}: give --model {name}"


def whole_module(path: Path, kind: str) -> str:
    """What to do with a pickle of a whole network of the class ``kind``."""
    return (
        f"{path} is a whole pickled network ({kind}), and was not opened, since a pickle can run code. If you trust it, "
        f"write the weights in Python: torch.save(torch.load({str(path)!r}, weights_only=False).state_dict(), 'weights.pt');"
        " then give --model NAME --weights weights.pt"
    )


def _candidates(path: Path) -> Iterator[tuple[str, nn.Module]]:
    """Well-known networks, without numbers, that may have the weights in ``path``."""
    import timm
    import torchvision

    names = names_in(path)
    for sign, family in FAMILIES.items():
        if any(re.search(rf"(^|\.){sign}", name) for name in names):
            for name in family:
                source, _, short = name.rpartition("/")
                with torch.device("meta"), suppress(Exception):  # an old timm or torchvision may not have it
                    if source:
                        yield name, torchvision.models.get_model(short, weights=None)
                    else:
                        yield name, timm.create_model(name)
