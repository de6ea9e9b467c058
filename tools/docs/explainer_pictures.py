"""One built-in picture under every method, and the cost of the map: docs/images/explainers, docs/reference/explainers.csv.

    python tools/docs/explainer_pictures.py              # draws what is missing
    python tools/docs/explainer_pictures.py grad_cam     # draws these again

The files are kept in the repository, since some methods take minutes. Two learned methods do not come trained with the
package: they are trained here for a minute.
"""

import csv
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from bibliography import ROOT
from torch import Tensor

import seewhy
from seewhy import EXPLAINERS
from seewhy.data.pictures import to_picture
from seewhy.data.shapes.shapes import Shapes
from seewhy.errors import SeewhyError
from seewhy.explanation.overlay import overlay
from seewhy.metrics.cost import forward_equivalents

IMAGES = ROOT / "docs" / "images" / "explainers"
TABLE = ROOT / "docs" / "reference" / "explainers.csv"
PICTURE = 13
"""Which picture of the built-in data."""
SIDE = 240
NETWORKS = ("shapes", "shapes/vit")
NEED_TOKENS = ("transformer_input_sampling", "vit_cx")
TRAINING: dict[str, dict[str, Any]] = {"rtis": {"architecture": "light"}, "t_tame": {}}
"""Options of the methods that no shipped explainer has."""


def trained(name: str, classifier: seewhy.Classifier, folder: str) -> Any:
    """A short training: 2 times 800 pictures."""
    explainer = seewhy.explainer(name, classifier, **TRAINING[name])
    pictures = Shapes(n=800, split="train")
    return seewhy.fit(explainer, classifier, pictures, Path(folder) / name, epochs=2, batch_size=16)


def explainer_for(name: str, folder: str) -> tuple[str, Any]:
    """The method, on the first of the networks on which it is defined; the name of the network."""
    for network in NETWORKS:
        classifier = seewhy.load(network)
        if name in TRAINING:
            return network, trained(name, classifier, folder)
        try:
            method = seewhy.explainer(name, classifier)
            if EXPLAINERS[name].family not in ("optimized", "perturbation") or name in NEED_TOKENS:
                method.explain(Shapes(n=1).batch([0]).images, torch.tensor([0]))  # raises where the method is not defined
        except SeewhyError:
            continue
        return network, method
    raise SystemExit(f"{name} is defined on none of {', '.join(NETWORKS)}")


def rows() -> dict[str, dict[str, str]]:
    """What the table says of each method: network, class and forward-equivalents."""
    if not TABLE.is_file():
        return {}
    with TABLE.open(encoding="utf-8", newline="") as opened:
        return {row["explainer"]: row for row in csv.DictReader(opened)}


def write(table: dict[str, dict[str, str]]) -> None:
    with TABLE.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, ["explainer", "network", "class", "forward_equivalents"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(table[name] for name in EXPLAINERS if name in table)


class Kept:
    """The explainer, with its maps kept: it runs once for the picture and for the cost."""

    family, class_specific, paper = "", True, ""

    def __init__(self, method: Any) -> None:
        self.method, self.classifier, self.maps = method, method.classifier, []

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        self.maps += self.method.explain(images, targets)
        return torch.stack(self.maps)


def draw(name: str, folder: str) -> dict[str, str]:
    """Write the picture of a method; its row of the table."""
    network, method = explainer_for(name, folder)
    sample = Shapes(n=PICTURE + 1).sample(PICTURE)
    image, target = sample.image[None], sample.label[None]
    kept = Kept(method)
    cost = forward_equivalents(kept, image, target)
    overlay(sample.image, kept.maps[-1], SIDE).save(IMAGES / f"{name}.webp", quality=88)
    return {
        **{"explainer": name, "network": network, "class": Shapes.classes[int(sample.label)]},
        "forward_equivalents": f"{cost:.3g}" if cost < 100 else f"{cost:.0f}",
    }


def main() -> None:
    torch.set_num_threads(1)
    IMAGES.mkdir(parents=True, exist_ok=True)
    to_picture(Shapes(n=PICTURE + 1).sample(PICTURE).image).resize((SIDE, SIDE)).save(IMAGES / "picture.webp", quality=92)
    table = rows()
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or EXPLAINERS:
            if sys.argv[1:] or name not in table or not (IMAGES / f"{name}.webp").is_file():
                table[name] = draw(name, folder)
                write(table)
                print(*table[name].values(), flush=True)


if __name__ == "__main__":
    main()
