"""Something small that can be trained: a network with dropout, batch normalization and random draws; and its pictures."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from support.evaluations import Pictures
from support.tiny_models import TINY
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.describe import as_json
from seewhy.explainers.learned.learned_explainer import LearnedExplainer, Seen, Step
from seewhy.explainers.learned.settings import Settings
from seewhy.maps import upsample
from seewhy.training.fit import fit
from seewhy.training.training_folder import read_training


class MaskNetwork(nn.Module):
    def __init__(self, layer: str, channels: int, k: int) -> None:
        super().__init__()
        self.layers = (layer,)
        self.mix, self.norm, self.drop = nn.Conv2d(channels, 6, 1), nn.BatchNorm2d(6), nn.Dropout(0.3)
        self.weigh = nn.Conv2d(6, k, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.weigh(self.drop(self.norm(self.mix(features)).relu())).sigmoid()


class SmallMasks(LearnedExplainer):
    """A mask a class: it keeps the label and is small. ``watch`` sees every loss before it is computed."""

    settings: ClassVar[Settings] = Settings(epochs=4, batch_size=4, learning_rate=0.01)

    area: float = 0.5
    draws: bool = True
    reads_labels: bool = True
    plain: bool = False
    target: str = "label"
    watch: ClassVar[Callable[[Any, Seen], None]] = lambda *_: None

    @property
    def needs_labels(self) -> bool:
        return self.reads_labels

    def new_network(self) -> nn.Module:
        layer = self.classifier.layer
        with self.classifier.capture(layer) as outputs:
            self.classifier.logits(torch.rand(1, 3, 16, 16))
        channels = self.classifier.as_grid(outputs[layer], layer=layer).shape[1]
        network = MaskNetwork(layer, channels, self.classifier.n_classes)
        if self.plain:  # nothing in it depends on the other images of a micro-batch
            network.norm, network.drop = nn.Identity(), nn.Identity()
        return network

    def loss(self, seen: Seen, generator: torch.Generator) -> Step:
        type(self).watch(self, seen)
        masks = upsample(self.ready(seen.features[0]), seen.images.shape[-2:])
        labels = seen.labels if seen.labels is not None and self.reads_labels else seen.logits.argmax(1)
        own = masks[torch.arange(len(masks)), labels][:, None]
        noise = torch.rand(own.shape, generator=generator).to(own) if self.draws else torch.full_like(own, 0.5)
        logits = self.classifier.logits(seen.images * own + noise * (1 - own))
        return Step({"kept": nn.functional.cross_entropy(logits, labels), "area": self.area * own.mean()}, own)

    def masks(self, seen: Seen, classes: Tensor) -> Tensor:
        masks = upsample(self.ready(seen.features[0]), seen.images.shape[-2:])
        return masks.gather(1, classes[:, :, None, None].expand(-1, -1, *masks.shape[-2:]))


def small_classifier() -> Classifier:
    """The tiny network, always with the same weights."""
    torch.manual_seed(0)
    return TINY["cnn"]()


def trained(out: Any, dataset: Any = None, what: Any = None, classifier: Any = None, **options: Any) -> Any:
    """``fit`` of small masks on 23 pictures: 21 to train on, 2 held out; 5 steps an epoch."""
    classifier = classifier or small_classifier()
    made = what or SmallMasks(classifier)
    return fit(made, classifier, dataset or Pictures(n=23), out, **{"tensorboard": False, "threads": 1, **options})


def log_of(out: Path, images: str = "") -> list[dict[str, str]]:
    """The lines of a log, without how long they took; those of "train" or "held_out" alone where that is given."""
    lines = list(csv.DictReader((out / "log.csv").read_text().splitlines()))
    return [{**line, "seconds": ""} for line in lines if line["images"] in (images or line["images"])]


def same(one: Path, other: Path) -> None:
    """Two run folders have the same weights, optimizer, log and counts, bit for bit."""
    there, here = (sorted(str(p.relative_to(f)) for p in f.rglob("*") if p.is_file()) for f in (one, other))
    assert there == here
    for name in there:
        if name.endswith((".safetensors", ".png")):
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
        if name.endswith(".pt"):
            a, b = (torch.load(folder / name, weights_only=True) for folder in (one, other))
            assert as_json(a) == as_json(b)
    assert log_of(one) == log_of(other)
    a, b = (replace(read_training(folder).state, seconds=0.0) for folder in (one, other))
    assert a == b
