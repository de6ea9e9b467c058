"""What a learned explanation costs beside the methods that search for each image anew.

    python benchmarks/learned.py [--model resnet50] [--rounds 5] [--training-hours 0.5]

One thread, seconds of the processor, the best of several rounds in turn; networks and explainers have random weights, on
which the time does not depend. Methods of many passes are measured with a part of their passes, and the seconds are
multiplied: the line says so. "bare" is the network alone, the floor of every method.
"""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import torch
from exported import network
from tokens import best_of
from torch import Tensor

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.explainers import EXPLAINERS
from seewhy.explainers.base import maps_of_classes
from seewhy.explainers.learned.learned_explainer import LearnedExplainer


class Searching(NamedTuple):
    """A method that runs the network many times: options, those with which it is timed, and how much less that is."""

    options: dict[str, object]
    timed: Mapping[str, object] = MappingProxyType({})
    times: float = 1.0


SEARCHING = {
    "grad_cam_pp": Searching({}),
    "integrated_gradients": Searching({"steps": 50}, {"steps": 10}, 5),
    "rise": Searching({"samples": 4000}, {"samples": 100}, 40),
    "smooth_pixel_mask": Searching({"steps": 800}, {"steps": 10}, 80),
    "opti_cam": Searching({"steps": 100}, {"steps": 10}, 10),
}
LEARNED: dict[str, tuple[str, dict[str, object]]] = {
    "nemt, published decoder": ("nemt", {"decoder": "published"}),
    "nemt, light decoder": ("nemt", {"decoder": "light"}),
    "nemt_classes, conditional": ("nemt_classes", {"how": "conditional"}),
    "nemt_classes, heads": ("nemt_classes", {"how": "heads"}),
    "nn_explainer, own network": ("nn_explainer", {}),
    "nn_explainer, light": ("nn_explainer", {"architecture": "light"}),
}
LOOPED = ("integrated_gradients", "smooth_pixel_mask", "opti_cam", "nemt_classes, conditional")
"""These pay for each class again."""


def learned(classifier: Classifier, key: str) -> LearnedExplainer:
    name, options = LEARNED[key]
    return EXPLAINERS[name](classifier, **options).untrained()


def contestants(classifier: Classifier, image: Tensor) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    """What explains one class of one image, and by how much each time is multiplied."""
    one = torch.zeros(1, dtype=torch.long)
    runs: dict[str, Callable[[], object]] = {"bare": partial(bare, classifier, image)}
    for name, (options, timed, _) in SEARCHING.items():
        runs[name] = partial(seewhy.explainer(name, classifier, **{**options, **timed}).explain, image, one)
    for key in LEARNED:
        runs[key] = partial(learned(classifier, key).predict_and_explain, image, one[:, None])
    return runs, {name: s.times for name, s in SEARCHING.items()}


@torch.no_grad()
def bare(classifier: Classifier, image: Tensor) -> Tensor:
    with classifier.running():
        return classifier.logits(image)


def all_classes(classifier: Classifier, image: Tensor) -> dict[str, Callable[[], object]]:
    """What answers for every class in fewer passes than classes."""
    every = torch.arange(classifier.n_classes)
    runs: dict[str, Callable[[], object]] = {
        "grad_cam_pp": partial(maps_of_classes, seewhy.explainer("grad_cam_pp", classifier), image, every)
    }
    for key in LEARNED:
        if EXPLAINERS[LEARNED[key][0]].class_specific and key not in LOOPED:
            runs[key] = partial(maps_of_classes, learned(classifier, key), image, every)
    return runs


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--training-hours", type=float, default=0.5, help="of one core, to say when training has paid")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    explained = network(asked.model)
    picture = torch.rand(1, 3, *explained.input_size)
    runs, times = contestants(explained, picture)
    seconds = {name: s * times.get(name, 1) for name, s in best_of(runs, asked.rounds).items()}
    for name, found in best_of(all_classes(explained, picture), 1).items():
        seconds[f"{name}, all classes"] = found
    for name in ("rise", *LOOPED):
        seconds[f"{name}, all classes"] = seconds[name] * (1 if name == "rise" else explained.n_classes)
    print(f"| {asked.model}, one image, prediction included | ms | times the bare network |\n|---|---|---|")
    for name, found in seconds.items():
        print(f"| {name} | {1000 * found:,.0f} | {found / seconds['bare']:,.2f} |")
    for name in ("opti_cam", "rise"):
        pays = 3600 * asked.training_hours / (seconds[name] - seconds["nemt, light decoder"])
        print(f"{asked.training_hours} hours of training have paid after {pays:,.0f} images that {name} would explain")
