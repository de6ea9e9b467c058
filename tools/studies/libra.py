"""LibraGrad: how complete the gradients are with it and without, how good the maps are, and what they cost.

    python tools/studies/libra.py                                     # completeness of small random networks
    python tools/studies/libra.py --model vit_tiny_patch16_224 --weights FILE --model-option mean=0.5 \
        --model-option std=0.5 --data folder:photographs --limit 60   # quality and time on photographs

Completeness is measured in float64. The gap is |sum - logit| / |logit|, where the sum is over the inputs of the network and
over all parameters that it adds (biases, positions, tokens), each times its gradient. All parameters are drawn at random,
since libraries start biases at zero. Prints tables in Markdown.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.load import load, parse_options
from seewhy.data.named import dataset
from seewhy.evaluation.statistics import compare, mean_interval
from seewhy.metrics import LIF, MIF, SRG

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from support.completeness import gap, randomized

SMALL = {"depth": 2, "embed_dim": 32, "num_heads": 2, "num_classes": 5}
"""Sizes of timm's transformers."""
HF = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32}
"""Sizes of the transformers of Hugging Face."""
TIMM: dict[str, tuple[int, dict[str, Any]]] = {
    "vit_tiny_patch16_224": (32, {**SMALL, "img_size": 32}),
    "deit_tiny_distilled_patch16_224": (32, {**SMALL, "img_size": 32}),
    "vit_small_patch14_reg4_dinov2": (28, {**SMALL, "img_size": 28}),
    "vit_giant_patch14_reg4_dinov2": (28, {**SMALL, "img_size": 28}),
    "eva02_tiny_patch14_224": (28, {**SMALL, "img_size": 28}),
    "vit_small_patch16_dinov3": (32, {**SMALL, "img_size": 32}),
    "beit_base_patch16_224": (32, {**SMALL, "img_size": 32}),
    "vit_base_patch16_siglip_224": (32, {**SMALL, "img_size": 32}),
    "vit_base_patch16_clip_quickgelu_224": (32, {**SMALL, "img_size": 32}),
    "swin_tiny_patch4_window7_224": (
        56,
        {"img_size": 56, "depths": (1, 1), "embed_dim": 32, "num_heads": (2, 2), "num_classes": 5},
    ),
    "mixer_s32_224": (64, {"img_size": 64, "num_classes": 5}),
    "convnext_atto": (64, {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16), "num_classes": 5}),
    "convnextv2_atto": (64, {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16), "num_classes": 5}),
    "efficientnet_b0": (64, {}),
    "mobilenetv3_small_100": (64, {}),
    "mobilenetv2_100": (64, {}),
    "resnet18": (64, {}),
}
"""Pixels a side, and options of the architecture."""
WHAT = {
    "vit_tiny_patch16_224": "LayerNorm, attention, GELU",
    "deit_tiny_distilled_patch16_224": "two heads",
    "vit_small_patch14_reg4_dinov2": "registers, layer scale",
    "vit_giant_patch14_reg4_dinov2": "registers, SwiGLU",
    "eva02_tiny_patch14_224": "rotary positions, SwiGLU",
    "vit_small_patch16_dinov3": "rotary positions, registers",
    "beit_base_patch16_224": "relative positions",
    "vit_base_patch16_siglip_224": "attention pooling",
    "vit_base_patch16_clip_quickgelu_224": "x sigmoid(1.702 x)",
    "swin_tiny_patch4_window7_224": "windows",
    "mixer_s32_224": "no attention",
    "convnext_atto": "convolutions, LayerNorm, GELU",
    "convnextv2_atto": "the same, and a normalization by responses",
    "efficientnet_b0": "SiLU, squeeze-and-excitation",
    "mobilenetv3_small_100": "hard swish, hard sigmoid",
    "mobilenetv2_100": "ReLU6, whose upper bound has no rule",
    "resnet18": "ReLU alone: nothing to repair",
    "Hugging Face ViT": "queries, keys and values in layers of their own",
    "Hugging Face Dinov2": "layer scale",
    "Hugging Face Beit": "relative positions",
    "torchvision VisionTransformer": "`nn.MultiheadAttention`",
}


def networks() -> dict[str, tuple[int, Callable[[], nn.Module]]]:
    """Small networks with random weights: pixels a side, and what builds them."""
    import timm
    import torchvision
    import transformers

    found: dict[str, tuple[int, Callable[[], nn.Module]]] = {
        name: (size, lambda name=name, options=options: timm.create_model(name, **options))
        for name, (size, options) in TIMM.items()
    }
    configs = {
        "ViT": {**HF, "patch_size": 16},
        "Dinov2": {**HF, "patch_size": 16},
        "Beit": {**HF, "patch_size": 16, "use_relative_position_bias": True},
    }
    for name, options in configs.items():
        config = getattr(transformers, f"{name}Config")(num_labels=5, **options)
        kind = getattr(transformers, f"{name}ForImageClassification")
        found[f"Hugging Face {name}"] = (32, lambda kind=kind, config=config: kind(config))
    found["torchvision VisionTransformer"] = (
        32,
        lambda: torchvision.models.VisionTransformer(32, 16, 2, 2, 32, 64, num_classes=5),
    )
    return found


def completeness() -> str:
    lines = ["| network | what is in it | gap | gap with `libra` |", "|---|---|---|---|"]
    for name, (size, build) in networks().items():
        torch.manual_seed(0)
        module = randomized(build())
        image = torch.rand(1, 3, size, size, dtype=torch.float64)
        without, with_libra = (gap(module, image, libra) for libra in (False, True))
        lines.append(f"| `{name}` | {WHAT.get(name, '')} | {without:.2g} | {with_libra:.1e} |")
    return "\n".join(lines)


def quality(classifier: Classifier, data: Any, methods: list[str], steps: int, path: int) -> str:
    """Each method with libra and without: the metrics with their intervals, paired differences, and the time of a map."""
    metrics = {"lif": LIF(steps=steps), "mif": MIF(steps=steps), "srg": SRG(steps=steps)}
    options: dict[str, dict[str, Any]] = {"integrated_gradients": {"steps": path}}
    explainers = {
        f"{name}{' + libra' * libra}": seewhy.explainer(name, classifier, libra=libra, **options.get(name, {}))
        for name in methods
        for libra in (False, True)
    }
    found = seewhy.evaluate(classifier, explainers, metrics, data, batch_size=20, target="predicted")
    seconds = _seconds(explainers, data)
    lines = [f"| method | {' | '.join(metrics)} | s per map |", f"|---|{'---|' * len(metrics)}---|"]
    for name in explainers:
        cells = []
        for metric in metrics:
            mean = mean_interval(found.scores(name, metric).numpy())
            cells.append(f"{mean.value:.4f} [{mean.low:.4f}, {mean.high:.4f}]")
        lines.append(f"| `{name}` | {' | '.join(cells)} | {seconds[name]:.3f} |")
    for name in methods:
        cells = []
        for metric in metrics:
            other = f"{name} + libra"
            d = compare(found.scores(other, metric).numpy(), found.scores(name, metric).numpy())
            cells.append(f"{d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}], p = {d.p:.2g}")
        lines.append(f"| `{name}`: with - without | {' | '.join(cells)} | x {seconds[other] / seconds[name]:.2f} |")
    return "\n".join(lines)


def _seconds(explainers: dict[str, Any], data: Any, n: int = 4, repeats: int = 4) -> dict[str, float]:
    """Seconds of processor time for a map; the methods take turns, and the fastest batch of each counts."""
    batch = data.batch(range(n))
    targets = torch.zeros(len(batch.images), dtype=torch.long)
    taken: dict[str, list[float]] = {name: [] for name in explainers}
    for _ in range(repeats):
        for name, explainer in explainers.items():
            start = time.process_time()
            explainer.explain(explainer.classifier.to_device(batch.images), targets)
            taken[name].append(time.process_time() - start)
    return {name: min(times) / n for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="measure the quality of maps of this network; without, completeness")
    parser.add_argument("--weights")
    parser.add_argument("--model-option", action="append", default=[])
    parser.add_argument("--data")
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--path", type=int, default=10, help="points of integrated_gradients")
    parser.add_argument("--method", action="append")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if given.model is None:
        print(completeness())
        return
    classifier = load(given.model, weights=given.weights, options=parse_options(given.model_option))
    data = dataset(given.data, classifier, given.limit)
    print(quality(classifier, data, given.method or ["input_x_gradient", "integrated_gradients"], given.steps, given.path))


if __name__ == "__main__":
    main()
