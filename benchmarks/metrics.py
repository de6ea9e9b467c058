"""Race metrics beside torchcam and Quantus: the same network, images, maps and settings, A B A B ..., and print a table.

    python benchmarks/metrics.py [RACE ...] [--threads 2] [--repeats 5]

Each library has its own process. Times are medians with their range; ratios are taken round by round, rival over ours.
Passes are images through the network, counted by a hook; the floor is the bare network on as many images as ours needs,
from the time that 32 of them take. Nothing is downloaded: the network has random weights.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import timm
import torch
from run import Contender, markdown, spread
from torch import Tensor, nn
from torch.nn import functional as F

from seewhy import Classifier, explainer
from seewhy.metrics import Case, metric

SIZE = 224
Answer = Callable[[], Any]


@dataclass
class Work:
    """What both libraries are given. ``x`` are the images as the network takes them."""

    classifier: Classifier
    images: Tensor
    targets: Tensor
    maps: Tensor
    regions: Tensor
    x: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.x = self.classifier.normalize(self.images)

    def case(self, **more: Any) -> Case:
        """A new one for each run: nothing is remembered from the last."""
        return Case(self.classifier, self.images, self.targets, self.targets, self.maps, regions=self.regions, **more)


def work(n: int, channels: int) -> Work:
    """ResNet-18 whose random weights are large enough to have opinions; smooth positive maps without ties."""
    torch.manual_seed(0)
    module = timm.create_model("resnet18", num_classes=10, in_chans=channels, zero_init_last=False).eval()
    with torch.no_grad():
        module.fc.weight.mul_(5)
    mean, std = (0.485, 0.456, 0.406)[:channels], (0.229, 0.224, 0.225)[:channels]
    generator = torch.Generator().manual_seed(1)
    images = 0.3 + 0.4 * torch.rand(n, channels, SIZE, SIZE, generator=generator)
    coarse = F.interpolate(torch.rand(n, 1, 7, 7, generator=generator), (SIZE, SIZE), mode="bicubic")[:, 0]
    maps = coarse.clamp_min(0) + 0.1 * torch.rand(n, SIZE, SIZE, generator=generator)
    regions = torch.zeros(n, SIZE, SIZE, dtype=torch.bool)
    regions[:, 60:170, 50:150] = True
    classifier = Classifier(module, mean, std, (SIZE, SIZE))
    with torch.no_grad():  # where there are many images, no metric asks the network
        targets = classifier.logits(images).argmax(1) if n <= 8 else torch.zeros(n, dtype=torch.long)
    return Work(classifier, images, targets, maps, regions)


def ours(*names: str, **options: Any) -> Callable[[Work], Answer]:
    """The metrics of one case, one after the other."""

    def set_up(given: Work) -> Answer:
        measures = [metric(name, **options.get(name, options)) for name in names]

        def run() -> Any:
            case = given.case()
            return [m.score(case).tolist() for m in measures]

        return run

    return set_up


def quantus(kind: str, softmax: bool = True, **options: Any) -> Callable[[Work], Answer]:
    def set_up(given: Work) -> Answer:
        return lambda: [np.asarray(quantus_scores(given, kind, softmax, **options)).tolist()]

    return set_up


def quantus_scores(given: Work, kind: str, softmax: bool = True, call: dict[str, Any] | None = None, **options: Any) -> Any:
    import quantus as library

    if "similarity_func" in options:
        options["similarity_func"] = getattr(library.functions.similarity_func, options["similarity_func"])
    measure = getattr(library, kind)(normalise=False, abs=False, disable_warnings=True, **options)
    return measure(
        model=given.classifier.module,
        x_batch=given.x.numpy(),
        y_batch=given.targets.numpy(),
        a_batch=given.maps[:, None].numpy(),
        s_batch=given.regions[:, None].numpy(),
        channel_first=True,
        softmax=softmax,
        **(call or {}),
    )


class Extractor:
    """What torchcam's metric asks of a CAM, with maps that are given."""

    def __init__(self, model: nn.Module, maps: Tensor) -> None:
        self.model, self.maps = model, maps

    def __call__(self, *_: object, **__: object) -> list[Tensor]:
        return [self.maps]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        return cams[0]

    def _hooks_off(self) -> Any:
        return nullcontext()


def torchcam_areas(given: Work, maps: Tensor, steps: int) -> list[float]:
    """Mean deletion and insertion, which is what it reports."""
    from torchcam.metrics import DeletionInsertionMetric

    measure = DeletionInsertionMetric(Extractor(given.classifier.module, maps), lambda z: z.softmax(1), steps=steps)
    measure.update(given.x, given.targets.tolist())
    summary = measure.summary()
    return [summary["deletion_auc"], summary["insertion_auc"]]


def torchcam(steps: int) -> Callable[[Work], Answer]:
    return lambda given: lambda: torchcam_areas(given, given.maps, steps)


def our_means(*names: str, **options: Any) -> Callable[[Work], Answer]:
    def set_up(given: Work) -> Answer:
        run = ours(*names, **options)(given)
        return lambda: [float(np.mean(scores)) for scores in run()]

    return set_up


def our_aopc(regions: int, **options: Any) -> Callable[[Work], Answer]:
    """Quantus leaves out step 0 and takes no mean."""
    return ours("aopc", regions=regions, **options)


def quantus_aopc(regions: int, size: int) -> Callable[[Work], Answer]:
    def set_up(given: Work) -> Answer:
        def run() -> Any:
            falls = quantus_scores(given, "RegionPerturbation", patch_size=size, regions_evaluation=regions)
            return [(np.asarray(falls).sum(1) / (regions + 1)).tolist()]

        return run

    return set_up


def our_sensitivity(samples: int) -> Callable[[Work], Answer]:
    def set_up(given: Work) -> Answer:
        method = explainer("grad_cam", given.classifier, layer="layer4")
        given.maps = method.explain(given.images, given.targets)
        return lambda: [metric("max_sensitivity", samples=samples).score(given.case(explainer=method)).tolist()]

    return set_up


def quantus_sensitivity(samples: int) -> Callable[[Work], Answer]:
    """With our explainer and our noise, so that only the rest differs."""

    def set_up(given: Work) -> Answer:
        method = explainer("grad_cam", given.classifier, layer="layer4")
        given.maps = method.explain(given.images, given.targets)
        std, mean = (torch.tensor(v)[:, None, None] for v in (given.classifier.std, given.classifier.mean))

        def explain(inputs: Any, targets: Any, **_: object) -> Any:
            return method.explain(torch.as_tensor(inputs).float() * std + mean, torch.as_tensor(targets))[:, None].numpy()

        def run() -> Any:
            generator = torch.Generator().manual_seed(0)

            def perturb(arr: Any, **_: object) -> Any:
                noise = 0.2 * (2 * torch.rand(given.images.shape[1:], generator=generator) - 1)
                return arr + noise.numpy().reshape(1, -1)

            own = {"nr_samples": samples, "perturb_func": perturb, "call": {"explain_func": explain}}
            return [np.asarray(quantus_scores(given, "MaxSensitivity", False, **own)).tolist()]

        return run

    return set_up


def quantus_road(shares: tuple[float, ...]) -> Callable[[Work], Answer]:
    def set_up(given: Work) -> Answer:
        percentages = [100 * s for s in shares]
        return lambda: [np.mean(list(quantus_scores(given, "ROAD", percentages=percentages, noise=0.0).values()))]

    return set_up


SIX = ("deletion", "insertion", "lif", "mif", "srg", "aopc")
PATCH = 32
PLAYERS = (SIZE // PATCH) ** 2


def our_six(given: Work) -> Answer:
    same = {"size": PATCH, "baseline": "mean_color"}
    areas = {**same, "players": "patches", "steps": PLAYERS}
    options = {"deletion": areas, "insertion": areas, "lif": same, "mif": same, "srg": same, "aopc": same}
    return our_means(*SIX, **options)(given)


def their_six(given: Work) -> Answer:
    """Two areas of one call of torchcam, four calls of Quantus; SRG is the difference of its two orders, asked for anew."""
    pooled = F.avg_pool2d(given.maps[:, None], PATCH)
    by_patch = F.interpolate(pooled, (SIZE, SIZE), mode="nearest")[:, 0]

    def falls(order: str, regions: int) -> Any:
        options = {"patch_size": PATCH, "regions_evaluation": regions, "order": order, "perturb_baseline": 0.0}
        return np.asarray(quantus_scores(given, "RegionPerturbation", **options)).sum(1)

    def run() -> Any:
        with torch.no_grad():
            whole = given.classifier.module(given.x).softmax(1).gather(1, given.targets[:, None])[:, 0].numpy()
        last = PLAYERS - 1
        lif, mif = (whole - falls(order, last) / PLAYERS for order in ("lerf", "morf"))
        srg = (falls("morf", last) - falls("lerf", last)) / PLAYERS
        aopc = falls("morf", 10) / 11
        return [*torchcam_areas(given, by_patch, PLAYERS), *(float(v.mean()) for v in (lif, mif, srg, aopc))]

    return run


@dataclass(frozen=True)
class Race:
    """What both compute. ``own_draws``: the rival draws other random sets, so that its scores are others too."""

    question: str
    ours: Callable[[Work], Answer]
    rival: str
    theirs: Callable[[Work], Answer]
    n: int = 4
    channels: int = 3
    own_draws: bool = False


ROAD = (0.125, 0.5, 0.75)
POSITION = {"steps": 16, "baseline": "mean_color", "ties": "position"}
RACES: dict[str, Race] = {
    "areas": Race(
        "deletion and insertion, 16 steps", our_means("deletion", "insertion", **POSITION), "torchcam", torchcam(16), n=2
    ),
    "six": Race("six ordering metrics of one case, 49 patches", our_six, "torchcam, Quantus", their_six, n=1),
    "aopc": Race("AOPC, 10 patches of 14 px", our_aopc(10), "Quantus", quantus_aopc(10, 14)),
    "correlation": Race(
        "faithfulness correlation, 25 sets of 224",
        ours("faithfulness_correlation", runs=25, value="logit"),
        "Quantus",
        quantus("FaithfulnessCorrelation", False, nr_runs=25, return_aggregate=False),
        own_draws=True,
    ),
    "estimate": Race(
        "faithfulness estimate, 14 groups, gray images",
        ours("faithfulness_estimate", features=3584),
        "Quantus",
        quantus("FaithfulnessEstimate", False, features_in_step=3584, similarity_func="correlation_pearson"),
        channels=1,
    ),
    "road": Race(
        "ROAD, 3 shares, gray images", our_means("road", shares=ROAD, noise=0.0), "Quantus", quantus_road(ROAD), channels=1
    ),
    "sensitivity": Race("max-sensitivity of Grad-CAM, 10 samples", our_sensitivity(10), "Quantus", quantus_sensitivity(10)),
    "rank": Race("relevance rank", ours("relevance_rank"), "Quantus", quantus("RelevanceRankAccuracy"), n=64),
    "mass": Race("relevance mass", ours("relevance_mass"), "Quantus", quantus("RelevanceMassAccuracy"), n=64),
    "pointing": Race("pointing game", ours("pointing_game"), "Quantus", quantus("PointingGame"), n=64),
    "complexity": Race("complexity", ours("complexity"), "Quantus", quantus("Complexity"), n=64),
    "sparseness": Race("sparseness", ours("sparseness"), "Quantus", quantus("Sparseness"), n=64),
}


def worker(key: str, side: str, threads: int) -> None:
    """Sets up, then answers run, count, result and ``floor N`` on stdin with one line of JSON each."""
    out, sys.stdout = sys.stdout, sys.stderr  # some libraries print
    torch.set_num_threads(threads)
    race = RACES[key]
    given = work(race.n, race.channels)
    given.case()  # how many classes there are has been found out
    run = (race.ours if side == "ours" else race.theirs)(given)
    result: Any = None
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        start = perf_counter()
        if command == "run":
            result = run()
            print(json.dumps(perf_counter() - start), file=out, flush=True)
        elif command == "floor":
            with torch.no_grad():
                given.classifier.module(given.x[torch.arange(32) % len(given.x)])
            print(json.dumps((perf_counter() - start) / 32 * int(argument)), file=out, flush=True)
        elif command == "count":
            seen: list[int] = []
            handle = given.classifier.module.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))  # noqa: B023
            run()
            handle.remove()
            print(json.dumps(sum(seen)), file=out, flush=True)
        elif command == "result":
            print(json.dumps(result), file=out, flush=True)


def start(key: str, side: str, threads: int) -> Contender:
    command = [sys.executable, __file__, "--worker", key, side, "--threads", str(threads)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "ready":
            return Contender(side, process)
    raise SystemExit(f"{side} could not be set up for {key}")


def result_of(contender: Contender) -> Any:
    assert contender.process.stdin is not None
    assert contender.process.stdout is not None
    contender.process.stdin.write("result\n")
    contender.process.stdin.flush()
    return np.asarray(json.loads(contender.process.stdout.readline()))


def compete(key: str, race: Race, threads: int, repeats: int) -> dict[str, str]:
    mine, rival = (start(key, side, threads) for side in ("ours", "theirs"))
    passes = [int(c.ask("count")) for c in (mine, rival)]  # the warm-up
    for _ in range(repeats):
        for contender in (mine, rival):
            contender.seconds.append(contender.ask("run"))
        if passes[0]:
            mine.floor.append(mine.ask(f"floor {passes[0]}"))
    a, b = result_of(mine), result_of(rival)
    for contender in (mine, rival):
        assert contender.process.stdin is not None
        contender.process.stdin.close()
        contender.process.wait()
    ratios = [theirs / own for theirs, own in zip(rival.seconds, mine.seconds, strict=True)]
    return {
        "metric": race.question,
        "images": str(race.n),
        "seewhy, s": spread(mine.seconds, 3),
        "rival": race.rival,
        "rival, s": spread(rival.seconds, 3),
        "rival / seewhy": spread(ratios, 2),
        "passes": f"{passes[0]}, {passes[1]}",
        "seewhy / floor": f"{median(mine.seconds) / median(mine.floor):.2f}" if mine.floor else "",
        "largest difference": "its own draws" if race.own_draws else f"{np.abs(a - b).max():.1e} of {np.abs(a).max():.2g}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("races", nargs="*", default=list(RACES), help=f"of {', '.join(RACES)}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(*arguments.worker, arguments.threads)
        return
    unknown = [key for key in arguments.races if key not in RACES]
    if unknown:
        parser.error(f"unknown race {unknown[0]!r}; known: {', '.join(RACES)}")
    packages = ", ".join(f"{p} {version(p)}" for p in ("seewhy", "torch", "timm", "quantus", "torchcam"))
    print(
        f"{platform.machine()}, {arguments.threads} threads, Python {platform.python_version()}, {packages};"
        f" ResNet-18, {SIZE} x {SIZE}, {arguments.repeats} interleaved rounds. Load before: {os.getloadavg()[0]:.1f}\n"
    )
    for i, key in enumerate(arguments.races):
        row = markdown([compete(key, RACES[key], arguments.threads, arguments.repeats)])
        print(row if i == 0 else row.splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
