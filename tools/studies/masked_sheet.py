"""Draws pictures, each with the maps of several methods and what the network sees and says when a map is the mask.

    python tools/studies/masked_sheet.py --out docs/images/opti_cam.jpg
    python tools/studies/masked_sheet.py --model resnet50.a1_in1k --data photos --n 20 --out sheet.jpg

Beside each map stands the picture under it, black where the map is 0, with the probability of the class then.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.load import load, parse_options
from seewhy.data import Dataset
from seewhy.data.named import dataset
from seewhy.data.pictures import to_picture
from seewhy.explanation.explanation import percent
from seewhy.explanation.overlay import colormap_of, enlarge, overlay
from seewhy.explanation.sheet import Panel, sheet
from seewhy.files import write_atomically
from seewhy.maps import min_max


def drawn(classifier: Classifier, data: Dataset, methods: Sequence[str], size: int) -> Image.Image:
    batch = data.batch(range(len(data)))
    images = classifier.to_device(batch.images)
    with classifier.running():
        probabilities = torch.cat([classifier.probabilities(part) for part in images.split(32)])
    targets = probabilities.argmax(1) if batch.labels is None else batch.labels
    maps = {name: seewhy.explainer(name, classifier).explain(images, targets) for name in methods}
    rows = []
    for i, image in enumerate(images):
        named, p = classifier.class_name(int(targets[i])), float(probabilities[i, targets[i]])
        row = [Panel(enlarge(to_picture(image), size), f"{percent(p)} {named}", bold=True)]
        for attribution in (of[i] for of in maps.values()):
            masked = image * min_max(attribution[None])
            row += [
                Panel(overlay(image, attribution, size)),
                Panel(enlarge(to_picture(masked), size), said(classifier, masked, targets[i])),
            ]
        rows.append(row)
    keys = {colormap_of(attribution) for some in maps.values() for attribution in some}
    columns = ["", *(text for name in methods for text in (name, "what is left"))]
    return sheet(rows, columns=columns, size=size, keys=keys)


def said(classifier: Classifier, image: Tensor, target: Tensor) -> str:
    with classifier.running():
        return percent(float(classifier.probabilities(image[None])[0, target]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="shapes")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--classes")
    parser.add_argument("--model-option", action="append", default=[])
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--n", type=int, default=4)
    parser.add_argument("--methods", nargs="+", default=["grad_cam", "opti_cam"])
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    options = parse_options(a.model_option)
    classifier = load(a.model, weights=a.weights, classes=a.classes, options=options)
    data = dataset(a.data, classifier, a.n)
    picture = drawn(classifier, data, a.methods, a.size)
    write_atomically(a.out, partial(picture.save, format="PNG" if a.out.suffix == ".png" else "JPEG", quality=90))
    print(a.out)


if __name__ == "__main__":
    main()
