"""The backgrounds of `shapes`, clouds, marble, landscapes and out-of-focus lights, and their colors."""

from dataclasses import dataclass

import numpy as np

from seewhy.data.shapes.drawing import Field, SmoothNoise, ramp, smoothstep

BACKGROUNDS = ("clouds", "marble", "landscape", "lights")

PALETTES = (
    "1f2a44 4f6d8f a9b8c4 e8d5b7 d98c5f",  # dusk over the sea
    "22331f 4c6b3a 86a063 c9d2a0 efe8d0",  # meadow
    "3b2417 7a4a2b b5793f dcb37a f3e3c3",  # desert
    "0f3040 1f6075 4fa3a5 a7d6cf eef5e9",  # lagoon
    "2b1b3d 5b3a73 9a6fa8 d7a9c4 f6dfe0",  # lilac
    "40151a 86302f c2604a e6a07a f6d9b8",  # clay
    "1c1f26 454c57 7d8791 b7bfc4 eceeee",  # slate
    "33270f 75601f b99a35 e3cd72 f7f0cf",  # wheat
    "10233f 2f5fa0 6fa5d8 bcd9ee f5f8fa",  # clear sky
    "173022 2c7350 5fb07f b4dcae f0f5d2",  # spring
    "4a1033 97305f d0668a eda7ab fbe1d3",  # rose garden
    "2d1708 8a3d0c d9781c f3b54a fbe9b2",  # autumn
)
"""Palettes of five colors, dark to light. Objects use the same palettes, so no color belongs to objects alone."""


def palette(rng: np.random.Generator) -> Field:
    """(5, 3) a random palette, with a slightly shifted hue and brightness."""
    codes = PALETTES[rng.integers(len(PALETTES))].split()
    colors = np.array([[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in codes], np.float32)
    tint = rng.uniform(0.85, 1.12, 3) * rng.uniform(0.9, 1.08)
    return np.clip(colors * tint, 0, 1).astype(np.float32)


@dataclass(frozen=True)
class Background:
    """A background that can be rendered at any size.

    kind     one of ``BACKGROUNDS``
    colors   (m, 3) a palette, in the order in which the kind uses it
    noise    the large forms
    detail   the grain of the surface
    numbers  (8, 4) uniform random numbers, of which each kind uses some
    """

    kind: str
    colors: Field
    noise: SmoothNoise
    detail: SmoothNoise
    numbers: Field

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Background":
        colors = palette(rng)
        return cls(
            kind=BACKGROUNDS[rng.integers(len(BACKGROUNDS))],
            colors=colors[::-1] if rng.random() < 0.5 else colors,
            noise=SmoothNoise.draw(rng, 2, 5, rng.uniform(0.4, 0.62)),
            detail=SmoothNoise.draw(rng, 4, 4, 0.75),
            numbers=rng.random((8, 4)).astype(np.float32),
        )

    def render(self, size: int) -> Field:
        """(size, size, 3) colors in [0, 1]."""
        steps = ((np.arange(size) + 0.5) / size).astype(np.float32)
        x, y = np.broadcast_to(steps[None], (size, size)), np.broadcast_to(steps[:, None], (size, size))
        image: Field = getattr(self, f"_{self.kind}")(x, y)
        light = np.cos(2 * np.pi * self.numbers[0, 0]) * (x - 0.5) + np.sin(2 * np.pi * self.numbers[0, 0]) * (y - 0.5)
        image = image * (1 + 0.3 * light + 0.07 * self.detail.render(size))[..., None]
        return np.clip(image, 0, 1)

    def _clouds(self, x: Field, y: Field) -> Field:
        slope = (self.numbers[1, 0] - 0.5) * (x - 0.5) + (self.numbers[1, 1] - 0.5) * (y - 0.5)
        return ramp(self.colors, 0.5 + 0.33 * self.noise.render(len(x)) + slope)

    def _marble(self, x: Field, y: Field) -> Field:
        angle = np.pi * self.numbers[1, 0]
        along = x * np.cos(angle) + y * np.sin(angle)
        veins = np.sin(2 * np.pi * (1 + 2.5 * self.numbers[1, 1]) * along + 2.6 * self.noise.render(len(x)))
        return ramp(self.colors, 0.5 + 0.42 * veins)

    def _landscape(self, x: Field, y: Field) -> Field:
        """A sky behind two to four ridges. A nearer ridge is lower, and its color is farther along the palette."""
        size = len(x)
        form = self.noise.render(size)
        horizon = 0.3 + 0.35 * self.numbers[1, 0]
        sky = self.colors[-1] + (self.colors[-2] - self.colors[-1]) * (y / horizon).clip(0, 1)[..., None]
        image: Field = sky + 0.05 * form[..., None]
        ridges = 2 + int(3 * self.numbers[1, 1])
        for ridge in range(ridges):
            nearness = ridge / ridges
            # a row of the noise is the skyline; near ridges are taller and rougher than far ones
            skyline = form[int((0.1 + 0.8 * self.numbers[2 + ridge, 0]) * (size - 1))]
            top = horizon + (1 - horizon) * nearness + (0.05 + 0.07 * nearness) * skyline
            share = smoothstep(-1.0, 1.0, (y - top[None]) * size)[..., None]
            color = ramp(self.colors[:-1], np.full((1, 1), 0.95 - 0.9 * (nearness + 0.2 * self.numbers[2 + ridge, 1])))
            image = image + share * (color * (1 + 0.12 * form[..., None]) - image)
        return image

    def _lights(self, x: Field, y: Field) -> Field:
        """Soft discs over a gradient, like lights out of focus."""
        angle = 2 * np.pi * self.numbers[1, 0]
        along = 0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
        image = ramp(self.colors[:3], along + 0.12 * self.noise.render(len(x)))
        for column, row, radius, tone in self.numbers.tolist():
            distance = np.hypot(x - column, y - row) - (0.05 + 0.16 * radius)
            share = 0.55 * smoothstep(0.03 + 0.05 * tone, -0.02, distance)[..., None]
            image = image + share * (ramp(self.colors[1:], np.full((1, 1), tone)) - image)
        return image
