"""Dropped tokens are keys of minus infinity, exactly: outputs and gradients, on the real classes of three libraries."""

import warnings
from collections.abc import Callable
from itertools import combinations

import pytest
import timm
import torch
import torchvision
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.shapes_models import ShapesViT
from seewhy.classifier.token_dropping import ANOTHER_GROUP, cheapest_groups, planned
from seewhy.errors import SeewhyError, SeewhyWarning, UnsuitedError

CLASSES = 5
HF = {
    **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    **{"image_size": 64, "patch_size": 16, "num_labels": CLASSES},
}


def of_timm(name: str, **options: object) -> Callable[[], nn.Module]:
    size = {"img_size": 64, "depth": 2, "embed_dim": 16, "num_heads": 2, "num_classes": CLASSES}
    return lambda: timm.create_model(name, **{**size, **options})


def of_hf(kind: str, **options: object) -> Callable[[], nn.Module]:
    config = kind.removesuffix("WithTeacher").removesuffix("ForImageClassification").removesuffix("Model") + "Config"
    return lambda: getattr(transformers, kind)(getattr(transformers, config)(**{**HF, **options}))


class Pooled(nn.Module):
    """A tower of an image and text model, whose embedding stands for logits."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, images: Tensor) -> Tensor:
        return self.tower(pixel_values=images).pooler_output


def of_torchvision() -> nn.Module:
    return torchvision.models.VisionTransformer(64, 16, 2, 2, 16, 32, num_classes=CLASSES)


NETWORKS = {
    "class_token": (of_timm("vit_tiny_patch16_224"), "packed"),
    "distilled": (of_timm("deit_tiny_distilled_patch16_224"), "packed"),
    "registers": (of_timm("vit_small_patch14_reg4_dinov2", img_size=56), "packed"),
    "mean": (of_timm("vit_tiny_patch16_224", global_pool="avg", class_token=False), "packed"),
    "mean_and_class_token": (of_timm("vit_tiny_patch16_224", global_pool="avg"), "packed"),
    "clip": (of_timm("vit_base_patch32_clip_224", img_size=128), "packed"),
    "siglip": (of_timm("vit_base_patch16_siglip_224"), "packed"),
    "eva": (of_timm("eva02_tiny_patch14_224", img_size=56), "grouped"),
    "dinov3": (of_timm("vit_small_patch16_dinov3"), "grouped"),
    "rope_of_each_block": (of_timm("vit_small_patch16_rope_mixed_224"), "grouped"),
    "beit": (of_timm("beit_base_patch16_224"), "keys"),
    "torchvision": (of_torchvision, "grouped"),
    "hf_vit": (of_hf("ViTForImageClassification"), "packed"),
    "hf_vit_eager": (of_hf("ViTForImageClassification", attn_implementation="eager"), "packed"),
    "hf_deit": (of_hf("DeiTForImageClassificationWithTeacher"), "packed"),
    "hf_dinov2_registers": (of_hf("Dinov2WithRegistersForImageClassification"), "packed"),
    "hf_dinov3": (lambda: Pooled(of_hf("DINOv3ViTModel", num_register_tokens=2)()), "grouped"),
    "hf_beit": (of_hf("BeitForImageClassification", use_relative_position_bias=True), "keys"),
    "hf_clip": (lambda: Pooled(of_hf("CLIPVisionModel")()), "packed"),
    "hf_siglip": (lambda: Pooled(of_hf("SiglipVisionModel")()), "packed"),
    "hybrid": (of_timm("vit_tiny_r_s16_p8_224"), "packed"),
    "shapes_vit": (ShapesViT, "packed"),
}


def network(name: str, dtype: torch.dtype = torch.float64) -> Classifier:
    """The network with weights in all of its blocks: layer scales of 1e-6 would hide what happens in them."""
    torch.manual_seed(0)
    module = NETWORKS[name][0]().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3 + (1 if parameter.ndim == 1 else 0))
    size = {"registers": 56, "eva": 56, "clip": 128, "shapes_vit": 96}.get(name, 64)
    return Classifier(module.to(dtype), input_size=(size, size), outputs="logits")


def with_removed_keys(classifier: Classifier, image: Tensor, kept: Tensor, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The logits of one image (1, c, h, w) where the keys of removed patches have minus infinity before every softmax.

    Attention is written out. After the last block the removed tokens go, so that no mean has them.
    """
    t = len(kept) + classifier.token_dropping.reading.prefix
    stay = torch.cat([torch.ones(t - len(kept), dtype=torch.bool), kept])
    minus = torch.zeros(t, dtype=image.dtype).masked_fill(~stay, -torch.inf)

    def softmax(scores: Tensor, dim: int = -1, dtype: torch.dtype | None = None, **_: object) -> Tensor:
        if scores.shape[-2:] == (t, t):
            scores = scores + minus
        e = (scores - scores.amax(-1, keepdim=True)).exp()
        return e / e.sum(-1, keepdim=True)

    def attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, *_: object, **named: object) -> Tensor:
        scores = q @ k.mT * (named.get("scale") or q.shape[-1] ** -0.5)
        return softmax(scores if attn_mask is None else scores + attn_mask) @ v

    def leave(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        return output[:, stay]

    with monkeypatch.context() as patched:
        patched.setattr(F, "softmax", softmax)
        patched.setattr(torch.Tensor, "softmax", softmax)
        patched.setattr(F, "scaled_dot_product_attention", attention)
        patched.setattr("torch.nn.functional.scaled_dot_product_attention", attention)
        last = classifier.module.get_submodule(classifier.token_dropping.blocks[-1])
        hook = last.register_forward_hook(leave)
        logits = classifier.logits(image)
        hook.remove()
    return logits


def some_sets(patches: int) -> Tensor:
    """Sets of all sizes, some of them complements of others."""
    generator = torch.Generator().manual_seed(1)
    ranks = torch.rand(3, patches, generator=generator).argsort(1).argsort(1)
    sizes = torch.tensor([[1], [6], [patches // 2]])
    return torch.cat([ranks < sizes, ranks >= sizes, torch.ones(1, patches, dtype=torch.bool)])


@pytest.mark.parametrize("name", NETWORKS)
def test_dropped_tokens_are_removed_keys(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = network(name)
    assert classifier.token_dropping.way == NETWORKS[name][1]
    gh, gw = classifier.token_dropping.reading.grid
    kept = some_sets(gh * gw)
    rows = torch.tensor([0, 1, 0, 0, 1, 1, 0])
    images = torch.rand(2, 3, *classifier.input_size, dtype=torch.float64).requires_grad_()
    dropped = classifier.kept_logits(images, kept, rows)
    pairs = zip(images[rows].split(1), kept, strict=True)
    expected = torch.cat([with_removed_keys(classifier, image, stay, monkeypatch) for image, stay in pairs])
    # an eager softmax of transformers, and rotations that are learned, are single precision in any network
    exact = 1e-6 if name in ("hf_vit_eager", "rope_of_each_block") else 1e-12
    assert (dropped - expected).abs().max() <= exact * expected.abs().max()
    weights = torch.randn_like(expected)
    wanted = [images, *(p for p in classifier.module.parameters() if p.requires_grad)]
    ours = torch.autograd.grad((dropped * weights).sum(), wanted, allow_unused=True)
    theirs = torch.autograd.grad((expected * weights).sum(), wanted, allow_unused=True)
    for found, gradient in zip(ours, theirs, strict=True):
        assert (found is None) == (gradient is None)
        if found is not None:
            assert (found - gradient).abs().max() <= exact * max(1, float(gradient.abs().max()))


class Blurred(nn.Module):
    """Makes tokens of 8 x 8 pixels, which a convolution then mixes with those ``cells`` around them."""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.patches, self.mix = nn.Conv2d(3, 16, 8, 8), nn.Conv2d(16, 16, 2 * cells + 1, padding=cells)

    def forward(self, images: Tensor) -> Tensor:
        return self.mix(self.patches(images)).flatten(2).transpose(1, 2)


def overlapping(cells: int) -> Classifier:
    torch.manual_seed(0)
    module = timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=8, depth=2, embed_dim=16, num_heads=2)
    module.patch_embed = Blurred(cells)
    return Classifier(module.eval(), input_size=(64, 64), outputs="logits")


def test_a_stem_that_overlaps_the_patches_says_how_far_it_reaches_once() -> None:
    """A kernel of 3 x 3 cells of 8 pixels has a ninth of its weight at its center, and so nearly all within 8 pixels."""
    classifier = overlapping(1)
    with pytest.warns(SeewhyWarning, match="stem of VisionTransformer overlaps its patches.*within about [78] pixels"):
        _ = classifier.token_dropping
    with warnings.catch_warnings(action="error"):
        classifier.kept_logits(torch.rand(1, 3, 64, 64), torch.ones(1, 64, dtype=torch.bool))
        assert 7 <= classifier.token_dropping.reach <= 8
    assert network("class_token", torch.float32).token_dropping.reach == 0


def test_a_removed_patch_is_seen_by_its_neighbors_alone() -> None:
    """What the warning says: pixels of removed patches that are 8 pixels away and more change nothing."""
    classifier, kept = overlapping(1), torch.zeros(8, 8, dtype=torch.bool)
    kept[2:5, 2:5] = True
    image = torch.rand(1, 3, 64, 64)
    far, near = 1 - image, image.clone()
    far[:, :, 8:48, 8:48] = image[:, :, 8:48, 8:48]
    near[:, :, 8:16] = 1 - near[:, :, 8:16]
    plain, of_far, of_near = (classifier.kept_logits(x, kept.view(1, -1)) for x in (image, far, near))
    assert torch.allclose(of_far, plain, atol=1e-6)
    assert not torch.allclose(of_near, plain, atol=1e-4)


def test_all_kept_is_the_network_itself_and_a_row_depends_on_itself_alone() -> None:
    classifier = network("class_token", torch.float32)
    images = torch.rand(3, 3, 64, 64)
    whole = classifier.kept_logits(images, torch.ones(3, 16, dtype=torch.bool))
    assert torch.allclose(whole, classifier.logits(images), atol=1e-5)
    kept = torch.rand(11, 16) < torch.rand(11, 1)
    rows = torch.arange(11) % 3
    together = classifier.kept_logits(images, kept, rows)
    alone = [classifier.kept_logits(images[row : row + 1], one[None]) for row, one in zip(rows, kept, strict=True)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_the_network_comes_back_also_after_an_exception() -> None:
    classifier = network("class_token", torch.float32)
    module = classifier.module.train()
    before = {name: dict(m.__dict__) for name, m in module.named_modules()}
    kept = torch.rand(4, 16) < 0.5
    classifier.kept_logits(torch.rand(4, 3, 64, 64), kept)
    with pytest.raises(SeewhyError, match="sets of 9 patches do not belong to images of 16 patches"):
        classifier.kept_logits(torch.rand(4, 3, 64, 64), kept[:, :9])
    broken = module.blocks[1].mlp.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        classifier.kept_logits(torch.rand(4, 3, 64, 64), kept)
    broken.remove()
    for name, m in module.named_modules():
        assert m.training
        assert m.__dict__.keys() == before[name].keys()
        assert not m._forward_hooks
        assert not m._forward_pre_hooks


def test_training_leaves_dropout_on() -> None:
    torch.manual_seed(0)
    module = of_timm("vit_tiny_patch16_224", proj_drop_rate=0.5)().train()
    classifier = Classifier(module, input_size=(64, 64), outputs="logits")
    images, kept = torch.rand(1, 3, 64, 64), torch.rand(1, 16) < 0.5
    still = [classifier.kept_logits(images, kept) for _ in range(2)]
    moving = [classifier.kept_logits(images, kept, training=True) for _ in range(2)]
    assert torch.equal(*still)
    assert not torch.allclose(*moving)


def test_a_mean_of_no_patches_is_refused_and_a_class_token_alone_is_not() -> None:
    none = torch.zeros(1, 16, dtype=torch.bool)
    with pytest.raises(UnsuitedError, match=r"reads its patches, and none is left .* srg, or removal=mask_tokens"):
        network("mean", torch.float32).kept_logits(torch.rand(1, 3, 64, 64), none)
    assert network("class_token", torch.float32).kept_logits(torch.rand(1, 3, 64, 64), none).isfinite().all()


def test_images_of_another_size_have_other_patches() -> None:
    torch.manual_seed(0)
    module = of_timm("vit_tiny_patch16_224", dynamic_img_size=True)().eval()
    classifier = Classifier(module, input_size=(64, 64), outputs="logits")
    images = torch.rand(1, 3, 48, 96)
    assert classifier.patch_grid(images) == (3, 6)
    whole = classifier.kept_logits(images, torch.ones(1, 18, dtype=torch.bool))
    assert torch.allclose(whole, classifier.logits(images), atol=1e-5)


@pytest.mark.parametrize("way", [(False, False), (True, False), (True, True)])
def test_every_set_runs_once(way: tuple[bool, bool]) -> None:
    for r in (0, 1, 2, 5, 32):
        sizes = torch.randint(0, 20, (r,), generator=torch.Generator().manual_seed(r))
        groups = [torch.cat([s for s in pair if s is not None]) for pair in planned(sizes, 1, *way)]
        assert sorted(torch.cat(groups).tolist() if groups else []) == list(range(r))


def test_complements_share_rows_and_equal_sizes_share_a_group() -> None:
    sizes = torch.tensor([3, 16, 9, 13, 0, 7])
    ((first, second),) = planned(sizes, 1, True, True)
    assert second is not None
    assert (sizes[first] + sizes[second]).tolist() == [16] * 3
    assert [len(group) for group, _ in planned(torch.full((32,), 100), 1, True, True)] == [32]


def test_the_cheapest_groups_are_the_cheapest_of_all() -> None:
    lengths, counts = [10, 60, 70, 200], [4, 1, 3, 2]

    def cost(ends: tuple[int, ...]) -> float:
        begins = (0, *ends[:-1])
        return sum(sum(counts[b:e]) * lengths[e - 1] + ANOTHER_GROUP for b, e in zip(begins, ends, strict=True))

    ways = [(*inner, 4) for size in range(4) for inner in combinations((1, 2, 3), size)]
    groups, tokens = cheapest_groups(lengths, counts)
    assert tokens == min(map(cost, ways))
    assert sum(groups) == 10
