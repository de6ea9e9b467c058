"""Many damaged inputs, given to the command line: pictures, csv, XML, weights, class files, options and run folders.

    python tools/studies/fuzz.py                  # 5,000 inputs
    python tools/studies/fuzz.py 200 --kind csv   # of one kind
    python tools/studies/fuzz.py --seed 3

Each input ends in time with a result or with one line and status 2, and leaves nothing behind. An input that does not is
printed at once, with its kind and number: the same seed makes the same input again. A table comes at the end, or when the
script is interrupted. Exit code 1 where an input fails.
"""

import argparse
import sys
from contextlib import suppress
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
    found: dict[str, list[Outcome]] = {kind: [] for kind in shares}
    start = perf_counter()
    with TemporaryDirectory() as folder, suppress(KeyboardInterrupt):
        write_good(Path(folder) / "good")
        for outcome in attempts(MAKERS, shares, asked.n, Path(folder) / "good", Path(folder) / "trials", asked.seed):
            found[outcome.kind].append(outcome)
            if outcome.problem:
                print(outcome, flush=True)
    for kind, outcomes in found.items():
        refused, wrong = sum(o.refused for o in outcomes), sum(bool(o.problem) for o in outcomes)
        print(f"{kind:8} {len(outcomes):5} inputs {refused:5} refused {wrong:5} wrong")
    print(f"{sum(map(len, found.values()))} inputs in {perf_counter() - start:.0f} s")
    return any(outcome.problem for outcomes in found.values() for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
