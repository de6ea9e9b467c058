"""A classifier by name, with options."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from support.tiny_models import cnn
from torch import Tensor, nn

import seewhy
from seewhy.classifier.load import parse_options
from seewhy.errors import SeewhyError


def contiguous(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in module.state_dict().items()}


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


def test_names_given_outdo_those_of_the_source(tmp_path: Path) -> None:
    classifier = seewhy.load("factories:small", classes=["one", "two", "three", "four", "five"])
    assert classifier.class_name(3) == "four"
    assert seewhy.load("factories:small").class_name(3) == "dog"
    assert seewhy.load("factories:bare").class_name(3) == "class 3"


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
        ({"input_size": 20}, {"input_size": (20, 20)}),
        ({"input_size": "20,24"}, {"input_size": (20, 24)}),
        ({"outputs": "values"}, {"outputs": "values"}),
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
        if key not in (*expected, "module", "origins"):
            assert getattr(classifier, key) == value


def seven(name: str) -> nn.Module:
    return {"test_vit": timm.create_model, "torchvision/shufflenet_v2_x0_5": torchvision.models.get_model}[name](
        name.removeprefix("torchvision/"), num_classes=7
    )


@pytest.mark.parametrize("name", ["test_vit", "torchvision/shufflenet_v2_x0_5"])
def test_the_number_of_classes_is_that_of_the_weights(name: str, tmp_path: Path) -> None:
    module = seven(name).eval()
    torch.save({"net": module.state_dict()}, tmp_path / "weights.pth")
    classifier = seewhy.load(name, weights=tmp_path / "weights.pth", classes=list("abcdefg"))
    assert classifier.n_classes == 7
    images = torch.rand(1, 3, *classifier.input_size)
    with torch.no_grad():
        torch.testing.assert_close(classifier.logits(images), module(classifier.normalize(images)), rtol=0, atol=0)
    with pytest.raises(SeewhyError, match="7 classes, but 3 class names were given"):
        seewhy.load(name, weights=tmp_path / "weights.pth", classes=list("abc"))
    with pytest.raises(SeewhyError, match="of another shape"):
        seewhy.load(name, weights=tmp_path / "weights.pth", options={"num_classes": 9})


def test_a_factory_is_asked_for_the_number_of_classes_if_it_takes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from support.tiny_models import cnn\n\n\ndef make(num_classes=2):\n    return cnn(k=num_classes)\n"
    (tmp_path / "own_number.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    save_file(contiguous(cnn(k=7)), tmp_path / "weights.safetensors")
    assert seewhy.load("own_number:make", weights=tmp_path / "weights.safetensors", options={"size": 16}).n_classes == 7
    with pytest.raises(SeewhyError, match=r"10\.weight is \(7, 8\), the network has \(5, 8\)"):
        seewhy.load("factories:bare", weights=tmp_path / "weights.safetensors")


def test_weights_that_differ_in_more_than_the_number_of_classes_are_refused(tmp_path: Path) -> None:
    save_file(contiguous(timm.create_model("test_vit", num_classes=7, img_size=64)), tmp_path / "weights.safetensors")
    with pytest.raises(SeewhyError, match=r"3 of another shape: .*pos_embed is \(1, 17, 64\)"):
        seewhy.load("test_vit", weights=tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("test_vit", {"img_size": 96}, (96, 96)),
        ("test_vit", {"img_size": [96, 64]}, (96, 64)),
        ("test_vit", {"img_size": 96, "size": 32, "dynamic_img_size": True}, (32, 32)),
        ("test_resnet", {"in_chans": 1}, (160, 160)),
    ],
    ids=str,
)
def test_an_option_of_the_architecture_that_changes_its_input_changes_the_preprocessing(
    name: str, options: dict[str, object], size: tuple[int, int], tmp_path: Path
) -> None:
    made = {key: value for key, value in options.items() if key != "size"}
    save_file(contiguous(timm.create_model(name, **made)), tmp_path / "weights.safetensors")
    classifier = seewhy.load(name, weights=tmp_path / "weights.safetensors", options=options)
    assert classifier.input_size == size
    with torch.no_grad():
        assert classifier.logits(torch.rand(1, len(classifier.mean), *size)).shape == (1, 1000)


def test_the_same_option_of_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.models, "get_model", lambda *args, **kwargs: nn.Identity())
    assert seewhy.load("torchvision/vit_b_32", options={"image_size": 64}).input_size == (64, 64)
    assert seewhy.load("torchvision/vit_b_32").input_size == (224, 224)
