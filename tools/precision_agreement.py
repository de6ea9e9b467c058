"""How alike the maps of ``precision="bf16"`` are to those of float32, for every method that has the option.

    python tools/precision_agreement.py                      # built-in network, eight pictures
    python tools/precision_agreement.py --network shapes/vit --n 8 --method rise --method igos_pp

Prints a table in Markdown: the median, lowest and highest correlation over the images, at each method's default options.
"""

import argparse
from collections.abc import Mapping

import torch

import seewhy
from seewhy.explainers.base import options_of

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
        if "precision" not in options_of(seewhy.EXPLAINERS[name]):
            continue
        ours, theirs = (
            seewhy.explainer(name, classifier, precision=precision, **MANY.get(name, {})).explain(batch.images, batch.labels)
            for precision in ("fp32", "bf16")
        )
        r = [float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) for a, b in zip(ours, theirs, strict=True)]
        middle = float(torch.tensor(r, dtype=torch.float64).median())
        print(f"| `{name}` | {middle:.3f} | {min(r):.3f} | {max(r):.3f} |", flush=True)


if __name__ == "__main__":
    main()
