"""Real networks on real photographs: they see what they were trained to see, and their explanations lie on the object."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import sqrt
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import seewhy
from seewhy.classifier.classifier import Classifier, frozen
from seewhy.classifier.load import with_view
from seewhy.explainers.optimized.extremal_perturbation import ExtremalPerturbation
from seewhy.explanation.prepare import prepare

pytestmark = pytest.mark.real_data


class Block(nn.Module):
    """Of the residual networks for CIFAR; its shortcut has no parameters (He et al., 2016, option A)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.stride, self.extra = stride, c_out - c_in

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.extra:
            half = self.extra // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.extra - half))
        return F.relu(out + x)


class CifarResNet(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        n, c_in = (depth - 2) // 6, 16
        for i, (c, stride) in enumerate([(16, 1), (32, 2), (64, 2)], 1):
            blocks = [Block(c_in if j == 0 else c, c, stride if j == 0 else 1) for j in range(n)]
            setattr(self, f"layer{i}", nn.Sequential(*blocks))
            c_in = c
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


def cifar_resnet(depth: int = 20) -> Classifier:
    """The factory: what a user with a network of their own writes."""
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    return Classifier(CifarResNet(depth), input_size=(32, 32), classes=names, crop=1.0)


@dataclass(frozen=True)
class Pack:
    """A network of the folder, and what is known of it: accuracy on whole sets, and the layer that CAM methods read."""

    name: str
    weights: str
    accuracy: float
    layer: str
    options: dict[str, object]


HALF = {"mean": 0.5, "std": 0.5}
IMAGENET = {
    "vit": Pack("vit_tiny_patch16_224", "vit_tiny_patch16_224", 0.806, "blocks.11.norm1", HALF),
    "mobilenet": Pack("mobilenetv2_100", "mobilenetv2_100", 0.866, "bn2", {**HALF, "pad_type": "same"}),
    "squeezenet": Pack("torchvision/squeezenet1_0", "squeezenet1_0", 0.614, "features", {}),
}
CIFAR = {
    "resnet20": Pack(f"{__name__}:cifar_resnet", "cifar10_resnet20", 0.8135, "layer3", {"depth": 20}),
    "resnet56": Pack(f"{__name__}:cifar_resnet", "cifar10_resnet56", 0.8315, "layer3", {"depth": 56}),
}


@cache
def loaded(pack: str, folder: Path) -> Classifier:
    p = {**IMAGENET, **CIFAR}[pack]
    classes = folder / "imagenet_classes.csv" if pack in IMAGENET else None
    return seewhy.load(p.name, weights=folder / "weights" / f"{p.weights}.safetensors", classes=classes, options=p.options)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def correct(classifier: Classifier, pictures: list[tuple[Path, int]]) -> Iterator[bool]:
    """Whether each picture's label is what the network says, prepared as a user's picture is."""
    for start in range(0, len(pictures), 20):
        some = pictures[start : start + 20]
        images = torch.stack([prepare(path, classifier)[0] for path, _ in some])
        with frozen(classifier.module), torch.no_grad():
            predicted = classifier.logits(images).argmax(1)
        yield from (predicted == torch.tensor([label for _, label in some])).tolist()


def agrees(found: list[bool], accuracy: float) -> bool:
    """Within three standard deviations of a binomial of the known accuracy."""
    n = len(found)
    return abs(sum(found) / n - accuracy) <= 3 * sqrt(accuracy * (1 - accuracy) / n)


@pytest.mark.parametrize("pack", IMAGENET)
def test_photographs_are_recognized(pack: str, real_data: Path) -> None:
    """60 of the photographs, one of every sixteenth class."""
    folder = real_data / "imagenet_sample"
    pictures = [(folder / "images" / row["file"], int(row["index"])) for row in rows(folder)[::8][:60]]
    found = list(correct(loaded(pack, real_data), pictures))
    assert len(found) == 60
    assert agrees(found, IMAGENET[pack].accuracy), f"{sum(found)} of 60"


def test_the_wrong_preprocessing_is_noticed(real_data: Path) -> None:
    """The ViT loses thirty points with ImageNet's mean and std: the test above can tell."""
    folder = real_data / "imagenet_sample"
    pictures = [(folder / "images" / row["file"], int(row["index"])) for row in rows(folder)[::8][:60]]
    p = IMAGENET["vit"]
    wrong = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    weights = real_data / "weights" / f"{p.weights}.safetensors"
    assert not agrees(list(correct(seewhy.load(p.name, weights=weights, options=wrong), pictures)), p.accuracy)


def test_predictions_are_those_of_the_pack(real_data: Path) -> None:
    """Class by class what another program predicted on the originals; ours are re-encoded, so a few may differ."""
    folder = real_data / "imagenet_sample"
    chosen = rows(folder)[4::8][:20]
    for pack, column in (("vit", "pred_vit_tiny_orig"), ("mobilenet", "pred_mobilenetv2_orig")):
        pictures = [(folder / "images" / row["file"], int(row[column])) for row in chosen]
        assert sum(correct(loaded(pack, real_data), pictures)) >= 17


@pytest.mark.parametrize("pack", CIFAR)
def test_small_pictures_are_recognized(pack: str, real_data: Path) -> None:
    classifier = loaded(pack, real_data)
    pictures = [
        (path, classifier.class_index(folder.name))
        for folder in sorted((real_data / "cifar10" / "test").iterdir())
        for path in sorted(folder.iterdir())[:20]
    ]
    found = list(correct(classifier, pictures))
    assert len(found) == 200
    assert agrees(found, CIFAR[pack].accuracy), f"{sum(found)} of 200"


@pytest.mark.parametrize("pack", [*IMAGENET, *CIFAR])
def test_the_feature_layer_is_found(pack: str, real_data: Path) -> None:
    expected = {**IMAGENET, **CIFAR}[pack].layer
    assert loaded(pack, real_data).layer == expected


def in_box(maps: Tensor, boxes: list[Tensor]) -> Tensor:
    """The part of each map's mass in the union of its boxes, and the union's part of the area, (2, n)."""
    shares = []
    for attribution, box in zip(maps, boxes, strict=True):
        h, w = attribution.shape
        inside = torch.zeros(h, w)
        for left, top, right, bottom in box.tolist():
            inside[round(top * h) : round(bottom * h), round(left * w) : round(right * w)] = 1
        shares.append((float((attribution * inside).sum() / attribution.sum()), float(inside.mean())))
    return torch.tensor(shares).T


METHODS: dict[str, Callable[[Classifier], seewhy.Explainer]] = {
    "grad_cam": lambda c: seewhy.explainer("grad_cam", c),
    "layer_cam": lambda c: seewhy.explainer("layer_cam", c),
    "saliency": lambda c: seewhy.explainer("saliency", c),
}


@pytest.mark.parametrize("pack", IMAGENET)
@pytest.mark.parametrize("method", METHODS)
def test_explanations_lie_on_the_object(pack: str, method: str, real_data: Path) -> None:
    """More of the map's mass in the object's own boxes than their area, and than in the boxes of another picture."""
    classifier = with_view(loaded(pack, real_data), {"crop_mode": "squash", "crop": 1.0})
    folder = real_data / "imagenet_val_boxes"
    chosen = [row for row in rows(folder) if float(row["box_area_frac"]) < 0.35][:60:3]
    assert len(chosen) == 20
    images = torch.stack([prepare(folder / "images" / row["file"], classifier)[0] for row in chosen])
    boxes = [torch.tensor([[float(v) / 227 for v in b.split()] for b in row["boxes_227_xyxy"].split(";")]) for row in chosen]
    targets = torch.tensor([int(row["index"]) for row in chosen])
    maps = METHODS[method](classifier).explain(images, targets).relu()
    seen = maps.sum((1, 2)) > 0
    assert seen.sum() >= 17, "hardly any map is empty"
    maps, boxes = maps[seen], [box for box, keep in zip(boxes, seen.tolist(), strict=True) if keep]
    mass, area = in_box(maps, boxes)
    other, _ = in_box(maps, [*boxes[1:], boxes[0]])
    assert mass.mean() > 1.25 * area.mean(), f"{mass.mean():.2f} of the mass in {area.mean():.2f} of the area"
    assert mass.mean() > other.mean(), f"{mass.mean():.2f} in the own boxes, {other.mean():.2f} in others"


def test_explain_a_photograph(real_data: Path, tmp_path: Path) -> None:
    """Three lines of Python, as in the readme."""
    row = next(row for row in rows(real_data / "imagenet_sample") if row["index"] == "208")
    path = real_data / "imagenet_sample" / "images" / row["file"]
    e = seewhy.explain(path, loaded("mobilenet", real_data), "grad_cam")
    assert (e.target, e.class_name) == (208, row["name"])
    assert e.probability > 0.5
    assert e.map.max() > 0
    e.save(tmp_path / "photograph.png")
    assert Image.open(tmp_path / "photograph.png").width == 448


@pytest.mark.parametrize("steps", [10, 30])
def test_a_mask_of_a_photograph_has_its_area(real_data: Path, steps: int) -> None:
    """Within 2 % for areas of 5 and 10 %, also after few steps, whose masks are soft everywhere."""
    folder, classifier = real_data / "imagenet_sample", loaded("squeezenet", real_data)
    chosen = rows(folder)[::250]
    images = torch.stack([prepare(folder / "images" / row["file"], classifier)[0] for row in chosen])
    targets = torch.tensor([int(row["index"]) for row in chosen])
    method = ExtremalPerturbation(classifier, areas=(0.05, 0.1), steps=steps, precision="bf16")
    masks = method.masks(images, targets)
    torch.testing.assert_close(masks.mean((2, 3)), torch.tensor([[0.05, 0.1]] * 2), rtol=0.02, atol=0)
    assert (masks.amax((2, 3)) > 0.5).all()
