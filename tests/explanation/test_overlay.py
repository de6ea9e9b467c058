"""A map on its picture: hot where the map is hot, red for and blue against, and text that fits."""

from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from seewhy.explanation.overlay import (
    captioned,
    data_uri,
    enlarge,
    fit_text,
    load_font,
    name_in_lines,
    normalized,
    overlay,
    said_value,
    scale_of,
    words_in_lines,
)

GRAY = torch.full((3, 24, 32), 0.5)


def corner(sign: float = 1.0) -> Tensor:
    """Hot in the upper left."""
    values = torch.zeros(24, 32)
    values[:8, :10] = sign
    return values


def pixels(picture: Image.Image) -> NDArray[np.int64]:
    return np.asarray(picture).astype(int)


def test_a_hot_corner_is_where_it_belongs() -> None:
    drawn = pixels(overlay(GRAY, corner()))
    assert drawn.shape == (24, 32, 3)
    brightness = drawn.sum(2)
    assert brightness[:6, :8].min() > 1.5 * brightness[12:, :].max()
    assert brightness[:6, :8].min() > 1.5 * brightness[:, 16:].max()


def test_a_hot_corner_stays_there_when_enlarged() -> None:
    drawn = pixels(overlay(GRAY, corner(), 96)).sum(2)
    assert drawn.shape == (96, 128)
    assert drawn[:24, :32].min() > 1.5 * drawn[48:, 64:].max()
    assert drawn[:24, :32].min() > 1.5 * drawn[:24, 64:].max()
    assert drawn[:24, :32].min() > 1.5 * drawn[48:, :32].max()


def test_a_coarse_map_is_stretched_over_the_picture() -> None:
    coarse = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    drawn = pixels(overlay(GRAY, coarse)).sum(2)
    assert drawn.shape == (24, 32)
    assert drawn[0, 0] == drawn.max()
    assert drawn[-1, -1] <= drawn.min() + 2


def test_for_is_red_and_against_is_blue() -> None:
    signed = corner() - corner().flip(0, 1)
    drawn = pixels(overlay(GRAY, signed))
    red, blue = drawn[2, 2], drawn[-3, -3]
    assert red[0] > red[2] + 60
    assert blue[2] > blue[0] + 60
    middle = drawn[12, 16]
    assert np.ptp(middle) <= 2, "zero has no color"


def test_a_map_that_is_all_against_is_blue() -> None:
    against = pixels(overlay(GRAY, -corner() - 0.1))
    assert (against[..., 2] > against[..., 0]).all()


def test_normalized_unsigned() -> None:
    shown, signed = normalized(torch.linspace(2, 4, 1000).view(20, 50))
    assert not signed
    assert shown.min() == 0
    assert shown.max() == 1
    assert (np.diff(shown.ravel()) >= 0).all()


def test_normalized_signed_keeps_zero() -> None:
    shown, signed = normalized(torch.tensor([[-1.0, 0.0], [0.5, 0.25]]))
    assert signed
    assert shown[0, 1] == 0
    assert shown[1, 0] == pytest.approx(2 * shown[1, 1])
    assert shown[0, 0] < -0.95


def test_a_few_loud_pixels_do_not_darken_the_rest() -> None:
    values = torch.rand(100, 100)
    values[0, :5] = 1000
    shown, _ = normalized(values)
    assert shown.max() == 1
    assert np.median(shown) > 0.4


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0, 1e-30])
def test_a_constant_map(value: float) -> None:
    shown, _ = normalized(torch.full((24, 32), value))
    assert np.isfinite(shown).all()
    assert np.ptp(shown) == 0
    drawn = pixels(overlay(GRAY, torch.full((24, 32), value)))
    assert np.ptp(drawn.reshape(-1, 3), axis=0).max() == 0


def test_one_loud_pixel_of_many() -> None:
    """A sparse map is scaled by its own points, and each is 3 pixels wide, so that it can be seen."""
    for sign in (1.0, -1.0):
        values = torch.zeros(100, 100)
        values[3, 4] = 7 * sign
        shown, signed = normalized(values)
        assert signed == (sign < 0)
        assert (shown[2:5, 3:6] == sign).all()
        assert np.count_nonzero(shown) == 9, "the rest is zero, and a number"


def test_points_of_both_signs_in_a_sparse_map() -> None:
    values = torch.zeros(100, 100)
    values[10, 10], values[50, 50] = 2, -2
    shown, signed = normalized(values)
    assert signed
    assert shown[11, 9] == 1
    assert shown[49, 51] == -1


def test_the_picture_shows_where_the_map_is_weak() -> None:
    image = torch.zeros(3, 24, 32)
    image[:, :, 16:] = 1
    drawn = pixels(overlay(image, corner().roll(16, 0) * 0 + torch.eye(24, 32))).sum(2)
    assert drawn[5, 28] > drawn[5, 12] + 150


def test_a_gray_picture_and_one_in_half_precision() -> None:
    assert overlay(GRAY[:1], corner()).size == (32, 24)
    assert pixels(overlay(GRAY.bfloat16(), corner().bfloat16())).shape == (24, 32, 3)


def test_enlarge_keeps_the_aspect() -> None:
    assert enlarge(Image.new("RGB", (32, 24)), 48).size == (64, 48)
    assert enlarge(Image.new("RGB", (24, 32)), 48).size == (48, 64)
    assert enlarge(Image.new("RGB", (24, 32)), None).size == (24, 32)


@pytest.mark.parametrize("width", [40, 224, 600])
def test_captions_fit(width: int) -> None:
    """Below the picture, which is not touched; a long one ends before the edge."""
    picture = Image.new("RGB", (width, 50), "green")
    drawn = captioned(picture, ["short", "a very long name of a class that nobody has ever seen " * 4])
    assert drawn.width == width
    assert drawn.crop((0, 0, width, 50)).tobytes() == picture.tobytes()
    text = pixels(drawn)[50:]
    assert text.min() < 128, "there is text"
    assert (text[:, :2] == 255).all()
    assert (text[:, -2:] == 255).all()
    assert (text[-1:] == 255).all()


def test_of_a_method_with_options_the_last_ones_are_read_too() -> None:
    shown = {fit_text(f"extremal_perturbation:steps=20,areas=[{area}]", load_font(13), 168) for area in (0.05, 0.3)}
    assert len(shown) == 2
    assert all(text.startswith("extrem") and text.endswith("]") for text in shown)
    assert all(load_font(13).getlength(text) <= 168 for text in shown)


def test_the_name_of_a_method_is_broken_into_lines() -> None:
    font = load_font(13, bold=True)
    assert name_in_lines("transformer_input_sampling:masks=128", font, 168) == ["transformer_input_", "sampling:masks=128"]
    assert name_in_lines("grad_cam", font, 168) == ["grad_cam"]
    assert name_in_lines("circle  97 %", font, 30) == [fit_text("circle  97 %", font, 30)]
    areas = ("0.1", "0.2")
    long = [name_in_lines("extremal_perturbation:" + "steps=20," * 20 + f"areas=[{area}]", font, 168) for area in areas]
    for lines in long:
        assert len(lines) == 3
        assert all(font.getlength(line) <= 168 for line in lines)
    assert long[0] != long[1]


@pytest.mark.parametrize("width", [100, 168])
def test_of_a_long_name_the_probability_is_still_read(width: int) -> None:
    shown = fit_text("long-horned beetle, longicorn  1.3 %", load_font(13, bold=True), width)
    assert shown.startswith("lo")
    assert shown.endswith("…  1.3 %")
    assert load_font(13, bold=True).getlength(shown) <= width


def test_each_line_has_its_place() -> None:
    picture = Image.new("RGB", (300, 50))
    one, two = (captioned(picture, ["first", "second"][:n]) for n in (1, 2))
    assert two.height > one.height
    assert (pixels(one)[50:64] == pixels(two)[50:64]).all()


def test_high_values_that_are_nearly_alike_can_be_told_apart() -> None:
    """Those of U-RELAX are 0 or, say, 0.90 to 0.91: they were one flat area."""
    values = torch.linspace(0.90, 0.91, 100).view(10, 10)
    values[:5, :5] = 0
    shown, signed = normalized(values)
    assert not signed
    assert (shown[:5, :5] == 0).all()
    others = shown[values.numpy() > 0]
    assert 0.2 < others.min() < 0.3
    assert others.max() == 1
    assert (np.diff(others) >= 0).all()
    mask = (values > 0).float()
    assert np.array_equal(normalized(mask)[0], mask.numpy()), "a mask stays one"
    low = torch.linspace(0.1, 1, 100).view(10, 10) * (values > 0)
    assert np.allclose(normalized(low)[0], (low / np.percentile(low, 99.5)).clamp(max=1), atol=1e-6), "no gap, no change"


def test_a_picture_in_a_data_uri_is_that_picture() -> None:
    picture = Image.new("RGB", (20, 10), (200, 30, 60))
    uri = data_uri(picture, quality=90)
    kind, _, content = uri.partition(",")
    assert kind == "data:image/webp;base64"
    shown = Image.open(BytesIO(b64decode(content)))
    assert shown.size == picture.size
    assert np.abs(pixels(shown.convert("RGB")) - pixels(picture)).max() < 10


@pytest.mark.parametrize("kind", ["unsigned", "signed", "sparse", "sparse signed", "mask with a gap", "constant"])
@pytest.mark.parametrize("signed", [None, False])
def test_the_scale_is_what_is_drawn(kind: str, signed: bool | None) -> None:
    """The value at each end of the scale has the extreme color, and what is between is linear."""
    torch.manual_seed(0)
    sparse = torch.zeros(100, 100)
    sparse[:, ::50] = torch.rand(100, 2) + 0.1
    values = {
        "unsigned": torch.rand(100, 100) + 3,
        "signed": torch.randn(100, 100),
        "sparse": sparse,
        "sparse signed": sparse * torch.randn(100, 100).sign(),
        "mask with a gap": torch.where(torch.rand(100, 100) < 0.5, 0.9 + torch.rand(100, 100) / 100, torch.tensor(0.0)),
        "constant": torch.full((100, 100), 0.5),
    }[kind]
    low, high, colormap = scale_of(values, signed)
    shown, is_signed = normalized(values, signed)
    assert is_signed == (colormap == "RdBu_r") == ("signed" in kind and "un" not in kind and signed is None)
    if kind == "constant":
        assert low == high == 0.5
        return
    expected = (values.double().numpy() - low) / (high - low)
    expected = np.clip(2 * expected - 1 if is_signed else expected, -1 if is_signed else 0, 1)
    if "sparse" in kind:
        assert shown.max() == pytest.approx(expected.max(), abs=1e-5)
    else:
        np.testing.assert_allclose(shown, expected, atol=1e-5)


def test_a_value_in_words() -> None:
    assert [said_value(x) for x in (0.0, 0.0312, -4.0, 1.23e-5, 345.0)] == ["0", "0.031", "−4", "1.2e-05", "3.4e+02"]


def test_words_in_lines_keep_the_number() -> None:
    font = load_font(12)
    for width in (80, 120, 200):
        lines = words_in_lines("a class with a very long name that goes on and on  12.3 %", font, width)
        assert len(lines) <= 3
        assert lines[-1].endswith("12.3 %")
        assert all(font.getlength(line) <= width for line in lines)
    assert words_in_lines("dog  12.3 %", font, 200) == ["dog  12.3 %"]
    assert words_in_lines("", font, 200) == [""]
