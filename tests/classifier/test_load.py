"""Networks by name: their weights, the names of their classes, and the pictures as their makers prepared them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from support.command import as_users_run_it
from support.tiny_models import TINY, cnn
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.load import class_names, parse_options
from seewhy.data.pictures import as_seen, to_tensor
from seewhy.errors import SeewhyError
from seewhy.explanation.explain import prepare


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Soft colors with fine grain, as a photograph has them."""
    rng = np.random.default_rng(seed)
    soft = Image.fromarray(rng.integers(0, 255, (6, 5, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    grain = rng.normal(0, 12, (height, width, 3))
    return Image.fromarray((np.asarray(soft) + grain).clip(0, 255).astype(np.uint8))


def contiguous(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in module.state_dict().items()}


# -- names and weights --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "make", "options"),
    [
        ("test_resnet", lambda: timm.create_model("test_resnet"), {}),
        ("timm/test_vit", lambda: timm.create_model("test_vit"), {}),
        ("test_convnext", lambda: timm.create_model("test_convnext", num_classes=7), {"num_classes": 7}),
        ("torchvision/shufflenet_v2_x0_5", torchvision.models.shufflenet_v2_x0_5, {}),
        (
            "torchvision/shufflenet_v2_x0_5.IMAGENET1K_V1",
            lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=7),
            {"num_classes": 7},
        ),
        ("factories:bare", cnn, {}),
        ("factories:small", lambda: cnn(k=7), {"k": 7}),
    ],
)
def test_a_file_of_weights_makes_the_same_network(
    name: str, make: Callable[[], nn.Module], options: dict[str, object], tmp_path: Path
) -> None:
    module = make().eval()
    save_file(contiguous(module), tmp_path / "weights.safetensors")
    classifier = seewhy.load(name, weights=tmp_path / "weights.safetensors", options=options)
    assert not classifier.module.training
    assert classifier.n_classes == options.get("num_classes", options.get("k", len(module.state_dict()[last(module)])))
    images = torch.rand(2, 3, *classifier.input_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(classifier.logits(images), module(classifier.normalize(images)), rtol=0, atol=0)


def last(module: nn.Module) -> str:
    """Name of the last bias: one number a class."""
    return list(module.state_dict())[-1]


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
    assert classifier.view == ((160, 160), 0.95, "center", "bilinear")
    assert len(classifier.classes) == 1000
    assert classifier.classes[1].startswith("goldfish")


LAYOUTS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "alone": lambda weights: weights,
    "below state_dict": lambda weights: {"state_dict": weights, "epoch": 3, "optimizer": {"lr": 0.1}},
    "below model": lambda weights: {"model": weights, "args": None},
    "below model and state_dict": lambda weights: {"model": {"state_dict": weights}},
    "of DataParallel": lambda weights: {f"module.{k}": v for k, v in weights.items()},
    "of compile": lambda weights: {f"_orig_mod.{k}": v for k, v in weights.items()},
    "of compile within DataParallel": lambda weights: {f"module._orig_mod.{k}": v for k, v in weights.items()},
    "of DataParallel within compile": lambda weights: {f"_orig_mod.module.{k}": v for k, v in weights.items()},
    "of a trainer": lambda weights: {"state_dict": {f"model.{k}": v for k, v in weights.items()}, "epoch": 3},
    "without counts": lambda weights: {k: v for k, v in weights.items() if "num_batches" not in k},
    "in half precision": lambda weights: {k: v.half() if v.is_floating_point() else v for k, v in weights.items()},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_where_in_a_pickle_the_weights_are(layout: str, tmp_path: Path) -> None:
    module = TINY["cnn"]().module
    torch.save(LAYOUTS[layout](contiguous(module)), tmp_path / "weights.pth")
    loaded = seewhy.load("factories:bare", weights=tmp_path / "weights.pth").module
    tolerance = 2e-3 if layout == "in half precision" else 0
    for name, tensor in module.state_dict().items():
        if "num_batches" not in name:
            torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=tolerance)


def test_a_legacy_pickle_of_weights(tmp_path: Path) -> None:
    module = TINY["cnn"]().module
    torch.save(contiguous(module), tmp_path / "weights.th", _use_new_zipfile_serialization=False)
    loaded = seewhy.load("factories:bare", weights=tmp_path / "weights.th").module
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), module.state_dict().values(), strict=True))


def test_a_network_keeps_its_own_prefix(tmp_path: Path) -> None:
    """A network whose layers are called ``model.`` gets its weights with that prefix."""
    module = nn.ModuleDict({"model": nn.Linear(3, 2)})
    save_file(contiguous(module), tmp_path / "weights.safetensors")
    fresh = nn.ModuleDict({"model": nn.Linear(3, 2)})
    load_weights(fresh, tmp_path / "weights.safetensors")
    assert torch.equal(fresh["model"].weight, module["model"].weight)


def test_wrong_weights_change_nothing(tmp_path: Path) -> None:
    module = cnn()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    save_file(contiguous(cnn(k=7)), tmp_path / "seven.safetensors")
    with pytest.raises(SeewhyError, match=r"2 of another shape: .*10.weight is \(7, 8\), the network has \(5, 8\)"):
        load_weights(module, tmp_path / "seven.safetensors")
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


# -- classes ------------------------------------------------------------------------------------------------------


def test_names_of_classes(tmp_path: Path) -> None:
    imagenet = class_names("imagenet")
    assert len(imagenet) == 1000
    assert (imagenet[0], imagenet[207]) == ("tench", "golden retriever")
    (tmp_path / "names.txt").write_text("\ufefftench\r\n  gold fish \r\n\r\nÄffchen\r\n", encoding="utf-8")
    assert class_names(tmp_path / "names.txt") == ("tench", "gold fish", "Äffchen")
    (tmp_path / "names.csv").write_text('index,wnid,name\n1,b,"goldfish, Carassius"\n0,a,tench\n', encoding="utf-8")
    assert class_names(str(tmp_path / "names.csv")) == ("tench", "goldfish, Carassius")
    (tmp_path / "unnumbered.csv").write_text("name\ntench\ngoldfish\n")
    assert class_names(tmp_path / "unnumbered.csv") == ("tench", "goldfish")
    assert class_names(["a", "b"]) == ("a", "b")


def test_names_given_outdo_those_of_the_source(tmp_path: Path) -> None:
    classifier = seewhy.load("factories:small", classes=["one", "two", "three", "four", "five"])
    assert classifier.class_name(3) == "four"
    assert seewhy.load("factories:small").class_name(3) == "dog"
    assert seewhy.load("factories:bare").class_name(3) == "class 3"


def test_a_class_by_index_or_name() -> None:
    classes = ("tench, Tinca tinca", "Golden_Retriever", "crane", "Crane", "3")
    classifier = replace(TINY["cnn"](), classes=classes)
    for name in (1, "1", " 1 ", "golden retriever", "GOLDEN_RETRIEVER", "golden_Retriever "):
        assert classifier.class_index(name) == 1
    assert classifier.class_index("tench, tinca tinca") == 0
    assert classifier.class_index("3") == 3, "a number is an index"
    with pytest.raises(SeewhyError, match="2 classes are called 'crane'; give the index: 2, 3"):
        classifier.class_index("crane")
    with pytest.raises(SeewhyError, match=r"Did you mean 'golden retriever'\?"):
        classifier.class_index("goldn retriever")


# -- options ------------------------------------------------------------------------------------------------------


def test_options_are_read() -> None:
    texts = ["a=1", "b=0.5", "c=true", "d=None", "e=same", "f=[1, 2]", "g=", "h=x=y", "feature_layer=1.10", "mean=0.5"]
    assert parse_options(texts) == {
        **{"a": 1, "b": 0.5, "c": True, "d": None, "e": "same", "f": [1, 2], "g": "", "h": "x=y"},
        **{"feature_layer": "1.10", "mean": 0.5},
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mean": 0.5, "std": 0.25}, {"mean": (0.5,) * 3, "std": (0.25,) * 3}),
        ({"mean": 0, "std": 1}, {"mean": (0.0,) * 3, "std": (1.0,) * 3}),
        ({"mean": [0.1, 0.2, 0.3]}, {"mean": (0.1, 0.2, 0.3)}),
        ({"mean": "0.1,0.2,0.3"}, {"mean": (0.1, 0.2, 0.3)}),
        ({"mean": (0.5,)}, {"mean": (0.5,) * 3}),
        ({"size": 20}, {"input_size": (20, 20)}),
        ({"size": "20,24"}, {"input_size": (20, 24)}),
        ({"size": [20, 24], "crop": 1}, {"input_size": (20, 24), "crop": 1.0}),
        ({"crop_mode": "squash", "interpolation": "nearest"}, {"crop_mode": "squash", "interpolation": "nearest"}),
        ({"multilabel": True, "feature_layer": "4"}, {"multilabel": True, "feature_layer": "4"}),
        ({"n_prefix_tokens": 2}, {"n_prefix_tokens": 2}),
        ({"n_prefix_tokens": None, "feature_layer": None}, {"n_prefix_tokens": None, "feature_layer": None}),
    ],
    ids=str,
)
def test_options_of_the_preprocessing(options: dict[str, object], expected: dict[str, object]) -> None:
    classifier = seewhy.load("factories:small", options=options)
    assert {key: getattr(classifier, key) for key in expected} == expected
    for key, value in vars(seewhy.load("factories:small")).items():
        if key not in expected and key != "module":
            assert getattr(classifier, key) == value


# -- preprocessing ------------------------------------------------------------------------------------------------

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
@pytest.mark.parametrize("mode", ["center", "squash"])
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


# -- Hugging Face -------------------------------------------------------------------------------------------------

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
