"""Many damaged inputs, given to the command line: pictures, csv, XML, weights, class files, options and run folders.

    python tools/studies/fuzz.py                  # 5,000 inputs
    python tools/studies/fuzz.py 200 --kind csv   # of one kind
    python tools/studies/fuzz.py --seed 3

Each input ends in time with a result or with one line and status 2, and leaves nothing behind. The first of each failure is
printed with its kind and number: the same seed makes the same input again. Exit code 1 where an input fails.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "support")]

from support.fuzz.makers import MAKERS, SHARES, write_good  # noqa: E402
from support.fuzz.trial import Outcome, attempts  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("n", type=int, nargs="?", default=5_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=list(MAKERS), help="inputs of this kind alone")
    asked = parser.parse_args()
    shares = {asked.kind: 1} if asked.kind else SHARES
    found: dict[str, list[Outcome]] = {}
    start = perf_counter()
    with TemporaryDirectory() as folder:
        write_good(Path(folder) / "good")
        for outcome in attempts(MAKERS, shares, asked.n, Path(folder) / "good", Path(folder) / "trials", asked.seed):
            found.setdefault(outcome.kind, []).append(outcome)
    for kind, outcomes in found.items():
        refused, wrong = sum(o.refused for o in outcomes), sum(bool(o.problem) for o in outcomes)
        print(f"{kind:8} {len(outcomes):5} inputs {refused:5} refused {wrong:5} wrong")
    problems: dict[str, Outcome] = {}
    for outcome in (o for outcomes in found.values() for o in outcomes if o.problem):
        last = (outcome.said.strip().splitlines() or [""])[-1]
        problems.setdefault(f"{outcome.problem[:30]} {last[:60]}", outcome)
    print(f"{sum(map(len, found.values()))} inputs in {perf_counter() - start:.0f} s")
    print(*problems.values(), sep="\n\n")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
