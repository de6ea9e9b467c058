"""Sheets hold their panels, and a legend of their colors."""

import numpy as np
import pytest
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from seewhy.explanation.sheet import Panel, sheet


def pixels(picture: Image.Image) -> NDArray[np.int64]:
    return np.asarray(picture).astype(int)


def test_a_sheet_holds_its_panels() -> None:
    rows = [
        [Panel(Image.new("RGB", (10, 20), c), c) for c in ("red", "lime", "blue")],
        [Panel(Image.new("RGB", (9, 9), "red"))],
    ]
    drawn = pixels(sheet(rows, "title", ["one", "two", "three"], size=100))
    found = {}
    for name, color in (("red", (255, 0, 0)), ("lime", (0, 255, 0)), ("blue", (0, 0, 255))):
        found[name] = np.argwhere((drawn == color).all(2))
    assert found["lime"].shape[0] == 100 * 200
    assert found["blue"].shape[0] == 100 * 200
    assert found["red"].shape[0] == 100 * 200 + 100 * 100
    assert found["red"][:, 1].max() < found["lime"][:, 1].min()
    assert found["lime"][:, 1].max() < found["blue"][:, 1].min()


@pytest.mark.parametrize("keys", [("inferno", "RdBu_r"), ("RdBu_r",), ("inferno",), ()])
def test_the_keys_are_those_of_the_maps(keys: tuple[str, ...]) -> None:
    drawn = pixels(sheet([[Panel(Image.new("RGB", (10, 10), "white"))] * 3], size=168, keys=keys)).reshape(-1, 3)
    for name in ("inferno", "RdBu_r"):
        ends = (np.array([colormaps[name](0.0), colormaps[name](1.0)])[:, :3] * 255).astype(int)
        for color in ends:
            assert (np.abs(drawn - color).max(1) <= 1).any() == (name in keys), name
