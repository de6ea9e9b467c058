"""Salvage beside ViT-Shapley on the built-in pictures, at equal numbers of passes of the surrogate, over the training.

    python tools/studies/salvage_shapes.py --out runs/nine --size 32
    python tools/studies/salvage_shapes.py --out runs/all --minutes 10 --device cuda

Trains a surrogate and both explainers, in folders below ``--out``; both ask for the same number of sets. ``--trained`` takes
folders of trained ones instead. Then compares maps of test pictures with the Shapley values of the surrogate: exact ones
where the players are at most 10, else sampled ones. ``--size 32`` makes 9 players of a picture of 96 pixels, ``--size 0``
takes the network's 144 patches. The same command goes on where it was interrupted. ``--minutes`` is for everything: the
trainings get most of it, and then pictures are compared until it has passed. Prints two tables in Markdown; ``--out`` has
the truth of each picture (truth.pt).
"""

import argparse
import csv
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.load import load, on_device
from seewhy.data.shapes.shapes import Shapes
from seewhy.explainers.learned.learned_explainer import Seen
from seewhy.explainers.learned.learned_shapley import LearnedShapley
from seewhy.maps import pearson
from seewhy.masking.shapley import exact_values, permutation_values, set_function
from seewhy.training.monitor import both_scales, symmetric_gain

METHODS = ("salvage", "vit_shapley")
BESIDE = ("grad_cam", "random")
EXACT = 10
"""So many players are asked for all sets: 1,024 of them."""


class TrueValues(NamedTuple):
    """Of one picture: (2, p) Shapley values of the predicted class's probability and log-odds, and their standard errors."""

    values: Tensor
    errors: Tensor


def truth_of(what: LearnedShapley, image: Tensor, target: int, pairs: int, seed: int) -> TrueValues:
    players = what.players(image[None])
    game = what.value(image[None], players)

    def read(logits: Tensor) -> Tensor:
        return torch.stack(both_scales(what.classifier, logits.double(), target), 1)

    v = set_function(game, 0, read, 256, image.device)
    generator = torch.Generator().manual_seed(seed)
    found = exact_values(v, players.p) if players.p <= EXACT else permutation_values(v, players.p, pairs, generator)
    return TrueValues(found.values.T, found.errors.T)


def picture_of(index: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """A test picture, and its exact region as a map."""
    sample = Shapes(n=index + 1).sample(index)
    return sample.image.to(device), sample.regions.any(0).float().to(device)


def measured(what: LearnedShapley, seen: Seen, target: int, scores: Tensor, truth: TrueValues) -> dict[str, float]:
    """Correlation with both kinds of values, and SRG, of the scores (p,) of one picture."""
    own = scores.cpu().double().expand(2, -1)
    with torch.no_grad():
        gain = symmetric_gain(what, seen, torch.tensor([target], device=scores.device), scores[None])
    probability, odds = pearson(own, truth.values).tolist()
    return {"correlation": probability, "log-odds": odds, "SRG": float(gain)}


def trained(asked: argparse.Namespace, classifier: Classifier, end: float) -> dict[str, LearnedShapley]:
    """The surrogate and both explainers, as far as they come in their shares of the time."""
    data = Shapes(n=asked.train, split="train")
    removal = {"removal": asked.removal, "size": asked.size}
    common: dict[str, Any] = {"batch_size": asked.batch_size, "precision": asked.precision}
    folder, left = asked.out / "surrogate", end - monotonic()
    seewhy.fit(
        "surrogate",
        classifier,
        data,
        folder,
        options=removal,
        epochs=asked.surrogate_epochs,
        max_time=max(0.3 * left, 1),
        **common,
    )
    print(f"surrogate: {folder}", flush=True)
    share, found = 0.35 * (end - monotonic()), {}
    for name in METHODS:
        options = {"surrogate": str(folder), "sets": asked.sets, "monitor": asked.monitor, "head": asked.head}
        steps = max(asked.train * 95 // 100 // asked.batch_size, 1)
        found[name] = cast(
            LearnedShapley,
            seewhy.fit(
                name,
                classifier,
                data,
                asked.out / name,
                options=options,
                epochs=asked.epochs,
                every=max(steps // asked.validations, 1),
                max_time=max(share, 1),
                **common,
            ),
        )
        print(f"{name}: {asked.out / name}", flush=True)
    return found


def over_training(out: Path, asked: argparse.Namespace) -> list[str]:
    """Lines of a table: what the monitor has found of its held-out pictures, by the number of passes of the surrogate."""
    lines = [
        "| method | passes of the surrogate | seconds | correlation | with log-odds | SRG, % |",
        "|---|---|---|---|---|---|",
    ]
    for name in METHODS:
        with (out / name / "log.csv").open(encoding="utf-8") as content:
            rows = [row for row in csv.DictReader(content) if row["images"] == "held_out" and row.get("correlation")]
        for row in rows:
            passes = int(row["step"]) * asked.batch_size * asked.sets
            correlations = f"{float(row['correlation']):.2f} | {float(row['correlation_log_odds']):.2f}"
            lines.append(
                f"| {name} | {passes:,} | {float(row['seconds']):.0f} | {correlations} | {100 * float(row['srg']):.0f} |"
            )
    return lines


def compared(asked: argparse.Namespace, made: dict[str, LearnedShapley], classifier: Classifier, end: float) -> list[str]:
    """Lines of a table: each method on the test pictures, means with half of their 95 % intervals."""
    what, device = made["salvage"], next(classifier.module.parameters()).device
    file = asked.out / "truth.pt"
    stored: dict[int, TrueValues] = {i: TrueValues(*t) for i, t in torch.load(file).items()} if file.is_file() else {}
    others: dict[str, Any] = {name: seewhy.explainer(name, classifier) for name in BESIDE}
    numbers: dict[str, list[dict[str, float]]] = {}
    ceilings = []
    for index in range(asked.images):
        if monotonic() > end and index >= 2:
            break
        image, region = picture_of(index, device)
        seen = what.see(image[None])
        target = int(seen.logits.argmax())
        if index not in stored:
            stored[index] = truth_of(what, image, target, asked.pairs, index)
            if index % 10 == 9:
                torch.save({i: tuple(t) for i, t in stored.items()}, file)
        truth, players = stored[index], what.players(image[None])
        ceilings.append((1 - truth.errors.square().mean(1) / truth.values.var(1)).clamp_min(0).sqrt())
        targets = torch.tensor([target], device=device)
        maps = {name: method.explain(image[None], targets) for name, method in {**made, **others}.items()}
        maps["the exact region"] = region[None]
        maps["sampled values of the probability"] = truth.values[0].float().to(device)[players.ids]
        for name, shown in maps.items():
            scores = players.means(shown.float())[0]
            numbers.setdefault(name, []).append(measured(what, seen, target, scores, truth))
    torch.save({i: tuple(t) for i, t in stored.items()}, file)
    highest = torch.stack(ceilings).mean(0).tolist()
    lines = [f"| method, {len(ceilings)} test pictures | correlation | with log-odds | SRG, % |", "|---|---|---|---|"]
    for name, of_images in numbers.items():
        columns = [torch.tensor([row[key] for row in of_images]) for key in ("correlation", "log-odds", "SRG")]
        cells = [f"{x.nanmean():.2f} ± {1.96 * x[~x.isnan()].std() / len(x) ** 0.5:.2f}" for x in columns[:2]]
        gain = 100 * columns[2]
        lines.append(f"| {name} | {' | '.join(cells)} | {gain.mean():.1f} ± {1.96 * gain.std() / len(gain) ** 0.5:.1f} |")
    return [*lines, f"| (the true values against such a sample) | {highest[0]:.2f} | {highest[1]:.2f} | |"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="shapes/vit")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=0, help="side of a player in pixels; 0: the network's patches")
    parser.add_argument("--removal", default="auto")
    parser.add_argument("--train", type=int, default=4000, help="pictures to train on")
    parser.add_argument("--surrogate-epochs", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=4, help="of both explainers")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--sets", type=int, default=8, help="new sets of a picture and epoch")
    parser.add_argument("--head", default="auto")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--validations", type=int, default=4, help="of an epoch")
    parser.add_argument("--monitor", type=int, default=16, help="held-out pictures of the curves over the training")
    parser.add_argument("--images", type=int, default=200, help="test pictures")
    parser.add_argument("--pairs", type=int, default=30, help="of permutations, for the sampled values")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--trained", nargs=2, metavar=("SALVAGE", "VIT_SHAPLEY"), help="folders, in place of trainings")
    asked = parser.parse_args()
    end = monotonic() + 60 * asked.minutes
    classifier = on_device(load(asked.model), asked.device)
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.trained:
        folders = dict(zip(METHODS, asked.trained, strict=True))
        made = {name: cast(LearnedShapley, seewhy.explainer(folder, classifier)) for name, folder in folders.items()}
    else:
        made = trained(asked, classifier, end)
        print("\n" + "\n".join(over_training(asked.out, asked)), flush=True)
    print("\n" + "\n".join(compared(asked, made, classifier, end)))


if __name__ == "__main__":
    main()
