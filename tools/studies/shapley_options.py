"""Each option of Salvage and ViT-Shapley against the default, at equal time or at equal numbers of sets.

    python tools/studies/shapley_options.py --surrogate shapes/vit_surrogate --minutes 10 --out build/options --device cuda
    python tools/studies/shapley_options.py --only salvage salvage:backbone=side --epochs 2 --minutes 60 --out build/options

Trains each variant on the built-in pictures, all with the same seed, the same pictures and as many sets. ``--minutes`` is
for everything; each variant trains for an equal share. The same command goes on where it was interrupted. Then the
maps of test pictures are compared with sampled Shapley values of the surrogate. Prints a table in Markdown: correlations and
SRG, each with half of its 95 % interval over the pictures, the number of trained weights, the seconds of the training, and
on a GPU the most memory that the training took.
"""

import argparse
from pathlib import Path
from time import monotonic

import torch
from torch import Tensor

import seewhy
from seewhy.classifier.load import load, on_device
from seewhy.data.shapes.shapes import Shapes
from seewhy.explainers import EXPLAINERS
from seewhy.explainers.learned.config import read_explainer_config
from seewhy.explainers.learned.learned_shapley import LearnedShapley
from seewhy.maps import pearson
from seewhy.options import from_text, pairs
from seewhy.training.monitor import Truth, sampled, symmetric_gain

VARIANTS = (
    *("salvage", "salvage:focus=0.5", "salvage:focus=2", "salvage:sampling=uniform", "salvage:temperature=learned"),
    *("salvage:backbone=side", "salvage:backbone=copy", "salvage:head=transformer", "salvage:head=linear"),
    *("salvage:apart=false", "salvage:centered=false", "salvage:small=false", "salvage:remember=0"),
    *("vit_shapley", "vit_shapley:labels=noisy", "vit_shapley:backbone=side", "vit_shapley:sampler=released"),
)
AT_A_TIME = 10
"""Test pictures."""


def trained(variant: str, asked: argparse.Namespace, classifier: seewhy.Classifier, seconds: float) -> LearnedShapley | None:
    """The variant, as far as it comes in so many seconds; None where it ends with an error, which is printed."""
    method, _, rest = variant.partition(":")
    own = from_text(EXPLAINERS[method], pairs(rest.split(",") if rest else []))
    options = {"surrogate": asked.surrogate, "sets": asked.sets, "monitor": 0, **own}
    try:
        made = seewhy.fit(
            method, classifier, Shapes(asked.train, split="train"), asked.out / variant.replace(":", "-"), options=options,
            epochs=asked.epochs, batch_size=asked.batch_size, precision=asked.precision, max_time=max(seconds, 1.0),
        )  # fmt: skip
    except seewhy.SeewhyError as error:
        print(f"{variant}: {error}", flush=True)
        return None
    assert isinstance(made, LearnedShapley)
    return made


def compared(made: LearnedShapley, n: int, truths: dict[int, Truth]) -> Tensor:
    """(n, 3) correlation with the values of the probability and of the log-odds, and SRG, of each test picture."""
    data, rows = Shapes(n), []
    for start in range(0, n, AT_A_TIME):
        images = made.classifier.to_device(data.batch(range(start, min(start + AT_A_TIME, n))).images)
        seen = made.see(images)
        if start not in truths:
            truths[start] = sampled(made, seen, start)
        classes, values = truths[start]
        with torch.no_grad():
            scores = made.scores(seen).gather(2, classes[:, None, None].expand(-1, values.shape[2], 1))[:, :, 0]
            gain = symmetric_gain(made, seen, classes, scores).cpu().double()
        own = scores.cpu().double()
        rows.append(torch.stack([pearson(own, values[0].double()), pearson(own, values[1].double()), gain], 1))
    return torch.cat(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="shapes/vit")
    parser.add_argument("--surrogate", default="", help="a folder, or shapes/vit_surrogate; by default the network itself")
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), help="METHOD or METHOD:option=value,...")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=4000, help="pictures to train on")
    parser.add_argument("--images", type=int, default=100, help="test pictures")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--sets", type=int, default=8)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=60)
    asked = parser.parse_args()
    end, truths = monotonic() + 60 * asked.minutes, dict[int, Truth]()
    classifier = on_device(load(asked.model), asked.device)
    columns = ["variant", "steps", "correlation", "with log-odds", "SRG, %", "trained weights", "seconds", "memory, MB"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    for i, variant in enumerate(asked.only):
        if asked.device != "cpu":
            torch.cuda.reset_peak_memory_stats()
        made = trained(variant, asked, classifier, 0.7 * (end - monotonic()) / (len(asked.only) - i))
        if made is None:
            continue
        memory = f"{torch.cuda.max_memory_allocated() / 2**20:.0f}" if asked.device != "cpu" else ""
        card = read_explainer_config(asked.out / variant.replace(":", "-")).card
        found = compared(made, asked.images, truths) * torch.tensor([1.0, 1.0, 100.0])
        half = 1.96 * found.std(0) / len(found) ** 0.5
        cells = [f"{m:.{d}f} ± {h:.{d}f}" for m, h, d in zip(found.mean(0), half, (2, 2, 1), strict=True)]
        weights = sum(w.numel() for w in made.ready.parameters() if w.requires_grad)
        print(
            f"| {variant} | {card['steps']} | {' | '.join(cells)} | {weights:,} | {card['seconds']} | {memory} |", flush=True
        )


if __name__ == "__main__":
    main()
