"""A picture for each metric, drawn when the documentation is built; the numbers in it are the library's own."""

import io
from collections.abc import Callable
from typing import Any

import torch
from curve_pictures import CURVES
from matplotlib.figure import Figure
from part_pictures import PARTS
from plates import (
    BAD,
    COLORS,
    GOOD,
    INK,
    OTHER,
    Tile,
    class_name,
    mask_picture,
    on_image,
    outline,
    photo,
    plain,
    probabilities,
    rectangle,
    removed,
    sheet,
    study,
    tinted,
    together,
    with_class_maps,
    with_cost,
)
from torch import Tensor
from torch.nn.functional import interpolate

from seewhy.classifier.load import load
from seewhy.maps import min_max, read
from seewhy.metrics import METRICS, Case, metric
from seewhy.metrics.base import reduced
from seewhy.metrics.boxes import best_overlaps, predicted_boxes
from seewhy.metrics.class_masks import class_mask_table
from seewhy.metrics.map_similarity import SIMILARITIES
from seewhy.metrics.randomization import randomized, with_classifier

SETTINGS: dict[str, dict[str, Any]] = {
    "r_lif": {"n_draws": 8, "steps": 12},
    "r_mif": {"n_draws": 8, "steps": 12},
    "r_srg": {"n_draws": 8, "steps": 12},
    "faithfulness_estimate": {"features": 164},
}
"""Where the picture does not use the defaults; its caption says so."""
EACH_CLASS = (0, 1, 2, 4, 5, 17)
"""Pictures of six classes."""
HIGH = {True: "higher is better", False: "lower is better", None: "neither is better"}


def one(name: str, measure: Any, case: Case) -> str:
    value = float(measure.score(case).flatten()[0])
    return f"{name} = {value:.3f}"


def masking(name: str, m: Any) -> Figure:
    """Image, mask and masked image, with the probability that is left."""
    rows = []
    for method in ("grad_cam", "fake_cam", "random"):
        case = study(method, 0 if name in ("average_gain", "average_increase") else 1)
        mask = min_max(case.attributions)
        masked = mask[:, None] * case.images + (1 - mask[:, None]) * removed(case, m)
        p, o = probabilities(case, torch.cat([case.images, masked]))
        tiles = [
            Tile(photo(case.images[0]), f"image: p = {p:.4f}"),
            Tile(mask_picture(mask[0]), f"mask, mean {float(mask.mean()):.2f}"),
            Tile(photo(masked[0]), f"masked: o = {o:.4f}", color=GOOD if o > p else BAD if o < p else INK),
        ]
        text = f"{method}\n{one(name, m, case)}"
        if name == "adcc":
            parts = {n: float(metric(f"{n}").score(case)) for n in ("adcc_coherency", "adcc_complexity")}
            drop = float(metric("average_drop", baseline=m.baseline).score(case))
            text += f"\ncoherency {parts['adcc_coherency']:.3f}\ncomplexity {parts['adcc_complexity']:.3f}\ndrop {drop:.3f}"
        rows.append((text, tiles))
    return sheet(rows, label=2.2)


def coherency(name: str, m: Any) -> Figure:
    rows = []
    for method in ("grad_cam", "center", "random"):
        case = study(method, 1)
        mask = min_max(case.attributions)
        masked = mask[:, None] * case.images + (1 - mask[:, None]) * removed(case, m)
        again = min_max(case.explainer.explain(masked, case.explained))  # type: ignore[union-attr]
        pictures = [photo(case.images[0]), mask_picture(mask[0]), photo(masked[0]), mask_picture(again[0])]
        titles = ["image", "map S(x)", "masked by it", "map of that"]
        rows.append(
            (f"{method}\n{name} =\n{float(m.score(case)):.3f}", [Tile(*t) for t in zip(pictures, titles, strict=True)])
        )
    return sheet(rows)


def from_simple_to_complex(_: str, m: Any) -> Figure:
    methods = ("active_saliency", "saliency", "integrated_gradients", "grad_cam", "center", "random", "fake_cam")
    found = sorted((float(m.score(study(method, 1))), method) for method in methods)
    tiles = [
        Tile(on_image(study(method, 1).images[0], study(method, 1).attributions[0]), f"{method}\n{value:.3f}")
        for value, method in found
    ]
    half = -(-len(tiles) // 2)
    return sheet([("", tiles[:half]), ("", tiles[half:])], size=1.8)


def classified(_: str, m: Any) -> Figure:
    rows = []
    for method in ("grad_cam", "fake_cam", "random"):
        case = study(method)
        mask = min_max(case.attributions)[:, None]
        masked = mask * case.images + (1 - mask) * removed(case, m)
        seen = case.run(masked).argmax(1)
        tiles = []
        for i in (0, 1, 2, 4, 5):
            right = bool(seen[i] == case.scored[i])
            title = f"{class_name(case.scored[i])}: seen as\n{class_name(seen[i])}"
            tiles.append(Tile(photo(masked[i]), title, color=GOOD if right else BAD))
        rows.append((f"{method}\nF-score of {len(seen)}\nimages: {reduced(m, m.score(case)):.3f}", tiles))
    return sheet(rows, size=1.5)


def mass(name: str, m: Any) -> Figure:
    """Where the map is, inside and outside of the region."""
    how = "positive" if name == "relevance_mass" else "min_max"
    rows = []
    for method in ("grad_cam", "integrated_gradients", "random"):
        case = study(method, 1)
        values, region = read(case.attributions, how)[0], case.regions[0]  # type: ignore[index]
        shown = values / values.max()
        inside = float((values * region).sum() / values.sum())
        tiles = [
            Tile(on_image(case.images[0], case.attributions[0]), "map", outline(region)),
            Tile(mask_picture((shown * region) ** 0.5), f"on the object: {inside:.3f}", outline(region, GOOD)),
            Tile(mask_picture((shown * ~region) ** 0.5), f"elsewhere: {1 - inside:.3f}", outline(region, GOOD)),
        ]
        text = f"{method}\n{one(name, m, case)}"
        if name == "pixel_f1":
            text += f"\nprecision {inside:.3f}\nrecall {float((values * region).sum() / region.sum()):.3f}"
        rows.append((text, tiles))
    return sheet(rows, label=2.5)


def rank(_: str, m: Any) -> Figure:
    """The highest pixels, as many as the region has: hits, misses and what is left of the region."""
    tiles = []
    for method in ("grad_cam", "integrated_gradients", "center", "random"):
        case = study(method, 1)
        region = case.regions[0]  # type: ignore[index]
        top = torch.zeros(region.numel(), dtype=torch.bool)
        top[case.attributions[0].flatten().topk(int(region.sum())).indices] = True
        top = top.view_as(region)
        picture = tinted(case.images[0], [(top & region, GOOD), (top & ~region, BAD), (region & ~top, OTHER)])
        tiles.append(Tile(picture, f"{method}\n{float(m.score(case)):.3f}"))
    return sheet([("", tiles)], size=1.9)


def peak(_: str, m: Any) -> Figure:
    tiles = []
    for method in ("grad_cam", "integrated_gradients", "center", "random"):
        case = study(method, 1)
        values, region = case.attributions[0], case.regions[0]  # type: ignore[index]
        y, x = ((values == values.max()).nonzero()[0] + 0.5).tolist()
        side = values.shape[1]
        hit = float(m.score(case))

        def mark(ax: Any, x: float = x, y: float = y, hit: float = hit, side: int = side) -> None:
            ax.plot(x / side, y / side, "o", ms=11, mfc="none", mec="white", mew=4)
            ax.plot(x / side, y / side, "o", ms=11, mfc="none", mec=GOOD if hit else BAD, mew=2.2)

        picture = on_image(case.images[0], values)
        tiles.append(Tile(picture, f"{method}\n{hit:.0f}", together(outline(region), mark), GOOD if hit else BAD))
    return sheet([("", tiles)], size=1.9)


def segmentation(name: str, m: Any) -> Figure:
    rows = []
    for method in ("grad_cam", "random", "zeros"):
        case = study("grad_cam" if method == "zeros" else method, 1)
        region = case.regions[0].float()  # type: ignore[index]
        mask = torch.zeros_like(region) if method == "zeros" else min_max(case.attributions)[0]
        measure = metric(name, use="zeros") if method == "zeros" else m
        tiles = [
            Tile(photo(case.images[0]), "image"),
            Tile(mask_picture(mask), "mask m"),
            Tile(mask_picture(region), "region g"),
            Tile(mask_picture((mask - region).abs()), "|m - g|"),
        ]
        told = 'use="zeros"' if method == "zeros" else method
        rows.append((f"{told}\n{one(name, measure, case)}", tiles))
    return sheet(rows, size=1.5, label=2.3)


def boxed(case: Case, i: int = 0) -> tuple[Tensor, Tensor, Any]:
    """The predicted box, that of the object, and both as drawn."""
    values = case.attributions[i]
    found = predicted_boxes((values > values.double().mean()).numpy())[0]
    true = case.boxes[i][0]  # type: ignore[index]
    side = (values.shape[0], values.shape[1])
    return found, true, together(rectangle(true, side, GOOD), rectangle(found, side, BAD))


def boxes(name: str, m: Any) -> Figure:
    rows = []
    for i in (1, 5) if name == "official_metric" else (1, 2):
        tiles = []
        for method in ("grad_cam", "layer_cam", "integrated_gradients", "center"):
            case = study(method, i)
            title = f"{method}\n{float(m.score(case)):.3f}"
            tiles.append(Tile(on_image(case.images[0], case.attributions[0]), title, boxed(case)[2]))
        seen = class_name(case.logits.argmax(1)[0])
        told = f"\npredicted:\n{seen}" if name == "official_metric" else ""
        rows.append((f"{class_name(case.scored[0])}{told}", tiles))
    return sheet(rows, label=1.2)


def level_boxes(name: str, m: Any) -> Figure:
    rows = []
    for method in ("grad_cam", "layer_cam", "center"):
        case = study(method, 1)
        values = min_max(case.attributions)[0]
        side = (values.shape[0], values.shape[1])
        tiles = []
        for eta in (0.1, 0.3, 0.5, 0.7):
            mask = (values > eta).numpy()
            found, overlap = predicted_boxes(mask)[0], float(best_overlaps(mask, case.boxes[0]).max())  # type: ignore[index]
            drawn = together(rectangle(case.boxes[0][0], side, GOOD), rectangle(found, side, BAD))  # type: ignore[index]
            tiles.append(Tile(tinted(case.images[0], [(values > eta, "#e8a13a")]), f"above {eta}: IoU {overlap:.2f}", drawn))
        whole = study(method)
        rows.append((f"{method}\n{name}\nof {len(whole.images)} images:\n{reduced(m, m.score(whole)):.3f}", tiles))
    return sheet(rows)


def crops(name: str, m: Any) -> Figure:
    rows = []
    crop = metric(name, classified="crop")
    for method in ("grad_cam", "integrated_gradients", "center"):
        case = study(method, 1)
        found, _, drawn = boxed(case)
        left, top, right, bottom = (int(v) for v in found)
        inside = interpolate(case.images[..., top:bottom, left:right], case.images.shape[-2:], mode="bilinear")
        p, o = probabilities(case, torch.cat([case.images, inside]))
        share = (right - left) * (bottom - top) / case.attributions[0].numel()
        tiles = [
            Tile(photo(case.images[0]), f"image: p = {p:.3f}"),
            Tile(on_image(case.images[0], case.attributions[0]), f"box: {share:.3f} of it", drawn),
            Tile(photo(inside[0]), f"crop: p = {o:.3f}"),
        ]
        text = f"{method}\nimage: {float(m.score(case)):.3f}\ncrop: {float(crop.score(case)):.3f}"
        rows.append((text, tiles))
    return sheet(rows, label=2.1)


def silence(_: str, m: Any) -> Figure:
    """Maps of the class that is there and of two that are not, read as masks, with their mean."""
    rows: list[tuple[str, list[Tile]]] = []
    for method in ("grad_cam", "center"):
        case = with_class_maps(study(method, 1))
        own, maps = int(case.scored[0]), case.class_maps[0]  # type: ignore[index]
        tiles = [Tile(photo(case.images[0]), f"image\nof a {class_name(own)}")]
        for j in (own, 5, 3):
            mask = maps[j].clamp(0, 1)
            title = f"map of {class_name(j)}\nmean {float(mask.mean()):.3f}"
            tiles.append(
                Tile(mask_picture(mask), title, color=GOOD if (float(mask.mean()) > m.threshold) == (j == own) else INK)
            )
        rows.append((f"{method}\n{reduced(m, m.score(case)):.3f}", tiles))
    return sheet(rows, size=1.7)


def class_maps(_: str, m: Any) -> Figure:
    rows: list[tuple[str, list[Tile]]] = []
    for method in ("grad_cam", "center"):
        case, whole = with_class_maps(study(method, 1)), with_class_maps(study(method, *EACH_CLASS))
        own, maps = int(case.scored[0]), case.class_maps[0]  # type: ignore[index]
        tiles = [Tile(photo(case.images[0]), f"image\np = {probabilities(case, case.images)[0]:.3f}")]
        for j in (own, 5, 3):
            mask = (min_max(maps[j : j + 1]) > 0.5).to(case.images)
            masked = mask[:, None] * case.images + (1 - mask[:, None]) * removed(case, m)
            title = f"map of {class_name(j)}\np of {class_name(own)} = {probabilities(case, masked)[0]:.3f}"
            tiles.append(Tile(photo(masked[0]), title, color=GOOD if j == own else INK))
        scores = m.score(whole)
        table = class_mask_table(scores, whole.scored, whole.map_classes)[:, :-1]  # type: ignore[arg-type]

        def cells(ax: Any, table: Tensor = table) -> None:
            k = len(table)
            ax.imshow(table.numpy(), extent=(0, 1, 1, 0), cmap="Blues", vmin=0, vmax=1)
            for i in range(k):
                for j in range(k):
                    v = float(table[i, j])
                    at = ((j + 0.5) / k, (i + 0.5) / k)
                    ax.text(*at, f"{v:.2f}"[1:] if v < 0.995 else "1", ha="center", va="center", fontsize=6.5,
                            color="white" if v > 0.6 else INK)  # fmt: skip

        tiles.append(Tile(None, "table: class scored (row)\nby class of the mask", cells))
        rows.append((f"{method}\nD of {len(scores)} images:\n{reduced(m, scores):.3f}", tiles))
    return sheet(rows, size=1.7)


def noisy(name: str, m: Any) -> Figure:
    rows = []
    for method in ("grad_cam", "saliency", "center"):
        case = study(method, 1)
        noise = 2 * torch.rand(case.images.shape[1:], generator=torch.Generator().manual_seed(case.seed)) - 1
        x = (case.images + noise * m.radius * torch.tensor(case.classifier.std)[:, None, None]).clamp(0, 1)
        again = case.explainer.explain(x, case.explained)  # type: ignore[union-attr]
        tiles = [
            Tile(photo(case.images[0]), "image"),
            Tile(on_image(case.images[0], case.attributions[0]), "map"),
            Tile(photo(x[0]), "noisy image"),
            Tile(on_image(x[0], again[0]), "map of that"),
        ]
        rows.append((f"{method}\n{name} =\n{float(m.score(case)):.3f}", tiles))
    return sheet(rows)


def randomized_layers(_: str, m: Any) -> Figure:
    rows = []
    for method in ("grad_cam", "saliency", "center"):
        case = study(method, 1)
        tiles = [Tile(on_image(case.images[0], case.attributions[0]), "trained")]
        for i, other in enumerate(randomized(case.classifier, m.order, m.n_layers, case.seed, case.images[:1])):
            maps = with_classifier(case.explainer, other).explain(case.images, case.explained)  # type: ignore[arg-type]
            alike = float(SIMILARITIES[m.similarity](read(case.attributions, m.reads), read(maps, m.reads)))
            tiles.append(Tile(on_image(case.images[0], maps[0]), f"stage {i + 1}: {alike:.2f}"))
        rows.append((f"{method}\nmean: {reduced(m, m.score(case)):.3f}", tiles))
    return sheet(rows, size=1.4, label=1.4)


def permuted_labels(_: str, m: Any) -> Figure:
    other = load("shapes/cnn_permuted")
    rows = []
    for method in ("grad_cam", "saliency", "center"):
        case = study(method, 1)
        maps = with_classifier(case.explainer, other).explain(case.images, case.explained)  # type: ignore[arg-type]
        tiles = [
            Tile(photo(case.images[0]), "image"),
            Tile(on_image(case.images[0], case.attributions[0]), "true labels"),
            Tile(on_image(case.images[0], maps[0]), "permuted labels"),
        ]
        rows.append((f"{method}\nsimilarity {float(m.score(case)):.3f}", tiles))
    return sheet(rows)


def bars(name: str, m: Any) -> Figure:
    """Several explainers on one image: for the cost, and for a metric that has no picture of its own yet."""
    methods = ("random", "grad_cam", "saliency", "input_x_gradient", "integrated_gradients", "smooth_grad")
    values = [reduced(m, m.score(with_cost(study(method, 1)))) for method in methods]
    figure = Figure(figsize=(6.4, 2.6), facecolor="white", layout="constrained")
    ax = plain(figure.add_subplot(), f"{name} ({HIGH[METRICS[name].higher_is_better]})")
    drawn = ax.barh(methods, values, color=[COLORS.get(method, "#8a93a6") for method in methods], height=0.62)
    ax.bar_label(drawn, [f"{v:.3g}" for v in values], padding=4, fontsize=9)
    ax.invert_yaxis()
    ax.margins(x=0.15)
    return figure


DRAWN: dict[str, tuple[Callable[[str, Any], Figure], str]] = {
    **dict.fromkeys(
        ("average_drop", "average_gain", "average_increase", "saliency_score", "adcc"),
        (masking, "An image, its map as a mask (white is kept), and the masked image; above, the probability of the class."),
    ),
    "adcc_coherency": (coherency, "The map, the image masked by it, and the map of the masked image."),
    **dict.fromkeys(
        ("adcc_complexity", "complexity", "sparseness", "effective_size", "tie_share", "decided_share"),
        (from_simple_to_complex, "Maps of one image by seven methods, in the order of their score."),
    ),
    "masked_classification": (classified, "Images masked by their maps, and the class that the network then sees."),
    **dict.fromkeys(
        ("relevance_mass", "energy_pointing_game", "pixel_f1"),
        (mass, "Maps with the region of the object, and the share of the map inside and outside of it."),
    ),
    **dict.fromkeys(
        ("relevance_rank", "relevance_iou"),
        (rank, "The highest pixels, as many as the object has: green on the object, red off it, blue the object's rest."),
    ),
    "pointing_game": (peak, "Maps with the region of the object; the ring is the highest pixel, green for a hit."),
    **dict.fromkeys(
        ("mask_accuracy", "mask_mae", "mask_iou"),
        (segmentation, "The map as a mask, the region of the object, and their difference; below, a mask of zeros."),
    ),
    **dict.fromkeys(
        ("localization_error", "official_metric"),
        (boxes, "Maps with the predicted box in red and the object's box in green."),
    ),
    "box_accuracy": (level_boxes, "Pixels above a threshold, the box of their largest blob in red, the object's in green."),
    "saliency_metric": (crops, "The predicted box in red, that of the object in green, and what is inside of the former."),
    "silence": (silence, "Maps of the class that is there and of two that are not, as masks, with their means."),
    "class_masks": (class_maps, "The image masked by the maps of its own class and of two others, and all classes."),
    "max_sensitivity": (noisy, "An image and its map; the image with noise and the map of that."),
    "parameter_randomization": (randomized_layers, "The map while more layers are initialized anew, and its similarity."),
    "label_randomization": (permuted_labels, "The map of the network, and that of one trained on permuted labels."),
    **CURVES,
    **PARTS,
}  # fmt: skip


def drawing(name: str) -> tuple[Callable[[str, Any], Figure], str]:
    return DRAWN.get(name, (bars, "Several methods on one image, on the machine that built this page."))


def alt(name: str) -> str:
    """What the picture shows, in words."""
    options = ", ".join(f"{key}={value}" for key, value in SETTINGS.get(name, {}).items())
    return drawing(name)[1] + (f" With {options}." if options else "")


def picture(name: str) -> bytes:
    """The picture of the metric ``name`` as WebP."""
    figure = drawing(name)[0](name, metric(name, **SETTINGS.get(name, {})))
    file = io.BytesIO()
    figure.savefig(file, format="webp", dpi=110, pil_kwargs={"quality": 88})
    return file.getvalue()
