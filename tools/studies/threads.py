"""Many calls from several threads: each map equals that of one thread, and the networks come back as they were.

    python tools/studies/threads.py [--calls 1000] [--threads 8] [--size 64] [--images 2] [--failing 0.02] [--seed 0]

Three networks (the built-in CNN and ViT, and a MobileNetV3 with random weights that is left in training mode) are explained
by ten methods and asked for probabilities, in a random order, by threads that share all of it. A share of the calls fails on
purpose. The script prints a table, and its status is 1 where a map differs, a call hangs or a network has changed.
"""

import argparse
import random
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from time import perf_counter

import torch
import torchvision
from torch import Tensor

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.explainers import Explainer, explainer
from seewhy.testing.explainers import snapshot

METHODS: dict[str, dict[str, object]] = {
    "grad_cam": {},
    "hires_cam": {},
    "eigen_cam": {},
    "score_cam": {"channels": 4},
    "ablation_cam": {"closed_form": False},
    "saliency": {},
    "integrated_gradients": {"steps": 3},
    "occlusion": {"window": 32, "stride": 32},
    "rise": {"samples": 8, "precision": "bf16"},
    "opti_cam": {"steps": 2},
}
PATIENCE = 600.0
"""Seconds for all calls together, per thousand, after which they count as hanging."""


def networks(size: int) -> dict[str, Classifier]:
    """The networks by name; two share their module."""
    torch.manual_seed(0)
    mobile = torchvision.models.mobilenet_v3_small(num_classes=10).train()
    return {
        "shapes/cnn": seewhy.load("shapes/cnn"),
        "shapes/vit": seewhy.load("shapes/vit"),
        "mobilenet_v3_small": Classifier(mobile, input_size=(size, size)),
        "mobilenet_v3_small, another classifier": Classifier(mobile, input_size=(size, size)),
    }


def differs(found: Tensor, expected: Tensor) -> bool:
    """More than by rounding? Sums over threads that share no state are the same, but a layout may be chosen anew."""
    return not torch.allclose(found, expected, rtol=1e-3, atol=1e-5 + 1e-4 * float(expected.abs().max()))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in {"calls": 1000, "threads": 8, "size": 64, "images": 2, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--failing", type=float, default=0.02, help="share of the calls that fail on purpose")
    given = parser.parse_args()
    draw = random.Random(given.seed)
    generator = torch.Generator().manual_seed(given.seed)

    images, methods, expected, before = {}, dict[tuple[str, str], Explainer](), {}, {}
    targets = torch.arange(given.images) % 5
    for name, classifier in networks(given.size).items():
        side = classifier.input_size
        images[name] = torch.rand(given.images, 3, *side, generator=generator)
        before[name] = snapshot(classifier.module)
        for method, options in METHODS.items():
            methods[name, method] = explainer(method, classifier, **options)
            expected[name, method] = methods[name, method].explain(images[name], targets)
        methods[name, "probabilities"] = methods[name, "grad_cam"]
        expected[name, "probabilities"] = classifier.probabilities(images[name]).detach()
    start = perf_counter()
    plan = [(*draw.choice(list(methods)), draw.random() < given.failing) for _ in range(given.calls)]

    def call(name: str, method: str, fails: bool) -> tuple[str, str]:
        made = methods[name, method]
        if fails:
            try:
                made.explain(images[name], targets + 10_000)
            except seewhy.SeewhyError:
                return method, "refused"
            return method, "not refused"
        classifier = made.classifier  # type: ignore[attr-defined]
        found = classifier.probabilities(images[name]) if method == "probabilities" else made.explain(images[name], targets)
        return method, "differs" if differs(found.detach(), expected[name, method]) else "equal"

    counts = Counter[tuple[str, str]]()
    with ThreadPoolExecutor(given.threads) as pool:
        for future in as_completed([pool.submit(call, *one) for one in plan], timeout=PATIENCE * max(1, given.calls / 1000)):
            counts[future.result()] += 1
    seconds = perf_counter() - start
    modules = {name: methods[name, "grad_cam"].classifier.module for name in before}  # type: ignore[attr-defined]
    changed = [name for name in before if before[name] != snapshot(modules[name])]

    print("| call | equal | differs | refused, as it should be |\n|---|---|---|---|")
    for method in [*METHODS, "probabilities"]:
        print(f"| {method} | {counts[method, 'equal']} | {counts[method, 'differs']} | {counts[method, 'refused']} |")
    wrong = sum(n for (_, what), n in counts.items() if what in ("differs", "not refused"))
    print(f"\n{given.calls} calls from {given.threads} threads in {seconds:.0f} s")
    print(f"wrong: {wrong}; networks that changed: {', '.join(changed) or 'none'}")
    return int(bool(wrong or changed))


if __name__ == "__main__":
    sys.exit(main())
