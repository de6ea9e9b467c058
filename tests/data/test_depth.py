"""Pictures of more than 8 bits: what is white in them, and what is said where nobody knows."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.command import run
from support.deep_pictures import write_png, write_tiff
from support.tiny_models import TINY
from torch import Tensor

import seewhy
from seewhy.data import Folder
from seewhy.data.pictures import View, as_seen, network_input, read_picture, to_tensor
from seewhy.errors import SeewhyError
from seewhy.explanation.files import read_pictures

VIEW = View((16, 16), 0.875)
RAMP = np.linspace(0, 4095, 40 * 60).round().astype(np.uint16).reshape(40, 60)
"""An X-ray of 12 bits: every value from black to white."""
COLOR = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], 2) << 4
"""Color of 16 bits, of which no byte is zero everywhere."""
EXACT = VIEW._replace(size=(40, 60), crop=1.0)
"""No resizing: the network sees the pixels."""


def levels(file: Path, view: View = EXACT, **options: float) -> Tensor:
    return network_input(read_picture(file, **options), view, gray=False)


def expected(pixels: np.ndarray, white: float) -> Tensor:
    """(3, h, w) in [0, 1]"""
    shown = torch.from_numpy(pixels.astype(np.float32) / white).clamp(0, 1)
    return shown.expand(3, -1, -1) if shown.ndim == 2 else shown.permute(2, 0, 1)


def assert_near(found: Tensor, wanted: Tensor, steps: float) -> None:
    """Within so many steps of 8 bits."""
    assert (found - wanted).abs().max().item() * 255 <= steps


def test_an_x_ray_of_12_bits_is_not_black(tmp_path: Path) -> None:
    """It is what the same X-ray in 8 bits is, and finer: depth is kept until after resizing."""
    file = write_png(tmp_path / "deep.png", RAMP)
    seen = levels(file, VIEW, white=4095.0)
    Image.fromarray((RAMP / 4095 * 255).round().astype(np.uint8)).save(tmp_path / "shallow.png")
    assert_near(seen, levels(tmp_path / "shallow.png", VIEW), 1.0)
    assert seen.mean() > 0.4
    assert_near(levels(file, white=4095.0), expected(RAMP, 4095), 1e-3)
    assert len(levels(file, white=4095.0).unique()) > 2000
    assert_near(levels(file, white=2047.0), expected(RAMP, 2047), 1e-3)


def test_eight_bits_are_resized_as_ever(tmp_path: Path) -> None:
    """Whatever ``white`` is: it is that of deep pictures alone."""
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "rgb.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "gray.png")
    for view in (VIEW, VIEW._replace(interpolation="bicubic")):
        for name, picture in {
            "rgb": Image.fromarray(pixels),
            "gray": Image.fromarray(pixels[..., 0]).convert("RGB"),
        }.items():
            assert torch.equal(levels(tmp_path / f"{name}.png", view, white=4095.0), to_tensor(as_seen(picture, view)))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_every_filter_resizes_depth_as_it_resizes_bytes(interpolation: str, tmp_path: Path) -> None:
    gray = np.random.default_rng(0).integers(0, 256, (40, 60)).astype(np.uint8)
    Image.fromarray(gray).save(tmp_path / "8.png")
    view = VIEW._replace(interpolation=interpolation)
    assert_near(
        levels(write_png(tmp_path / "16.png", gray.astype(np.uint16) * 257), view), levels(tmp_path / "8.png", view), 1.01
    )


FILES = {
    "png": lambda file, pixels: write_png(file.with_suffix(".png"), pixels),
    "tiff": write_tiff,
    "big-endian tiff": lambda file, pixels: write_tiff(file, pixels, order=">"),
    "deflate tiff": lambda file, pixels: write_tiff(file, pixels, deflate=True),
    "big-endian deflate tiff": lambda file, pixels: write_tiff(file, pixels, order=">", deflate=True),
}


@pytest.mark.parametrize("kind", FILES)
def test_color_of_16_bits_keeps_both_bytes(kind: str, tmp_path: Path) -> None:
    """Pillow keeps the upper byte, which is 0 to 15 in color of 12 bits."""
    write, opaque = FILES[kind], np.full((*RAMP.shape, 1), 65535, np.uint16)
    assert_near(levels(write(tmp_path / "a.tif", COLOR)), expected(COLOR, 65535), 0.5001)
    assert_near(levels(write(tmp_path / "b.tif", COLOR >> 4), white=4095.0), expected(COLOR >> 4, 4095), 0.5001)
    for white, pixels in ((65535.0, COLOR), (4095.0, COLOR >> 4)):
        file = write(tmp_path / "c.tif", np.concatenate([pixels, opaque], 2))
        assert_near(levels(file, white=white), expected(pixels, white), 0.5001)


def test_gray_of_16_bits_with_transparency(tmp_path: Path) -> None:
    opaque = np.full((*RAMP.shape, 1), 65535, np.uint16)
    file = write_png(tmp_path / "a.png", np.concatenate([RAMP[..., None], opaque], 2))
    assert_near(levels(file, white=4095.0), expected(RAMP, 4095), 0.5001)


def test_transparency_of_16_bits_is_white(tmp_path: Path) -> None:
    hidden = write_png(tmp_path / "a.png", RAMP * 16, transparent=int(RAMP[3, 5]) * 16)
    wanted = expected(RAMP * 16, 65535).clone()
    wanted[:, 3, 5] = 1
    assert_near(levels(hidden), wanted, 1e-3)
    alpha = np.zeros((40, 60, 2), np.uint16)
    assert_near(levels(write_png(tmp_path / "b.png", alpha)), torch.ones(3, 40, 60), 0)


def test_the_file_itself_says_what_is_white(tmp_path: Path) -> None:
    """The header of PGM, the bits of a TIFF, and that 0 is white. No option is needed, and none changes it."""
    head = b"P5\n60 40\n4095\n"
    (tmp_path / "a.ppm").write_bytes(head + RAMP.astype(">u2").tobytes())
    write_tiff(tmp_path / "b.tif", RAMP, packed_bits=12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("a.ppm", "b.tif"):
            for options in ({}, {"white": 1000.0}):
                assert_near(levels(tmp_path / name, **options), expected(RAMP, 4095), 0.02)
    deep = RAMP * np.uint16(16)
    assert_near(levels(write_tiff(tmp_path / "c.tif", deep, white_is_zero=True)), 1 - expected(deep, 65535), 1e-3)
    inverted = write_tiff(tmp_path / "d.tif", RAMP, white_is_zero=True)
    assert_near(levels(inverted, white=4095.0), 1 - expected(RAMP, 4095), 1e-3)


def test_other_numbers_have_a_white_if_it_is_given(tmp_path: Path) -> None:
    """Floats and 32 bits; what is negative, or is no number, has no place between black and white."""
    share = (RAMP / 4095).astype(np.float32)
    files = {
        "f": (share, 1.0),
        "i": (RAMP.astype(np.int32) * 1000, 4_095_000.0),
        "u": (RAMP.astype(np.uint32) * 1000, 4_095_000.0),
    }
    for name, (pixels, white) in files.items():
        file = write_tiff(tmp_path / f"{name}.tif", pixels)
        with pytest.raises(SeewhyError, match="numbers and no defined white: give white="):
            read_picture(file)
        assert_near(levels(file, white=white), expected(share, 1), 0.01)
    assert_near(levels(write_tiff(tmp_path / "s.tif", RAMP.astype(np.int16)), white=4095.0), expected(RAMP, 4095), 1e-3)
    for pixels in (share - 0.5, RAMP.astype(np.int16) - 5):
        with pytest.raises(SeewhyError, match="has negative numbers, of which none is black"):
            read_picture(write_tiff(tmp_path / "n.tif", pixels.astype(np.float32)), white=4095.0)
    share[0, 0] = np.nan
    with pytest.raises(SeewhyError, match="has numbers that are not finite"):
        read_picture(write_tiff(tmp_path / "n.tif", share), white=1.0)


@pytest.mark.parametrize("turned", range(1, 9))
def test_a_deep_picture_is_seen_upright(turned: int, tmp_path: Path) -> None:
    gray = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    how = {
        2: np.fliplr,
        3: lambda p: np.rot90(p, 2),
        4: np.flipud,
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: np.rot90(p, -1),
    }
    how |= {1: lambda p: p, 7: lambda p: np.rot90(p, 2).swapaxes(0, 1), 8: np.rot90}
    for name, pixels in {"gray": gray, "color": np.stack([gray, gray[::-1], gray], 2)}.items():
        upright = expected(how[turned](pixels).copy(), 65535)
        for suffix, write in {"png": write_png, "tif": write_tiff}.items():
            picture = read_picture(write(tmp_path / f"{name}.{suffix}", pixels, turned=turned))
            seen = network_input(picture, View(picture.size[::-1]), gray=False)
            assert_near(seen, upright, 0.51)
    shallow = (gray // 257).astype(np.uint8)
    picture = read_picture(write_tiff(tmp_path / "8.tif", shallow, turned=turned))
    assert np.asarray(picture)[..., 0].tolist() == how[turned](shallow).tolist()


DIM = r"picture .*x\.png has 16 bits, but its values stop at or below 4095, so it looks almost black: .* give white=4095"


def test_a_picture_that_looks_almost_black_is_said_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    classifier = TINY["cnn"]()
    file = write_png(tmp_path / "x.png", RAMP - np.uint16(1) * (RAMP > 3000))
    for name in ("y.png", "z.png"):
        write_png(tmp_path / name, RAMP)
    with pytest.warns(UserWarning, match=DIM):
        dim = seewhy.explain(file, classifier, "saliency")
    assert dim.image.max() < 0.07
    with warnings.catch_warnings(record=True) as of_dataset:
        warnings.simplefilter("always")
        dataset = Folder(tmp_path, VIEW)
        dataset.batch([0, 1])
        dataset.batch([2])
        read_pictures(sorted(tmp_path.glob("*.png")), classifier)
    assert [str(w.message).partition(" has")[0] for w in of_dataset] == [f"picture {file}"] * 2
    done = run(capfd, "explain", tmp_path, "--model", "shapes", "--explainer", "center", "--out", tmp_path / "out")
    assert (done.status, done.err.count("\n"), done.err.count("--white 4095")) == (0, 1, 1)
    done = run(
        capfd,
        "explain",
        tmp_path,
        "--model",
        "shapes",
        "--explainer",
        "center",
        "--out",
        tmp_path / "out",
        "--white",
        "4095",
    )
    assert (done.status, done.err) == (0, "")


@pytest.mark.parametrize("peak", [16384, 65535, 0])
def test_what_reaches_far_is_not_said(peak: int, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for bands in ((), (3,)):
            file = write_png(tmp_path / "a.png", np.full((16, 16, *bands), peak, np.uint16))
            seewhy.explain(file, TINY["cnn"](), "saliency")


def test_white_wherever_a_picture_is_read(tmp_path: Path) -> None:
    classifier = TINY["cnn"]()
    file = write_png(tmp_path / "x.png", RAMP)
    wanted = levels(file, classifier.view, white=4095.0)
    for picture in (file, str(file), Image.open(file), RAMP):
        found = seewhy.explain(picture, classifier, "saliency", white=4095)
        assert torch.equal(found.image, wanted)
    (seen,) = read_pictures([file], classifier, 4095.0)
    assert torch.equal(seen.pixels, wanted)
    assert torch.equal(seewhy.dataset(str(tmp_path), classifier, options={"white": "4095"}).batch([0]).images[0], wanted)
    assert torch.equal(Folder(tmp_path, classifier.view, white=4095.0).batch([0]).images[0], wanted)
    for white in (0, -1, float("nan"), float("inf")):
        with pytest.raises(SeewhyError, match=f"white is {white}.*; give the value that is white"):
            seewhy.explain(file, classifier, white=white)
    with pytest.raises(SeewhyError, match="cannot take white=0: give a number above 0"):
        seewhy.dataset(str(tmp_path), classifier, options={"white": "0"})


def test_borders_of_a_color_around_a_deep_picture(tmp_path: Path) -> None:
    """As around the same picture in 8 bits."""
    gray = np.random.default_rng(0).integers(0, 256, (40, 60)).astype(np.uint8)
    Image.fromarray(gray).save(tmp_path / "8.png")
    deep = write_png(tmp_path / "16.png", gray.astype(np.uint16) * 257)
    view = View((16, 16), 1.0, "border", fill=(0.2, 0.4, 1.0))
    assert_near(levels(deep, view), levels(tmp_path / "8.png", view), 1.01)
    assert levels(deep, view)[:, 0, 0].tolist() == pytest.approx([0.2, 0.4, 1.0], abs=0.01)
