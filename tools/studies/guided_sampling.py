"""Does attribution-guided sampling balance the predictions? Figure 6 of Salvage, as a table and a picture.

    python tools/studies/guided_sampling.py [--model shapes/vit] [--surrogate FOLDER] [--explainer FOLDER|NAME]
        [--images 100] [--sets 32] [--minutes 5] [--device cpu] [--picture FILE.png]

For each test picture, sets of players are drawn uniformly, and guided by the attributions of the true class (half of them
reveal the drawn players, half hide them). The surrogate says the probability of the true class for each set. The table has
the mean of that probability for sets of each size, in ten ranges of the share of players that are masked, with 95 %
intervals over pictures. The last two lines have the mean over all sets, and the balance: of sets that the surrogate finds
likely (p above 0.5) and unlikely, the smaller share, doubled. 1 is balanced, 0 is all alike.

Without --surrogate the network itself is asked. The attributions of the paper are those of the explainer in training: give
its folder. Pictures are done one after another until the time is over.
"""

import argparse
from pathlib import Path
from time import monotonic

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray

import seewhy
from seewhy.data.shapes.shapes import Shapes
from seewhy.masking.coalitions import guided_sets, uniform_sets
from seewhy.masking.surrogate import load_surrogate

RANGES = 10
WAYS = ("uniform", "guided", "guided, reveals", "guided, hides")
Array = NDArray[np.float64]


def with_interval(of_pictures: Array) -> str:
    """The mean over pictures, and half of its interval; pictures without such a set are left out."""
    known = of_pictures[~np.isnan(of_pictures)]
    if len(known) < 2:
        return "-"
    return f"{known.mean():.3f} ± {1.96 * known.std(ddof=1) / len(known) ** 0.5:.3f}"


def mean_of(values: Array, where: NDArray[np.bool_]) -> Array:
    """(n,) mean of each picture's values (n, m) where it has any, else NaN."""
    count = where.sum(1)
    return np.where(count > 0, (values * where).sum(1) / np.maximum(count, 1), np.nan)


def draw(masked: dict[str, Array], likely: dict[str, Array], file: Path) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(6, 3.4), layout="constrained")
    edges = np.linspace(0, 1, RANGES + 1)
    for way in WAYS:
        bins = np.clip((masked[way] * RANGES).astype(int), 0, RANGES - 1)
        means = [np.nanmean(mean_of(likely[way], bins == i)) if (bins == i).any() else np.nan for i in range(RANGES)]
        ax.plot((edges[1:] + edges[:-1]) / 2, means, "o-", ms=3, lw=1.6, label=way)
    ax.set(xlabel="share of the players masked", ylabel="mean probability of the true class", ylim=(0, 1))
    ax.legend(frameon=False)
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="shapes/vit")
    parser.add_argument("--surrogate", default="", help="a folder of seewhy fit surrogate, or the name of a network")
    parser.add_argument("--explainer", default="grad_cam", help="a folder of seewhy fit, or the name of a method")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--sets", type=int, default=32, help="of each kind, for each picture")
    parser.add_argument("--focus", type=float, default=1.0, help="exponent of the weights of guided sets")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    end = monotonic() + 60 * asked.minutes
    classifier = seewhy.load(asked.model)
    classifier.module.to(asked.device)
    surrogate = load_surrogate(asked.surrogate, classifier)
    method = seewhy.explainer(asked.explainer, classifier)
    data = Shapes(n=asked.images, size=classifier.input_size[0], multilabel=classifier.multilabel)
    generator = torch.Generator().manual_seed(0)
    masked: dict[str, list[Array]] = {way: [] for way in WAYS}
    likely: dict[str, list[Array]] = {way: [] for way in WAYS}
    half = (asked.sets + 1) // 2
    for i in range(asked.images):
        if monotonic() > end:
            break
        batch = data.batch([i])
        assert batch.labels is not None
        image = batch.images.to(asked.device)
        label = batch.labels if batch.labels.ndim == 1 else batch.labels.argmax(1)
        players = surrogate.players(image)
        scores = players.means(method.explain(image, label.to(asked.device)))
        kept = torch.cat(
            [
                uniform_sets(asked.sets, players.p, generator).to(asked.device),
                guided_sets(scores, asked.sets, generator, focus=asked.focus)[0].to(asked.device),
            ]
        )
        rows = torch.zeros(len(kept), dtype=torch.long, device=asked.device)
        with torch.no_grad():
            p = (
                classifier.to_probabilities(surrogate(image, players)(rows, kept).float())[:, int(label)]
                .cpu()
                .double()
                .numpy()
            )
        gone = (~kept).double().mean(1).cpu().numpy()
        cuts = [(0, asked.sets), (asked.sets, None), (asked.sets, asked.sets + half), (asked.sets + half, None)]
        for way, (first, last) in zip(WAYS, cuts, strict=True):
            masked[way].append(gone[first:last])
            likely[way].append(p[first:last])
    x, y = ({way: np.stack(found) for way, found in of.items()} for of in (masked, likely))
    print(f"{asked.model}, {len(y['uniform'])} pictures, {asked.sets} sets of each kind, guided by {asked.explainer}\n")
    print(f"| masked | {' | '.join(WAYS)} |\n|---|{'---|' * len(WAYS)}")
    for i in range(RANGES):
        low, high = i / RANGES, (i + 1) / RANGES
        inside = {way: (x[way] >= low) & ((x[way] < high) | (i == RANGES - 1)) for way in WAYS}
        cells = [with_interval(mean_of(y[way], inside[way])) for way in WAYS]
        print(f"| {low:.0%} to {high:.0%} | {' | '.join(cells)} |")
    print(f"| all | {' | '.join(with_interval(y[way].mean(1)) for way in WAYS)} |")
    shares = {way: (y[way] > 0.5).mean() for way in WAYS}
    print(f"| balance | {' | '.join(f'{2 * min(s, 1 - s):.3f}' for s in shares.values())} |")
    if asked.picture:
        draw(x, y, asked.picture)


if __name__ == "__main__":
    main()
