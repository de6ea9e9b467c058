"""Opti-CAM beside what its released code does: a forward and a backward pass of the whole network in each step.

A quarter of the hundred steps is raced: every step costs the same, and what is done once, reading the features and
rearranging the weights, weighs four times more then. The fast preset takes other steps: its 15 are raced with all the
hundred of the loop.
"""

from collections.abc import Callable

import numpy as np
import torch
from race import IDENTITY, Race, Run, images, network, predicted
from torch import Tensor, nn
from torch.nn.functional import interpolate

import seewhy
from seewhy.classifier.precision import Precision
from seewhy.explainers import FastOptiCAM, OptiCAM

STEPS = 25


def ours(layer: str, precision: Precision) -> Callable[[nn.Module, Tensor], Run]:
    def set_up(module: nn.Module, x: Tensor) -> Run:
        classifier = seewhy.Classifier(module, **IDENTITY)
        explainer, targets = OptiCAM(classifier, layer, steps=STEPS, precision=precision), predicted(module, x)
        return lambda: explainer.explain(x, targets).numpy()

    return set_up


def fast(layer: str, precision: Precision) -> Callable[[nn.Module, Tensor], Run]:
    def set_up(module: nn.Module, x: Tensor) -> Run:
        classifier = seewhy.Classifier(module, **IDENTITY)
        explainer, targets = FastOptiCAM(classifier, layer, precision=precision), predicted(module, x)
        return lambda: explainer.explain(x, targets).numpy()

    return set_up


def plain_loop(layer: str, steps: int = STEPS) -> Callable[[nn.Module, Tensor], Run]:
    """Adam on u, ``backward`` through the network, whose parameters get their gradients too; the layer is hooked."""

    def set_up(module: nn.Module, x: Tensor) -> Run:
        targets = predicted(module, x)

        def run() -> np.ndarray:
            kept: list[Tensor] = []
            handle = module.get_submodule(layer).register_forward_hook(lambda _m, _a, out: kept.append(out.detach().clone()))
            with torch.no_grad():
                module(x)
            handle.remove()
            features = kept[-1]
            if features.ndim == 3:  # a class token, and patches
                side = int((features.shape[1] - 1) ** 0.5)
                features = features[:, 1:].transpose(1, 2).unflatten(2, (side, side))
            u = torch.zeros(*features.shape[:2], 1, 1, requires_grad=True)
            adam = torch.optim.Adam([u], lr=0.1)

            def mask() -> Tensor:
                s = interpolate((u.softmax(1) * features).sum(1, keepdim=True), x.shape[-2:], mode="bilinear")
                low, high = s.amin((2, 3), keepdim=True), s.amax((2, 3), keepdim=True)
                return (s - low) / (high - low)

            for _ in range(steps):
                adam.zero_grad()
                (-module(x * mask()).gather(1, targets[:, None]).sum()).backward()
                adam.step()
            module.zero_grad()
            with torch.no_grad():
                return mask()[:, 0].numpy()

        return run

    return set_up


def network_of(name: str) -> Callable[[], nn.Module]:
    """The last norm gets weights that differ by channel: over those of a fresh one the mean is 0, up to rounding."""

    def build() -> nn.Module:
        module = network(name, 1000)()
        for key, norm in module.named_modules():
            if key == "blocks.11.norm1":
                nn.init.normal_(norm.weight, 1, 0.3)
                nn.init.normal_(norm.bias, 0, 0.3)
        return module

    return build


def case(title: str, name: str, layer: str, n: int, repeats: int) -> Race:
    contenders = {
        "seewhy opti_cam": ours(layer, "fp32"),
        "seewhy opti_cam, bf16": ours(layer, "bf16"),
        "plain loop": plain_loop(layer),
    }
    return Race(
        f"Opti-CAM, {STEPS} steps, {title}, {n} images of 224 x 224",
        network_of(name),
        images(n),
        contenders,
        floor=n,
        repeats=repeats,
    )


def fast_case(title: str, name: str, layer: str, n: int) -> Race:
    contenders = {
        "seewhy opti_cam_fast": fast(layer, "fp32"),
        "seewhy opti_cam_fast, bf16": fast(layer, "bf16"),
        "plain loop": plain_loop(layer, 100),
    }
    return Race(
        f"The fast preset's 15 steps beside 100, {title}, {n} images of 224 x 224",
        network_of(name),
        images(n),
        contenders,
        floor=n,
        repeats=3,
    )


RACES: dict[str, Race] = {
    "opti_cam_resnet50": case("ResNet-50", "resnet50", "layer4", 8, 5),
    "opti_cam_vgg16": case("VGG-16", "torchvision/vgg16", "features.29", 4, 3),
    "opti_cam_vgg16_bn": case("VGG-16 with batch normalization", "torchvision/vgg16_bn", "features.42", 4, 3),
    "opti_cam_vit_small": case("ViT-Small", "vit_small_patch16_224", "blocks.11.norm1", 8, 5),
    "opti_cam_fast_mobilenet": fast_case("MobileNetV2", "mobilenetv2_100", "bn2", 4),
    "opti_cam_fast_squeezenet": fast_case("SqueezeNet", "torchvision/squeezenet1_0", "features", 4),
    "opti_cam_fast_vit_tiny": fast_case("ViT-Tiny", "vit_tiny_patch16_224", "blocks.11.norm1", 4),
}
