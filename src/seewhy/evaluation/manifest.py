"""What was asked of a run before, and what is asked of it now: one manifest of both, or the reason why there is none."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seewhy.errors import SeewhyError
from seewhy.evaluation.run import SCHEMA


def joined_manifest(
    folder: Path,
    old: dict[str, Any] | None,
    asked: Mapping[str, Any],
    explainers: Mapping[str, Any],
    metrics: Mapping[str, Any],
    asking: Mapping[str, list[str]],
) -> dict[str, Any]:
    """The manifest of what was asked before and is asked now; SeewhyError where these do not go together."""
    new = json.loads(json.dumps({"asked": asked, "explainers": explainers, "metrics": metrics}, default=str))
    begun = {"schema": SCHEMA, "complete": False, "asking": asking}
    if old is None:
        return {**begun, **new, "done": {}, "history": [], "failures": [], "curves": {}, "seconds": {}}
    for key, before in old["asked"].items():
        if before != new["asked"].get(key):
            change = _change(key, before, new["asked"].get(key))
            raise SeewhyError(f"{folder} has a run of another question ({change}): give another folder")
    for name in old["explainers"].keys() & new["explainers"].keys():
        before, now = (about["explainers"][name]["limits"] for about in (old, new))
        for pair in [m for m in new["metrics"] if m in _pairs(old, name)]:
            if before.get(pair) != now.get(pair):
                raise SeewhyError(f"{folder} has {name}/{pair} with another limit: give the same, or another folder")
        old["explainers"][name]["limits"] = new["explainers"][name]["limits"] = {**before, **now}
    for kind in ("explainers", "metrics"):
        for name in old[kind].keys() & new[kind].keys():
            if old[kind][name] != new[kind][name]:
                raise SeewhyError(f"{folder} has {name} with other options: give another folder, or {name} another name")
        missing = [name for name in old.get("asking", {}).get(kind, []) if name not in new[kind]]
        if missing:
            raise SeewhyError(
                f"{folder} has a run that was interrupted, with the {kind} {', '.join(missing)}: ask for them too"
            )
    return {**old, **begun, "explainers": old["explainers"] | new["explainers"], "metrics": old["metrics"] | new["metrics"]}


def _change(name: str, before: Any, now: Any) -> str:
    """What differs; of two mappings the first entry that does."""
    if isinstance(before, dict) and isinstance(now, dict):
        part = next(key for key in {**before, **now} if before.get(key) != now.get(key))
        return _change(f"{name}'s {part}", before.get(part), now.get(part))
    return f"{name} is " + (f"{before} there and {now} now" if len(f"{before}{now}") < 80 else "not the same")


def _pairs(old: Mapping[str, Any], explainer: str) -> set[str]:
    """The metrics that an explainer was asked for, whether or not that is done."""
    asking = old.get("asking", {})
    return {*old["done"].get(explainer, ()), *(asking["metrics"] if explainer in asking.get("explainers", ()) else ())}


def all_done(done: Mapping[str, list[str]], asking: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """For each explainer the metrics that it has, once what is asked for is done too."""
    return {**done, **{e: sorted({*done.get(e, ()), *asking["metrics"]}) for e in asking["explainers"]}}
