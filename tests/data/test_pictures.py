"""Pictures of every kind come in with the right colors, the right way up, and as the network sees them."""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, resize

from seewhy.data.pictures import View, as_seen, check_size, list_pictures, read_picture, to_picture, to_tensor
from seewhy.data.regions import read_mask
from seewhy.errors import SeewhyError
from seewhy.evaluation.run import Run

COLORS = {
    "upper left": (200, 30, 40),
    "upper right": (40, 180, 60),
    "lower left": (30, 60, 190),
    "lower right": (90, 90, 90),
}
PLACES = {"upper left": (8, 6), "upper right": (40, 6), "lower left": (8, 26), "lower right": (40, 26)}


def quarters() -> Image.Image:
    """Four colors, one in each quarter of 48 x 32 pixels."""
    picture = Image.new("RGB", (48, 32))
    for place, color in COLORS.items():
        left, top = (24 if "right" in place else 0), (16 if "lower" in place else 0)
        picture.paste(color, (left, top, left + 24, top + 16))
    return picture


def saved(folder: Path, picture: Image.Image, name: str, **options: object) -> Path:
    picture.save(folder / name, **options)
    return folder / name


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


# how a picture with these four quarters may be kept -> the furthest that a color may be off
KEPT: dict[str, tuple[Callable[[Path], Path], int]] = {
    "RGB png": (lambda f: saved(f, quarters(), "a.png"), 0),
    "RGB bmp": (lambda f: saved(f, quarters(), "a.bmp"), 0),
    "RGB tiff": (lambda f: saved(f, quarters(), "a.tiff"), 0),
    "RGB ppm": (lambda f: saved(f, quarters(), "a.ppm"), 0),
    "WebP": (lambda f: saved(f, quarters(), "a.webp", lossless=True), 0),
    "JPEG": (lambda f: saved(f, quarters(), "a.jpg", quality=95), 8),
    "JPEG with a name in capitals": (lambda f: saved(f, quarters(), "A.JPEG", quality=95), 8),
    "progressive JPEG": (lambda f: saved(f, quarters(), "a.jpg", quality=95, progressive=True), 8),
    "CMYK JPEG": (lambda f: saved(f, quarters().convert("CMYK"), "a.jpg", quality=95), 12),
    "CMYK tiff": (lambda f: saved(f, quarters().convert("CMYK"), "a.tiff"), 2),
    "YCbCr tiff": (lambda f: saved(f, quarters().convert("YCbCr"), "a.tiff"), 4),
    "palette png": (lambda f: saved(f, quarters().quantize(4), "a.png"), 4),
    "palette gif": (lambda f: saved(f, quarters().quantize(4), "a.gif"), 4),
    "RGBA png, opaque": (lambda f: saved(f, quarters().convert("RGBA"), "a.png"), 0),
    "no suffix": (lambda f: saved(f, quarters(), "a.png").rename(f / "picture"), 0),
    "another suffix": (lambda f: saved(f, quarters(), "a.png").rename(f / "a.jpg"), 0),
}


@pytest.mark.parametrize("kind", KEPT)
def test_the_colors_of_a_file(kind: str, tmp_path: Path) -> None:
    make, tolerance = KEPT[kind]
    picture = read_picture(make(tmp_path))
    assert (picture.mode, picture.size) == ("RGB", (48, 32))
    for place, at in PLACES.items():
        off = np.abs(np.subtract(picture.getpixel(at), COLORS[place])).max()
        assert off <= tolerance, f"{place} is {picture.getpixel(at)}"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_turned_picture_is_seen_upright(orientation: int, suffix: str, tmp_path: Path) -> None:
    """What a camera writes: the sensor's rows, and how the camera was held."""
    turned = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }[orientation]
    sensor = quarters()
    for step in turned:
        sensor = sensor.transpose(step)
    path = saved(tmp_path, sensor, f"a.{suffix}", exif=exif(orientation), **({"quality": 95} if suffix == "jpg" else {}))
    picture = read_picture(path)
    assert picture.size == (48, 32)
    for place, at in PLACES.items():
        assert np.abs(np.subtract(picture.getpixel(at), COLORS[place])).max() <= 8, place


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_of_gray(suffix: str, tmp_path: Path) -> None:
    """Scaled by 257, not cut off: a middle gray stays one."""
    deep = np.array([[0, 257, 12_850], [32_896, 65_278, 65_535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / f"deep.{suffix}")
    picture = read_picture(tmp_path / f"deep.{suffix}")
    assert picture.mode == "F", "gray of more than 8 bits"
    assert np.asarray(picture) == pytest.approx(np.array([[0, 1, 50], [128, 254, 255]]), abs=1e-4)


def test_gray_and_one_bit(tmp_path: Path) -> None:
    gray = np.array([[0, 64], [128, 255]], np.uint8)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    Image.fromarray(gray).save(tmp_path / "gray.tiff")
    Image.fromarray(gray >= 128).save(tmp_path / "bits.png")
    for name in ("gray.png", "gray.tiff"):
        assert np.asarray(read_picture(tmp_path / name))[..., 1].tolist() == gray.tolist()
    bits = np.asarray(read_picture(tmp_path / "bits.png"))
    assert bits.shape == (2, 2, 3)
    assert bits[..., 2].tolist() == [[0, 0], [255, 255]]


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    """Whatever color lies hidden below."""
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0] = [[200, 0, 0, 255], [200, 0, 0, 0], [200, 0, 0, 128]]
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    Image.fromarray(pixels).save(tmp_path / "rgba.webp", lossless=True, exact=True)
    for name in ("rgba.png", "rgba.webp"):
        seen = np.asarray(read_picture(tmp_path / name))[0]
        assert seen[:2].tolist() == [[200, 0, 0], [255, 255, 255]]
        assert np.abs(seen[2].astype(int) - [227, 127, 127]).max() <= 1
    Image.fromarray(np.array([[[10, 255], [10, 0]]], np.uint8), "LA").save(tmp_path / "la.png")
    assert np.asarray(read_picture(tmp_path / "la.png"))[0].tolist() == [[10] * 3, [255] * 3]
    palette = Image.new("P", (2, 1))
    palette.putpalette([1, 2, 3, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    for name in ("p.png", "p.gif"):
        palette.save(tmp_path / name, transparency=0)
        assert np.asarray(read_picture(tmp_path / name))[0].tolist() == [[255] * 3, [200, 100, 50]]


def test_the_limit_of_pixels() -> None:
    check_size("x", (10_000, 10_000))
    with pytest.raises(SeewhyError, match="10001 x 10000"):
        check_size("x", (10_001, 10_000))
    check_size("x", (250, 10))
    with pytest.raises(SeewhyError, match="strip"):
        check_size("x", (10, 251))


def test_a_camera_picture_with_previews(tmp_path: Path) -> None:
    """MPO: the first of its pictures is the photograph."""
    path = saved(tmp_path, quarters(), "a.mpo", save_all=True, append_images=[Image.new("RGB", (12, 8))], quality=95)
    assert read_picture(path.rename(tmp_path / "a.jpg")).size == (48, 32)


def test_one_frame_is_a_still_picture(tmp_path: Path) -> None:
    assert read_picture(saved(tmp_path, quarters(), "a.gif", save_all=True)).size == (48, 32)


def test_any_mode_becomes_rgb_or_gray_numbers() -> None:
    from seewhy.data.depth import on_scale

    for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"):
        assert on_scale(Image.new(mode, (3, 2))).mode == "RGB"
    for mode in ("I;16", "I;16B", "I"):
        assert on_scale(Image.new(mode, (3, 2))).mode == "F"


def test_tensor_and_back() -> None:
    picture = quarters()
    image = to_tensor(picture)
    assert (image.dtype, image.shape) == (torch.float32, (3, 32, 48))
    assert image[:, 6, 8].tolist() == pytest.approx([c / 255 for c in COLORS["upper left"]])
    assert to_picture(image).tobytes() == picture.tobytes()
    assert to_picture(image[:1]).getpixel((8, 6)) == (200, 200, 200)
    assert to_picture(image * 3 - 1).getpixel((8, 26)) == (0, 0, 255), "what is outside [0, 1] is cut"


def test_what_a_network_sees() -> None:
    """Center: the middle of the longer side; squash: all of it."""
    picture = Image.new("RGB", (80, 40), "red")
    picture.paste("blue", (20, 0, 60, 40))
    center = to_tensor(as_seen(picture, View((20, 20), 1.0)))
    assert center[2, 10, 2:-2].min() > 0.9
    squash = to_tensor(as_seen(picture, View((20, 20), 1.0, "squash")))
    assert squash[0, 10, [0, 19]].min() > 0.9
    assert squash[2, 10, 8:12].min() > 0.9
    closer = to_tensor(as_seen(picture, View((20, 20), 0.5)))
    assert closer[2].min() > 0.99


def test_the_pictures_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "c.txt", ".hidden", "d.webp", "e.tar.gz", "10.jpeg", "9.tif"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in list_pictures(tmp_path)] == ["10.jpeg", "9.tif", "a.jpg", "b.PNG", "d.webp"]
    with pytest.raises(SeewhyError, match="holds no picture"):
        list_pictures(tmp_path / "folder.png")


def test_a_crop_that_is_a_quotient() -> None:
    """200 of 241 pixels: in floating point 200 / (200 / 241) is a little less than 241."""
    picture = quarters().resize((500, 400), Image.Resampling.BICUBIC)
    expected = center_crop(resize(picture, [241], InterpolationMode.BICUBIC), [200])
    seen = as_seen(picture, View((200, 200), 200 / 241, interpolation="bicubic"))
    assert seen.tobytes() == expected.tobytes()


def test_what_is_around_a_picture_has_the_color_that_was_asked_for() -> None:
    picture = Image.new("RGB", (40, 20), "white")
    for view, place in (
        (View((40, 40), 1.0, "border", fill=(0.2, 0.4, 0.6)), (slice(10, 30), slice(0, 40))),
        (View((40, 40), 1.0, "corner", fill=(0.2, 0.4, 0.6)), (slice(0, 20), slice(0, 40))),
        (View((40, 40), 1.0, "squash", resize=(21, 31)), (slice(9, 30), slice(4, 35))),
    ):
        seen = np.asarray(as_seen(picture, view))
        expected = np.full((40, 40, 3), [round(255 * c) for c in view.fill] or 0, np.uint8)
        expected[place] = 255
        assert (seen == expected).all(), view


def test_the_middle_may_be_cut_out_first() -> None:
    """Half of the shorter side, in whole pixels of the picture, then resized: nothing around it has a share in it."""
    pixels = np.zeros((21, 30, 3), np.uint8)
    pixels[5:15, 10:20] = 255
    seen = np.asarray(as_seen(Image.fromarray(pixels), View((20, 20), 0.5, "first", "bicubic")))
    assert (seen == 255).all()


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("name", ["photo.jpg", "photo.eps", "photo.png", "photo"])
def test_no_picture_starts_a_program(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow gives PostScript to Ghostscript, whatever the file is called: as a picture, a mask, or one of a run."""
    ghostscript = tmp_path / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(ghostscript.parent), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    (tmp_path / name).write_bytes(POSTSCRIPT)
    with pytest.raises(SeewhyError, match="picture") as caught:
        read_picture(tmp_path / name)
    assert not (tmp_path / "started").exists()
    assert "is not a picture that can be read (png, jpeg, webp, tiff, bmp, gif, ppm, dicom)" in str(caught.value)
    with pytest.raises(SeewhyError, match="is not a picture that can be read"):
        read_mask(tmp_path / name, (20, 20), View((20, 20)))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "000000.jpg").write_bytes(POSTSCRIPT)
    with pytest.raises((SeewhyError, OSError)):
        Run.picture(SimpleNamespace(folder=tmp_path), 0)  # type: ignore[arg-type]
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("kind", ["TGA", "PCX", "ICO", "IM", "SGI", "DDS", "JPEG2000", "AVIF"])
def test_other_formats_are_refused(kind: str, tmp_path: Path) -> None:
    """Each format that is opened is one that the documentation names, and that the tests read."""
    quarters().save(tmp_path / "a.png", kind)
    with pytest.raises(SeewhyError, match="is not a picture that can be read"):
        read_picture(tmp_path / "a.png")


def test_hidden_files_are_no_pictures(tmp_path: Path) -> None:
    """A Mac puts "._a.png" beside "a.png"."""
    for name in ("a.png", "._a.png"):
        (tmp_path / name).touch()
    assert [p.name for p in list_pictures(tmp_path)] == ["a.png"]


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "a/" * 3000, "a\0b.png", "\udcff.png"])
def test_a_name_that_no_file_can_have_is_one_line(name: str) -> None:
    with pytest.raises(SeewhyError, match=r"does not exist|cannot be read"):
        read_picture(name)


def test_a_pipe_is_no_picture(tmp_path: Path) -> None:
    """Nobody waits for what its writer may send."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SeewhyError, match="does not exist"):
        read_picture(tmp_path / "pipe")
    (tmp_path / "a.png").touch()
    assert [p.name for p in list_pictures(tmp_path)] == ["a.png"]


def test_a_tiff_whose_second_page_has_no_sides(tmp_path: Path) -> None:
    """Pillow raises a TypeError there."""
    file = tmp_path / "two.tiff"
    Image.new("L", (9, 7)).save(file)
    content = bytearray(file.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, start)
    struct.pack_into("<I", content, start + 2 + 12 * entries, len(content))
    file.write_bytes(content + struct.pack("<HI", 0, 0))
    with pytest.raises(SeewhyError, match=r"two\.tiff is broken"):
        read_picture(file)
