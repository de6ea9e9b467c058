"""Which removal metrics agree with what really happens when a part of the picture was never there?

    python tools/studies/removal_metrics.py --out FOLDER [--model shapes] [--shortcut random] [--surrogate FOLDER]
        [--images 128] [--minutes 10] [--device cpu]

On the built-in pictures a part can be left out by drawing the picture without it. `scene_deletion` scores maps against
that. Every explainer is scored by it and by every removal metric. Rank: Spearman's correlation over the explainers of the
mean scores by the metric and by `scene_deletion` (1: the same order), with a 95 % interval over pictures. Picture: the same
on each picture, and its mean over the pictures. The row "truth" is a map that has the real effect of each part on the part's
pixels. "Best of" says how many explainers a metric puts above it: none, if the metric is right.

With --surrogate the ordering metrics ask the surrogate too, and their rows end in "by surrogate". The numbers are in two run
folders under FOLDER. The same command goes on there. The time is kept by measuring 16 pictures, then 32, 64, ...: the next
number is begun only where there is time for it. With --shortcut the pictures carry tags, for --model shapes/cnn_shortcut.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar
from zlib import crc32

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.data.shapes.shapes import Shapes
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.evaluation.bootstrap import Array, draw_images
from seewhy.evaluation.evaluate import Evaluation, evaluate
from seewhy.explainers import Explainer
from seewhy.masking.surrogate import load_surrogate
from seewhy.masking.values import Value
from seewhy.metrics import Metric, metric

ARBITER = "scene_deletion"
EXPLAINERS: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("grad_cam", "layer_cam", "eigen_cam", "saliency", "input_x_gradient", "positive_saliency")},
    **{name: {} for name in ("attention_rollout", "tiba", "legrad", "raw_attention", "occlusion")},
    "integrated_gradients": {"steps": 16},
    "smooth_grad": {"samples": 16},
    "rise": {"samples": 300},
    **{name: {} for name in ("random", "center")},
}
"""Those that the network does not suit are left out; options that a method lacks too."""
BASELINES = ("mean_color", "black", "blur")
ORDERING: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"deletion, {b}": ("deletion", {"baseline": b, "steps": 36, "players": "patches", "size": 8}) for b in BASELINES},
    **{f"insertion, {b}": ("insertion", {"baseline": b, "steps": 36, "players": "patches", "size": 8}) for b in BASELINES},
    **{f"srg, {b}": ("srg", {"baseline": b, "size": 8, "steps": 36}) for b in BASELINES},
    "r_srg, mean_color": ("r_srg", {"size": 8, "steps": 12, "n_draws": 6}),
    "aopc, mean_color": ("aopc", {"baseline": "mean_color", "size": 8}),
    "single_deletion, mean_color": ("single_deletion", {}),
    "f_fidelity, mean_color": ("f_fidelity", {"size": 8, "n_draws": 8}),
    "saco, mean_color": ("saco", {"players": "patches", "size": 8}),
    "faithfulness_correlation, mean_color": (
        "faithfulness_correlation", {"players": "patches", "size": 8, "subset_size": 8, "baseline": "mean_color"},
    ),
    "faithfulness_estimate, mean_color": (
        "faithfulness_estimate", {"players": "patches", "size": 8, "features": 4, "baseline": "mean_color"},
    ),
}  # fmt: skip
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"deletion of pixels, {b}": ("deletion", {"baseline": b, "steps": 36}) for b in ("mean_color", "black")},
    "pixel_flipping, mean_color": ("pixel_flipping", {}),
    "road": ("road", {"shares": (0.1, 0.3, 0.5, 0.7)}),
    "average_drop, black": ("average_drop", {}),
    "average_gain, black": ("average_gain", {}),
    "relevance_mass (no removal)": ("relevance_mass", {}),
}


@dataclass(frozen=True)
class Truth:
    """The real effect of each part on the pixels of the part: the map that `scene_deletion` asks for."""

    classifier: Classifier
    dataset: Shapes
    places: dict[int, int] = field(default_factory=dict)
    family: ClassVar[Any] = "reference"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = ""

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        if not self.places:
            for i in range(len(self.dataset)):
                self.places[checksum(self.dataset.batch([i]).images[0])] = i
        maps = torch.zeros(len(images), *images.shape[2:], device=images.device)
        for row, (image, target) in enumerate(zip(images, targets.tolist(), strict=True)):
            parts = self.dataset.parts(self.places[checksum(image)])
            with self.classifier.running():
                both = self.classifier.probabilities(torch.cat([image[None], parts.images.to(images)]))[:, target]
            for region, p in zip(parts.regions, both[1:].tolist(), strict=True):
                maps[row, region.to(images.device)] = float(both[0]) - p
        return maps


def checksum(image: Tensor) -> int:
    return crc32(image.cpu().contiguous().numpy().tobytes())


def explainers(classifier: Classifier, dataset: Shapes) -> dict[str, Explainer]:
    found: dict[str, Explainer] = {"truth": Truth(classifier, dataset)}
    for name, options in EXPLAINERS.items():
        try:
            found[name] = seewhy.explainer(name, classifier, **options)
        except UnsuitedError:  # attention in a network without any
            continue
    return found


def measured(
    folder: Path,
    methods: Mapping[str, Explainer],
    metrics: Mapping[str, Metric],
    dataset: Shapes,
    asked: argparse.Namespace,
    surrogate: Value | None,
    end: float,
) -> Evaluation:
    """16 pictures, then twice as many, while there is time: those of a larger number hold those of a smaller one."""
    classifier = methods["truth"].classifier  # type: ignore[attr-defined]
    sizes = [16 * 2**i for i in range(20) if 16 * 2**i < asked.images] + [asked.images]
    for count in sizes:
        start = monotonic()
        limits = dict.fromkeys(methods, count)
        found = evaluate(classifier, methods, metrics, dataset, out=folder, target="label", surrogate=surrogate,
                         limits=limits, batch_size=16, pictures=0)  # fmt: skip
        if monotonic() + 2 * (monotonic() - start) > end:
            break
    return found


def table_of(found: Evaluation, name: str, methods: list[str]) -> Array:
    """(images, explainers) scores, higher is better."""
    scores = torch.stack([found.scores(method, name) for method in methods], 1).numpy()
    return -scores if found.metrics[name].higher_is_better is False else scores


def spearman(a: Array, b: Array) -> Array:
    """Row by row; NaN where a row is constant."""
    a, b = (rankdata(x, axis=1) - (x.shape[1] + 1) / 2 for x in (a, b))
    scale = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(1) / scale


def line(name: str, scores: Array, truth: Array, methods: list[str]) -> tuple[float, str]:
    fair = [i for i, method in enumerate(methods) if method != "truth"]
    n = len(scores)
    draws = np.concatenate(list(draw_images(n, 1000, 0)))
    ranks = spearman(scores[draws][:, :, fair].mean(1), truth[draws][:, :, fair].mean(1))
    rank = float(spearman(scores[:, fair].mean(0)[None], truth[:, fair].mean(0)[None])[0])
    each = spearman(scores[:, fair], truth[:, fair])
    each = each[~np.isnan(each)]
    half = 1.96 * each.std(ddof=1) / len(each) ** 0.5
    low, high = np.nanquantile(ranks, (0.025, 0.975))
    means = scores.mean(0)
    above = [methods[i] for i in fair if means[i] > means[methods.index("truth")]]
    best = methods[max(fair, key=lambda i: means[i])]
    said = ", ".join(above) if len(above) <= 2 else f"{len(above)} of {len(fair)}"
    return (
        rank,
        f"| {name} | {rank:.2f} ({low:.2f} to {high:.2f}) | {each.mean():.2f} ± {half:.2f} | {best} | {said or 'none'} |",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="shapes")
    parser.add_argument("--shortcut", default="none", choices=["none", "correlated", "random"])
    parser.add_argument("--surrogate", help="a folder of seewhy fit surrogate, or the name of a network")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    end = monotonic() + 60 * asked.minutes
    classifier = seewhy.load(asked.model)
    classifier.module.to(asked.device)
    shown: dict[str, Any] = {
        "size": classifier.input_size[0],
        "multilabel": classifier.multilabel,
        "shortcut": asked.shortcut,
    }
    dataset = Shapes(n=asked.images, **shown)
    methods = explainers(classifier, dataset)
    metrics = {name: metric(kind, **options) for name, (kind, options) in (ORDERING | OTHERS).items()}
    try:
        metrics["srg, tokens"] = metric("srg", removal="tokens", size=8, steps=36)
        metrics["srg, tokens"].suits(classifier)  # type: ignore[attr-defined]
    except SeewhyError:  # the network has no tokens that could be dropped
        del metrics["srg, tokens"]
    metrics[ARBITER] = metric(ARBITER)
    half = end if asked.surrogate is None else monotonic() + 40 * asked.minutes
    found = measured(asked.out / "network", methods, metrics, dataset, asked, None, half)
    rows = {name: (found, name) for name in metrics if name != ARBITER}
    if asked.surrogate is not None:
        value = load_surrogate(asked.surrogate, classifier)
        mine = {name: metric(kind, **options) for name, (kind, options) in ORDERING.items() if ", b" not in name}
        other = measured(asked.out / "surrogate", methods, {**mine, ARBITER: metric(ARBITER)}, dataset, asked, value, end)
        rows |= {f"{name.partition(',')[0]}, by surrogate": (other, name) for name in mine}
    names = list(methods)
    print(
        f"{asked.model}, {len(found.scores('truth', ARBITER))} pictures, shortcut {asked.shortcut}; by {ARBITER}: ", end=""
    )
    order = sorted(((float(found.scores(m, ARBITER).mean()), m) for m in names), reverse=True)
    print(", ".join(f"{m} {value:.2f}" for value, m in order), "\n")
    print("| metric | rank | picture | its best explainer | above the truth |\n|---|---|---|---|---|")
    lines = [line(n, table_of(e, m, names), table_of(e, ARBITER, names), names) for n, (e, m) in rows.items()]
    for _, text in sorted(lines, key=lambda one: -one[0]):
        print(text)


if __name__ == "__main__":
    main()
