"""Ends commands at random moments, gives them again, and compares what they write with what an undisturbed command writes.

python benchmarks/kills.py [--kills 50] [--terms 20] [--seed 0] [--kinds explain evaluate report shards devices]

Each command runs in a process of its own, which is forked from one that has imported everything: so its life is its work.
The moments are spread evenly over the CPU time that the command takes, whatever else the machine does. After SIGKILL, or
SIGTERM, the same command is given again in the same folder. Then all files must be the same to the last byte, but for the
times in the manifest, and nothing else may be there. "between" counts the moments at which some of the files were there,
and not all of them.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

PRELOADED = ["seewhy.app.cli.main", "seewhy.evaluation.evaluate", "seewhy.evaluation.scoreboard", "seewhy.explanation.files"]
PRELOADED += ["seewhy.explanation.resume", "seewhy.report", "seewhy.classifier.load", "seewhy.explainers", "seewhy.data"]
PRELOADED += ["seewhy.metrics", "seewhy.data.named", "seewhy.app.cli.progress", "rich.table", "rich.progress"]
METHODS = ["--explainer", "grad_cam", "--explainer", "saliency"]
EVALUATE = ["evaluate", "--model", "shapes", "--data", "shapes", "--data-option", "size=32", "--limit", "8", *METHODS]
EVALUATE += ["--metric", "deletion:steps=7", "--metric", "sparseness", "--limit", "deletion:steps=7=5"]
EVALUATE += ["--batch-size", "2", "--pictures", "5", "--quiet", "--out", "run"]
KINDS = {
    "explain": [["explain", "pictures", "--model", "shapes", *METHODS, "--quiet", "--out", "run"]],
    "evaluate": [[*EVALUATE, "--keep-maps"]],
    "report": [["report", "measured", "--quiet", "--out", "run/page.html"]],
    "shards": [[*EVALUATE, "--shard", "1/2"], [*EVALUATE, "--shard", "2/2"], [*EVALUATE, "--join"]],
    "devices": [[*EVALUATE, "--devices", "2"]],
}
"""The commands that are given one after the other. ``devices`` starts processes anew, and takes long."""
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(PRELOADED)
SCRIPT = "from seewhy.app.cli.main import main\nif __name__ == '__main__':\n    main()\n"


def give(folder: str, commands: Sequence[Sequence[str]]) -> None:
    """Commands as a user gives them in ``folder``; what they say goes to ``said``, their CPU time to ``cpu``."""
    import torch

    from seewhy.app.cli.main import main

    os.chdir(folder)
    torch.set_num_threads(1)
    with Path("said").open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    status = 0
    for command in commands:
        sys.argv = ["seewhy", *command]
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        if status:
            break
    used = resource.getrusage(resource.RUSAGE_SELF)
    Path("cpu").write_text(str(used.ru_utime + used.ru_stime))
    raise SystemExit(status)


def content(folder: Path) -> dict[str, object]:
    """The bytes of all files of a command but those of units, which have times; the manifest without its times."""
    files: dict[str, object] = {}
    for file in sorted((folder / "run").rglob("*")):
        name = str(file.relative_to(folder))
        if name == "run/manifest.json":
            files[name] = manifest = without_times(json.loads(file.read_text()))
            history = manifest.get("history", [])
            if len(history) == 2 and history[0] == history[1]:
                del history[1]  # the first command was ended when it had just finished the folder
        elif "units" in file.parts or file.is_dir():
            files[name] = None
        else:
            files[name] = file.read_bytes()
    return files


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(of) for key, of in value.items() if key not in ("seconds", "wall_seconds")}
    return [without_times(of) for of in value] if isinstance(value, list) else value


class Trials:
    """One kind of command, ended at random moments."""

    def __init__(self, folder: Path, kind: str, seed: int) -> None:
        self.folder, self.kind, self.commands, self.random = folder, kind, KINDS[kind], random.Random(f"{kind} {seed}")
        self.whole = self.case("whole")
        assert self.ended(self.start(self.whole)) == 0, (self.whole / "said").read_text()
        self.seconds = float((self.whole / "cpu").read_text()) if kind != "devices" else time.perf_counter() - self.began

    def case(self, name: str) -> Path:
        """A folder with all that the command reads."""
        case = self.folder / f"{self.kind} {name}"
        shutil.copytree(self.folder / "given", case)
        return case

    def start(self, case: Path) -> Any:
        self.began = time.perf_counter()
        if self.kind == "devices":
            (case / "command.py").write_text(SCRIPT)
            with (case / "said").open("w") as said:
                command = [sys.executable, "command.py", *self.commands[0]]
                return subprocess.Popen(command, cwd=case, stdout=said, stderr=said)
        process = FORKED.Process(target=give, args=(str(case), self.commands))
        process.start()
        return process

    def ended(self, process: Any) -> int:
        if self.kind == "devices":
            return int(process.wait())
        process.join()
        return int(process.exitcode)

    def used(self, pid: int) -> float:
        """Seconds of CPU time of a process; of several processes, seconds since the start."""
        if self.kind == "devices":
            return time.perf_counter() - self.began
        try:
            return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
        except OSError:
            return float("inf")

    def end(self, i: int, number: int) -> tuple[str, list[str]]:
        """End the command once and give it again. When it ended, and what is wrong."""
        case = self.case(f"{i} {number}")
        process = self.start(case)
        moment = self.random.random() * self.seconds
        while self.used(process.pid) < moment:
            time.sleep(0.002)
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(process.pid, number)
        status, wrong = self.ended(process), []
        said = (case / "said").read_text() if (case / "said").exists() else ""
        if number == signal.SIGTERM and status not in (0, 143, -15):
            wrong.append(f"status {status}: {said!r}")
        if number == signal.SIGTERM and status == 143 and not said.startswith("seewhy: stopped"):
            wrong.append(f"it says {said!r}")
        if number == signal.SIGTERM and (left := [p.name for p in case.rglob(".seewhy-*")]):
            wrong.append(f"{left} are left before the command is given again")
        there, all_of_it = content(case), content(self.whole)
        when = "before" if not any(there.values()) else "after" if there.keys() == all_of_it.keys() else "between"
        if self.ended(self.start(case)):
            wrong.append(f"it does not go on: {(case / 'said').read_text()}")
        there = content(case)
        wrong += [f"{name} differs" for name in {**there, **all_of_it} if there.get(name, 0) != all_of_it.get(name, 0)
                  and not ("units" in name and name in all_of_it and name in there)]  # fmt: skip
        wrong += [f"{path.name} is left" for path in case.rglob(".*") if path.name != ".lock"]
        wrong += [f"{path.name} is left" for path in case.iterdir() if not (self.whole / path.name).exists()]
        shutil.rmtree(case)
        return when, wrong


def given(folder: Path) -> None:
    """What the commands read: pictures, and a run folder."""
    from torchvision.utils import save_image

    from seewhy.data import Shapes

    (folder / "pictures").mkdir(parents=True)
    for i, image in enumerate(Shapes(n=2, size=64).batch(range(2)).images):
        save_image(image, folder / "pictures" / f"{i}.png")
    process = FORKED.Process(target=give, args=(str(folder), KINDS["evaluate"]))
    process.start()
    process.join()
    (folder / "run").rename(folder / "measured")


def main(kinds: Sequence[str], kills: int, terms: int, seed: int) -> bool:
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        given(folder / "given")
        for kind in kinds:
            trials = Trials(folder, kind, seed)
            for number, times in ((signal.SIGKILL, kills), (signal.SIGTERM, terms)):
                found = [trials.end(i, number) for i in range(times)]
                wrong = [f"{i}: {what}" for i, (_, several) in enumerate(found) for what in several]
                moments = [when for when, _ in found]
                counts = ", ".join(f"{moments.count(when)} {when}" for when in ("before", "between", "after"))
                verdict = "the same bytes, nothing left" if not wrong else f"{len(wrong)} FAULTS: {wrong[:5]}"
                print(f"{kind}: {times} x {number.name} ({counts}; {trials.seconds:.1f} s of work): {verdict}", flush=True)
                good = good and not wrong
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=["explain", "evaluate", "report"])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--terms", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    sys.exit(not main(asked.kinds, asked.kills, asked.terms, asked.seed))
