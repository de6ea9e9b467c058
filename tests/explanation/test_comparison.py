"""The sheet of several explanations: what stands on it, and how often."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from seewhy.explanation import comparison as module
from seewhy.explanation.comparison import by_picture, comparison
from seewhy.explanation.explanation import Explanation
from seewhy.explanation.sheet import Panel, sheet

TARGETS = {1: "bee", 3: "dog", 4: "elk"}


def made(target: int, method: str = "grad_cam", side: int = 16, name: str = "a.png", **fields: Any) -> Explanation:
    """An explanation without a network."""
    values = torch.linspace(0, 1, side * side).view(side, side) + target
    image = torch.zeros(3, side, side)
    image[0] = 1
    return Explanation(values, target, TARGETS[target], 0.25, method, image, name, **fields)


def drawn(monkeypatch: pytest.MonkeyPatch, explanations: list[Explanation], **options: Any) -> tuple[Image.Image, Any]:
    """The sheet, and what it was made of: rows, title, columns, size, keys, labels, label_at."""
    seen: list[Any] = []

    def spy(
        rows: Any, title: str = "", columns: Any = (), size: int = 0, keys: Any = (), labels: Any = (), **more: Any
    ) -> Any:
        seen.append((rows, title, list(columns), size, set(keys), list(labels), more))
        return sheet(rows, title, columns, size, keys, labels, **more)

    monkeypatch.setattr(module, "sheet", spy)
    return comparison(explanations, **options), seen[0]


def captions(rows: list[list[Panel | None]]) -> list[str]:
    return [panel.caption for row in rows for panel in row if panel is not None and panel.caption]


def pixels(picture: Image.Image) -> NDArray[np.int64]:
    return np.asarray(picture).astype(int)


def test_of_several_classes_each_name_and_the_photograph_stand_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    random = {"method": "random", "class_specific": False}
    group = [made(t, m) for m in ("grad_cam", "saliency") for t in TARGETS] + [made(t, **random) for t in TARGETS]
    picture, (rows, title, columns, size, _, labels, _) = drawn(monkeypatch, group)
    assert title == "a.png"
    assert columns == ["", "grad_cam", "saliency"]
    assert labels == [f"{name}  25.0 %" for name in TARGETS.values()]
    assert captions(rows) == ["random\nthe same for every class"]
    assert [len([p for p in row if p is not None]) for row in rows] == [3, 3, 2], "the photograph, then the map of no class"
    red = (pixels(picture) == (255, 0, 0)).all(2)
    assert red.sum() == size * size == 224 * 224, "the photograph, once"


@pytest.mark.parametrize("side", [16, 224, 300])
def test_a_panel_is_at_least_as_large_as_the_input(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, (rows, *_) = drawn(monkeypatch, [made(1, side=side), made(1, "saliency", side)])
    assert {panel.picture.size for panel in rows[0]} == {(max(224, side),) * 2}
    red = (pixels(picture) == (255, 0, 0)).all(2)
    assert red.any(0).sum() == red.any(1).sum() == max(224, side)


def test_of_one_class_the_maps_stand_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = [f"m{i}" for i in range(8)]
    _, (rows, _, columns, _, _, labels, _) = drawn(monkeypatch, [made(1, m) for m in methods])
    assert [len(row) for row in rows] == [6, 3]
    assert captions(rows) == methods
    assert (columns, labels) == ([], ["bee  25.0 %", ""])


def test_of_one_method_the_classes_stand_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    _, (rows, _, _, _, _, labels, _) = drawn(monkeypatch, [made(t) for t in TARGETS])
    assert captions(rows) == [f"{name}  25.0 %" for name in TARGETS.values()]
    assert labels == ["grad_cam"]


def test_with_many_methods_these_are_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = [f"m{i}" for i in range(9)]
    _, (rows, _, columns, _, _, labels, _) = drawn(monkeypatch, [made(t, m) for m in methods for t in TARGETS])
    assert labels == methods
    assert columns == ["", *(f"{name}  25.0 %" for name in TARGETS.values())]
    assert len(rows) == 9


def test_of_several_pictures_each_has_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    group = [made(t, m, name=n, class_specific=m != "random")
             for n in ("a.png", "b.png") for m in ("grad_cam", "random") for t in (1, 3)]  # fmt: skip
    assert [len(of) for of in by_picture(group)] == [4, 4]
    _, (rows, _, columns, _, _, labels, _) = drawn(monkeypatch, group)
    assert columns == ["", "grad_cam", "random (no class)"]
    assert labels == ["bee  25.0 %", "dog  25.0 %"] * 2
    assert captions(rows) == ["a.png", "b.png"]
    assert [[panel is not None for panel in row] for row in rows] == [[True, True, True], [False, True, False]] * 2


def test_a_sheet_of_too_many_classes_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 2)
    _, (rows, *_, labels, _) = drawn(monkeypatch, [made(t, m) for m in ("grad_cam", "saliency") for t in TARGETS])
    assert len(rows) == 3
    assert rows[-1] == []
    assert labels[-1] == "… and 1 more, which have files of their own"


def test_the_scale_of_each_map_says_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    signed = made(1, "signed")
    signed = Explanation(signed.map - 1.75, 1, "bee", 0.25, "signed", signed.image, "a.png")
    _, (rows, *_, keys, _, _) = drawn(monkeypatch, [made(1), signed])
    first, second = (panel.scale for panel in rows[0][1:])
    assert (first.low, first.high) == (1, pytest.approx(np.percentile(np.linspace(1, 2, 256), 99.5)))
    assert -second.low == second.high == pytest.approx(0.75, abs=0.01), "symmetric"
    assert keys == {"inferno", "RdBu_r"}
