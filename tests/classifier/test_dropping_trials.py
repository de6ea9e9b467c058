"""Networks whose patches cannot be dropped exactly say why in one line."""

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import UnsuitedError

SMALL = {"img_size": 64, "num_classes": 5}


class AttentionAndMean(nn.Module):
    """Attention, and beside it a mean over all tokens, which no masked key changes."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(d, 3 * d)

    def forward(self, x: Tensor, **_: object) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, 2)
        return (q @ k.mT).softmax(2) @ v + v.mean(1, keepdim=True)


def leaking() -> nn.Module:
    module = timm.create_model("vit_tiny_patch16_224", depth=2, embed_dim=16, num_heads=2, **SMALL)
    module.blocks[0].attn = AttentionAndMean(16)
    return module


class Wide(nn.Module):
    """Makes tokens of which each sees most of the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mix = nn.Conv2d(3, 16, 16, 16), nn.Conv2d(16, 16, 5, padding=2)

    def forward(self, images: Tensor) -> Tensor:
        return self.mix(self.patches(images)).flatten(2).transpose(1, 2)


def seeing_all() -> nn.Module:
    module = timm.create_model("vit_tiny_patch16_224", depth=2, embed_dim=16, num_heads=2, **SMALL)
    module.patch_embed = Wide()
    return module


WHY: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "mixes": (leaking, "its tokens meet in other ways than in softmax attention"),
    "talking_heads": (lambda: timm.create_model("cait_xxs24_224", depth=2, **SMALL), "other ways than in softmax attention"),
    "channels": (lambda: timm.create_model("xcit_nano_12_p16_224", depth=2, **SMALL), "no attention of all tokens"),
    "all_over": (seeing_all, "a token of blocks.0 sees pixels all over the picture"),
    "convolutions": (lambda: timm.create_model("test_resnet", num_classes=5), "no attention of all tokens to all tokens"),
}


@pytest.mark.parametrize("name", WHY)
def test_why_patches_cannot_be_dropped(name: str) -> None:
    torch.manual_seed(0)
    make, why = WHY[name]
    module = make().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.2 + (1 if parameter.ndim == 1 else 0))
    # random tokens do not follow the picture well enough
    prefix = {"talking_heads": 0, "all_over": 1}.get(name)
    classifier = Classifier(module, input_size=(64, 64), outputs="logits", n_prefix_tokens=prefix)
    with pytest.raises(UnsuitedError, match=f"cannot be dropped, since .*{why}.*: use removal=pixels"):
        _ = classifier.token_dropping
    assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in m.__dict__ for m in module.modules())
