"""The pictures of docs/explanation/transformers.md, on pictures that the library draws itself.

    python tools/docs/attention_pictures.py methods                   # docs/images/attention_methods.jpg
    python tools/docs/attention_pictures.py sinks --weights vit_tiny_patch16_224.safetensors
    python tools/docs/attention_pictures.py sinks --weights ... --photographs FOLDER     # the shares of the page, no picture

``sinks`` shows patches that a pretrained ViT-Tiny of timm (AugReg) uses as stores: it needs the file of its weights.
"""

import argparse
from pathlib import Path

import torch
from bibliography import ROOT
from plates import Tile, on_image, photo, sheet
from torch import Tensor

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.data.shapes.shapes import Shapes
from seewhy.explanation.prepare import prepare
from seewhy.maps import upsample

IMAGES = ROOT / "docs" / "images"
METHODS = (
    *("raw_attention", "attention_rollout", "attention_flow", "attention_gradients", "tiba", "legrad", "grad_eclip"),
    *("vit_cx", "grad_cam"),
)
CORNERS = ([0, 0, -1, -1], [0, -1, 0, -1])


def methods() -> None:
    """Every method on the built-in vision transformer, on two pictures."""
    classifier, rows = seewhy.load("shapes/vit"), []
    for i in (1, 7):
        sample = Shapes(n=24, size=classifier.input_size[0]).sample(i)
        image, target = sample.image[None], sample.label[None]
        tiles = [Tile(photo(sample.image), classifier.classes[int(sample.label)])]
        for name in METHODS:
            maps = seewhy.explainer(name, classifier).explain(image, target)
            tiles.append(Tile(on_image(sample.image, maps[0]), name))
        half = (len(tiles) + 1) // 2
        rows += [("", tiles[:half]), ("", [*tiles[half:]])]
    sheet(rows).savefig(IMAGES / "attention_methods.jpg", dpi=80, pil_kwargs={"quality": 88})


def pretrained(weights: Path) -> Classifier:
    options = {"mean": 0.5, "std": 0.5}
    return seewhy.load("vit_tiny_patch16_224", weights=weights, classes="imagenet", options=options)


def attention_and_norms(classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """(n, 12, 14, 14) attention of the class token to the patches in each block, and (n, 14, 14) norms before the last."""
    with classifier.running(), classifier.capture("blocks.10") as outputs:
        _, attentions = classifier.transformer.read(images)
        norms = classifier.as_grid(outputs["blocks.10"], images, "blocks.10").norm(dim=1)
    rows = torch.stack([a.weights.mean(1)[:, 0] for a in attentions], 1)
    grids = classifier.transformer.on_grid(rows, images)
    return grids / grids.sum((-1, -2), keepdim=True), norms


def sinks(weights: Path) -> None:
    """Where the class token looks in a network without registers, and what is seen without the stores."""
    classifier, rows = pretrained(weights), []
    for i in (0, 3):
        image = Shapes(n=24, size=224).sample(i).image
        grids, norms = attention_and_norms(classifier, image[None])
        last = grids[:, -1]
        share = float(last[0][CORNERS].sum())
        without = last.clone()
        without[(slice(None), *CORNERS)] = last.amin()
        length, usual = float(norms[0][CORNERS].mean()), float(norms[0].median())
        size = image.shape[-2:]
        tiles = [
            Tile(photo(image), "drawn picture"),
            Tile(on_image(image, upsample(norms, size)[0]), f"norms: {length:.0f}, else {usual:.0f}"),
            Tile(on_image(image, upsample(last, size)[0]), f"raw_attention: {share:.0%} at corners"),
            Tile(on_image(image, upsample(without, size)[0]), "the same without corners"),
        ]
        rows.append(("", tiles))
    sheet(rows, size=2.1).savefig(IMAGES / "attention_sinks.jpg", dpi=80, pil_kwargs={"quality": 88})


def shares(weights: Path, folder: Path) -> None:
    """Of every fifth photograph of a folder: the class token's attention to the four corners, in the mean."""
    classifier = pretrained(weights)
    photographs = sorted(folder.glob("*.jpg"))[::5]
    corners, norms, medians = [], [], []
    for file in photographs:
        image = prepare(file, classifier)[0].reshape(3, 224, 224)
        grids, norm = attention_and_norms(classifier, image[None])
        corners.append(grids[0][:, CORNERS[0], CORNERS[1]].sum(1))
        norms.append(norm[0][CORNERS].mean())
        medians.append(norm[0].median())
    print(len(photographs), "photographs; share of each block:", [f"{v:.3f}" for v in torch.stack(corners).mean(0)])
    print(f"norm before the last block: corners {torch.stack(norms).mean():.0f}, median {torch.stack(medians).mean():.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", choices=("methods", "sinks"))
    parser.add_argument("--weights", type=Path, help="weights of vit_tiny_patch16_224")
    parser.add_argument("--photographs", type=Path, help="a folder of JPEG files")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.picture == "methods":
        methods()
    elif given.weights is None:
        parser.error("sinks needs --weights")
    elif given.photographs is not None:
        shares(given.weights, given.photographs)
    else:
        sinks(given.weights)


if __name__ == "__main__":
    main()
