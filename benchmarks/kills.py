"""Kills one evaluation at random moments, resumes it, and compares its folder with that of an undisturbed evaluation.

python benchmarks/kills.py [--kills 40] [--seed 0]

A quarter of the kills each: one process, one process with --keep-maps, two processes (--devices 2), four shards that are
joined. The tables must be the same to the last byte, and so must maps and pictures.
"""

import argparse
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXPLAINERS = ["grad_cam", "saliency", "lime"]
METRICS = ["deletion", "average_drop", "relevance_mass", "sparseness"]
LIMITS = {"deletion": 11, "lime/sparseness": 7}
PRELOADED = ["seewhy.evaluation.evaluate", "seewhy.classifier.load", "seewhy.explainers", "seewhy.data", "seewhy.metrics"]
N, SIZE, BATCH = 16, 32, 4


def evaluation(folder: str, keep_maps: bool, shard: tuple[int, int] | None = None, join: bool = False) -> None:
    """One process; lime is slow enough to be hit."""
    import torch

    import seewhy
    from seewhy.data import Shapes

    torch.set_num_threads(1)
    classifier = seewhy.load("shapes")
    explainers = {name: seewhy.explainer(name, classifier) for name in EXPLAINERS}
    explainers["lime"] = seewhy.explainer("lime", classifier, samples=16)
    seewhy.evaluate(
        classifier,
        explainers,
        METRICS,
        Shapes(n=N, size=SIZE),
        out=folder,
        limits=LIMITS,
        batch_size=BATCH,
        keep_maps=keep_maps,
        pictures=12,
        shard=shard,
        join=join,
    )


def command(folder: Path, devices: int) -> list[str]:
    """The same on the command line, in several processes."""
    script = folder.parent / "command.py"  # Lightning starts it again for the other processes
    script.write_text("from seewhy.app.cli.main import main\nif __name__ == '__main__':\n    main()\n")
    options = [f"--explainer={name}" for name in ("grad_cam", "saliency", "lime:samples=16")]
    options += [f"--metric={name}" for name in METRICS] + [f"--data-option=size={SIZE}", f"--data-option=n={N}"]
    options += ["--limit=deletion=11", "--limit=lime:samples=16/sparseness=7", f"--batch-size={BATCH}", "--pictures=12"]
    start = [sys.executable, str(script), "evaluate", "--model=shapes", "--data=shapes", "--quiet"]
    return [*start, *options, f"--devices={devices}", f"--out={folder}"]


def content(folder: Path) -> dict[str, object]:
    """Tables and pictures as bytes, maps as arrays."""
    import numpy as np

    files: dict[str, object] = {}
    for file in (f for f in sorted(folder.rglob("*")) if f.is_file() and f.suffix in (".parquet", ".jpg", ".npz")):
        name = str(file.relative_to(folder))
        if file.suffix == ".npz":
            with np.load(file) as arrays:
                files[name] = {key: arrays[key].tolist() for key in arrays}
        elif not name.startswith("units"):  # these have times
            files[name] = file.read_bytes()
    return files


class Trials:
    """Kills at random moments of one kind of evaluation. Processes are forked from one that has imported everything."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOADED)
        self.hit = 0

    def forked(self, *arguments: object) -> "multiprocessing.process.BaseProcess":
        process = self.context.Process(target=evaluation, args=arguments)
        process.start()
        return process

    def run(self, kind: str, kills: int) -> bool:
        """Is the folder that was killed so often the same as the undisturbed one?"""
        whole, run = self.folder / f"{kind} whole", self.folder / f"{kind} run"
        start = time.perf_counter()
        self.finish(kind, whole)
        duration = time.perf_counter() - start
        self.hit, done = 0, 0
        for i in range(kills):
            before = len(list(run.glob("units/*/*.parquet")))
            self.kill(kind, run, duration)
            after = len(list(run.glob("units/*/*.parquet")))
            self.hit += before < after < len(list(whole.glob("units/*/*.parquet")))
            done += after == len(list(whole.glob("units/*/*.parquet")))
            if done:  # everything is measured: begin again, elsewhere
                same = self.compared(kind, whole, run)
                if not same:
                    return False
                run, done = self.folder / f"{kind} run {i}", 0
        return self.compared(kind, whole, run)

    def compared(self, kind: str, whole: Path, run: Path) -> bool:
        self.finish(kind, run)
        first, second = content(whole), content(run)
        different = [name for name in {**first, **second} if first.get(name) != second.get(name)]
        if different:
            print(f"{kind}: {different[:5]} differ")
        return not different

    def finish(self, kind: str, folder: Path) -> None:
        if kind == "two processes":
            subprocess.run(command(folder, 2), check=True, stdout=subprocess.DEVNULL)
            return
        shards = [(i, 4) for i in range(1, 5)] if kind == "four shards" and "whole" not in folder.name else []
        for process in [self.forked(str(folder), kind == "keep maps", shard) for shard in shards]:
            process.join()
        last = self.forked(str(folder), kind == "keep maps", None, bool(shards))
        last.join()
        assert last.exitcode == 0

    def kill(self, kind: str, folder: Path, duration: float) -> None:
        """Start the evaluation and kill it within the time that a whole one takes."""
        if kind == "two processes":
            process = subprocess.Popen(
                command(folder, 2), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            time.sleep(self.random.uniform(0.4, 1.0) * duration)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return
        shards: list[tuple[int, int] | None] = [(i, 4) for i in range(1, 5)] if kind == "four shards" else [None]
        started = [self.forked(str(folder), kind == "keep maps", shard) for shard in shards]
        time.sleep(self.random.uniform(0.1, 0.6) * duration)
        for one in started:
            one.kill()
            one.join()


def main(kills: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(Path(folder), seed)
        for kind in ("one process", "keep maps", "four shards", "two processes"):
            same = trials.run(kind, kills // 4)
            verdict = "the same" if same else "DIFFERENT"
            print(f"{kind}: {kills // 4} kills, {trials.hit} in the middle of the work: {verdict}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    main(asked.kills, asked.seed)
