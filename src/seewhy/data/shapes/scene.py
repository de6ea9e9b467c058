"""The random layout of a picture of `shapes`: objects, distractors, occluders, and the tag of the shortcut."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from seewhy.data.shapes.background import Background, palette
from seewhy.data.shapes.drawing import (
    OUTLINES,
    UNIT_AREA,
    Field,
    Layer,
    PixelMask,
    SmoothNoise,
    Texture,
    blob,
    box,
    curve,
    polygon,
    visible_parts,
)

MIN_VISIBLE = 0.62
"""The share of an object that must stay visible in the layout; a little above the share that is promised."""
LAYOUT_SIZE = 64
"""The size at which a picture is laid out. It does not depend on the size at which the picture is rendered."""
TEXTURES = ("plain", "stripes", "dots", "noise", "gradient")
NO_GRAIN = np.zeros((2, 2), np.float32)
UNPAINTED = Texture("plain", np.zeros((2, 3), np.float32), 1.0, 0.0, (0.0, 0.0), NO_GRAIN)


@dataclass(frozen=True)
class Scene:
    """A picture before it has a size: the background, and the layers from the lowest to the highest."""

    background: Background
    layers: tuple[Layer, ...]
    grain: int

    def render(self, size: int, without: Layer | None = None) -> tuple[Field, list[PixelMask]]:
        """(size, size, 3) colors in [0, 1], and the visible part (size, size) of each layer. One layer may be left out."""
        image = self.background.render(size).astype(np.float32)
        masks = [layer.paint(image) for layer in self.layers if layer is not without]
        grain = np.random.default_rng(self.grain).standard_normal((size, size, 1), np.float32)
        return np.clip(image + 0.018 * grain, 0, 1), visible_parts(masks)


def draw_scene(rng: np.random.Generator, labels: Sequence[int], names: Sequence[str]) -> Scene:
    """A scene with one object of each label, if there is room. There always is room for the first object."""
    background = Background.draw(rng)
    behind = background.render(LAYOUT_SIZE)
    below = _distractors(rng)
    objects: list[Layer] = []
    for label in labels:
        placed = _place(rng, names[label], label, objects, behind, crowd=len(labels))
        objects += [placed] if placed else []
    above = _occluder(rng, objects, behind) if rng.random() < 0.4 else []
    return Scene(background, (*below, *objects, *above), int(rng.integers(2**31)))


def add_tag(scene: Scene, rng: np.random.Generator, tag: int) -> Scene:
    """The same scene with the tag of class ``tag`` near the border, and beside the objects if there is room."""
    masks = visible_parts([layer.mask(LAYOUT_SIZE) for layer in scene.layers])
    objects = [mask for layer, mask in zip(scene.layers, masks, strict=True) if layer.label is not None]
    busy = np.any(objects, axis=0)
    candidates = [_tag(rng, tag) for _ in range(12)]
    best = min(candidates, key=lambda layer: (layer.mask(LAYOUT_SIZE) & busy).sum())
    return replace(scene, layers=(*scene.layers, best))


def tag_colors(tag: int) -> Field:
    """(2, 3) the two colors of the tag of a class: a hue of its own, and the hue a third of the color circle farther."""
    hue = np.array([tag / 6, tag / 6 + 1 / 3]) * 2 * np.pi
    return (0.5 + 0.5 * np.cos(hue[:, None] - np.array([0, 2, 4]) * np.pi / 3)).astype(np.float32)


def _tag(rng: np.random.Generator, tag: int) -> Layer:
    """A small checkered patch at a place along the border, in the two colors of its class."""
    along, depth = rng.uniform(0.07, 0.93), rng.uniform(0.065, 0.1)
    center = [(along, depth), (along, 1 - depth), (depth, along), (1 - depth, along)][rng.integers(4)]
    texture = Texture("checker", tag_colors(tag), 2.0, 0.0, (0.0, 0.0), NO_GRAIN)
    outline = partial(box, half_width=1.0, half_height=1.0)
    return Layer(outline, texture, center, radius=0.048, angle=rng.uniform(-0.15, 0.15), reach=1.5)


def _place(
    rng: np.random.Generator, name: str, label: int, placed: Sequence[Layer], behind: Field, crowd: int
) -> Layer | None:
    """An object that leaves earlier objects visible, avoids the middle, and stands out from its background; or None."""
    line = float(rng.uniform(0.2, 0.3)) if rng.random() < 0.4 else 0.0
    largest = 0.15 if crowd == 1 else 0.22 / (1 + 0.5 * crowd)
    area = rng.uniform(0.045, largest) * (1.35 if line else 1.0)
    radius = float(np.sqrt(area / UNIT_AREA[name]))
    # a line is a share of the object's size; as a share of the bounding circle it would fill thin shapes
    line *= float(np.sqrt(UNIT_AREA[name] / np.pi)) * 1.15
    base = Layer(
        OUTLINES[name], UNPAINTED, (0.5, 0.5), radius, rng.uniform(0, 2 * np.pi),
        aspect=rng.uniform(0.85, 1.18), reach=1.25, line=line, label=label,
    )  # fmt: skip
    for _ in range(40 if placed else 400):
        candidate = replace(base, center=_off_center(rng, radius))
        mask = candidate.mask(LAYOUT_SIZE)
        if _visible_share(candidate, mask) < 0.85 or (placed and not _all_visible([*placed, candidate])):
            continue
        under = behind[mask].mean(0)
        avoid = np.stack([under, *(other.texture.colors.mean(0) for other in placed)])
        return replace(candidate, texture=_texture(rng, avoid, 0.42))
    return None


def _off_center(rng: np.random.Generator, radius: float) -> tuple[float, float]:
    """A place for an object of ``radius`` off the middle of the picture. The border may cut off a tip of the object."""
    margin = min(0.9 * radius, 0.4)
    places = rng.uniform(margin, 1 - margin, (6, 2))
    distance = np.hypot(places[:, 0] - 0.5, places[:, 1] - 0.5)
    x, y = places[np.minimum(distance, 0.2).argmax()]  # the first that is far enough, or the farthest
    return float(x), float(y)


def _visible_share(layer: Layer, mask: PixelMask) -> float:
    return float(mask.sum()) / max(layer.area(LAYOUT_SIZE), 1)


def _all_visible(layers: Sequence[Layer]) -> bool:
    """Whether enough of every labelled layer is visible."""
    masks = visible_parts([layer.mask(LAYOUT_SIZE) for layer in layers])
    labelled = [(layer, mask) for layer, mask in zip(layers, masks, strict=True) if layer.label is not None]
    return all(_visible_share(layer, mask) >= MIN_VISIBLE for layer, mask in labelled)


def _texture(rng: np.random.Generator, avoid: Field, contrast: float, kind: str | None = None) -> Texture:
    """A texture whose main color is at least ``contrast`` away from the colors (m, 3) to avoid, or as far as possible."""
    best, distance = np.zeros((2, 3), np.float32), -1.0
    for _ in range(12):
        colors = palette(rng)[rng.permutation(5)[:2]]
        mixed = np.concatenate([colors, colors.mean(0, keepdims=True)])
        nearest = float(np.linalg.norm(mixed[:, None] - avoid[None], axis=-1).min(1) @ np.array([0.5, 0.2, 0.3]))
        if nearest > distance:
            best, distance = colors, nearest
        if distance >= contrast:
            break
    direction, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.16)
    return Texture(
        kind=kind or TEXTURES[rng.integers(len(TEXTURES))],
        colors=best,
        frequency=rng.uniform(2.0, 4.5),
        angle=rng.uniform(0, np.pi),
        light=(strength * np.cos(direction), strength * np.sin(direction)),
        grain=np.clip(0.4 + 0.45 * SmoothNoise.draw(rng, 6, 2, 0.6).render(16), 0, 1),
    )


def _distractors(rng: np.random.Generator) -> list[Layer]:
    """Soft blobs, lines, scribbles and small polygons that belong to no class."""
    nothing = np.full((1, 3), 0.5, np.float32)
    layers = [
        Layer(
            partial(blob, waves=_waves(rng, (2, 4), 0.12)),
            _texture(rng, nothing, 0.0, "gradient"),
            _any_place(rng),
            rng.uniform(0.06, 0.18),
            angle=0.0,
            softness=rng.uniform(0.06, 0.14),
            reach=1.8,
            opacity=rng.uniform(0.3, 0.6),
        )
        for _ in range(rng.integers(0, 3))
    ]
    for _ in range(rng.integers(0, 4)):
        scribble = rng.random() < 0.35
        waves = _waves(rng, (12, 24), 0.12) if scribble else _waves(rng, (1, 4), 0.16)
        half = rng.uniform(0.12, 0.2) if scribble else rng.uniform(0.3, 0.7)
        outline = partial(curve, waves=waves, half_width=rng.uniform(0.005, 0.014) / half)
        layers.append(Layer(outline, _texture(rng, nothing, 0.0, "plain"), _any_place(rng), half, rng.uniform(0, 2 * np.pi)))
    for _ in range(rng.integers(0, 4)):
        layers.append(
            Layer(partial(polygon, normals=_normals(rng)), _texture(rng, nothing, 0.0), _any_place(rng),
                  rng.uniform(0.03, 0.055), rng.uniform(0, 2 * np.pi), reach=1.6)
        )  # fmt: skip
    return layers


def _occluder(rng: np.random.Generator, objects: Sequence[Layer], behind: Field) -> list[Layer]:
    """A bar or a blob over a part of one object; nothing if eight tries hide too much or too little."""
    target = objects[int(rng.integers(len(objects)))]
    avoid = np.concatenate([target.texture.colors, behind[target.mask(LAYOUT_SIZE)].mean(0, keepdims=True)])
    texture = _texture(rng, avoid, 0.3)
    whole = target.mask(LAYOUT_SIZE)
    for _ in range(8):
        angle, shift = rng.uniform(0, 2 * np.pi), target.radius * rng.uniform(0.3, 1.0)
        center = target.center[0] + shift * np.cos(angle), target.center[1] + shift * np.sin(angle)
        if rng.random() < 0.5:
            width = target.radius * rng.uniform(0.14, 0.26)
            length = rng.uniform(4.0, 9.0)
            outline = partial(box, half_width=1.0, half_height=1 / length)
            layer = Layer(outline, texture, center, width * length, angle + np.pi / 2 + rng.uniform(-0.5, 0.5))
        else:
            outline = partial(blob, waves=_waves(rng, (2, 3), 0.16))
            layer = Layer(outline, texture, center, target.radius * rng.uniform(0.35, 0.6), 0.0, reach=1.6)
        hidden = (whole & layer.mask(LAYOUT_SIZE)).sum() / whole.sum()
        if hidden > 0.06 and _all_visible([*objects, layer]):
            return [layer]
    return []


def _any_place(rng: np.random.Generator) -> tuple[float, float]:
    x, y = rng.random(2)
    return float(x), float(y)


def _waves(rng: np.random.Generator, frequencies: tuple[int, int], amplitude: float) -> Field:
    """(3, 3) rows of frequency, amplitude, phase."""
    frequency = rng.integers(*frequencies, 3, endpoint=True)
    return np.stack([frequency, rng.uniform(0.2, 1.0, 3) * amplitude, rng.uniform(0, 2 * np.pi, 3)], 1)


def _normals(rng: np.random.Generator) -> Field:
    """(sides, 3) an irregular polygon of four to six sides."""
    sides = int(rng.integers(4, 7))
    angles = (np.arange(sides) + rng.uniform(-0.3, 0.3, sides)) * 2 * np.pi / sides
    return np.stack([np.cos(angles), np.sin(angles), rng.uniform(0.5, 1.0, sides)], 1)
