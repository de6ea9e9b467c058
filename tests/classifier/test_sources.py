"""Networks of timm, torchvision, Hugging Face and the user, with the preprocessing and the class names of their makers."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from support.command import as_users_run_it
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.data.pictures import View, as_seen, to_tensor
from seewhy.errors import SeewhyError
from seewhy.explanation.prepare import prepare


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Soft colors with fine grain, as a photograph has them."""
    rng = np.random.default_rng(seed)
    soft = Image.fromarray(rng.integers(0, 255, (6, 5, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    grain = rng.normal(0, 12, (height, width, 3))
    return Image.fromarray((np.asarray(soft) + grain).clip(0, 255).astype(np.uint8))


def contiguous(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in module.state_dict().items()}


def test_without_a_file_the_source_brings_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of timm and torchvision; nothing is downloaded here."""
    asked: list[dict[str, object]] = []

    def create(name: str, **options: object) -> nn.Module:
        asked.append({"name": name, **options})
        return create_model(name, **{**options, "pretrained": False})

    create_model = timm.create_model
    monkeypatch.setattr(timm, "create_model", create)
    classifier = seewhy.load("test_resnet.r160_in1k", options={"drop_rate": 0.1})
    assert asked == [{"name": "test_resnet.r160_in1k", "pretrained": True, "drop_rate": 0.1}]
    assert classifier.mean == (0.5, 0.5, 0.5)
    assert classifier.view == View((160, 160), 0.95, "center", "bilinear")
    assert len(classifier.classes) == 1000
    assert classifier.classes[1].startswith("goldfish")


PICTURES = [(500, 375), (375, 500), (333, 333), (90, 60), (61, 97), (640, 427), (300, 1100)]
"""Landscape and portrait, smaller and larger than the networks, odd, and narrow."""


def denormalized(prepared: Tensor, classifier: Classifier) -> Tensor:
    mean, std = (torch.tensor(v)[:, None, None] for v in (classifier.mean, classifier.std))
    return prepared * std + mean


def recipes_of_timm() -> dict[str, str]:
    """One architecture for each way in which timm prepares pictures; the sizes above 400 are left to the smaller ones."""
    recipes: dict[str, str] = {}
    for name in timm.list_models():
        config = timm.get_pretrained_cfg(name)
        if config is not None and max(config.input_size) <= 400 and config.crop_mode != "border":
            recipes.setdefault(f"{config.input_size} {config.crop_pct} {config.crop_mode} {config.interpolation}", name)
    return recipes


def test_pictures_are_prepared_as_in_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every recipe that timm has, without the cost of its networks."""

    def empty(name: str, **options: object) -> nn.Module:
        module = nn.Identity()
        module.pretrained_cfg = timm.get_pretrained_cfg(name).to_dict()  # type: ignore[union-attr]
        return module

    monkeypatch.setattr(timm, "create_model", empty)
    recipes = recipes_of_timm()
    assert len(recipes) > 20
    for i, (recipe, name) in enumerate(recipes.items()):
        classifier = seewhy.load(name)
        transform = create_transform(**resolve_model_data_config(classifier.module), is_training=False)
        for size in {PICTURES[i % len(PICTURES)], PICTURES[(i + 3) % len(PICTURES)]}:
            picture = photograph(*size)
            seen, _ = prepare(picture, classifier)
            difference = (seen - denormalized(transform(picture), classifier)).abs().max()
            assert difference <= 1.01 / 255, f"{name} ({recipe}) differs by {255 * difference:.1f} / 255 for {size}"


@pytest.mark.parametrize("size", [(32, 48), (48, 32), (20, 64), (37, 41)], ids=str)
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("crop", [1.0, 0.875])
def test_input_that_is_not_square(size: tuple[int, int], mode: str, crop: float) -> None:
    transform = create_transform((3, *size), interpolation="bicubic", crop_pct=crop, crop_mode=mode)
    options = {"size": size, "crop_mode": mode, "interpolation": "bicubic", "crop": crop}
    classifier = seewhy.load("factories:small", options=options)
    for shape in PICTURES:
        picture = photograph(*shape)
        seen, _ = prepare(picture, classifier)
        assert seen.shape == (3, *size)
        expected = denormalized(transform(picture), classifier)
        assert (seen - expected).abs().max() <= 1.01 / 255, shape


def test_pictures_are_prepared_as_in_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every recipe that torchvision's classifiers have."""
    monkeypatch.setattr(torchvision.models, "get_model", lambda *args, **kwargs: nn.Identity())
    done: set[str] = set()
    for name in torchvision.models.list_models(module=torchvision.models):
        for weights in torchvision.models.get_model_weights(name):
            transform = weights.transforms()
            if str(transform) in done or transform.crop_size[0] > 400:
                continue
            done.add(str(transform))
            classifier = seewhy.load(f"torchvision/{name}.{weights.name}")
            assert classifier.classes == tuple(weights.meta["categories"] or ()), "one has weights for features alone"
            for size in (PICTURES[len(done) % len(PICTURES)], PICTURES[(len(done) + 3) % len(PICTURES)]):
                picture = photograph(*size)
                seen, _ = prepare(picture, classifier)
                difference = (seen - denormalized(transform(picture), classifier)).abs().max()
                assert difference <= 1.01 / 255, f"{weights} differs by {255 * difference:.1f} / 255 for {size}"
    assert len(done) > 15


@pytest.mark.parametrize("picture", PICTURES, ids=str)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_the_middle_is_seen(picture: tuple[int, int], interpolation: str) -> None:
    """The exact size, and the picture's middle in the middle, whatever the aspect ratio."""
    width, height = picture
    y, x = np.mgrid[:height, :width]
    ramps = np.stack([x / (width - 1), y / (height - 1), np.zeros_like(x)], 2)
    ramp = Image.fromarray((ramps * 255).round().astype(np.uint8))
    classifier = seewhy.load("factories:small", options={"size": 40, "interpolation": interpolation})
    seen = to_tensor(as_seen(ramp, classifier.view))
    assert seen.shape == (3, 40, 40)
    assert seen[:2, 18:22, 18:22].mean() == pytest.approx(0.5, abs=0.03)
    assert (seen[0].diff(dim=1) >= -1 / 255).all()
    assert (seen[1].diff(dim=0) >= -1 / 255).all()


transformers = pytest.importorskip("transformers")


def vit(problem: str | None = None) -> nn.Module:
    config = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        id2label={0: "ant", 1: "bee", 2: "cat"}, label2id={"ant": 0, "bee": 1, "cat": 2}, problem_type=problem,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.ViTForImageClassification(config).eval()


def convnext() -> nn.Module:
    config = transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, image_size=32, num_labels=4)
    torch.manual_seed(0)
    return transformers.ConvNextForImageClassification(config).eval()


PROCESSORS: dict[str, tuple[Callable[[], nn.Module], Callable[[], object], str]] = {
    "ViT, squashed": (vit, lambda: transformers.ViTImageProcessor(size={"height": 32, "width": 32}), "squash"),
    "ViT, bicubic": (
        vit,
        lambda: transformers.ViTImageProcessor(size={"height": 32, "width": 32}, resample=3, image_mean=[0.4, 0.5, 0.6]),
        "squash",
    ),
    "ViT, not normalized": (
        vit,
        lambda: transformers.ViTImageProcessor(size={"height": 32, "width": 32}, do_normalize=False),
        "squash",
    ),
    "CLIP, cropped": (
        vit,
        lambda: transformers.CLIPImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}),
        "center",
    ),
    "ConvNeXt, cropped": (
        convnext,
        lambda: transformers.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875),
        "center",
    ),
    "ConvNeXt, large": (convnext, lambda: transformers.ConvNextImageProcessor(size={"shortest_edge": 384}), "squash"),
}


@pytest.mark.parametrize("kind", PROCESSORS)
def test_a_folder_of_hugging_face(kind: str, tmp_path: Path) -> None:
    make, make_processor, mode = PROCESSORS[kind]
    module, processor = make(), make_processor()
    module.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)  # type: ignore[attr-defined]
    classifier = seewhy.load(f"hf/{tmp_path}")
    assert classifier.crop_mode == mode
    assert classifier.classes == (("ant", "bee", "cat") if make is vit else ())
    images = torch.rand(2, 3, *classifier.input_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = module(classifier.normalize(images)).logits
        torch.testing.assert_close(classifier.logits(images), expected, rtol=1e-4, atol=1e-5)
        for size in PICTURES[:4]:
            # (where half a pixel is left over beside a crop, Hugging Face takes it on the other side than timm)
            picture = photograph(*size)
            pixels = processor(picture, return_tensors="pt")["pixel_values"]  # type: ignore[operator]
            seen, _ = prepare(picture, classifier)
            assert seen.shape == pixels.shape[1:]
            difference = (seen - denormalized(pixels[0], classifier)).abs()
            assert difference.max() <= 3.5 / 255, f"{size}: {255 * difference.max():.1f}"
            assert difference.mean() <= 0.5 / 255
            torch.testing.assert_close(classifier.logits(seen[None]), module(pixels).logits, rtol=0.02, atol=0.02)


def test_a_network_of_hugging_face_with_weights_of_its_own(tmp_path: Path) -> None:
    module = vit("multi_label_classification")
    (tmp_path / "net").mkdir()
    vit("multi_label_classification").save_pretrained(tmp_path / "net")  # type: ignore[operator]
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "net")
    with torch.no_grad():
        module.classifier.bias += 1  # type: ignore[union-attr, operator]
    save_file(contiguous(module), tmp_path / "weights.safetensors")
    classifier = seewhy.load(f"hf/{tmp_path / 'net'}", weights=tmp_path / "weights.safetensors")
    assert classifier.multilabel
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad(), as_users_run_it():
        expected = module(classifier.normalize(images)).logits
        torch.testing.assert_close(classifier.logits(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet50.a1_in1k", "hf/nobody/nothing"])
def test_without_a_network_the_hub_is_asked_once_and_says_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    def no_address(*_: object) -> None:
        raise OSError("Name or service not known")

    def asked_again(seconds: float) -> None:
        raise AssertionError(f"waits {seconds} s to ask again")

    for proxy in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr("socket.getaddrinfo", no_address)
    monkeypatch.setattr("time.sleep", asked_again)
    before = constants.HF_HUB_OFFLINE
    with pytest.raises(SeewhyError, match="without network give a file with --weights"):
        seewhy.load(name)
    assert before == constants.HF_HUB_OFFLINE
    assert capfd.readouterr().err == ""


def test_the_working_folder_can_be_imported_from_while_a_factory_runs_and_not_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what the factory imports when it is called."""
    (tmp_path / "own_layers.py").write_text("from torch import nn\n\nhead = nn.Linear(3, 2)\n")
    (tmp_path / "own_factory.py").write_text("def make():\n    from own_layers import head\n\n    return head\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    before = list(sys.path)
    assert isinstance(seewhy.load("own_factory:make").module, nn.Linear)
    assert sys.path == before
    with pytest.raises(SeewhyError, match="no module named 'no_such_module'"):
        seewhy.load("no_such_module:make")
    assert sys.path == before
    monkeypatch.setattr(sys, "path", ["", *before])
    seewhy.load("own_factory:make")
    assert sys.path == ["", *before], "what was there stays"
