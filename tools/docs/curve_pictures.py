"""Pictures of the metrics that remove or insert pixels in the order of the map."""

from collections.abc import Callable
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from plates import (
    BAD,
    COLORS,
    GOOD,
    INK,
    OTHER,
    SOFT,
    Tile,
    class_name,
    graph_and_tiles,
    on_image,
    photo,
    plain,
    removed,
    study,
)
from torch import Tensor

from seewhy.maps import read
from seewhy.metrics import Case, metric
from seewhy.metrics.color_deletion import FRACTIONS, allegiance
from seewhy.metrics.curves import Curves, curves, divide_case, ranked, subset_sizes, target_scores
from seewhy.metrics.r_srg import draw_players
from seewhy.metrics.road import impute

PAIR = ("grad_cam", "random")


def pair_of(case: Case, m: Any) -> Curves:
    return curves(case, m.players, m.size, m.baseline, m.ties)


def values(case: Case, m: Any, logits: Tensor) -> list[float]:
    return target_scores(case, logits, m.value)[0].tolist()


def changed(case: Case, m: Any, k: int, best: bool, keep: bool) -> Tile:
    """The image with its best (or worst) k players kept (or removed)."""
    pair = pair_of(case, m)
    rank = pair.order.argsort(1)
    chosen = rank < k if best else rank >= pair.players.p - k
    pixels = pair.players.pixels(torch.tensor([0]), chosen)
    image = torch.where((pixels == keep)[:, None], case.images, removed(case, m))
    p = float(case.probability(case.run(image)))
    return Tile(photo(image[0]), f"{k / pair.players.p:.0%}: p = {p:.2f}")


def one_curve(name: str, m: Any) -> Figure:
    """grad_cam against random order, with the area under both."""
    keep, best = name in ("insertion", "lif", "mif"), name != "mif"
    rows, lines = [], []
    for method in PAIR:
        case = study(method, 1)
        pair = pair_of(case, m)
        p = pair.players.p
        score = float(m.score(case))
        if name == "aopc":
            ks = list(range(min(m.regions, p) + 1))
            shown = [2, 5, 10]
        else:
            ks = subset_sizes(p, m.steps) if m.steps else list(range(1, p + 1))
            shown = [round(p * share) for share in (0.05, 0.15, 0.4)]
        logits = pair.kept(ks) if keep and best else pair.removed([p - k if keep else k for k in ks])
        lines.append((method, score, [k / p for k in ks], values(case, m, logits)))
        rows.append((f"{method}: {score:.3f}", [changed(case, m, k, best, keep) for k in shown]))
    figure, ax = graph_and_tiles(rows)
    for method, score, xs, ys in lines:
        color = COLORS[method]
        ax.plot(xs, ys, color=color, lw=1.8, label=f"{method}: {score:.3f}")
        ax.fill_between(xs, ys, ys[0] if name == "aopc" else 0, color=color, alpha=0.16, lw=0)
    told = ("best" if best else "worst") + (" players kept" if keep else " players removed")
    return labelled(figure, ax, f"share of the {told}", name)


def labelled(figure: Figure, ax: Axes, x: str, name: str, y: str = "probability of the class") -> Figure:
    plain(ax, x, y, name)
    ax.set_ylim(0, 1.02)
    ax.legend(frameon=False, fontsize=9)
    return figure


def two_curves(name: str, m: Any) -> Figure:
    """Between what the order keeps and what its reverse keeps."""
    figure = Figure(figsize=(8.6, 3.1), facecolor="white", layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, method in zip(axes, PAIR, strict=True):
        case = study(method, 1)
        pair = pair_of(case, m)
        p = pair.players.p
        ks = list(range(p + 1))
        xs = [k / p for k in ks]
        if name == "pixel_flipping":
            owned = pair.players.sizes().gather(1, pair.order)[0]
            total = float(owned.sum())
            high = values(case, m, pair.kept([p - k for k in ks]))
            low = values(case, m, pair.removed(ks))
            best = [float(owned[:k].sum()) / total for k in ks]
            worst = [1 - float(owned[: p - k].sum()) / total for k in ks]
            ax.plot(worst, high, color=GOOD, lw=1.8, label="worst removed first")
            ax.plot(best, low, color=BAD, lw=1.8, label="best removed first")
            ax.fill([*worst, *reversed(best)], [*high, *reversed(low)], color=OTHER, alpha=0.14, lw=0)
            plain(ax, "share of the pixels removed")
        else:
            high, low = values(case, m, pair.kept(ks)), values(case, m, pair.removed([p - k for k in ks]))
            ax.plot(xs, high, color=GOOD, lw=1.8, label=f"LIF: best kept, {float(metric('lif').score(case)):.3f}")
            ax.plot(xs, low, color=BAD, lw=1.8, label=f"MIF: worst kept, {float(metric('mif').score(case)):.3f}")
            ax.fill_between(xs, low, high, color=OTHER, alpha=0.14, lw=0)
            plain(ax, "share of the players kept")
        ax.set_title(f"{method}: {name} = {float(m.score(case)):.3f}", fontsize=10.5, loc="left", weight="bold")
        ax.legend(frameon=False, fontsize=8.5)
    axes[0].set_ylabel("probability of the class", fontsize=9.5)
    return figure


def drawn_sets(name: str, m: Any) -> Figure:
    """Means over sets that are drawn with the map as weights; dots are sets."""
    rows, lines = [], []
    for method in PAIR:
        case = study(method, 1)
        players = divide_case(case, m.players, m.size)
        worth = players.means(case.attributions)
        norm = (worth - worth.amin()) / (worth.amax() - worth.amin())
        game = case.value_function(m.baseline)(case.images, players)
        score = float(m.score(case))
        tiles: list[Tile] = []
        for best in [True, False] if name == "r_srg" else [name == "r_lif"]:
            weights = norm if best else 1 - norm
            ks = [k for k in subset_sizes(players.p, m.steps) if k > 0]
            dots = []
            generator = torch.Generator().manual_seed(2 * case.seeds[0] + best)
            for k in ks:
                kept = draw_players(weights[0], k, m.n_draws, generator)
                dots.append(target_scores(case, game(torch.zeros(len(kept), dtype=torch.long), kept)[None], m.value)[0])
                if k in ks[1 : 4 if name != "r_srg" else 3]:
                    pixels = players.pixels(torch.tensor([0]), kept[:1])
                    image = torch.where(pixels[:, None], case.images, removed(case, m))
                    side = "" if name != "r_srg" else "by map, " if best else "against, "
                    tiles.append(Tile(photo(image[0]), f"{side}{k} of {players.p}"))
            lines.append((method, best, [k / players.p for k in ks], torch.stack(dots)))
        rows.append((f"{method}: {score:.3f}", tiles))
    figure, ax = graph_and_tiles(rows, size=1.25 if name == "r_srg" else 1.4)
    for method, best, xs, dots in lines:
        color = COLORS[method]
        side = "" if name != "r_srg" else ", by the map" if best else ", against it"
        ax.plot(xs, dots.mean(1), color=color, lw=1.8, ls="-" if best or name != "r_srg" else "--", label=method + side)
        for x, column in zip(xs, dots, strict=True):
            ax.plot([x] * len(column), column, ".", color=color, ms=3, alpha=0.35)
    return labelled(figure, ax, "share of the players kept", name)


def imputed(name: str, m: Any) -> Figure:
    """Images whose highest pixels are filled in, and on how many the class stays."""
    rows, lines = [], []
    for method in PAIR:
        case, whole = study(method, 1), study(method, *range(12))
        sign = 1 if name == "road" else -1
        rank = ranked(sign * case.attributions.flatten(1), m.ties, case.seeds).argsort(1)
        tiles = []
        for share in (0.1, 0.3, 0.6):
            gone = (rank < round(share * rank.shape[1])).view(case.images.shape[-2:])
            image = impute(case.images[0], gone)[None]
            seen = case.run(image).argmax(1)
            color = GOOD if seen == case.scored else BAD
            tiles.append(Tile(photo(image[0]), f"{share:.0%}: {class_name(seen[0])}", color=color))
        ys = [float(metric(name, shares=(share,)).score(whole).mean()) for share in m.shares]
        lines.append((method, ys))
        rows.append((f"{method}: {sum(ys) / len(ys):.3f} in the mean", tiles))
    figure, ax = graph_and_tiles(rows)
    for method, ys in lines:
        ax.plot(m.shares, ys, "o-", ms=4, color=COLORS[method], lw=1.8, label=method)
    ends = "highest" if name == "road" else "lowest"
    return labelled(figure, ax, f"share of the {ends} pixels filled in", f"{name}, 12 images", "images whose class stays")


def scatter(name: str, m: Any) -> Figure:
    """A dot for each group of pixels: what the map gives it, and what its removal costs."""
    figure = Figure(figsize=(10.2, 3.0), facecolor="white", layout="constrained")
    axes = figure.subplots(1, 3)
    for ax, method in zip(axes, ("grad_cam", "integrated_gradients", "random"), strict=True):
        case = study(method, 1)
        players = divide_case(case, "pixels", 1)
        worth = players.means(read(case.attributions, m.reads))
        if name == "faithfulness_estimate":
            features = m.features or round(players.p / 56)
            gone = (ranked(worth, m.ties, case.seeds).argsort(1) // features) == torch.arange(-(-players.p // features))[
                :, None
            ]
        else:
            chance = torch.rand(m.runs, players.p, generator=torch.Generator().manual_seed(case.seeds[0]))
            gone = torch.zeros_like(chance, dtype=torch.bool).scatter_(1, chance.topk(m.subset_size, dim=1).indices, True)
        logits = case.value_function(m.baseline)(case.images, players)(torch.zeros(len(gone), dtype=torch.long), ~gone)
        falls = target_scores(case, case.logits[:, None], m.value) - target_scores(case, logits[None], m.value)
        ax.plot((gone * worth).sum(1), falls[0], "o", ms=4, alpha=0.6, mew=0, color=COLORS.get(method, SOFT))
        plain(ax, "sum of the map over the group", f"fall of the {m.value}" if method == "grad_cam" else "")
        ax.set_title(f"{method}: {float(m.score(case)):.3f}", fontsize=10.5, loc="left", weight="bold", color=INK)
    return figure


def painted(name: str, m: Any) -> Figure:
    """Allegiance while the highest pixels are painted black or white."""
    color = "black" if name == "black_deletion" else "white"
    own = "positive_saliency" if color == "black" else "negative_saliency"
    paint = {own: OTHER, "random": COLORS["random"]}
    rows, lines = [], []
    for method in paint:
        case, whole = study(method, 1), study(method)
        maps = read(case.attributions, m.reads)[0]
        ordered = maps.flatten().sort(descending=True).values
        tiles = [Tile(on_image(case.images[0], maps), "map")]
        for share in (0.03, 0.1):
            gone = (maps > ordered[round(share * len(ordered))]) & (maps != 0)
            image = torch.where(gone, m.gray, case.images)
            seen = case.run(image).argmax(1)
            stays = seen == case.logits.argmax(1)
            tiles.append(Tile(photo(image[0]), f"{share:.0%}: {class_name(seen[0])}", color=GOOD if stays else BAD))
        kept = allegiance(whole, m.gray, m.amount, FRACTIONS, m.reads).mean(0).tolist()
        lines.append((method, kept))
        rows.append((f"{method}: {float(m.score(whole).mean()):.3f} on 12 images", tiles))
    figure, ax = graph_and_tiles(rows)
    for method, kept in lines:
        ax.plot(FRACTIONS, kept, "o-", ms=4, color=paint[method], lw=1.8, label=method)
        ax.fill_between(FRACTIONS, kept, color=paint[method], alpha=0.14, lw=0)
    return labelled(figure, ax, f"share of the pixels painted {color}", name, "allegiance")


TILES = "; on the right the image at three moments"
CURVES: dict[str, tuple[Callable[[str, Any], Figure], str]] = {
    "deletion": (one_curve, f"The probability while the highest pixels are removed, grad_cam and random{TILES}."),
    "insertion": (one_curve, f"The probability while the highest pixels are put in, grad_cam and random{TILES}."),
    "aopc": (one_curve, f"The fall of the probability over the first ten regions, grad_cam and random{TILES}."),
    "lif": (one_curve, f"The value of the best patches alone, grad_cam and random{TILES}."),
    "mif": (one_curve, f"The value of the worst patches alone, grad_cam and random{TILES}."),
    "srg": (two_curves, "The value of the best and of the worst patches; the area between is the gain."),
    "pixel_flipping": (two_curves, "Superpixels removed from the worst and from the best; the area between is the gain."),
    "r_lif": (drawn_sets, "Sets of patches drawn with the map as weights: dots are sets, lines their means; drawn sets."),
    "r_mif": (drawn_sets, "Sets of patches drawn against the map: dots are sets, lines their means; drawn sets."),
    "r_srg": (drawn_sets, "Sets of patches drawn by the map and against it: dots are sets, lines their means."),
    "road_least": (
        imputed,
        "The share of images whose class stays while the lowest pixels are filled in; on the right, such images.",
    ),
    "road": (
        imputed,
        "The share of images whose class stays while the highest pixels are filled in; on the right, such images.",
    ),
    "faithfulness_estimate": (scatter, "A dot for each group of pixels: the sum of the map, and what its removal costs."),
    "faithfulness_correlation": (
        scatter,
        "A dot for each random set of pixels: the sum of the map, and what its removal costs.",
    ),
    "black_deletion": (painted, "Allegiance while the highest pixels are painted black, and pictures of it."),
    "white_deletion": (painted, "Allegiance while the highest pixels are painted white, and pictures of it."),
}
