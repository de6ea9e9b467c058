"""Did each test of a mended fault fail before the mend? Runs the tests of the page of faults on an earlier source.

    git worktree add --detach ../before 166e210
    python tools/studies/faults.py ../before/src

The tests are those that docs/explanation/faults.md names, as "FILE::NAME", or as "FILE" for all in it. They are run twice:
on the source of this checkout, where they must pass, and on the earlier source, where they must fail. A test that only lacks
a name to import there is counted by itself: it says less than a wrong value. The exit code is 1 where a test passed before
or fails now.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "faults.md"
TEST = re.compile(r"tests/[\w/]+\.py(?:::\w+)?")
SECONDS = 300
"""So long the tests of one file may take; a test by itself a fifth of it."""
LACKS_A_NAME = re.compile(r"ImportError|ModuleNotFoundError|AttributeError: (type object|module)|unexpected keyword")
"""What a test ends with that asks for something which the earlier source does not have."""


def named_tests(page: str) -> list[str]:
    """The tests that the page names, each once."""
    return list(dict.fromkeys(TEST.findall(page)))


def outcomes(tests: list[str], source: Path) -> dict[str, str]:
    """Each test's outcome on a source: "passed", "failed", "hangs", "lacks a name" or "not run".

    A test with parameters failed if it failed with one of them.
    """
    found: dict[str, str] = {}
    for file in dict.fromkeys(test.partition("::")[0] for test in tests):
        mine = [test for test in tests if test.partition("::")[0] == file]
        outcome = _run(mine, source, SECONDS)
        if outcome is None:  # one of them never ends: each by itself
            outcome = {test: (_run([test], source, SECONDS // 5) or {test: "hangs"})[test] for test in mine}
        found |= outcome
    return found


def _run(tests: list[str], source: Path, seconds: float) -> dict[str, str] | None:
    """The outcomes of some tests of one file; None if they take longer than ``seconds``."""
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    with TemporaryDirectory() as folder:
        result = Path(folder) / "result.xml"
        command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", f"--junitxml={result}", *tests]
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                said, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # also what the test has started
                return None
        return _read(result, tests, said) if result.is_file() else dict.fromkeys(tests, "failed")  # the process has crashed


def _read(result: Path, tests: list[str], output: str) -> dict[str, str]:
    """The outcomes in a file of results. A file of tests that cannot be imported has no cases of its own."""
    cases = dict.fromkeys(tests, "not run")
    names = {test.partition("::")[2]: test for test in tests}
    for case in ET.parse(result).iter("testcase"):
        test = names.get(case.get("name", "").partition("[")[0]) or names.get("")
        if test is None:
            continue
        wrong = next((child for child in case if child.tag in ("failure", "error")), None)
        if wrong is not None:
            text = f"{wrong.get('message', '')} {wrong.text or ''}"
            cases[test] = "lacks a name" if LACKS_A_NAME.search(text) and cases[test] != "failed" else "failed"
        elif cases[test] == "not run" and case.find("skipped") is None:
            cases[test] = "passed"
    if LACKS_A_NAME.search(output):  # the file of tests itself cannot be imported
        cases = {test: "lacks a name" if outcome == "not run" else outcome for test, outcome in cases.items()}
    return cases


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the folder src of the earlier checkout")
    parser.add_argument("--before-only", action="store_true", help="do not run the tests on this checkout's own source")
    given = parser.parse_args()
    tests, source = named_tests(PAGE.read_text(encoding="utf-8")), given.source.resolve()
    if given.before_only:
        before = outcomes(tests, source)
        print("\n".join(f"{test}: {before[test]}" for test in tests if before[test] not in ("failed", "hangs")))
        print(f"before: {dict(Counter(before.values()))}; {len(tests)} tests")
        return int("passed" in before.values())
    before, now = outcomes(tests, source), outcomes(tests, ROOT / "src")
    for test in tests:
        if before[test] not in ("failed", "hangs") or now[test] != "passed":
            print(f"{test}: before {before[test]}, now {now[test]}")
    print(f"before: {dict(Counter(before.values()))}; now: {dict(Counter(now.values()))}; {len(tests)} tests")
    return int(any(before[test] == "passed" or now[test] != "passed" for test in tests))


if __name__ == "__main__":
    sys.exit(main())
