"""The steps of any processor, read off what it makes of our own pictures."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from seewhy.classifier.preprocessing import Pixels, measure_steps
from seewhy.data.pictures import View, as_seen
from seewhy.errors import SeewhyError

VIEWS = [
    View((32, 32), 0.875),
    View((32, 32), 1.0, "squash", "lanczos"),
    View((30, 40), 1.0, "squash", "bicubic", resize=(36, 52), recipe="transformers"),
    View((48, 48), 0.9, "center", "bilinear", recipe="transformers"),
    View((48, 48), 0.9, "center", "bicubic", recipe="transformers_pil"),
    View((48, 48), 0.9, "center", "nearest", recipe="transformers"),
    View((48, 48), 0.9, "center", "box", recipe="paddle"),
    View((48, 48), 1.0, "center", "hamming", resize=(40, 40)),
    View((47, 33), 1.0, "center", "bilinear", resize=(64, 64), recipe="transformers"),
    View((64, 64), 0.8, "first", "bicubic"),
    View((64, 64), 1.0, "border", "bilinear", fill=(0.2, 0.5, 0.7)),
    View((64, 64), 1.0, "corner", "bilinear", fill=(0.2, 0.5, 0.7)),
    View((160, 160), 0.95, "center", "bicubic", recipe="transformers"),
]


def processor(view: View, order: str = "rgb") -> Callable[[Image.Image], Pixels]:
    """A processor whose steps are known: mean 0.2, 0.5, 0.7 and std 0.3, 0.2, 0.1 of red, green and blue."""

    def process(picture: Image.Image) -> Pixels:
        pixels = np.asarray(as_seen(picture, view), np.float64).transpose(2, 0, 1) / 255
        normalized = (pixels - np.reshape([0.2, 0.5, 0.7], (3, 1, 1))) / np.reshape([0.3, 0.2, 0.1], (3, 1, 1))
        return normalized[::-1] if order == "bgr" else normalized

    return process


@pytest.mark.parametrize(
    "view", VIEWS, ids=lambda v: f"{v.size} {v.crop} {v.crop_mode} {v.interpolation} {v.resize} {v.recipe}"
)
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_the_steps_of_a_processor_are_found(view: View, order: str) -> None:
    """The same steps, or other words for them: every picture is seen in the same way."""
    found = measure_steps(processor(view, order), interpolation="bilinear")
    assert (found.mean, found.std, found.channel_order) == ((0.2, 0.5, 0.7), (0.3, 0.2, 0.1), order)
    assert (found.view.size, found.view.interpolation) == (view.size, view.interpolation)
    assert found.difference <= 1e-6
    rng = np.random.default_rng(0)
    for shape in ((151, 100), (90, 160), (64, 64), (333, 250), (250, 334)):
        picture = Image.fromarray(rng.integers(0, 255, (shape[1], shape[0], 3), np.uint8))
        difference = np.abs(np.asarray(as_seen(picture, found.view), int) - np.asarray(as_seen(picture, view), int))
        assert difference.max() <= 1, f"{shape}: {found.view}"


def gray(picture: Image.Image) -> Pixels:
    return np.asarray(picture.convert("L").resize((32, 32)), np.float64)[None] / 255 * 4 - 1


def test_a_processor_of_gray_pictures() -> None:
    found = measure_steps(gray, channels=1)
    assert (found.mean, found.std, found.view.crop_mode) == ((0.25,), (0.25,), "squash")


def spoiled(spoil: Callable[[Pixels], Pixels]) -> Callable[[Image.Image], Pixels]:
    process = processor(View((32, 32), 1.0, "squash"))
    return lambda picture: spoil(process(picture))


REFUSED: dict[str, tuple[Callable[[Image.Image], Pixels], str]] = {
    "gray for a network of colors": (gray, r"makes \(1, 32, 32\)"),
    "three axes are lost": (spoiled(lambda x: x.reshape(-1)), r"makes \(3072\)"),
    "colors are mixed": (spoiled(lambda x: x - 0.5 * x[[1, 2, 0]]), "more to the colors|mixes the colors"),
    "another order of colors": (spoiled(lambda x: x[[1, 0, 2]]), "mixes the colors"),
    "inverted": (spoiled(lambda x: -x), "positive number"),
    "a gamma": (spoiled(lambda x: np.abs(x + 10) ** 0.5), "more to the colors"),
    "NaN": (spoiled(lambda x: x * np.nan), "more to the colors"),
    "each picture is normalized by itself": (spoiled(lambda x: (x - x.mean()) / (x.std() + 1e-9)), "colors"),
    "mirrored": (spoiled(lambda x: x[:, :, ::-1]), "turns or mirrors"),
    "upside down": (spoiled(lambda x: x[:, ::-1]), "turns or mirrors"),
    "turned": (spoiled(lambda x: x.transpose(0, 2, 1)), "turns or mirrors|no ramp"),
    "constant": (spoiled(lambda x: 0 * x), "more to the colors"),
    "blurred": (spoiled(lambda x: (x + np.roll(x, 2, 1) + np.roll(x, 2, 2)) / 3), "differs from every resizing"),
    "not resized": (lambda picture: np.asarray(picture, np.float64).transpose(2, 0, 1), "of one picture and"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_steps_are_refused(kind: str) -> None:
    process, words = REFUSED[kind]
    with pytest.raises(SeewhyError, match=words):
        measure_steps(process)
