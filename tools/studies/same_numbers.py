"""Does a change of the code change any number? Dumps the numbers of two commits and compares them.

    python tools/studies/same_numbers.py dump BEFORE.npz     # on the one commit
    python tools/studies/same_numbers.py dump AFTER.npz      # on the other, by the same interpreter on the same machine
    python tools/studies/same_numbers.py compare BEFORE.npz AFTER.npz

The dump has the raw maps of every explainer on three built-in networks, and the scores and curves of every metric. It uses
public names alone, so that one file serves commits whose modules have other names. It takes one thread of the CPU and some
minutes. The comparison ends with exit code 1 where a name is in one dump alone, or a number is off by more than 1e-6.
"""

import argparse
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

import seewhy

Arrays = Iterator[tuple[str, NDArray]]
"""Each array, by its name in the dump."""

NETWORKS = {"cnn": "shapes", "vit": "shapes/vit", "multilabel": "shapes/cnn_multilabel"}
N_MAPS = {"cnn": 8, "vit": 4, "multilabel": 8}
"""Images that are explained; a pass of the transformer takes three times as long as one of the others."""
CLASSES = (4, 0)
"""What ``explain_classes`` is asked for."""
TOLERANCE = 1e-6
"""The largest difference that is passed over."""

CHEAP: Mapping[str, dict[str, object]] = {
    "extremal_perturbation": {"steps": 20, "areas": (0.1, 0.3)},
    "igos_pp": {"iterations": 2, "path_steps": 5},
    "kernel_shap": {"samples": 128},
    "lime": {"samples": 128},
    "meaningful_perturbation": {"steps": 40},
    "opti_cam": {"steps": 20},
    "relax": {"samples": 300},
    "rise": {"samples": 300},
    "smooth_pixel_mask": {"steps": 20},
    "u_relax": {"samples": 300},
}
"""Options of the explainers whose defaults take long; all others keep their defaults."""

CHEAP_METRICS: Mapping[str, dict[str, object]] = {
    "deletion": {"steps": 28},
    "insertion": {"steps": 28},
    "faithfulness_correlation": {"runs": 24},
    "r_lif": {"steps": 12, "n_draws": 4},
    "r_mif": {"steps": 12, "n_draws": 4},
    "r_srg": {"steps": 12, "n_draws": 4},
    "road": {"shares": (0.2, 0.6)},
    "road_least": {"shares": (0.2, 0.6)},
}
"""Options of the metrics whose defaults take long."""

SCORED = ("grad_cam", "input_x_gradient", "random", "fake_cam")
"""Explainers whose maps are scored: a cam, a signed one with a sum over colors, noise, and one whose pixels tie."""

RUNS = (("cnn", "label", 16), ("cnn", "predicted", 16), ("multilabel", "label", 8), ("multilabel", "present", 8))
"""Each evaluation: a network, the class that is explained, and how many images. One with several labels has several maps."""

MEASURED = ("seconds", "peak_memory")
"""Metrics that differ from run to run: they are compared by name alone."""

NOT_OF_MERGED_MAPS = {"explainer", "cost", "flops"}
"""What a metric cannot have where the maps of all present classes are merged."""


def dump(file: Path) -> None:
    start, found = perf_counter(), dict[str, NDArray]()
    parts: dict[str, Callable[[], Arrays]] = {
        **{f"maps {network}": partial(maps, network) for network in NETWORKS},
        **{f"scores {network} {target}": partial(scores, network, target, n) for network, target, n in RUNS},
    }
    found |= {f"explainers/{name}": np.empty(0) for name in seewhy.EXPLAINERS}
    found |= {f"metrics/{name}": np.empty(0) for name in seewhy.METRICS}
    for part, make in parts.items():
        begun = perf_counter()
        arrays = dict(make())
        found |= {f"{part}/{name}": array for name, array in arrays.items()}
        refused = sum(array.dtype.kind == "U" for array in arrays.values())
        print(f"{part}: {len(arrays)} arrays, {refused} refusals, {perf_counter() - begun:.0f} s", flush=True)
    np.savez(file, **found)
    counts = f"{len(seewhy.EXPLAINERS)} explainers, {len(seewhy.METRICS)} metrics, {len(found)} arrays"
    print(f"{file}: {counts}, {perf_counter() - start:.0f} s, {process_time():.0f} s of them on the processor")


def maps(network: str) -> Arrays:
    """What one network sees and says, and the maps of every explainer."""
    classifier = seewhy.load(NETWORKS[network])
    batch = seewhy.dataset("shapes", classifier, limit=N_MAPS[network]).batch(range(N_MAPS[network]))
    with torch.no_grad():
        logits = classifier.logits(batch.images)
    seen = {"images": batch.images, "labels": batch.labels, "regions": batch.regions, "logits": logits}
    yield from ((name, tensor.numpy()) for name, tensor in seen.items())
    targets = batch.labels if batch.labels.ndim == 1 else batch.labels.argmax(1)
    for name in seewhy.EXPLAINERS:
        method = seewhy.explainer(name, classifier, **CHEAP.get(name, {}))
        yield f"{name}/explain", answer(method.explain, batch.images, targets)
        if hasattr(method, "explain_classes"):
            yield f"{name}/explain_classes", answer(method.explain_classes, batch.images, torch.tensor(CLASSES))


def answer(ask: Callable[..., torch.Tensor], images: torch.Tensor, classes: torch.Tensor) -> NDArray:
    """The maps, or the sentence that refuses them: not every method can explain every network."""
    torch.manual_seed(0)
    np.random.seed(0)
    try:
        return ask(images, classes).numpy()
    except seewhy.SeewhyError as error:
        return np.array(str(error))


def scores(network: str, target: str, n: int) -> Arrays:
    """The figures, scores and curves of every metric, and the classes that they belong to."""
    torch.manual_seed(0)
    np.random.seed(0)
    classifier = seewhy.load(NETWORKS[network])
    explainers = {name: seewhy.explainer(name, classifier, **CHEAP.get(name, {})) for name in SCORED}
    unfit = NOT_OF_MERGED_MAPS if target == "present" else set()
    names = [name for name in seewhy.METRICS if name not in MEASURED and unfit.isdisjoint(seewhy.METRICS[name].needs)]
    metrics = {name: seewhy.metric(name, **CHEAP_METRICS.get(name, {})) for name in names}
    dataset = seewhy.dataset("shapes", classifier, limit=n)
    with TemporaryDirectory() as folder:
        found = seewhy.evaluate(
            classifier, explainers, metrics, dataset, out=folder, target=target, batch_size=8, pictures=0
        )
        manifest = seewhy.open_run(folder).manifest
        places = manifest["curves"] if isinstance(manifest, dict) else manifest.curves  # a dict up to schema 2
    if found.failures:
        raise SystemExit(f"{network}, target {target}: {found.failures[0]}")
    yield "probability", found.images["probability"].to_numpy()
    yield "predicted", found.images["predicted"].to_numpy()
    yield from ((f"{name}/places", np.array(at)) for name, at in places.items())
    for explainer, figures in found.table().items():
        for name, figure in figures.items():
            yield f"{name}/{explainer}/figure", np.array(figure)
            yield f"{name}/{explainer}/scores", found.scores(explainer, name).numpy()
            yield f"{name}/{explainer}/classes", found.of(explainer, name).select("index", "explained", "scored").to_numpy()
            drawn = found.curves.filter((pl.col("explainer") == explainer) & (pl.col("metric") == name))
            if len(drawn):
                yield f"{name}/{explainer}/curves", np.array(drawn["values"].to_list())


def compare(before: Path, after: Path) -> bool:
    """Tell every array that is not the same; are all names the same, and all numbers within the tolerance?"""
    with np.load(before) as ours, np.load(after) as theirs:
        one_sided = [*lines_of(before, ours, theirs), *lines_of(after, theirs, ours)]
        both = [name for name in ours if name in theirs]
        off = {name: difference(ours[name], theirs[name]) for name in both if not equal_bits(ours[name], theirs[name])}
    for line in one_sided:
        print(line)
    for name, gap in sorted(off.items(), key=lambda item: -item[1]):
        print(f"{gap:.3g}  {name}{'' if gap <= TOLERANCE else '  TOO FAR'}")
    worst = max(off, key=off.__getitem__, default=None)
    where = f"the largest difference is {off[worst]:.3g}, in {worst}" if worst else "nothing differs"
    print(f"{len(both)} arrays in both, {len(both) - len(off)} equal to the bit; {where}; {len(one_sided)} in one alone")
    return not one_sided and all(gap <= TOLERANCE for gap in off.values())


def lines_of(file: Path, own: Collection[str], other: Collection[str]) -> list[str]:
    """A line for each array that the other file lacks."""
    return [f"only in {file}: {name}" for name in own if name not in other]


def equal_bits(a: NDArray, b: NDArray) -> bool:
    return (a.dtype, a.shape) == (b.dtype, b.shape) and a.tobytes() == b.tobytes()


def difference(a: NDArray, b: NDArray) -> float:
    """The largest absolute one; infinite for other shapes, types or texts. NaN equals NaN."""
    if (a.dtype, a.shape) != (b.dtype, b.shape) or a.dtype.kind == "U":
        return np.inf
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinity less itself
        gap = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    return float(np.nan_to_num(gap, nan=np.inf, posinf=np.inf).max(initial=0.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("dump", help="write the numbers of this commit")
    one.add_argument("file", type=Path, metavar="OUT.npz")
    two = commands.add_parser("compare", help="exit 1 unless two dumps are the same")
    two.add_argument("before", type=Path, metavar="A.npz")
    two.add_argument("after", type=Path, metavar="B.npz")
    given = parser.parse_args()
    if given.command == "compare":
        raise SystemExit(0 if compare(given.before, given.after) else 1)
    torch.set_num_threads(1)
    dump(given.file)


if __name__ == "__main__":
    main()
