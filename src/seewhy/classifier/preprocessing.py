"""What the image processor of another library does to a picture, measured on pictures of our own.

The keys of a processor say little: a class may add a step that no key names, or leave a key unread. So the steps are read
off its output. Plain colors show the normalization and the order of the channels. Ramps show the size, the scale and what
is cut off. Two pictures, one wide and one high, then show that the same steps give the same input.
"""

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seewhy.data.pictures import CropMode, Interpolation, Recipe, View, as_seen
from seewhy.errors import SeewhyError

TOLERANCE = 0.01
"""Largest difference between a processor's input and ours, as a share of the range of pixels."""
COLORS = {"black": 0, "white": 255, "gray": 128, "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
"""Plain pictures that show what happens to each channel."""
Pixels = NDArray[np.float64]
Process = Callable[[Image.Image], Pixels]
"""From a picture to the (c, h, w) that a network gets."""


class Preprocessing(NamedTuple):
    """The steps of a processor, as fields of a ``Classifier``.

    difference  the largest difference between the processor and these steps, on two pictures, in units of [0, 1]
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: str
    view: View
    difference: float


def measure_steps(process: Process, channels: int = 3, interpolation: str = "bilinear") -> Preprocessing:
    """The steps of a processor; SeewhyError if no steps of ours agree with it to 1 % of the range of pixels.

    Args:
        process: makes the (c, h, w) that the network gets of a picture.
        channels: 3, or 1 for a network that takes gray pictures.
        interpolation: the one that is tried first.
    """
    mean, std, order, size = _colors(process, channels)

    def pixels(picture: Image.Image) -> Pixels:
        output = process(picture)
        if output.shape[1:] != size:
            what = f"{size[1]} x {size[0]} pixels of one picture and {output.shape[2]} x {output.shape[1]} of another"
            raise SeewhyError(f"it makes {what}: give it a size, or a crop of the middle, that all pictures get")
        shown = output[::-1] if order == "bgr" else output
        return shown * np.reshape(std, (-1, 1, 1)) + np.reshape(mean, (-1, 1, 1))

    fill = mean * (3 // channels)
    candidates = list(_views(pixels, size, channels, fill))
    kinds = sorted(get_args(Interpolation), key=lambda kind: kind != interpolation)
    least = np.inf
    made: dict[str, list[tuple[Image.Image, Pixels]]] = {}
    for kind in kinds:
        for mode, same_mode in groupby(candidates, key=lambda view: view.crop_mode):
            views = [view._replace(interpolation=kind) for view in same_mode]
            if mode not in made:
                shown = [_colored(picture, channels) for picture in _trial_pictures(size, views[0])]
                made[mode] = [(picture.convert("RGB"), pixels(picture)) for picture in shown]
            differences = [_worst(made[mode], view) for view in views]
            least = min(least, *differences)
            if least <= TOLERANCE:
                return Preprocessing(mean, std, order, _plain(views[int(np.argmin(differences))]), least)
    raise SeewhyError(
        f"its input differs from every resizing and crop of ours by {least:.0%} of the range of pixels, more than 1 %"
    )


def _colors(process: Process, channels: int) -> tuple[tuple[float, ...], tuple[float, ...], str, tuple[int, int]]:
    """Mean, standard deviation, order of the channels, and (height, width), from pictures of one color each."""
    seen: dict[str, Pixels] = {}
    for name, color in COLORS.items():
        output = process(_colored(Image.new("RGB", (96, 64), color if isinstance(color, tuple) else (color,) * 3), channels))
        if output.ndim != 3 or output.shape[0] != channels or min(output.shape) < 1:
            raise SeewhyError(f"it makes {_shape(output)} of a picture, where a network gets ({channels}, height, width)")
        seen[name] = output[:, output.shape[1] // 2, output.shape[2] // 2]
    size = (output.shape[1], output.shape[2])
    black, scale = seen["black"], seen["white"] - seen["black"]
    bent = np.abs(seen["gray"] - (black + scale * 128 / 255))
    if not (np.isfinite(scale).all() and (scale > 0).all() and (bent <= TOLERANCE / 2 * scale).all()):
        raise SeewhyError("it does more to the colors than to subtract a mean and to divide by a positive number")
    order = "rgb"
    if channels == 3:
        mixing = np.stack([(seen[name] - black) / scale for name in ("red", "green", "blue")], 1)
        if np.allclose(mixing, np.eye(3)[::-1], atol=TOLERANCE / 2):
            order, black, scale = "bgr", black[::-1], scale[::-1]
        elif not np.allclose(mixing, np.eye(3), atol=TOLERANCE / 2):
            raise SeewhyError("it mixes the colors of a picture; seewhy knows the orders RGB and BGR")
    return _tidy(-black / scale), _tidy(1 / scale), order, size


def _views(pixels: Process, size: tuple[int, int], channels: int, fill: tuple[float, ...]) -> Iterator[View]:
    """Every way to resize and crop that has the scale which a wide and a high ramp show; the likeliest first."""
    (wide_1, high_1), (wide_2, high_2) = (_resized(pixels, shape, channels) for shape in ((384, 160), (160, 384)))
    boxes = {"squash": (high_1, wide_1), "center": (high_1, wide_2), "border": (high_2, wide_1)}
    boxes |= {"corner": boxes["border"], "first": boxes["center"]}
    squashed = max(abs(wide_1 - wide_2), abs(high_1 - high_2)) < 2
    for mode in sorted(get_args(CropMode), key=lambda mode: mode != ("squash" if squashed else "center")):
        box = (max(1, round(boxes[mode][0])), max(1, round(boxes[mode][1])))
        for recipe in sorted(get_args(Recipe), key=lambda recipe: recipe == "timm"):
            view = View(size, 1.0, mode, resize=box, recipe=recipe)
            if mode == "first":
                yield view._replace(resize=None, crop=min(1.0, size[0] / box[0]))
            else:
                yield view._replace(fill=fill if mode in ("border", "corner") else ())


def _resized(pixels: Process, shape: tuple[int, int], channels: int) -> tuple[float, float]:
    """(width, height) to which a picture of (width, height) ``shape`` is resized, from ramps across it and down it."""
    found = []
    for axis, n in ((1, shape[0]), (0, shape[1])):
        ramp = np.linspace(40, 215, n)  # what is put around a picture is black, or the mean, and is told by its slope
        steep = np.broadcast_to(ramp if axis == 1 else ramp[:, None], shape[::-1])
        shown = pixels(_colored(Image.fromarray(steep.round().astype(np.uint8)).convert("RGB"), channels))[0]
        lines = 255 * (shown if axis == 1 else shown.T)
        line = lines[np.ptp(lines, axis=1).argmax()]  # a line through the picture, not through what is put around it
        inside = np.flatnonzero((line > 45) & (line < 210))
        if len(inside) < 4 or np.ptp(line[inside]) < 10:
            raise SeewhyError("it does not keep the picture as a picture: a ramp of gray is no ramp in what it makes")
        runs = np.split(inside, np.flatnonzero((np.diff(inside) > 1) | (np.abs(np.diff(line[inside])) > 60)) + 1)
        run = max(runs, key=lambda part: np.ptp(line[part]))
        slope = np.polyfit(run, line[run], 1)[0] / ((215 - 40) / (n - 1))  # pixels of the picture for one of the output
        if slope <= 0:
            raise SeewhyError("it turns or mirrors the picture")
        found.append(n / slope)
    return found[0], found[1]


def _trial_pictures(size: tuple[int, int], view: View) -> list[Image.Image]:
    """A wide and a high picture with colors, edges and grain, on which every recipe gives another result."""
    high, wide = view.resize or (round(size[0] / view.crop), round(size[1] / view.crop))
    pictures = []
    for turned in (False, True):
        short = max(24, round((0.8 if turned else 1.25) * min(high, wide)))  # one picture grows, and one shrinks
        if view.crop_mode in ("border", "corner"):  # the short side is what is rounded, and nothing is cut off
            longs = [
                n for n in range(short + short // 4, 2 * short) if 0.5 < (high if turned else wide) * short / n % 1 < 0.9
            ]
        else:
            box, length = (wide, size[0]) if turned else (high, size[1])
            longs = [n for n in range(short + short // 4, 2 * short) if _tells(box * n / short, length)]
        shape = (longs[len(longs) // 2] if longs else short + short // 3, short)
        pictures.append(_picture(shape[::-1] if turned else shape, seed=int(turned)))
    return pictures


def _tells(long: float, length: int) -> bool:
    """Does a side of ``long`` pixels, of which ``length`` are kept, distinguish the recipes?"""
    return 0.5 < long % 1 < 0.9 and (int(long) - length) % 4 == 3


def _picture(shape: tuple[int, int], seed: int) -> Image.Image:
    """A made picture of (width, height) ``shape``."""
    rng = np.random.default_rng(seed)
    soft = Image.fromarray(rng.integers(0, 255, (6, 5, 3), np.uint8)).resize(shape, Image.Resampling.BICUBIC)
    pixels = np.asarray(soft, np.int16) + rng.integers(-25, 26, (shape[1], shape[0], 3), np.int16)
    y, x = np.mgrid[: shape[1], : shape[0]]
    bars = ((x // 9) % 4 == 0) | ((y // 11) % 5 == 0)
    return Image.fromarray(np.where(bars[..., None], 255 - pixels, pixels).clip(0, 255).astype(np.uint8))


def _worst(trials: list[tuple[Image.Image, Pixels]], view: View) -> float:
    """The largest difference on the trial pictures; the first one that is too large ends the search."""
    worst = 0.0
    for picture, expected in trials:
        worst = max(worst, _difference(picture, view, expected))
        if worst > TOLERANCE:
            break
    return worst


def _difference(picture: Image.Image, view: View, expected: Pixels) -> float:
    """The largest difference between what we see of a picture and the (c, h, w) expected, in units of [0, 1]."""
    ours = np.asarray(as_seen(picture, view), np.float64).transpose(2, 0, 1) / 255
    return float(np.abs(ours[: len(expected)] - expected).max())


def _plain(view: View) -> View:
    """The view in the fewest words: without a box that is size / crop, and with timm's rounding where it is the same."""
    if view.resize is None:
        return view
    crop = min(1.0, view.size[0] / view.resize[0])
    shorter = view._replace(resize=None, crop=crop)
    box = (int(view.size[0] / crop + 1e-6), int(view.size[1] / crop + 1e-6))
    return shorter if box == view.resize else view._replace(crop=crop)


def _colored(picture: Image.Image, channels: int) -> Image.Image:
    """The picture as a network of so many channels gets it: RGB, or gray."""
    return picture.convert("L") if channels == 1 else picture


def _tidy(numbers: Pixels) -> tuple[float, ...]:
    """The numbers with the six digits that 32-bit arithmetic leaves certain."""
    return tuple(float(f"{n:.6g}") + 0.0 for n in numbers)


def _shape(output: Pixels) -> str:
    return "(" + ", ".join(str(n) for n in output.shape) + ")"
