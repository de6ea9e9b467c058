"""What evaluation costs above the bare calls of explainers and metrics, and whether its memory stays flat.

python benchmarks/evaluation.py overhead [--rounds 3]     CPU seconds, interleaved, as a ratio
python benchmarks/evaluation.py memory [--images 2000]    resident memory along the way
python benchmarks/evaluation.py found [--units 15600]     seconds to find out what is done in a folder of so many units
"""

import argparse
import gc
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

import polars as pl
import timm
import torch

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.data import Shapes, batches
from seewhy.evaluation.columns import FACTS_SCHEMA, UNIT_SCHEMA
from seewhy.evaluation.plan import Plan
from seewhy.evaluation.store import Store, UnitFiles
from seewhy.metrics import Case, metric
from seewhy.metrics.base import score

EXPLAINERS = ["grad_cam", "saliency", "layer_cam"]
METRICS = ["deletion:steps=28", "insertion:steps=28", "average_drop", "relevance_mass", "pointing_game", "sparseness"]
BATCH = 16


def shapes_cnn() -> tuple[Classifier, Shapes]:
    return seewhy.load("shapes"), Shapes(n=96, size=96)


def resnet18() -> tuple[Classifier, Shapes]:
    """Random weights: what is computed does not change how long it takes."""
    torch.manual_seed(0)
    module = timm.create_model("resnet18", num_classes=6).eval()
    return Classifier(module, input_size=(224, 224), classes=Shapes.classes), Shapes(n=32, size=224)


def bare(classifier: Classifier, dataset: Shapes) -> None:
    """The explainers and metrics, called by hand on batches that are there already."""
    methods = [seewhy.explainer(name, classifier) for name in EXPLAINERS]
    for batch in read[id(dataset)]:
        with torch.no_grad():
            logits = classifier.logits(batch.images)
        targets = logits.argmax(1)
        for method in methods:
            maps = method.explain(batch.images, targets)
            case = Case(
                classifier,
                batch.images,
                targets,
                targets,
                maps,
                regions=batch.regions,
                image_logits=logits,
                batch_size=BATCH,
            )
            for text, measure in measures().items():
                score(text, measure, case)


read: dict[int, list[seewhy.data.Batch]] = {}


def measures() -> dict[str, seewhy.Metric]:
    found = {}
    for text in METRICS:
        name, _, option = text.partition(":")
        found[text] = metric(name, **({"steps": int(option.partition("=")[2])} if option else {}))
    return found


def evaluated(classifier: Classifier, dataset: Shapes) -> None:
    """The same through ``evaluate``, with a run folder, pictures and tables."""
    with tempfile.TemporaryDirectory() as folder:
        seewhy.evaluate(classifier, EXPLAINERS, measures(), dataset, out=Path(folder) / "run", batch_size=BATCH)


def seconds(work: Callable[[], None]) -> float:
    start = process_time()
    work()
    return process_time() - start


def overhead(rounds: int) -> None:
    for make in (shapes_cnn, resnet18):
        classifier, dataset = make()
        reading = seconds(lambda: read.update({id(dataset): list(batches(dataset, BATCH))}))  # noqa: B023
        bare(classifier, dataset)  # warm
        ratios, whole = [], []
        for _ in range(rounds):
            by_hand = seconds(lambda: bare(classifier, dataset))  # noqa: B023
            whole.append(seconds(lambda: evaluated(classifier, dataset)))  # noqa: B023
            ratios.append((whole[-1] - reading) / by_hand)
        middle, made = statistics.median(ratios), reading / statistics.median(whole)
        print(f"{make.__name__}: evaluate takes {middle:.3f} ({min(ratios):.3f} to {max(ratios):.3f}) times the bare calls,")
        print(f"    without making the {len(dataset)} pictures, {made:.1%} of all")


def memory(images: int) -> None:
    classifier, dataset = seewhy.load("shapes"), Shapes(n=images, size=96)
    seen: list[tuple[float, float]] = []

    def watch(done: float, _total: int, _failed: int) -> None:
        if done == int(done):
            gc.collect()
            lines = Path("/proc/self/status").read_text().splitlines()
            seen.append((done, next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))))

    with tempfile.TemporaryDirectory() as folder:
        seewhy.evaluate(
            classifier,
            EXPLAINERS,
            ["average_drop", "relevance_mass", "pointing_game", "sparseness", "lif"],
            dataset,
            out=Path(folder) / "run",
            batch_size=32,
            keep_maps=True,
            progress=watch,
        )
    for share in (0.05, 0.1, 0.25, 0.5, 0.75, 1.0):
        done, mib = next((d, m) for d, m in seen if d >= share * images)
        print(f"{done:6.0f} images: {mib:7.1f} MiB")
    rest = [m for d, m in seen if d >= images / 10]
    print(f"from a tenth of the images on: {min(rest):.1f} to {max(rest):.1f} MiB")


class Names:
    """A dataset of names alone."""

    def __init__(self, n: int) -> None:
        self.ids = [f"val/ILSVRC2012_val_{i:08d}.JPEG" for i in range(n)]


def found(units: int) -> None:
    """Batches of 32 images, ten explainers, ten metrics; the same command, and one with a metric more."""
    explainers, metrics = [f"explainer {i}" for i in range(10)], [f"metric {i}" for i in range(10)]
    n = units // 10 * 32
    plan = Plan(Names(n), list(range(n)), 32, explainers, metrics, {"metric 3": n // 2})
    with tempfile.TemporaryDirectory() as folder:
        store = Store(UnitFiles(Path(folder)))
        for batch in plan.batches:
            ids = [plan.dataset.ids[i] for i in batch.images]
            known = zip(batch.images, ids, strict=True)
            facts = pl.DataFrame(
                [{"index": i, "image_id": name, "explained": [i % 1000]} for i, name in known], FACTS_SCHEMA
            )
            store.hold(batch.key, "facts", facts)
            for explainer in explainers:
                lines = [
                    (i, name, explainer, i % 1000, i % 1000, metric, i / 7, None, None, None, None, None)
                    for metric in metrics
                    for i, name in zip(batch.images, ids, strict=True)
                    if plan.wants(explainer, metric, i)
                ]
                name = plan.unit_name(batch, explainer, metrics, [])
                store.hold(batch.key, str(name), pl.DataFrame(lines, UNIT_SCHEMA, orient="row"))
            store.flush()
        for more in ([], ["one more"]):
            start, cpu = perf_counter(), process_time()
            again = Plan(Names(n), list(range(n)), 32, explainers, [*metrics, *more], {"metric 3": n // 2})
            store = Store(UnitFiles(Path(folder)))
            left = [batch for batch in again.batches if not again.is_done(batch, store)]
            what = "with a metric more" if more else "the same command"
            seconds_of_cpu, wall = process_time() - cpu, perf_counter() - start
            print(f"{units} units, {what}: {wall:.2f} s ({seconds_of_cpu:.2f} of CPU), {len(left)} batches are left")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=["overhead", "memory", "found"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--units", type=int, default=15600)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.case == "overhead":
        overhead(asked.rounds)
    elif asked.case == "memory":
        memory(asked.images)
    else:
        found(asked.units)
