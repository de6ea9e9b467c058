"""What belongs to the whole process is as before, whatever threads did at the same time."""

import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from support.threads import in_threads

from seewhy.classifier.threads import threads
from seewhy.data.pictures import read_picture
from seewhy.metrics.randomization import reinitialize


def test_pictures_that_threads_read_leave_the_filters_of_warnings(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    before = list(warnings.filters)

    def read() -> bool:
        return all(np.array_equal(np.asarray(read_picture(tmp_path / "a.png")), pixels) for _ in range(40))

    assert in_threads(*[read] * 8) == [True] * 8
    assert list(warnings.filters) == before


def test_warnings_that_threads_keep_back_at_the_same_time() -> None:
    """Each saved and restored the filters of the other, and one of them stayed for good."""
    from seewhy.process import without_warnings

    before = list(warnings.filters)

    def quiet() -> None:
        for i in range(300):
            with without_warnings((ResourceWarning, UserWarning)[i % 2]):
                sum(range(2000))

    in_threads(*[quiet] * 6)
    assert list(warnings.filters) == before


def test_the_number_of_threads_after_blocks_that_overlap() -> None:
    before = torch.get_num_threads()

    def work() -> None:
        for n in (1, 2, 3) * 10:
            with threads(n):
                torch.rand(4).sum()

    in_threads(*[work] * 4)
    with threads(before + 1), threads(before + 2):
        assert torch.get_num_threads() == before + 2
    assert torch.get_num_threads() == before
    assert in_threads(torch.get_num_threads) == [before]


def test_layers_that_threads_initialize_are_those_of_one() -> None:
    """Layers draw from the global generator, which all threads share."""
    layers = [torch.nn.Linear(200, 200) for _ in range(7)]

    def weights(layer: torch.nn.Linear) -> list[torch.Tensor]:
        found = []
        for _ in range(10):
            reinitialize(layer, "head", 3)
            found.append(layer.weight.detach().clone())
        return found

    expected = weights(layers[0])[0]
    for found in in_threads(*[partial(weights, layer) for layer in layers[1:]]):
        assert all(torch.equal(weight, expected) for weight in found)


def test_threads_that_use_the_library_first_at_the_same_time() -> None:
    """Public names are imported at their first use, whoever comes first."""
    program = """
import threading, seewhy
found = []
def use():
    classifier = seewhy.load("shapes/cnn")
    found.append((type(seewhy.explainer("grad_cam", classifier)).__name__, len(seewhy.METRICS), seewhy.__version__))
threads = [threading.Thread(target=use) for _ in range(8)]
[t.start() for t in threads]
[t.join(100) for t in threads]
print(len(found), len(set(found)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.split(), done.stderr) == (["8", "1"], "")
