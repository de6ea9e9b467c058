"""What Llorente et al. (2023) claim of signed saliency, on networks and pictures that they did not use.

    SEEWHY_REAL_DATA=FOLDER python benchmarks/signed_deletion.py [--images N] [--photographs N] [--networks NAME ...]

Claims: positive and active maps beat the original (absolute) map in black deletion, negative and inactive maps in white
deletion. Beside these the other color of each, and half the way to each color. Prints a table in Markdown: the mean area
under the allegiance curve, and the mean difference to the original map on the same pictures with a 95 % bootstrap interval.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import seewhy
from seewhy.data import batches
from seewhy.explainers.gradients import class_extremes
from seewhy.metrics import Case, metric

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
REAL = Path(os.environ.get("SEEWHY_REAL_DATA", ROOT.parent / "shared" / "real_data"))
MAPS = ("original", "positive", "active", "negative", "inactive")
METRICS = {
    "black": metric("black_deletion"),
    "white": metric("white_deletion"),
    "half black": metric("black_deletion", amount=0.5),
    "half white": metric("white_deletion", amount=0.5),
}


def photographs(name: str, **options: object) -> Callable[[int], tuple[seewhy.Classifier, seewhy.data.Dataset]]:
    def made(n: int) -> tuple[seewhy.Classifier, seewhy.data.Dataset]:
        file = REAL / "weights" / f"{name.rpartition('/')[2]}.safetensors"
        classifier = seewhy.load(name, weights=file, classes=REAL / "imagenet_classes.csv", options=options)
        return classifier, seewhy.dataset(str(REAL / "imagenet_sample"), classifier, n)

    return made


def cifar(depth: int) -> Callable[[int], tuple[seewhy.Classifier, seewhy.data.Dataset]]:
    def made(n: int) -> tuple[seewhy.Classifier, seewhy.data.Dataset]:
        file = REAL / "weights" / f"cifar10_resnet{depth}.safetensors"
        classifier = seewhy.load("test_real_data:cifar_resnet", weights=file, options={"depth": depth})
        return classifier, seewhy.dataset(str(REAL / "cifar10" / "test"), classifier, n)

    return made


def built_in(name: str) -> Callable[[int], tuple[seewhy.Classifier, seewhy.data.Dataset]]:
    def made(n: int) -> tuple[seewhy.Classifier, seewhy.data.Dataset]:
        classifier = seewhy.load(name)
        return classifier, seewhy.dataset("shapes", classifier, n)

    return made


SMALL = {
    "cifar_resnet20": cifar(20),
    "cifar_resnet56": cifar(56),
    "shapes_cnn": built_in("shapes/cnn"),
    "shapes_vit": built_in("shapes/vit"),
}
LARGE = {
    "vit_tiny": photographs("vit_tiny_patch16_224"),
    "squeezenet": photographs("torchvision/squeezenet1_0"),
    "mobilenetv2": photographs("mobilenetv2_100", pad_type="same", mean=0.5, std=0.5),
}


def maps_of(classifier: seewhy.Classifier, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The five maps of the paper from one pass over the classes (active and inactive need every class's gradient)."""
    points = seewhy.explainer("saliency", classifier).points
    g, highest, lowest, _, _ = class_extremes(classifier, images, targets[:, None], points, 32)
    g = g[:, 0]
    return {
        "original": g.abs().amax(1),
        "positive": g.clamp_min(0).amax(1),
        "active": torch.where(g == highest, g, 0).amax(1),
        "negative": (-g).clamp_min(0).amax(1),
        "inactive": (-torch.where(g == lowest, g, 0)).amax(1),
    }


def areas(classifier: seewhy.Classifier, dataset: seewhy.data.Dataset) -> Iterator[tuple[str, str, Tensor]]:
    for batch in batches(dataset, 32):
        with torch.no_grad():
            targets = classifier.logits(batch.images).argmax(1)
        for name, maps in maps_of(classifier, batch.images, targets).items():
            case = Case(classifier, batch.images, targets, targets, maps, batch_size=64)
            for color, measure in METRICS.items():
                yield name, color, measure.score(case).double()


def bootstrap(values: np.ndarray, trials: int = 4000) -> tuple[float, float]:
    """95 % interval of the mean, by the percentiles of resampled means."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (trials, len(values)))].mean(1)
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1000, help="of CIFAR-10 and of shapes, each")
    parser.add_argument("--photographs", type=int, default=24, help="for each of the three networks of 1000 classes")
    parser.add_argument("--networks", nargs="*", default=[*SMALL, *LARGE])
    arguments = parser.parse_args()
    print("| network (pictures) | deletion | original | " + " | ".join(f"{m} - original" for m in MAPS[1:]) + " |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for network in arguments.networks:
        made = {**SMALL, **LARGE}[network]
        classifier, dataset = made(arguments.images if network in SMALL else arguments.photographs)
        found: dict[tuple[str, str], list[Tensor]] = {}
        for name, color, scores in areas(classifier, dataset):
            found.setdefault((name, color), []).append(scores)
        for color in METRICS:
            original = torch.cat(found["original", color]).numpy()
            cells = []
            for name in MAPS[1:]:
                difference = torch.cat(found[name, color]).numpy() - original
                low, high = bootstrap(difference)
                cells.append(f"{difference.mean():+.3f} ({low:+.3f} to {high:+.3f})")
            print(
                f"| {network} ({len(original)}) | {color} | {original.mean():.3f} | " + " | ".join(cells) + " |", flush=True
            )


if __name__ == "__main__":
    main()
