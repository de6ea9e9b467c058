"""Transformers of timm, torchvision and transformers x every registered method: a map, or one line that says why not.

    python tools/studies/transformer_table.py --out docs/explanation/transformers.csv          # adds what is not there yet
    python tools/studies/transformer_table.py --out some.csv --only swin --method tiba         # some networks, some methods
    python tools/studies/transformer_table.py --out docs/explanation/transformers.csv --table  # in Markdown

One row per network, with random weights, small where the architecture allows it. ``map`` in the column of a method says that
the maps of two pictures are finite, not constant, and differ where the method looks at the picture, and that the maps of two
classes differ where the method says so. ``zeros``: a CAM whose equation cuts negative sums found nothing else for six
classes. Any other words are the one line with which the method refused the network, or a fault, which begins with FAULT. A
network has ``--seconds``.
"""

import argparse
import csv
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import networks
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

TIMM = """
vit_tiny_patch16_224 | vit_tiny_patch16_224:mean | deit_tiny_distilled_patch16_224 | deit3_small_patch16_224
vit_small_patch14_reg4_dinov2 | eva02_tiny_patch14_224 | vit_tiny_patch16_dinov3_qkvb | beit_base_patch16_224
beitv2_base_patch16_224 | vit_base_patch16_clip_224 | vit_base_patch16_siglip_224 | naflexvit_base_patch16_gap
vit_relpos_small_patch16_rpn_224 | aimv2_1b_patch14_224 | vit_tiny_r_s16_p8_224 | convit_tiny | cait_xxs24_224
xcit_nano_12_p16_224 | swin_tiny_patch4_window7_224 | swinv2_tiny_window8_256:small | pvt_v2_b0 | mvitv2_tiny | test_coatnet
levit_128s | efficientformer_l1 | mobilevit_xxs | mixer | tnt_s_patch16_224
"""
"""Names of timm: of ``networks.py``, or of ``MORE``."""
TORCHVISION = "vit swin_t maxvit"
HUGGING_FACE = """
ViT DeiT DeiTDistilled Dinov2 Dinov2WithRegisters Beit Data2VecVision CLIP MetaClip2 Siglip ViTMSN IJepa Swin Swinv2 Levit
Hiera MobileViT PvtV2 Cvt ConvNext
"""
SMALL = {"depth": 3, "embed_dim": 48, "num_heads": 3}
SMALLER = {
    **dict.fromkeys(("vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224"), 64),
    **dict.fromkeys(("vit_tiny_patch16_dinov3_qkvb", "vit_relpos_small_patch16_rpn_224"), 64),
    **dict.fromkeys(("vit_base_patch16_clip_224", "vit_base_patch16_siglip_224"), 64),
    **dict.fromkeys(("vit_small_patch14_reg4_dinov2", "eva02_tiny_patch14_224"), 56),
}
"""Pixels a side of architectures of timm that are built with ``SMALL``."""


def small_vit_of_torchvision() -> nn.Module:
    import torchvision

    return torchvision.models.VisionTransformer(64, 16, 3, 2, 32, 48, num_classes=10)


def small_swin() -> nn.Module:
    import torchvision

    return torchvision.models.SwinTransformer([4, 4], 24, [2, 2], [1, 2], [4, 4], num_classes=10)


def small_maxvit() -> nn.Module:
    import torchvision

    return torchvision.models.MaxVit((64, 64), 8, 4, [8, 16], [1, 1], 8, 0.0, num_classes=10)


def small_mixer() -> nn.Module:
    from timm.models.mlp_mixer import MlpMixer

    return MlpMixer(10, img_size=64, patch_size=16, num_blocks=2, embed_dim=48)


def distilled_deit() -> nn.Module:
    import transformers

    config = transformers.DeiTConfig(**networks.VIT)
    config.num_labels = 10
    return transformers.DeiTForImageClassificationWithTeacher(config)


MORE: dict[tuple[str, str], tuple[int, Callable[[], nn.Module]]] = {
    **{("timm", n): (s, lambda n=n, s=s: networks.from_timm(n, s, SMALL)) for n, s in SMALLER.items()},
    ("timm", "vit_tiny_patch16_224:mean"): (
        64,
        lambda: networks.from_timm("vit_tiny_patch16_224", 64, {**SMALL, "global_pool": "avg", "class_token": False}),
    ),
    ("timm", "mixer"): (64, small_mixer),
    ("timm", "efficientformer_l1"): (
        224,
        lambda: networks.from_timm("efficientformer_l1", 224, {"depths": (1, 1, 1, 3), "embed_dims": (8, 16, 24, 48)}),
    ),
    ("timm", "swinv2_tiny_window8_256:small"): (
        64,
        lambda: networks.from_timm(
            "swinv2_tiny_window8_256", 64, {"window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (1, 2)}
        ),
    ),
    ("torchvision", "maxvit"): (64, small_maxvit),
    ("torchvision", "swin_t"): (64, small_swin),
    ("torchvision", "vit"): (64, small_vit_of_torchvision),
    ("transformers", "DeiTDistilled"): (64, distilled_deit),
}
"""Pixels a side, and how the network is made, of transformers that the table of ``networks.py`` has not."""
FEWER = {"steps": 5, "samples": 8, "iterations": 1, "path_steps": 2, "cells": 4, "channels": 4}
"""Options with which a method needs few passes, where it has them."""
OF_SIZE = ("size", "window", "stride")
"""Options that are a third of the picture's side."""
SEPARATE: dict[str, dict[str, object]] = {
    "igos_pp": {"longest": 10.0, "sparsity": 0.0},
    "kernel_shap": {"samples": 32},
    "meaningful_perturbation": {"sparsity": 0.0, "variation": 0.0},
    "transformer_input_sampling": {"masks": 16},
}
"""Options of single methods: few passes, and no other term beside the score, which is small with random weights."""
STILL = ("center", "fake_cam")
"""Methods that do not look at the picture."""
WAYS: dict[str, tuple[str, dict[str, object]]] = {"libra": ("input_x_gradient", {"libra": True})}
"""More columns: a method with options that concern transformers."""
FIRST = ("library", "name", "size", "parameters", "blocks", "prefix", "error")


def builders() -> dict[tuple[str, str], tuple[int, Callable[[], nn.Module]]]:
    """Library and name, with pixels a side and the function that builds the network."""
    known = networks.builders() | MORE
    timm = ("timm", TIMM.replace("|", " ")), ("torchvision", TORCHVISION), ("transformers", HUGGING_FACE)
    names = [(library, name) for library, listed in timm for name in listed.split()]
    return {name: known[name] for name in names}


def columns(side: int = 0) -> dict[str, tuple[str, dict[str, object]]]:
    """The name of a column, with its method and options: every registered method in few passes, then ``WAYS``."""
    from seewhy.explainers import EXPLAINERS
    from seewhy.options import described

    found: dict[str, tuple[str, dict[str, object]]] = {}
    for column, (name, given) in ({name: (name, {}) for name in EXPLAINERS} | WAYS).items():
        options = {option.name for option in described(EXPLAINERS[name])}
        few = {**FEWER, **dict.fromkeys(OF_SIZE, side // 3)}
        found[column] = name, {k: v for k, v in few.items() if k in options} | SEPARATE.get(name, {}) | given
    return found


def row(library: str, name: str, methods: list[str]) -> dict[str, object]:
    """What every method answers for one network."""
    from seewhy.classifier.classifier import Classifier
    from seewhy.errors import SeewhyError

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    size, build = builders()[library, name]
    module = lively(build(), size)
    classifier = Classifier(module, input_size=(size, size))
    found: dict[str, object] = {"size": size, "parameters": sum(p.numel() for p in module.parameters())}
    with suppress(SeewhyError):  # each method says it by itself
        found |= {"blocks": classifier.transformer.n_blocks, "prefix": classifier.transformer.prefix}
    images = pictures(2, size)
    for column, (method, options) in columns(size).items():
        if not methods or column in methods:
            begun = time.process_time()
            found[column] = answer(classifier, method, options, images)
            if (spent := time.process_time() - begun) > 10:
                print(library, name, column, f"{spent:.0f} s", flush=True)
    return found


def pictures(n: int, size: int) -> Tensor:
    """Smooth pictures in [0, 1], always the same."""
    coarse = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    return interpolate(coarse, size=(size, size), mode="bilinear")


def lively(module: nn.Module, size: int) -> nn.Module:
    """As ``networks.lively``. A small network has larger matrices: with fresh ones, all its tokens are nearly the same.

    Batch normalization has the statistics of pictures: with fresh ones the signal of LeViT falls to the size of rounding.
    """
    module = networks.lively(module)
    small = sum(p.numel() for p in module.parameters()) < 2e6
    with torch.no_grad():
        for p in module.parameters():
            if p.ndim == 2 and small:
                p.add_(torch.randn_like(p), alpha=0.05)
        normalized = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
        if normalized:
            for m in normalized:
                m.reset_running_stats()
                m.momentum = None  # the mean over all passes, which are one
            module.train()(4 * pictures(8, size) - 2)
    return module.eval()


def answer(classifier: Any, method: str, options: dict[str, object], images: Tensor) -> str:
    """ "map", or the line with which the method refuses, or a fault."""
    from seewhy.errors import SeewhyError
    from seewhy.explainers import explainer

    try:
        made = explainer(method, classifier, **options)
        for pair in ((1, 3), (5, 7), (0, 2)):  # zeros may say that nothing speaks for a class, but not for every class
            maps = made.explain(images[[0, 1, 0]], torch.tensor([pair[0], *pair]))
            spread = (maps.amax((1, 2)) - maps.amin((1, 2))) / maps.abs().amax((1, 2)).clamp_min(1e-30)
            if bool((spread > 1e-6).all()):
                break
    except SeewhyError as error:
        return str(error) if "\n" not in str(error) else f"FAULT: more than one line: {error!r}"
    except Exception as error:  # what the table is about: a traceback is no answer
        return f"FAULT: {type(error).__name__}: {str(error).splitlines()[:1]}"
    if maps.shape != (3, *images.shape[-2:]) or not maps.isfinite().all():
        return "FAULT: wrong shape, or not finite"
    flat, zeros = spread <= 1e-6, (maps == 0).flatten(1).all(1)
    if bool(flat.any()):
        return "zeros" if made.family == "cam" and torch.equal(flat, zeros) else "FAULT: a constant map"
    few_steps = made.family == "optimized"  # five steps from a common start leave two maps nearly the same
    if method not in STILL and alike(maps[0], maps[1], 0 if few_steps else 1e-6):
        return "FAULT: the same map for two pictures"
    if made.class_specific == alike(maps[0], maps[2], 0 if few_steps else 1e-6):
        return "FAULT: class_specific says otherwise"
    return "map"


def alike(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return bool((a - b).abs().max() <= tolerance * a.abs().max())


def table(rows: list[dict[str, str]]) -> str:
    """A line for each network: how many methods of attention, and others, answer with a map; and the other answers."""
    from seewhy.explainers import EXPLAINERS

    told = [c for c in rows[0] if c not in FIRST]
    attention = [c for c in told if c in EXPLAINERS and EXPLAINERS[c].family == "attention"]
    others = [c for c in told if c not in attention]
    lines = ["| library | network | blocks | attention: maps | others: maps | the rest |", "|---|---|---|---|---|---|"]
    for r in rows:
        reasons: dict[str, list[str]] = {}
        for c in told:
            if r[c] != "map":
                why = r[c] if r[c].startswith("FAULT") else r[c].partition(": ")[0] or "not tried"
                reasons.setdefault(why, []).append(c)
        if r["error"]:
            reasons[r["error"]] = ["error"]
        rest = [f"{'attention' if names == attention else ', '.join(names)}: {why}" for why, names in reasons.items()]
        counts = [f"{sum(r[c] == 'map' for c in some)} of {len(some)}" for some in (attention, others)]
        lines.append(f"| {r['library']} | `{r['name']}` | {r['blocks']} | {' | '.join(counts)} | {'<br>'.join(rest)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="csv file, to which answers are added")
    parser.add_argument("--only", action="append", help="a word in the names of networks; may be repeated")
    parser.add_argument("--method", action="append", default=[], help="a method; may be repeated. All by default")
    parser.add_argument("--seconds", type=float, default=600, help="time that a network has")
    parser.add_argument("--table", action="store_true", help="print the table, run nothing")
    given = parser.parse_args()
    rows = list(csv.DictReader(given.out.open())) if given.out.exists() else []
    if given.table:
        print(table(rows))
        return
    import timm  # noqa: F401  imported once, before the processes are made
    import torchvision  # noqa: F401
    import transformers  # noqa: F401

    found = {(r["library"], r["name"]): r for r in rows}
    wanted = [c for c in columns() if not given.method or c in given.method]
    for library, name in builders():
        known = {k: v for k, v in found.get((library, name), {}).items() if v and k != "error"}
        methods = [c for c in wanted if c not in known]
        if not methods or (given.only and not any(word in name for word in given.only)):
            continue
        begun = time.time()
        new = networks.with_limit(row, library, name, methods, seconds=given.seconds)
        found[library, name] = known | {k: str(v) for k, v in new.items()}
        write(given.out, [found[key] for key in builders() if key in found])
        maps = sum(new.get(c) == "map" for c in methods)
        others = {str(new[c]): c for c in [*methods, "error"] if new.get(c, "map") != "map"}
        print(f"{time.time() - begun:.0f} s", library, name, f"{maps}/{len(methods)} maps", others or "", flush=True)


def write(path: Path, rows: list[dict[str, str]]) -> None:
    methods = dict.fromkeys(c for c in [*columns(), *(k for r in rows for k in r)] if c not in FIRST)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*FIRST, *methods])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
