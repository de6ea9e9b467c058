"""Tiny transformers of the three libraries, with random weights, on pictures of 64 pixels (56 where a patch has 14)."""

from collections.abc import Callable
from typing import Any

import timm
import torch
import torchvision
import transformers
from torch import nn

from seewhy.classifier.classifier import Classifier

DEPTH, WIDTH, HEADS, CLASSES = 3, 32, 2, 5


def _timm(name: str, **options: Any) -> Callable[[int], nn.Module]:
    wanted = {"depth": DEPTH, "embed_dim": WIDTH, "num_heads": HEADS, "num_classes": CLASSES, **options}
    return lambda size: timm.create_model(name, img_size=size, **wanted)


def _hugging_face(kind: str, **options: Any) -> Callable[[int], nn.Module]:
    wanted = {
        **{"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS, "intermediate_size": 48},
        **{"patch_size": 16, "num_labels": CLASSES},
        **options,
    }
    kinds = {"ViT": "ViTForImageClassification", "DeiT": "DeiTForImageClassificationWithTeacher"}
    return lambda size: getattr(transformers, kinds.get(kind, f"{kind}ForImageClassification"))(
        getattr(transformers, f"{kind}Config")(image_size=size, **wanted)
    )


def _of_two_towers(kind: str) -> Callable[[int], nn.Module]:
    vision = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS, "intermediate_size": 48}
    text = {**vision, "num_hidden_layers": 1, "bos_token_id": 0, "eos_token_id": 1}
    return lambda size: getattr(transformers, f"{kind}ForImageClassification")(
        getattr(transformers, f"{kind}Config")(
            vision_config={**vision, "image_size": size, "patch_size": 16}, text_config=text, num_labels=CLASSES
        )
    )


MAKE: dict[str, Callable[[int], nn.Module]] = {
    "timm_vit": _timm("vit_tiny_patch16_224"),
    "timm_vit_mean": _timm("vit_tiny_patch16_224", global_pool="avg", class_token=False),
    "timm_deit_distilled": _timm("deit_tiny_distilled_patch16_224"),
    "timm_dinov2_registers": _timm("vit_small_patch14_reg4_dinov2"),
    "timm_eva02": _timm("eva02_tiny_patch14_224"),
    "timm_dinov3": _timm("vit_small_patch16_dinov3", embed_dim=48),
    "timm_beit": _timm("beit_base_patch16_224"),
    "timm_clip": _timm("vit_base_patch16_clip_224"),
    "timm_siglip": _timm("vit_base_patch16_siglip_224"),
    "torchvision_vit": lambda size: torchvision.models.VisionTransformer(
        size, 16, DEPTH, HEADS, WIDTH, 48, num_classes=CLASSES
    ),
    "hf_vit": _hugging_face("ViT"),
    "hf_vit_eager": _hugging_face("ViT", attn_implementation="eager"),
    "hf_deit_distilled": _hugging_face("DeiT"),
    "hf_dinov2": _hugging_face("Dinov2"),
    "hf_dinov2_registers": _hugging_face("Dinov2WithRegisters"),
    "hf_beit": _hugging_face("Beit"),
    "hf_clip": _of_two_towers("CLIP"),
    "hf_siglip": _of_two_towers("Siglip"),
}
"""How a network for pictures of a size is made."""
PREFIX = {
    **dict.fromkeys(("timm_vit_mean", "timm_siglip", "hf_siglip"), 0),
    **dict.fromkeys(("timm_deit_distilled", "hf_deit_distilled"), 2),
    **dict.fromkeys(("timm_dinov2_registers", "timm_dinov3", "hf_dinov2_registers"), 5),
}
"""Tokens before the patches; 1 for all others."""


def size_of(name: str) -> int:
    return 56 if name in ("timm_dinov2_registers", "timm_eva02") else 64


def transformer_network(name: str) -> nn.Module:
    """The network, in eval mode, with weights that give every class something to say. The same for every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MAKE[name](size_of(name)).eval()
        with torch.no_grad():
            for p in network.parameters():
                p.add_(torch.randn_like(p) * 0.05)
    return network


def transformer_classifier(name: str, double: bool = False) -> Classifier:
    network = transformer_network(name)
    size = size_of(name)
    return Classifier(network.double() if double else network, input_size=(size, size))


def pictures(name: str, n: int = 2, double: bool = False) -> torch.Tensor:
    """Smooth random pictures of the network's size, so that patches differ."""
    size = size_of(name)
    coarse = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    smooth = nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return smooth if double else smooth.float()
