"""Why not the class that was expected: the map of the predicted class beside that of the expected one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, label
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.identity import compared_with
from seewhy.errors import SeewhyError
from seewhy.explainers import Explainer
from seewhy.explanation import overlay
from seewhy.explanation.comparison import LEAST_SIDE, map_panel, photograph
from seewhy.explanation.explanation import Explanation, WithSheet, percent, png_of, save_array, save_picture
from seewhy.explanation.sheet import Legend, Panel, sheet

SMOOTH = 20
"""Differences are smoothed by a Gaussian whose sigma is a SMOOTH-th of the shorter side, to find where two maps part."""
ALIKE = 0.005
"""Two maps of which a smaller share lies elsewhere do not differ."""
PLACES = (("upper left", "top", "upper right"), ("left", "center", "right"), ("lower left", "bottom", "lower right"))
LEGEND = Legend(overlay.DIVERGING, "more of the expected class's map", "more of the predicted class's")


class AsExpectedError(SeewhyError):
    """The network says the class that was expected, so that there is nothing to compare."""


class Parting(NamedTuple):
    """Where two maps part.

    region     (h, w) bool; empty where the maps do not differ
    place      of the region in the picture: "upper left", "center", ...; "" where the maps do not differ
    predicted  share of the predicted class's map in the region, in [-1, 1]
    expected   share of the expected class's map in the region, in [-1, 1]
    """

    region: Tensor
    place: str
    predicted: float
    expected: float


@dataclass(frozen=True, eq=False)
class ClassContrast:
    """Why not the class that was expected: two maps of one method and one picture, and their difference.

    The two maps have no common height: one class may have a hundred times the score of the other. So each map is first
    divided by its total, and the difference says where one map puts more of itself than the other. A map without values
    below 0 is read from its lowest value on; a signed map is divided by the total of its absolute values. If one of the two
    maps is signed, both are read so. A map of zeros stays so.

    difference  (h, w) the share that the pixel has in the predicted class's map, less its share in the expected class's
                map, times the number of pixels. So 1 is the mean of a whole map. Above 0 the predicted class has more.
    predicted   the explanation of the class that the network says; ``predicted.map`` is raw
    expected    the explanation of the class that was expected
    elsewhere   half the sum of the absolute differences of the shares, in [0, 1]: the part of one map that would have to
                be moved to make the other of it
    parting     the region with the largest difference, its place, and the share of each map in it
    """

    predicted: Explanation
    expected: Explanation
    difference: Tensor = field(repr=False)
    elsewhere: float
    parting: Parting = field(repr=False)

    @property
    def explainer(self) -> str:
        """Name of the method."""
        return self.predicted.explainer

    @property
    def name(self) -> str:
        """Name of the picture."""
        return self.predicted.name

    @property
    def caption(self) -> str:
        """Both classes with their probabilities, and where the maps part."""
        return f"{self.predicted.caption}, not {self.expected.caption}: {', '.join(self.said)}"

    @property
    def said(self) -> tuple[str, ...]:
        """How much of the maps lies elsewhere, and where they part."""
        flat = [e for e in (self.predicted, self.expected) if not float(e.map.std()) > 0]
        if len(flat) == 2:
            return ("both maps are constant",)
        if flat:
            return (f"the map of {flat[0].short_name} is constant",)
        if not self.parting.place:
            return ("the maps do not differ",)
        first, second = (_percent(share) for share in (self.parting.predicted, self.parting.expected))
        where = f"most at {self.parting.place}: {first} of the first map, {second} of the second"
        return (f"{_percent(self.elsewhere)} lies elsewhere", where)

    def sheet(self, size: int | None = None) -> Image.Image:
        """The photograph, both maps and their difference, with the region where they part; see ``ClassContrasts.sheet``."""
        return ClassContrasts((self,)).sheet(size)

    def save(self, path: str | Path) -> None:
        """Write the sheet (.png, .jpg, …) or the difference (.npy) to ``path``; whole or not at all."""
        if Path(path).suffix == ".npy":
            save_array(self.difference, Path(path))
        else:
            save_picture(self.sheet, Path(path), ".png for the sheet or .npy for the difference")

    def _repr_png_(self) -> bytes:
        return png_of(self.sheet())


@dataclass(frozen=True, eq=False)
class ClassContrasts(WithSheet[ClassContrast]):
    """Why not the class that was expected, by several methods or for several pictures: a sequence, and a sheet.

    items  the contrasts, in this order: picture, method
    """

    items: tuple[ClassContrast, ...]

    def sheet(self, size: int | None = None) -> Image.Image:
        """The sheet: a row for each method, with both maps, each with its raw values, and their difference.

        In the difference, which is smoothed here, red is where the predicted class's map has more of itself, and blue where
        the expected class's has. The region where they part most is outlined.

        Args:
            size: width of each map in pixels; by default that of the network's input, and at least 224.
        """
        side = size or max(LEAST_SIDE, *(c.predicted.image.shape[-1] for c in self.items))
        parts = [_drawn(of, side) for of in by_name(self.items)]
        whole = Image.new("RGB", (max(p.width for p in parts), sum(p.height for p in parts)), overlay.PAPER)
        y = 0
        for part in parts:
            whole.paste(part, (0, y))
            y += part.height
        return whole

    def _write(self, folder: Path) -> None:
        from seewhy.explanation.files import write  # it imports this module

        write(folder, by_name(self.items), {})

    def __repr__(self) -> str:
        return f"ClassContrasts({', '.join(f'{c.name}: {c.explainer}: {c.caption}' for c in self.items)})"


def contrast(predicted: Explanation, expected: Explanation) -> ClassContrast:
    """The contrast of two explanations of one picture by one method; see ``ClassContrast`` for what is computed."""
    maps = [e.map.double() for e in (predicted, expected)]
    signed = any(bool(values.min() < 0) for values in maps)
    first, second = (_shares(values, signed) for values in maps)
    difference = first - second
    elsewhere = float(difference.abs().sum() / 2)
    region, place = _region(difference) if elsewhere >= ALIKE else (torch.zeros_like(difference, dtype=torch.bool), "")
    parting = Parting(region, place, float(first[region].sum()), float(second[region].sum()))
    return ClassContrast(predicted, expected, (difference * difference.numel()).float(), elsewhere, parting)


def _shares(values: Tensor, signed: bool) -> Tensor:
    """Each value as a share of the whole map, whose absolute values then sum up to 1; zeros for a map of one value."""
    standing = values if signed else values - values.min()
    total = standing.abs().sum()
    return standing / total if total > 0 and float(values.std()) > 0 else torch.zeros_like(values)


def _percent(share: float) -> str:
    text = f"{100 * share:.{0 if abs(share) >= 0.0995 else 1}f}"
    return ("0" if float(text) == 0 else text.replace("-", "−")) + " %"


def smoothed(difference: Tensor) -> Tensor:
    """(h, w) weighted means of the differences around each pixel, since in a map of gradients single pixels say little."""
    return torch.from_numpy(gaussian_filter(difference.numpy(), min(difference.shape) / SMOOTH, mode="constant"))


def _region(difference: Tensor) -> tuple[Tensor, str]:
    """The region with the largest difference of one sign, and its place.

    It goes from the pixel with the largest smoothed difference as far as these have at least half of it.
    """
    height, width = difference.shape
    smooth = smoothed(difference).numpy()
    peak = np.unravel_index(np.abs(smooth).argmax(), smooth.shape)
    parts, _ = label(smooth * np.sign(smooth[peak]) >= np.abs(smooth[peak]) / 2)
    place = PLACES[int(3 * peak[0] / height)][int(3 * peak[1] / width)]
    return torch.from_numpy(parts == parts[peak]), place


def expected_class(expected: int | str, classifier: Classifier, scores: Tensor | None, name: str) -> tuple[int, int]:
    """The class that the network predicts for a picture, and the one that was expected.

    ``AsExpectedError``, one line, where they are the same, or where a network of several labels says both.
    """
    if scores is None:
        raise SeewhyError("the predicted class is what a network says, and there is none: give a classifier")
    if classifier.returns_values and not compared_with(classifier):
        raise SeewhyError("expected is a class, and this network returns values: compare the maps of two outputs by target")
    wanted, said = classifier.class_index(expected), int(scores.argmax())
    sure = f"{scores[wanted]:.4g}" if classifier.returns_values else percent(float(scores[wanted]))
    both = classifier.multilabel and float(scores[wanted]) > 0.5
    if wanted == said or both:
        which = "one of the classes that the network says" if both and wanted != said else "the predicted class"
        raise AsExpectedError(
            f"{name}: {classifier.class_name(wanted)} ({sure}), which you expected, is {which}: there is nothing to compare"
        )
    return said, wanted


def answering(explainers: Mapping[str, Explainer]) -> tuple[dict[str, Explainer], str]:
    """The methods whose maps depend on the class, and a line on the others; SeewhyError where there are no such methods."""
    kept = {name: method for name, method in explainers.items() if method.class_specific}
    others = [name for name in explainers if name not in kept]
    one = "makes" if len(others) == 1 else "make"
    said = f"{', '.join(others)} {one} the same map for every class, which cannot say why not the class that you expected"
    if not kept:
        raise SeewhyError(f"{said}: choose a method that explains a class, such as grad_cam")
    return kept, said if others else ""


def comparable(
    explainers: Mapping[str, Explainer], classifier: Classifier, expected: int | str, target: str
) -> tuple[dict[str, Explainer], str]:  # fmt: skip
    """``answering``, after a check of what the command line says; an unknown class is said before the first picture."""
    classifier.class_index(expected)
    if target != "predicted":
        raise SeewhyError("--expected compares with the predicted class: leave --target out")
    return answering(explainers)


def contrasts_of(explanations: Sequence[Explanation], said: int, wanted: int) -> list[ClassContrast]:
    """A contrast for each method that has explained both classes of one picture."""
    by_method: dict[str, dict[int, Explanation]] = {}
    for e in explanations:
        by_method.setdefault(e.explainer, {})[e.target] = e
    return [contrast(of[said], of[wanted]) for of in by_method.values()]


def by_name(contrasts: Sequence[ClassContrast]) -> list[list[ClassContrast]]:
    """The contrasts of each picture; those of one picture follow each other."""
    found: list[list[ClassContrast]] = []
    for c in contrasts:
        if found and found[-1][0].predicted.image is c.predicted.image:
            found[-1].append(c)
        else:
            found.append([c])
    return found


def _drawn(mine: Sequence[ClassContrast], side: int) -> Image.Image:
    """The sheet of one picture."""
    first = mine[0]
    rows: list[list[Panel | None]] = []
    for i, c in enumerate(mine):
        seen = photograph(c.predicted, side) if i == 0 else None
        both = [map_panel(e, side) for e in (c.predicted, c.expected)]
        difference = smoothed(c.difference)
        picture = overlay.overlay(c.predicted.image, difference, min(both[0].picture.size), signed=True)
        if c.parting.place:
            picture = overlay.outlined(picture, c.parting.region)
        rows.append([seen, *both, Panel(picture, "\n".join(c.said), scale=overlay.scale_of(difference, signed=True))])
    headings = [f"predicted\n{first.predicted.caption}", f"expected\n{first.expected.caption}", "difference\nsmoothed"]
    drawn_keys = {e.scale.colormap for c in mine for e in (c.predicted, c.expected)}
    return sheet(rows, first.name, ["", *headings], side, [*drawn_keys, LEGEND], [c.explainer for c in mine], label_at=1)
