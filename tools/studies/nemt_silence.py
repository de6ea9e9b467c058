"""How often is the mask of a class empty that is not in the picture, and how large is the mask of one that is?

    python tools/studies/nemt_silence.py EXPLAINER_FOLDER [--model M] [--weights W] [--data D] [--images N]

For each picture: the area of the mask of its label, and of every class with a probability below 0.1. Empty means a mean
below 1 %. The default is the network of `shapes` on its test pictures. Prints one line of a table in Markdown, with a 95 %
interval of the bootstrap over the pictures.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import seewhy
from seewhy.options import pairs

ABSENT, EMPTY, DRAWS = 0.1, 0.01, 2000


def interval(values: list[float]) -> str:
    generator, found = np.random.default_rng(0), np.asarray(values)
    means = found[generator.integers(len(found), size=(DRAWS, len(found)))].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return f"{100 * found.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}] %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("explainer", type=Path)
    parser.add_argument("--model", default="shapes")
    parser.add_argument("--weights")
    parser.add_argument("--classes")
    parser.add_argument("--model-option", action="append", default=[])
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--images", type=int, default=200)
    asked = parser.parse_args()
    given = {"weights": asked.weights, "classes": asked.classes, "options": pairs(asked.model_option)}
    classifier = seewhy.load(asked.model, **{name: value for name, value in given.items() if value})
    explainer = seewhy.explainer(str(asked.explainer), classifier)
    dataset = seewhy.dataset(asked.data, classifier, asked.images)
    there: list[float] = []
    absent: list[float] = []
    empty: list[float] = []
    every = torch.arange(classifier.n_classes)
    for start in range(0, len(dataset), 16):
        batch = dataset.batch(range(start, min(start + 16, len(dataset))))
        with torch.no_grad():
            probabilities = classifier.probabilities(batch.images)
        areas = explainer.explain_classes(batch.images, every).mean((2, 3))
        for row, p, label in zip(areas, probabilities, batch.labels, strict=True):
            there.append(float(row[label]))
            quiet = row[p < ABSENT]
            if len(quiet):
                absent.append(float(quiet.mean()))
                empty.append(float((quiet < EMPTY).float().mean()))
    print("| explainer | pictures | area of the label's mask | area where absent | empty where absent |")
    print("|---|---|---|---|---|")
    print(f"| {asked.explainer.name} | {len(there)} | {interval(there)} | {interval(absent)} | {interval(empty)} |")


if __name__ == "__main__":
    main()
