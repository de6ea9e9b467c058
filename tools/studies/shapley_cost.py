"""What Shapley values cost: the error against calls of each estimator, and when a trained explainer has paid for itself.

    python tools/studies/shapley_cost.py --salvage runs/all/salvage --vit-shapley runs/all/vit_shapley --out runs/cost
    python tools/studies/shapley_cost.py --salvage FOLDER --out FOLDER --minutes 10 --device cuda
    python tools/studies/shapley_cost.py --games --calls 24 60 120 240 480 --repetitions 60

The game is the surrogate's probability of the predicted class, its players are those of the explainer. The truth of a
picture comes from ``--pairs`` pairs of permutations, or from all sets where the players are at most 12. An error is the mean
squared error over the players, less what the truth's own standard errors add to it, divided by the variance of the true
values: 1 is as bad as a constant. ``corrected`` has u of Salvage, or of ViT-Shapley; ``pairs, fitted`` is the same without
any u. RISE is no estimate of these values, and only its correlation is shown. A picture is finished, stored below ``--out``,
and never asked again; pictures are added until ``--minutes`` have passed.

Prints: the errors by calls with half of their 95 % intervals over pictures; the calls that each estimator needs for the
error of others; how often a true value is within the 95 % interval; seconds for a call, for a map and for the training, and
after how many pictures the training has paid for itself. Calls do not count the empty and the full set.
"""

import argparse
import json
from collections.abc import Callable
from itertools import pairwise
from math import exp, log
from pathlib import Path
from time import monotonic
from typing import Any, cast

import torch
from shapley import known_games
from torch import Tensor

import seewhy
from seewhy.classifier.load import load, on_device
from seewhy.data.shapes.shapes import Shapes
from seewhy.explainers.learned.config import read_explainer_config
from seewhy.explainers.learned.learned_explainer import Seen
from seewhy.explainers.learned.learned_shapley import LearnedShapley
from seewhy.explainers.learned.salvage import Salvage
from seewhy.explainers.perturbation.kernel_shap import KernelShap
from seewhy.maps import pearson
from seewhy.masking.shapley import (
    SetFunction,
    ShapleyValues,
    corrected_values,
    exact_values,
    kernel_values,
    permutation_values,
    set_function,
)

EXACT = 12
ROUNDING = 1e-18
Estimator = Callable[[SetFunction, int, int, int], ShapleyValues]
"""Of a set function, the number of players, the calls and a seed."""


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kernel_shap(v: SetFunction, p: int, calls: int, seed: int, sampling: str) -> ShapleyValues:
    """The regression of ``kernel_shap``; it has no errors."""
    method = KernelShap(seewhy.load("shapes"), samples=calls, seed=seed, sampling=cast(Any, sampling))
    kept, weights = method.coalitions(p)
    values = method.solved(kept, weights, v(kept))
    return ShapleyValues(values, torch.full_like(values, torch.nan), 0, calls + 2)


def rise(v: SetFunction, p: int, calls: int, seed: int) -> ShapleyValues:
    """The mean score over the sets that have the player, of sets that have each player with probability 1/2."""
    kept = torch.rand(calls, p, generator=seeded(seed)) < 0.5
    of_set = kept.double()
    values = of_set.T @ v(kept) / of_set.sum(0)[:, None].clamp_min(1)
    return ShapleyValues(values, torch.full_like(values, torch.nan), 0, calls)


def sampled(v: SetFunction, p: int, calls: int, seed: int) -> ShapleyValues | None:
    """Permutations; None where two pairs of them are more calls."""
    pairs = calls // (2 * (p - 1))
    return permutation_values(v, p, pairs, seeded(seed)) if pairs >= 2 else None


def cheap_game(what: LearnedShapley, seen: Seen, target: int) -> SetFunction:
    """u of one picture: the Shapley distribution of Salvage, or the sum of the values of ViT-Shapley."""
    with torch.no_grad():
        terms = what.found(seen).double()

    def u(kept: Tensor) -> Tensor:
        if isinstance(what, Salvage):
            logits = what.logits_of_sets(terms, kept.to(terms.device)[None])[0]
            return what.classifier.to_probabilities(logits)[:, target, None].detach().cpu()
        return kept.double() @ terms[0, :, 0, target, None].cpu()

    return u


def estimates(
    v: SetFunction, p: int, calls: int, seed: int, cheap: dict[str, SetFunction]
) -> dict[str, ShapleyValues | None]:
    found = {
        "permutations": sampled(v, p, calls, seed),
        "Kernel SHAP, leverage": kernel_shap(v, p, calls, seed, "leverage"),
        "Kernel SHAP, kernel": kernel_shap(v, p, calls, seed, "kernel"),
        "pairs": kernel_values(v, p, calls // 2, seeded(seed), folds=1),
        "pairs, fitted": kernel_values(v, p, calls // 2, seeded(seed)),
        "RISE": rise(v, p, calls, seed),
    }
    return found | {f"corrected {name}": corrected_values(u, v, p, calls, seeded(seed)) for name, u in cheap.items()}


# -- one picture ------------------------------------------------------------------------------------------------------


def picture(asked: argparse.Namespace, made: dict[str, LearnedShapley], index: int, device: torch.device) -> list[dict]:
    """The errors of all estimators on one picture, a row for each number of calls and repetition."""
    what = next(iter(made.values()))
    image = Shapes(n=index + 1).sample(index).image.to(device)[None]
    seen = {name: method.see(image) for name, method in made.items()}
    target = int(next(iter(seen.values())).logits.argmax())
    players = what.players(image)
    p = players.p

    def read(logits: Tensor) -> Tensor:
        return what.classifier.to_probabilities(logits.double())[:, target, None]

    v = set_function(what.value(image, players), 0, read, 256, device)
    truth = exact_values(v, p) if p <= EXACT else permutation_values(v, p, asked.pairs, seeded(1_000_000 + index))
    cheap = {name: cheap_game(method, seen[name], target) for name, method in made.items()}
    return rows_of(asked, v, p, truth, cheap, index)


def rows_of(
    asked: argparse.Namespace, v: SetFunction, p: int, truth: ShapleyValues, cheap: dict[str, SetFunction], index: int
) -> list[dict]:
    """The errors of all estimators on one game."""
    rows = []

    def add(name: str, calls: int, found: ShapleyValues) -> None:
        away = found.values - truth.values
        known = bool(found.errors.isfinite().all()) and found.draws > 0
        wide = found.half_widths().square() + (2 * truth.errors).square() + ROUNDING if known else None
        rows.append(
            {
                "estimator": name,
                "calls": calls,
                "squared": float((away.square() - truth.errors.square()).mean()),
                "variance": float(truth.values.var(unbiased=False) - truth.errors.square().mean()),
                "correlation": float(pearson(found.values.T, truth.values.T)),
                "held": None if wide is None else float((away.square() <= wide).double().mean()),
            }
        )

    for name, u in cheap.items():
        alone = exact_values(u, p) if p <= EXACT else permutation_values(u, p, 128, seeded(index))
        add(f"{name} alone", 0, alone)
    for calls in asked.calls:
        if calls >= 2**p - 2:
            continue
        for repetition in range(asked.repetitions):
            seed = 1000 * index + repetition
            for name, found in estimates(v, p, calls, seed, cheap).items():
                if found is not None:
                    add(name, calls, found)
    return rows


# -- the tables -------------------------------------------------------------------------------------------------------


def errors(pictures: list[list[dict]]) -> dict[tuple[str, int], Tensor]:
    """The relative error of each picture, by estimator and calls: sums over repetitions first."""
    found: dict[tuple[str, int], list[float]] = {}
    for rows in pictures:
        for key in dict.fromkeys((row["estimator"], row["calls"]) for row in rows):
            own = [row for row in rows if (row["estimator"], row["calls"]) == key]
            found.setdefault(key, []).append(sum(r["squared"] for r in own) / len(own) / max(own[0]["variance"], 1e-12))
    return {key: torch.tensor(values, dtype=torch.float64) for key, values in found.items()}


def mean_of(pictures: list[list[dict]], estimator: str, calls: int, column: str) -> float | None:
    values = [
        row[column]
        for rows in pictures
        for row in rows
        if row["estimator"] == estimator and row["calls"] == calls and row[column] is not None
    ]
    return sum(values) / len(values) if values else None


def needed(curve: dict[int, float], error: float) -> str:
    """The calls at which a curve comes down to an error: a line between the logarithms of two neighbors."""
    calls = sorted(set(curve) - {0})
    if not calls:
        return ""
    if curve[calls[0]] <= error:
        return f"< {calls[0]}"
    for a, b in pairwise(calls):
        if curve[b] <= error and curve[a] > error:
            part = (log(curve[a]) - log(error)) / (log(curve[a]) - log(max(curve[b], 1e-12)))
            return f"{exp(log(a) + part * (log(b) - log(a))):.0f}"
    return f"> {calls[-1]}"


def tables(pictures: list[list[dict]]) -> str:
    found = errors(pictures)
    names = list(dict.fromkeys(name for name, _ in found))
    all_calls = sorted({calls for _, calls in found})
    shown = [name for name in names if name != "RISE"]
    lines = [f"Relative squared error, {len(pictures)} pictures:", ""]
    lines += ["| calls | " + " | ".join(shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for calls in all_calls:
        cells = []
        for name in shown:
            x = found.get((name, calls))
            half = f" ± {1.96 * x.std() / len(x) ** 0.5:.1g}" if x is not None and len(x) > 1 else ""
            cells.append("" if x is None else f"{x.mean():.3g}{half}")
        lines.append(f"| {calls} | {' | '.join(cells)} |")
    for column, title in (
        ("correlation", "Correlation with the true values"),
        ("held", "True values within the 95 % interval"),
    ):
        lines += ["", f"{title}:", "", "| calls | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for calls in all_calls:
            means = [mean_of(pictures, name, calls, column) for name in names]
            lines.append(f"| {calls} | {' | '.join('' if x is None else f'{x:.2f}' for x in means)} |")
    goals = [(name, 0) for name in names if (name, 0) in found]
    goals += [(name, calls) for name in names if name.startswith("corrected") for calls in all_calls[:4]]
    for title, curves in (("error", error_curves(found)), ("correlation", missing_correlation(pictures, names, all_calls))):
        asked = [name for name in names if set(curves.get(name, {})) - {0}]
        lines += ["", f"Calls for an equal {title}:", "", f"| as | {' | '.join(asked)} |", "|---" * (len(asked) + 1) + "|"]
        for name, calls in goals:
            if calls in curves.get(name, {}):
                cells = [needed(curves[other], curves[name][calls]) for other in asked]
                lines.append(f"| {name}, {calls} calls: {curves[name][calls]:.3g} | {' | '.join(cells)} |")
    return "\n".join(lines)


Curves = dict[str, dict[int, float]]
"""A number that falls with the calls, by estimator and calls."""


def error_curves(found: dict[tuple[str, int], Tensor]) -> Curves:
    curves: Curves = {}
    for (name, calls), x in found.items():
        if name != "RISE":
            curves.setdefault(name, {})[calls] = float(x.mean())
    return curves


def missing_correlation(pictures: list[list[dict]], names: list[str], all_calls: list[int]) -> Curves:
    """1 less the mean correlation."""
    curves: Curves = {}
    for name in names:
        for calls in all_calls:
            mean = mean_of(pictures, name, calls, "correlation")
            if mean is not None:
                curves.setdefault(name, {})[calls] = 1 - mean
    return curves


def clock(work: Callable[[], object], device: torch.device, least: float = 1.0) -> float:
    """Seconds of one turn of the work, the mean of as many as a second takes."""
    work()
    start, turns = monotonic(), 0
    while monotonic() - start < least:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        turns += 1
    return (monotonic() - start) / turns


def seconds(
    asked: argparse.Namespace, made: dict[str, LearnedShapley], pictures: list[list[dict]], device: torch.device
) -> str:
    """What a call and a map take, what the training took, and after how many pictures it has paid for itself."""
    what = next(iter(made.values()))
    image = Shapes(n=1).sample(0).image.to(device)[None]
    players = what.players(image)
    game, sets = what.value(image, players), (torch.rand(256, players.p, generator=seeded(0)) < 0.5).to(device)
    rows = torch.zeros(256, dtype=torch.long, device=device)
    call = clock(lambda: game(rows, sets), device) / 256
    classes = torch.arange(what.classifier.n_classes, device=device)
    lines = [f"A call of the surrogate takes {1000 * call:.3g} ms (256 at a time)."]
    names = list(dict.fromkeys(row["estimator"] for rows in pictures for row in rows))
    curves = missing_correlation(pictures, names, sorted({row["calls"] for rows in pictures for row in rows}))
    folders = {"salvage": asked.salvage, "vit_shapley": asked.vit_shapley}
    for name, method in made.items():
        one = clock(lambda method=method: cast(Any, method).explain_classes(image, classes), device)
        spent = training_seconds(Path(folders[name])) + (training_seconds(asked.surrogate) if asked.surrogate else 0)
        lines.append(f"{name}: {1000 * one:.3g} ms for all classes; the training took {spent:.0f} s. At its correlation:")
        for rival in ("RISE", "permutations", "Kernel SHAP, leverage", "pairs, fitted"):
            calls = needed(curves.get(rival, {}), curves[f"{name} alone"][0])
            if not calls:
                continue
            theirs = float(calls.strip("<> ")) * call
            paid = f"{spent / (theirs - one):.0f}" if theirs > one else "no number of"
            lines.append(
                f"- {rival} needs {calls} calls, {theirs:.3g} s: {theirs / one:.0f} times as long. The training has paid "
                f"for itself after {paid} pictures."
            )
    return "\n".join(lines)


def training_seconds(folder: Path) -> float:
    """The seconds of a training, by its card or by the last line of its log."""
    if (folder / "config.json").exists():
        return float(read_explainer_config(folder).card["seconds"])
    last = (folder / "log.csv").read_text(encoding="utf-8").splitlines()
    return float(dict(zip(last[0].split(","), last[-1].split(","), strict=False))["seconds"])


def table_of(values: Tensor) -> SetFunction:
    """A game whose values of all sets are written down."""
    p = (len(values) - 1).bit_length()
    return lambda kept: values[(kept.long() << torch.arange(p)).sum(1), None]


def games(asked: argparse.Namespace) -> str:
    """The tables of games whose values are known: those of the study of Kernel SHAP's draws."""
    found = []
    for p in (12, 16):
        for index, (name, values) in enumerate(known_games(p)):
            v = table_of(values)
            found.append(f"{name}, {p} players\n\n{tables([rows_of(asked, v, p, exact_values(v, p), {}, index)])}")
    return "\n\n".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", action="store_true", help="games whose values are known; without a network")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", default="shapes/vit")
    parser.add_argument("--salvage", help="its folder")
    parser.add_argument("--vit-shapley", help="its folder, with the same players and the same surrogate")
    parser.add_argument("--surrogate", type=Path, help="its run folder: its seconds count as training")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--calls", type=int, nargs="*", default=[32, 64, 128, 256, 512, 1024, 2048, 4096])
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=100, help="of permutations, for the true values")
    parser.add_argument("--images", type=int, default=32, help="test pictures, at most")
    parser.add_argument("--minutes", type=float, default=10)
    asked = parser.parse_args()
    if asked.games:
        print(games(asked))
        return
    if not (asked.out and asked.salvage):
        parser.error("give --out and --salvage, or --games")
    end = monotonic() + 60 * asked.minutes
    classifier = on_device(load(asked.model), asked.device)
    device = next(classifier.module.parameters()).device
    folders = {"salvage": asked.salvage, "vit_shapley": asked.vit_shapley}
    made = {
        name: cast(LearnedShapley, seewhy.load_explainer(folder, classifier)) for name, folder in folders.items() if folder
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    pictures: list[list[dict]] = []
    for index in range(asked.images):
        file = asked.out / f"picture-{index:04d}.json"
        if not file.is_file():
            if monotonic() > end and index >= 2:
                break
            file.write_text(json.dumps(picture(asked, made, index, device)), encoding="utf-8")
        pictures.append(json.loads(file.read_text(encoding="utf-8")))
    print(tables(pictures))
    print("\n" + seconds(asked, made, pictures, device))


if __name__ == "__main__":
    main()
