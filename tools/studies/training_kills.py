"""Does a training that is killed ten times at random end with the weights of one that was not?

    python tools/studies/training_kills.py [--kills N] [--seed N] [--folder DIR] METHOD --model NAME --data DATASET ...

What follows the options is a command line of ``seewhy fit`` without ``--out``. It runs once undisturbed. Then it is started
again and again, and killed (SIGKILL) at a random moment after its log has come to a random step. The last one runs to its
end. Prints at which step each was killed, and compares all weights, the state of the optimizer, and the log.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from seewhy.describe import as_json
from seewhy.training.training_folder import read_training


def start(given: list[str], out: Path) -> "subprocess.Popen[bytes]":
    code = "import sys; from seewhy.app.cli.main import main; sys.argv[0] = 'seewhy'; main()"
    return subprocess.Popen([sys.executable, "-c", code, "fit", *given, "--out", str(out), "--no-tensorboard"])


def step_of(out: Path) -> int:
    found = read_training(out)
    return found.state.step if found else 0


def logged(out: Path) -> int:
    """The last step in the log."""
    file = out / "log.csv"
    lines = file.read_text().splitlines() if file.is_file() else []
    steps = [int(line.partition(",")[0]) for line in lines[1:] if line.partition(",")[0].isdecimal()]
    return max(steps, default=-1)


def differences(one: Path, other: Path) -> list[str]:
    """What is not the same, bit for bit."""
    found = []
    for file in sorted(one.rglob("*.safetensors")):
        a, b = load_file(file), load_file(other / file.relative_to(one))
        found += [f"{file.name}: {name}" for name in a if not torch.equal(a[name], b[name])]
    for file in one.rglob("*.pt"):
        a, b = (torch.load(f, weights_only=True) for f in (file, other / file.relative_to(one)))
        found += [file.name] if as_json(a) != as_json(b) else []
    logs = [[line.rpartition(",")[0] for line in (f / "log.csv").read_text().splitlines()] for f in (one, other)]
    return found + (["log.csv"] if logs[0] != logs[1] else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    options, given = parser.parse_known_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    whole, killed, draw = folder / "undisturbed", folder / "killed", random.Random(options.seed)
    begin = time.monotonic()
    if status := start(given, whole).wait():
        sys.exit(f"the undisturbed one ended with status {status}")
    seconds = time.monotonic() - begin
    print(f"undisturbed: {step_of(whole)} steps in {seconds:.1f} s", flush=True)
    for kill, target in enumerate(sorted(draw.randrange(step_of(whole)) for _ in range(options.kills)), 1):
        process = start(given, killed)
        while process.poll() is None and logged(killed) < target:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.5))
        process.kill()
        at = f"at step {logged(killed)} or later, the checkpoint is of step {step_of(killed)}"
        print(f"kill {kill}: status {process.wait()}, {at}", flush=True)
    if status := start(given, killed).wait():
        sys.exit(f"the last one ended with status {status}")
    found = differences(whole, killed)
    print(f"{step_of(killed)} steps; different: {', '.join(found) or 'nothing, bit for bit'}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
