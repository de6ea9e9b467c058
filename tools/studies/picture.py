"""Draws docs/images/two_networks.jpg: one picture, a network that sees the shape, and one that cheats."""

from functools import partial
from pathlib import Path

import torch

import seewhy
from seewhy.data.pictures import to_picture
from seewhy.data.shapes.shapes import Shapes
from seewhy.explanation.explain import predict
from seewhy.explanation.explanation import percent
from seewhy.explanation.overlay import enlarge, overlay
from seewhy.explanation.sheet import Panel, sheet
from seewhy.files import write_atomically

METHODS = ("grad_cam", "layer_cam", "integrated_gradients", "smooth_grad")
NETWORKS = {"honest": "shapes/cnn", "cheating": "shapes/cnn_shortcut"}
INDEX = 4


def main() -> None:
    sample = Shapes(n=INDEX + 1, shortcut="correlated").sample(INDEX)
    rows = []
    for told, name in NETWORKS.items():
        classifier = seewhy.load(name)
        probability = predict(sample.image, classifier, "picture")[sample.label]
        row = [Panel(enlarge(to_picture(sample.image), 336), f"{told}: {percent(float(probability))}", bold=True)]
        for method in METHODS:
            attribution = seewhy.explainer(method, classifier).explain(sample.image[None], torch.tensor([sample.label]))[0]
            row.append(Panel(overlay(sample.image, attribution, 336)))
        rows.append(row)
    image = sheet(rows, columns=[Shapes.classes[sample.label], *METHODS], size=260)
    path = Path(__file__).resolve().parents[2] / "docs" / "images" / "two_networks.jpg"
    write_atomically(path, partial(image.save, format="JPEG", quality=90))


if __name__ == "__main__":
    main()
