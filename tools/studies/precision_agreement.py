"""How alike the maps of ``precision="bf16"`` are to those of float32, for every method that has the option.

    python tools/studies/precision_agreement.py                      # built-in network, eight pictures
    python tools/studies/precision_agreement.py --network shapes/vit --n 8 --method rise --method igos_pp

Prints a table in Markdown: the median, lowest and highest correlation over the images, at each method's default options.
"""

import argparse
from collections.abc import Mapping
from statistics import median

import torch

import seewhy
from seewhy.options import described

MANY: Mapping[str, dict[str, object]] = {"rise": {"samples": 1000}, "relax": {"samples": 1000}, "u_relax": {"samples": 1000}}
"""Fewer masks than by default: the same are drawn for both."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="shapes", help="a model that is built in")
    parser.add_argument("--n", type=int, default=8, help="pictures")
    parser.add_argument("--method", action="append", help="may be repeated; all by default")
    given = parser.parse_args()
    classifier = seewhy.load(given.network)
    batch = seewhy.DATASETS["shapes"](n=given.n).batch(range(given.n))
    print("| method | median | lowest | highest |\n|---|---|---|---|")
    for name in given.method or seewhy.EXPLAINERS:
        if "precision" not in {option.name for option in described(seewhy.EXPLAINERS[name])}:
            continue
        ours, theirs = (
            seewhy.explainer(name, classifier, precision=precision, **MANY.get(name, {})).explain(batch.images, batch.labels)
            for precision in ("fp32", "bf16")
        )
        pairs = torch.stack([ours.flatten(1), theirs.flatten(1)], 1)
        r = sorted(float(torch.corrcoef(pair)[0, 1]) for pair in pairs if (pair.std(1) > 0).all())
        left = f", {len(pairs) - len(r)} constant" if len(r) < len(pairs) else ""
        print(f"| `{name}`{left} | {median(r):.3f} | {r[0]:.3f} | {r[-1]:.3f} |", flush=True)


if __name__ == "__main__":
    main()
