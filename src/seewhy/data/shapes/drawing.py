"""How the pictures of `shapes` are painted: outlines, textures, smooth noise, layers.

All places are in unit coordinates: x to the right and y downward, both from 0 to 1 over the picture. So one description
gives the same picture at every size. An outline is a signed distance, negative inside. Anti-aliasing is then a clip of
this distance, and needs no supersampled drawing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

Field = NDArray[np.floating[Any]]
"""(h, w) numbers, or (h, w, 3) colors in [0, 1]."""
PixelMask = NDArray[np.bool_]
Window = tuple[slice, slice]
Outline = Callable[[Field, Field], Field]
"""The signed distance to an outline, in the object's coordinates: its bounding circle has a radius of about 1."""


def circle(x: Field, y: Field) -> Field:
    return np.hypot(x, y) - 1


def radial(x: Field, y: Field, points: int, inner: float) -> Field:
    """A star with ``points`` tips on the unit circle and notches at radius ``inner``; cos(pi / points) gives a polygon."""
    sector = 2 * np.pi / points
    angle = np.abs((np.arctan2(y, x) + sector / 2) % sector - sector / 2)
    radius = np.hypot(x, y)
    notch_x, notch_y = inner * np.cos(sector / 2), inner * np.sin(sector / 2)
    length = np.hypot(1 - notch_x, notch_y)
    return ((radius * np.cos(angle) - 1) * notch_y + radius * np.sin(angle) * (1 - notch_x)) / length


def box(x: Field, y: Field, half_width: float, half_height: float) -> Field:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def cross(x: Field, y: Field, arm: float = 0.36) -> Field:
    return np.minimum(box(x, y, 1.0, arm), box(x, y, arm, 1.0))


def heart(x: Field, y: Field, scale: float = 0.62) -> Field:
    """A square on its tip with a half disc on each of its two upper sides."""
    x, y = np.abs(x) * scale, 0.55 - y * scale
    lobe = np.hypot(x - 0.25, y - 0.75) - np.sqrt(2) / 4
    foot = 0.5 * np.maximum(x + y, 0)
    side = np.minimum(np.hypot(x, y - 1), np.hypot(x - foot, y - foot)) * np.sign(x - y)
    return np.where(x + y > 1, lobe, side) / scale


def polygon(x: Field, y: Field, normals: Field) -> Field:
    """A convex polygon of no class. ``normals``: (sides, 3) rows of nx, ny and the side's distance from the middle."""
    return (normals[:, 0, None, None] * x + normals[:, 1, None, None] * y - normals[:, 2, None, None]).max(0)


def blob(x: Field, y: Field, waves: Field) -> Field:
    """A rounded irregular blob. ``waves``: (m, 3) rows of frequency, amplitude, phase."""
    angle = np.arctan2(y, x)
    edge = 1 + sum(amplitude * np.sin(frequency * angle + phase) for frequency, amplitude, phase in waves)
    return (np.hypot(x, y) - edge) * 0.9


def curve(x: Field, y: Field, waves: Field, half_width: float) -> Field:
    """A line that swings about the x axis from -1 to 1. ``waves``: (m, 3) rows of frequency, amplitude, phase."""
    height = sum(amplitude * np.sin(frequency * x + phase) for frequency, amplitude, phase in waves)
    slope = sum(amplitude * frequency * np.cos(frequency * x + phase) for frequency, amplitude, phase in waves)
    return np.maximum(np.abs(y - height) / np.sqrt(1 + slope**2) - half_width, np.abs(x) - 1)


OUTLINES: Mapping[str, Outline] = {
    "circle": circle,
    "square": partial(radial, points=4, inner=float(np.cos(np.pi / 4))),
    "triangle": partial(radial, points=3, inner=0.5),
    "star": partial(radial, points=5, inner=0.45),
    "cross": cross,
    "heart": heart,
}
"""The classes, in the order of their index."""
UNIT_AREA = {"circle": 3.142, "square": 2.0, "triangle": 1.299, "star": 1.323, "cross": 2.362, "heart": 2.322}
"""The area inside each outline. With it, the class of an object does not decide its area."""


@lru_cache(maxsize=64)
def _spline(size: int, cells: int) -> Field:
    """(size, cells + 3) weights of a uniform cubic B-spline, with which no grid shows in the noise."""
    position = (np.arange(size) + 0.5) / size * cells
    left = np.minimum(position.astype(int), cells - 1)
    t = position - left
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], 1) / 6
    matrix = np.zeros((size, cells + 3), np.float32)
    for offset in range(4):
        matrix[np.arange(size), left + offset] = weights[:, offset]
    return matrix


@dataclass(frozen=True)
class SmoothNoise:
    """Noise of several octaves, like clouds. It is the same at every size, but for octaves too fine for a small size."""

    grids: tuple[Field, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator, coarsest: int, octaves: int, roughness: float) -> "SmoothNoise":
        """Each octave has cells of half the size and ``roughness`` times the amplitude of the octave before."""
        cells = [coarsest * 2**octave for octave in range(octaves)]
        return cls(tuple(rng.standard_normal((n + 3, n + 3), np.float32) * roughness**i for i, n in enumerate(cells)))

    def render(self, size: int) -> Field:
        """(size, size), about zero, with a standard deviation of about one half."""
        field = np.zeros((size, size), np.float32)
        for grid in self.grids:
            cells = grid.shape[0] - 3
            if cells <= max(size // 2, 4):
                weights = _spline(size, cells)
                field += weights @ grid @ weights.T
        return field


def smoothstep(low: float, high: float, value: Field) -> Field:
    t = np.clip((value - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def ramp(colors: Field, t: Field) -> Field:
    """(h, w, 3) colors along the row of ``colors`` (m, 3); t from 0 to 1."""
    position = np.clip(t, 0, 1) * (len(colors) - 1)
    left = np.minimum(position.astype(np.intp), len(colors) - 2)
    t = (position - left)[..., None].astype(np.float32)
    return colors[left] * (1 - t) + colors[left + 1] * t


@dataclass(frozen=True)
class Texture:
    """The filling of an outline: two colors mixed by a pattern in the object's coordinates, and a light from one side."""

    kind: str
    colors: Field
    frequency: float
    angle: float
    light: tuple[float, float]
    grain: Field

    def render(self, x: Field, y: Field) -> Field:
        """(h, w, 3) colors at the object's own coordinates x and y."""
        u = x * np.cos(self.angle) + y * np.sin(self.angle)
        v = y * np.cos(self.angle) - x * np.sin(self.angle)
        color = ramp(self.colors, self._mix(u, v))
        shade = 1 + self.light[0] * x + self.light[1] * y
        return color * np.clip(shade, 0.7, 1.3)[..., None]

    def _mix(self, u: Field, v: Field) -> Field:
        """(h, w) share of the second color."""
        if self.kind == "stripes":
            return smoothstep(-0.25, 0.25, np.sin(u * self.frequency * np.pi))
        if self.kind == "dots":
            wave = np.cos(u * self.frequency * np.pi) * np.cos(v * self.frequency * np.pi)
            return smoothstep(0.3, 0.6, wave)
        if self.kind == "checker":
            return np.where(np.sin(u * 1.5 * np.pi) * np.sin(v * 1.5 * np.pi) > 0, 1.0, 0.0).astype(np.float32)
        if self.kind == "gradient":
            return smoothstep(-1.0, 1.0, u)
        if self.kind == "noise":
            scale = (len(self.grain) - 1) / 4
            places = np.stack([(v + 2) * scale, (u + 2) * scale])
            return map_coordinates(self.grain, places, order=1, mode="mirror")
        return np.full(u.shape, 0.04, np.float32)


@dataclass(frozen=True)
class Layer:
    """One thing painted over what lies below it.

    center    x, y
    radius    of the bounding circle, in picture sides
    reach     of the window in which it is painted, in radii
    line      0 for a solid object, else the width of its outline in radii
    softness  width of its edge in picture sides; 0 for one anti-aliased pixel
    label     index of its class; None for a thing of no class
    """

    outline: Outline
    texture: Texture
    center: tuple[float, float]
    radius: float
    angle: float
    aspect: float = 1.0
    reach: float = 1.15
    line: float = 0.0
    softness: float = 0.0
    opacity: float = 1.0
    label: int | None = None

    def coverage(self, size: int) -> tuple[Window, Field, Field, Field]:
        """Its window in the picture, and in this window its coverage in [0, 1] and its coordinates x and y, each (h, w)."""
        half = self.radius * self.reach + 1.5 / size
        rows, columns = (_pixel_range(middle - half, middle + half, size) for middle in (self.center[1], self.center[0]))
        across = ((np.arange(columns.start, columns.stop) + 0.5) / size - self.center[0]).astype(np.float32)[None]
        down = ((np.arange(rows.start, rows.stop) + 0.5) / size - self.center[1]).astype(np.float32)[:, None]
        sin, cos = np.float32(np.sin(self.angle) / self.radius), np.float32(np.cos(self.angle) / self.radius)
        stretch = np.float32(np.sqrt(self.aspect))
        x, y = (across * cos + down * sin) / stretch, (down * cos - across * sin) * stretch
        distance = self.outline(x, y)
        if self.line:
            distance = np.maximum(distance, -distance - self.line)
        edge = max(self.softness, 1 / size)
        covered = np.clip(0.5 - distance * (self.radius / edge), 0, 1).astype(np.float32)
        return (rows, columns), covered, x, y

    def mask(self, size: int) -> PixelMask:
        """(size, size) the pixels that show more of this layer than of the layers below."""
        window, covered, _, _ = self.coverage(size)
        mask = np.zeros((size, size), np.bool_)
        mask[window] = covered * self.opacity >= 0.5
        return mask

    def area(self, size: int) -> int:
        """The number of pixels of its mask, as if no border of the picture cut it."""
        return int(replace(self, center=(0.5, 0.5)).mask(size).sum())

    def paint(self, image: Field) -> PixelMask:
        """Paint the layer over ``image`` (size, size, 3), in place. Returns its mask."""
        size = len(image)
        window, covered, x, y = self.coverage(size)
        alpha = covered * self.opacity
        image[window] += alpha[..., None] * (self.texture.render(x, y) - image[window])
        mask = np.zeros((size, size), np.bool_)
        mask[window] = alpha >= 0.5
        return mask


def _pixel_range(low: float, high: float, size: int) -> slice:
    """The pixels between two unit coordinates, cut at the borders of the picture."""
    start = int(np.clip(np.floor(low * size), 0, size))
    return slice(start, int(np.clip(np.ceil(high * size), start, size)))


def visible_parts(masks: Sequence[PixelMask]) -> list[PixelMask]:
    """The visible part of each mask, for masks from the lowest layer to the highest."""
    parts: list[PixelMask] = []
    above: PixelMask = np.zeros((), np.bool_)
    for mask in reversed(masks):
        parts.append(mask & ~above)
        above = above | mask
    return parts[::-1]
