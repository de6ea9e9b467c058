"""Does the memory of a training stay flat?

    python tools/studies/memory_of_training.py [--steps N] [--every N] METHOD [KEY=VALUE ...]

Trains a method on 64 of the built-in pictures with the built-in network, and prints the memory of the process (RSS, MB) as
it goes on: by default at 1,000 and at 10,000 steps, and between.
"""

import argparse
import os
import tempfile
from pathlib import Path

import seewhy
from seewhy.explainers import EXPLAINERS
from seewhy.options import from_text, pairs


def megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=1_000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("method")
    parser.add_argument("options", nargs="*")
    given = parser.parse_args()
    classifier = seewhy.load("shapes")
    dataset = seewhy.DATASETS["shapes"](n=64, size=given.size, split="train")

    def progress(said: str, done: int, *_: object) -> None:
        if said == "training" and (done in (1, 100) or done % given.every == 0):
            print(f"{done:6d} steps  {megabytes():7.1f} MB", flush=True)

    seewhy.fit(
        given.method,
        classifier,
        dataset,
        tempfile.mkdtemp(),
        options=from_text(EXPLAINERS[given.method], pairs(given.options)),
        epochs=10**6,
        max_steps=given.steps,
        every=given.every // 2,
        batch_size=2,
        tensorboard=False,
        progress=progress,
    )


if __name__ == "__main__":
    main()
