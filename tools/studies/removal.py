"""Does the ranking of methods by SRG change between blanked pixels and dropped tokens?

    SEEWHY_REAL_DATA=FOLDER python tools/studies/removal.py [--images N] [--steps N] [--methods NAME ...]

ViT-Tiny with ImageNet weights on photographs of the folder, spread evenly over the classes; the predicted class. Prints a
table in Markdown: the mean SRG of each method by each removal, and Kendall's tau of the two rankings with a 95 % interval
of a bootstrap over the photographs.
"""

import argparse
import os
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau

import seewhy
from seewhy.metrics import Case, metric

ROOT = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("SEEWHY_REAL_DATA", ROOT.parent / "shared" / "real_data"))
METHODS = (
    *("grad_cam", "saliency", "input_x_gradient", "raw_attention", "attention_rollout", "legrad", "center", "random"),
)
REMOVALS = ("pixels", "tokens")
DRAWS = 2000


def scores(names: tuple[str, ...], removals: tuple[str, ...], n: int, steps: int, batch: int) -> np.ndarray:
    """(removals, methods, n) SRG of every photograph."""
    weights = REAL / "weights" / "vit_tiny_patch16_224.safetensors"
    options = {"mean": 0.5, "std": 0.5, "crop": 0.9, "interpolation": "bicubic"}
    vit = seewhy.load("vit_tiny_patch16_224", weights=weights, classes="imagenet", options=options)
    photographs = seewhy.dataset(str(REAL / "imagenet_sample"), vit)
    places = [i * len(photographs) // n for i in range(n)]
    found = np.zeros((len(removals), len(names), n))
    for first in range(0, n, batch):
        images = photographs.batch(places[first : first + batch]).images
        with torch.no_grad():
            targets = vit.logits(images).argmax(1)
        for m, name in enumerate(names):
            case = Case(vit, images, targets, targets, seewhy.explainer(name, vit).explain(images, targets))
            for r, removal in enumerate(removals):
                measured = metric("srg", steps=steps, removal=removal).score(case)
                found[r, m, first : first + len(images)] = measured.double().numpy()
        print(f"{first + len(images)} of {n} photographs", flush=True)
    return found


def agreement(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Kendall's tau of two rankings by the means of (methods, n) scores, and its interval over the photographs."""
    generator, n = np.random.default_rng(0), one.shape[1]

    def tau(images: np.ndarray) -> float:
        return float(kendalltau(one[:, images].mean(1), other[:, images].mean(1)).statistic)

    low, high = np.quantile([tau(generator.integers(n, size=n)) for _ in range(DRAWS)], (0.025, 0.975))
    return tau(np.arange(n)), float(low), float(high)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--removals", nargs="+", default=REMOVALS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    names, removals = tuple(asked.methods), tuple(asked.removals)
    found = scores(names, removals, asked.images, asked.steps, asked.batch_size)
    print(f"\nMean SRG on {asked.images} photographs, {asked.steps} sizes\n")
    print(f"| method | {' | '.join(removals)} |\n|---|{'---|' * len(removals)}")
    for m in np.argsort(-found[0].mean(1)):
        print(f"| {names[m]} | {' | '.join(f'{found[r, m].mean():.3f}' for r in range(len(removals)))} |")
    for a, b in combinations(range(len(removals)), 2):
        tau, low, high = agreement(found[a], found[b])
        print(f"\nKendall's tau of {removals[a]} and {removals[b]}: {tau:.2f} (95 % interval {low:.2f} to {high:.2f})")
