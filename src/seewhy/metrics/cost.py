"""What maps cost: time, work counted in forward passes, and memory."""

from contextlib import nullcontext
from math import inf, isnan, nan
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from seewhy.classifier.classifier import Classifier, frozen
from seewhy.errors import SeewhyError
from seewhy.explainers import Explainer
from seewhy.explainers.base import of_rows
from seewhy.metrics.base import METRICS, Measure
from seewhy.metrics.case import Case, Cost
from seewhy.types import Attribution, Images, Targets

MIB = 2**20


def measure(explainer: Explainer, images: Images, targets: Targets, count_flops: bool = True) -> tuple[Attribution, Cost]:
    """The maps of a batch and what they cost.

    The time and the memory are those of one run on the whole batch. They include what the explainer and PyTorch do once, in
    a first run: to leave that out, explain a small batch before. Operations are counted in a run of their own, on the first
    image alone, because counting takes time.

    Args:
        explainer: the method that is measured.
        images: (n, c, h, w) in [0, 1].
        targets: (n,) the classes explained.
        count_flops: if false, forward passes are not counted (NaN), and the first image is not explained twice.

    Returns:
        The maps, and seconds an image, forward passes an image, and the highest memory in MiB above what was held before.
        A figure that cannot be measured is NaN: forward passes of an explainer without a classifier, memory on a machine
        without Linux and CUDA.
    """
    first = of_rows(explainer, slice(1), len(images))
    passes = forward_equivalents(first, images[:1], targets[:1]) if count_flops and len(images) else nan
    held = _start_memory(images.device)
    _wait(images.device)
    start = perf_counter()
    maps = explainer.explain(images, targets)
    _wait(images.device)
    seconds = (perf_counter() - start) / max(len(images), 1)
    peak = _peak_memory(images.device)
    return maps, Cost(seconds, passes, nan if isnan(peak - held) else max(peak - held, 0.0) / MIB)


def forward_equivalents(explainer: Explainer, images: Images, targets: Targets) -> float:
    """Floating-point operations of ``explain`` per image, in forward passes of the classifier; NaN if it has none.

    Matrix products and convolutions are counted, backward passes included (PyTorch's FlopCounterMode); operations
    on single numbers are not.
    """
    classifier = getattr(explainer, "classifier", None)
    if not isinstance(classifier, Classifier):
        return nan
    _ = classifier.ending  # what a classifier finds out once is no cost of a map
    with frozen(classifier.module), torch.no_grad(), _counting() as one:
        classifier.logits(images[:1])
    with _counting() as whole:
        explainer.explain(images, targets)
    forward = one.get_total_flops()
    return whole.get_total_flops() / forward / len(images) if forward else nan


class _NoModules(nullcontext[None]):
    """Operations are counted for the whole, and not for each module."""

    parents = ("Global",)


def _counting() -> FlopCounterMode:
    """Counts the operations of this thread."""
    mode: Any = FlopCounterMode(display=False)
    mode.mod_tracker = _NoModules()  # its own tracker puts hooks into every network of the process, in all threads
    return cast(FlopCounterMode, mode)


def _wait(device: torch.device) -> None:
    """Waits until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _start_memory(device: torch.device) -> float:
    """Bytes held now. Starts a new record of the peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return float(torch.cuda.memory_allocated(device))
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, see proc(5)
    except OSError:
        return nan
    return _status("VmRSS") if device.type == "cpu" else nan


def _peak_memory(device: torch.device) -> float:
    """The highest number of bytes held since ``_start_memory``."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return _status("VmHWM") if device.type == "cpu" else nan


def _status(key: str) -> float:
    """A line of /proc/self/status in bytes; NaN where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return nan
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), nan)


class CostOfMaps(Measure, family="cost", better="lower", range=(0.0, inf), needs=("cost",), reads="none", explains="any"):
    """Base of the figures of a batch's cost, each called as in ``Cost``: the same for each of its images."""

    missing: ClassVar[str]
    """Why a figure was not measured."""

    def score(self, case: Case) -> Tensor:
        name = METRICS.name_of(type(self))
        value = getattr(case.require(self.needs[-1]), name)
        if isnan(value):
            raise SeewhyError(f"{name} was not measured: {self.missing}")
        return case.images.new_full((len(case.images),), value)


class Seconds(CostOfMaps, name="seconds"):
    r"""Wall-clock time that a map takes, in seconds.

    $$\text{seconds} = \frac{t(\text{explain}(x_1, \dots, x_n))}{n}$$

    The time of one run over the batch, shared equally by its images. On CUDA the clock waits for the device. An evaluation
    explains one image before the first batch is timed, so that the work of a first run is not counted.

    Rewards: methods that need few passes through the network, and code that runs them together.

    Fooled by: the machine. Batches, threads and other programs change the figure; compare figures of one machine and one
    batch size, and read ``forward_equivalents`` beside them. A learned explainer's training is not in it.

    Defined: for every map; values do not enter. A batch of one map has the time of that map.

    Source: Zhang et al. 2024 (Opti-CAM), column T of their tables.
    """

    missing: ClassVar[str] = "the maps were not timed"


class ForwardEquivalents(CostOfMaps, name="forward_equivalents", needs=("cost", "forward_passes")):
    r"""Work that a map takes, counted in forward passes of the network on one image.

    $$\text{forward equivalents} = \frac{\text{FLOPs}(\text{explain}(x))}{\text{FLOPs}(f(x))}$$

    Multiplications and additions of matrix products and convolutions are counted, in backward passes too. One gradient of
    the input comes to about 3: a pass forward, and one backward that is up to twice as dear.

    Rewards: methods that ask the network little.

    Fooled by: work that is no matrix product (blurring, sorting, clustering), which is not counted; and hardware, which
    may run 1000 passes in a batch faster than 100 one after another. It is counted on the first image of the batch and
    stands for all, so the figure is a rough one for a method that stops early.

    It explains the first image of every batch once more, and slowly: ask for it on a few images of a slow method.

    Defined: for every explainer that names its classifier; otherwise an error says so. Values of maps do not enter.

    Source: this library.
    """

    missing: ClassVar[str] = (
        "it needs an explainer with a classifier whose forward pass has matrix products, and count_flops=True"
    )


class PeakMemory(CostOfMaps, name="peak_memory"):
    r"""The most memory that a batch of maps takes, in MiB, above what was held before.

    $$\text{peak memory} = \max_t m(t) - m(t_0)$$

    On CUDA it is what PyTorch allocated, on Linux the resident memory of the whole process. It is the figure of the batch,
    the same for each of its images: it says what fits the machine.

    Rewards: methods that hold few images and activations at a time.

    Fooled by: the batch size, which nearly scales it; and, on Linux, by memory that an earlier run left to the process and
    this one uses again, which makes the figure too small, even 0. Compare figures of fresh processes.

    Defined: on Linux and on CUDA; elsewhere an error says so. Values of maps do not enter.

    Source: this library.
    """

    missing: ClassVar[str] = "this needs CUDA, or the CPU under Linux"
