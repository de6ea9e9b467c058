"""Pictures of the metrics that remove one part at a time, or that put several images together."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from matplotlib.figure import Figure
from plates import BAD, COLORS, GOOD, OTHER, Tile, classifier, on_image, outline, photo, plain, probabilities, sheet, study
from torch import Tensor

from seewhy.data import Shapes
from seewhy.evaluation.companions import find_companions
from seewhy.metrics.curves import divide_case, ranked, target_scores

METHODS = ("grad_cam", "integrated_gradients", "random")


def single_parts(name: str, m: Any) -> Figure:
    """A dot for each part that is removed alone: what the map gives it, and what its removal costs."""
    figure = Figure(figsize=(10.2, 3.0), facecolor="white", layout="constrained")
    for ax, method in zip(figure.subplots(1, 3), METHODS, strict=True):
        case = study(method, 1)
        players = divide_case(case, m.players, 24)
        if name == "saco":
            rank = ranked(players.means(case.attributions), m.ties, case.seeds).argsort(1)
            gone = rank * m.groups // players.p == torch.arange(m.groups)[:, None]
        else:
            gone = torch.eye(players.p, dtype=torch.bool)
        worth = players.means(case.attributions) if name == "saco" else players.sums(case.attributions)
        claims = (worth * gone).sum(1) / (gone.sum(1) if name == "saco" else 1)
        game = case.value_function(m.baseline)(case.images, players)
        logits = game(torch.zeros(len(gone) + 1, dtype=torch.long), torch.cat([~gone, torch.ones_like(gone[:1])]))
        values = target_scores(case, logits[None], m.value)[0]
        ax.plot(claims, values[-1] - values[:-1], "o", color=COLORS.get(method, OTHER), ms=5, alpha=0.75)
        plain(ax, "attribution", f"fall of the {m.value}" if method == METHODS[0] else "")
        ax.set_title(f"{method}: {float(m.score(case)):.3f}", fontsize=10.5, loc="left", weight="bold")
    return figure


def fidelity(_: str, m: Any) -> Figure:
    """What a few of the best players cost, and a few of the others, on twelve images."""
    figure = Figure(figsize=(8.2, 3.0), facecolor="white", layout="constrained")
    ax = figure.subplots()
    for i, method in enumerate(METHODS):
        case = study(method, *range(12))
        for j, (part, color) in enumerate((("plus", GOOD), ("minus", BAD))):
            height = float(replace(m, figure=part).score(case).mean())
            label = {"plus": "some of the best removed", "minus": "some of the others removed"}[part] if i == 0 else None
            ax.bar(i + 0.32 * j, height, 0.3, color=color, label=label)
    ax.set_xticks([i + 0.16 for i in range(len(METHODS))], METHODS)
    ax.legend(frameon=False, fontsize=9)
    plain(ax, "", "fall of the probability")
    return figure


def scenes(_: str, m: Any) -> Figure:
    """The picture without each of its parts, and a map with the parts outlined."""
    rows = []
    parts = Shapes(n=24, size=classifier().input_size[0]).parts(1)
    for method in METHODS:
        case = replace(study(method, 1), parts=(parts,))
        p, *left = probabilities(case, torch.cat([case.images, parts.images]))
        tiles = [Tile(on_image(case.images[0], case.attributions[0]), f"map; p = {p:.3f}")]
        shown = sorted(range(len(left)), key=lambda j: left[j])[:4]
        for j in shown:
            color = BAD if p - left[j] > 0.1 else GOOD
            title = f"no {parts.names[j]}: {left[j]:.3f}"
            tiles.append(Tile(photo(parts.images[j]), title, outline(parts.regions[j]), color=color))
        rows.append((f"{method}\nscene_deletion\n= {float(m.score(case)):.3f}", tiles))
    return sheet(rows, label=2.2)


def grids(name: str, m: Any) -> Figure:
    """Grids of four images with the map of the class of one of them."""
    companions = find_companions(classifier(), Shapes(n=48, size=classifier().input_size[0]), range(48), 16)
    rows = []
    for method in METHODS:
        case = replace(study(method, 0, 1, 2, 4), companions=companions)
        scores, tiles = m.score(case), []
        for i, seed in enumerate(case.seeds):
            grid, area = m._grid(case, companions, i, seed)
            assert case.explainer is not None
            shown: Tensor = case.explainer.explain(grid[None], case.explained[i : i + 1])[0]
            tiles.append(Tile(on_image(grid, shown.clamp_min(0)), f"{float(scores[i]):.2f}", outline(area)))
        rows.append((f"{method}\n{name}\n= {float(scores.mean()):.3f}", tiles))
    return sheet(rows, label=2.2)


PARTS: dict[str, tuple[Callable[[str, Any], Figure], str]] = {
    "single_deletion": (single_parts, "A dot for each patch: its attribution, and what its removal alone costs."),
    "saco": (single_parts, "A dot for each tenth of the pixels: its attribution, and what its removal alone costs."),
    "f_fidelity": (fidelity, "What a few of the best patches cost, and as few of the others, in the mean of 12 images."),
    "scene_deletion": (scenes, "A map, and the picture drawn without a part, outlined, with the probability of the class."),
    "grid_pointing_game": (grids, "Grids of four images, with the map of the class of the outlined one and its share."),
}
