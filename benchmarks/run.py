"""Race every case, contenders in turn (A B A B ...), and print a table; ``--out FILE`` also writes it as Markdown.

    python benchmarks/run.py [CASE ...] [--threads 2] [--repeats N] [--out docs/explanation/speed.md]

Each contender has its own process. Times are medians with their range; ratios are taken pair by pair, rival over ours,
so that a machine whose speed drifts does not favor either. Forward-equivalents are all floating-point operations of a
run, backward passes included, over those of the network's forward pass of one image: they do not depend on the machine.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
from race import Race
from races import RACES


@dataclass
class Contender:
    """A worker process, and what it has told."""

    name: str
    process: subprocess.Popen[str]
    seconds: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)

    def ask(self, command: str) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} died while asked to {command}")
        answer = json.loads(line)
        return float(answer) if answer is not None else 0.0


def start(case: str, name: str, threads: int) -> Contender:
    command = [sys.executable, str(Path(__file__).with_name("worker.py")), case, name, str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise SystemExit(f"{name} could not be set up for {case}")
    return Contender(name, process)


def race(key: str, case: Race, threads: int, repeats: int | None) -> list[dict[str, str]]:
    contenders = [start(key, name, threads) for name in case.contenders]
    rounds = repeats or case.repeats
    for contender in contenders:
        contender.ask("run")  # warm-up
    for _ in range(rounds):
        for contender in contenders:
            contender.seconds.append(contender.ask("run"))
        contenders[0].floor.append(contenders[0].ask("floor"))
    memory = [c.ask("memory") for c in contenders]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{i}.npy" for i in range(len(contenders))]
        for contender, file in zip(contenders, files, strict=True):
            contender.ask(f"result {file}")
        maps = [np.load(file) for file in files]
    counted = [c.ask("count") for c in contenders]
    for contender in contenders:
        assert contender.process.stdin is not None
        contender.process.stdin.close()
        contender.process.wait()
    ours, floor = contenders[0], median(contenders[0].floor)
    rows = []
    for contender, peak, answer, count in zip(contenders, memory, maps, counted, strict=True):
        ratios = [rival / mine for rival, mine in zip(contender.seconds, ours.seconds, strict=True)]
        difference = float(np.abs(answer - maps[0]).max())
        if contender is not ours and not answer.std() > 0:
            raise SystemExit(f"{key}: the maps are constant, so that agreement proves nothing")
        r = float(np.corrcoef(answer.ravel(), maps[0].ravel())[0, 1])
        agreement = f"{'same' if difference <= case.same else 'differs'} (max {difference:.1e}, correlation {r:.4f})"
        row = {
            "contender": contender.name,
            "seconds (range)": spread(contender.seconds, 3),
            "times ours (range)": "1" if contender is ours else spread(ratios, 2),
            "forward-equivalents": f"{count:.1f}",
            "times the floor": f"{median(contender.seconds) / floor:.1f}",
            "peak memory, MiB": f"{peak:.0f}",
            "answer": "" if contender is ours else agreement,
        }
        rows.append(row)
    return rows


def spread(values: list[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def markdown(rows: list[dict[str, str]]) -> str:
    head = list(rows[0])
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row.values()) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(RACES), help=f"of {', '.join(RACES)}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, help="rounds of every case, instead of its own number")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    unknown = [c for c in arguments.cases if c not in RACES]
    if unknown:
        parser.error(f"unknown case {unknown[0]!r}; known: {', '.join(RACES)}")
    packages = ", ".join(f"{p} {version(p)}" for p in ("seewhy", "torch", "timm", "grad-cam", "captum"))
    parts = [f"{platform.machine()}, {arguments.threads} threads, Python {platform.python_version()}, {packages}."]
    print(parts[0], f"Load before: {os.getloadavg()[0]:.1f}", flush=True)
    for key in arguments.cases:
        case = RACES[key]
        rounds = arguments.repeats or case.repeats
        table = markdown(race(key, case, arguments.threads, arguments.repeats))
        parts.append(
            f"**{case.question}** ({rounds} interleaved rounds, floor: {case.floor} bare forward pass(es))\n\n{table}"
        )
        print("\n" + parts[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
