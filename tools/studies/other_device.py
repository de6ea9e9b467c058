"""Does every method, every metric and every training run on another device, and give what the CPU gives?

    python tools/studies/other_device.py --device cuda [--network shapes] [--n 4] [--method NAME ...]

Prints two tables in Markdown. Methods: the correlation of the maps with those of the CPU (the lowest over the images), in
float32 and, for a method that has the option, in bfloat16. Learned methods have a new network of the same seed. Metrics:
the largest difference from the CPU's score of the same maps. Then each learned method is trained for a few steps, in both
precisions, killed after half of them, and resumed. A fault is one line, and the command ends with code 1.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import seewhy
from seewhy.classifier.load import on_device
from seewhy.explainers import EXPLAINERS
from seewhy.explainers.base import Explainer
from seewhy.explainers.learned.learned_explainer import LearnedExplainer
from seewhy.metrics import METRICS
from seewhy.options import described

FEWER: dict[str, dict[str, object]] = {
    "rise": {"samples": 200},
    "relax": {"samples": 200},
    "u_relax": {"samples": 200},
    "opti_cam": {"steps": 10},
    "smooth_pixel_mask": {"steps": 10},
    "extremal_perturbation": {"steps": 10, "areas": (0.1, 0.3)},
    "meaningful_perturbation": {"steps": 10},
    "igos_pp": {"iterations": 2, "path_steps": 4},
    "kernel_shap": {"samples": 100},
    "lime": {"samples": 100},
    "transformer_input_sampling": {"masks": 64},
    "metric_driven": {"size": 24},
    "nn_explainer": {"architecture": "light"},
    "rtis": {"architecture": "light"},
}
"""Options with which a method takes a few seconds; the same draws and steps on both devices."""


def lowest_correlation(maps: Tensor, others: Tensor) -> float:
    """The lowest correlation of two maps of an image; 1 where both are constant."""
    found = [1.0]
    for pair in torch.stack([maps.flatten(1), others.flatten(1)], 1).double():
        flat = pair.std(1) < 1e-12
        found.append(float(flat.all()) if flat.any() else float(torch.corrcoef(pair)[0, 1]))
    return min(found)


def made(name: str, classifier: seewhy.Classifier, **options: object) -> Explainer:
    if name == "nn_explainer" or name not in FEWER:  # may be shipped, and then takes no option of its training
        method = seewhy.explainer(name, classifier, **options)
    else:
        method = seewhy.explainer(name, classifier, **{**FEWER[name], **options})
    if isinstance(method, LearnedExplainer) and method.network is None:
        method = method.untrained()
        assert method.network is not None
        assert method.network is not None
        method.network.to(next(classifier.module.parameters()).device)
    return method


def tried(what: str, run: Callable[[], str], faults: list[str]) -> None:
    """Print a line of a table, or keep the fault: the other lines are wanted too."""
    try:
        print(f"| {what} | {run()} |", flush=True)
    except seewhy.SeewhyError as error:
        print(f"| {what} | not defined here: {error} |", flush=True)
    except Exception as error:  # what is looked for
        faults.append(f"{what}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        print(f"| {what} | FAULT |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--network", default="shapes", help="a model that is built in")
    parser.add_argument("--n", type=int, default=4, help="pictures")
    parser.add_argument("--method", nargs="+", default=list(EXPLAINERS))
    asked = parser.parse_args()
    faults: list[str] = []
    data = seewhy.DATASETS["shapes"](n=asked.n)
    batch = data.batch(range(asked.n))
    here, there = seewhy.load(asked.network), on_device(seewhy.load(asked.network), asked.device)
    images, labels = batch.images.to(asked.device), batch.labels.to(asked.device)

    def agreement(name: str) -> str:
        ours = made(name, here).explain(batch.images, batch.labels)
        figures = [f"{lowest_correlation(ours, made(name, there).explain(images, labels).cpu()):.4f}"]
        if "precision" in {option.name for option in described(EXPLAINERS[name])}:
            theirs = made(name, there, precision="bf16").explain(images, labels).cpu()
            figures.append(f"{lowest_correlation(ours, theirs):.4f}")
        return " | ".join(figures)

    print(f"| method, {asked.network} | {asked.device} | {asked.device}, bf16 |\n|---|---|---|")
    for name in asked.method:
        tried(name, lambda name=name: agreement(name), faults)  # type: ignore[misc]

    def difference(name: str) -> str:
        scores = [
            torch.tensor(
                seewhy.evaluate(c, {"grad_cam": seewhy.explainer("grad_cam", c)}, [name], data, target="label")
                .frame["value"]
                .to_list()
            )
            for c in (here, there)
        ]
        return f"{float((scores[0] - scores[1]).abs().max()):.1e}"

    print(f"\n| metric, {asked.network} | largest difference |\n|---|---|")
    for name in METRICS:
        tried(name, lambda name=name: difference(name), faults)  # type: ignore[misc]

    def trains(name: str, precision: str) -> str:
        options = FEWER.get(name, {})
        pictures = seewhy.DATASETS["shapes"](n=64, split="train")
        given: dict[str, Any] = {"options": options, "precision": precision, "epochs": 2, "batch_size": 16}
        with tempfile.TemporaryDirectory() as folder:
            seewhy.fit(name, there, pictures, Path(folder) / "a", max_steps=3, **given)
            seewhy.fit(name, there, pictures, Path(folder) / "a", **given)
            seewhy.fit(name, there, pictures, Path(folder) / "b", **given)
            resumed, whole = (seewhy.load_explainer(Path(folder) / part, there).ready for part in "ab")
        pairs = zip(resumed.parameters(), whole.parameters(), strict=True)
        return f"{max(float((a - b).detach().abs().max()) for a, b in pairs):.1e}"

    print(f"\n| training, {asked.network} | resumed against undisturbed, largest weight difference |\n|---|---|")
    for name in (name for name in asked.method if EXPLAINERS[name].family == "learned"):
        for precision in ("fp32", "bf16"):
            tried(f"{name}, {precision}", lambda n=name, p=precision: trains(n, p), faults)  # type: ignore[misc]
    print("\n" + ("\n".join(faults) or "no fault"))
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
