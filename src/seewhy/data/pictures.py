"""A picture from a file: read safely, and seen as a classifier sees it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from seewhy.data import depth
from seewhy.errors import SeewhyError
from seewhy.files import did_you_mean_file
from seewhy.process import without_warnings

MAX_PIXELS = 100_000_000
MAX_ASPECT = 25
"""The longest side of a picture in shortest sides."""
EPSILON = 1e-6
"""Undoes rounding: 224 / 0.875 is 256, not 255.99."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""The formats that Pillow may open, by a file's content. With others a picture can start a program, as PostScript does."""
OF_SYSTEMS = (".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "dicomdir")
"""Files that systems, file managers and disks of DICOM put beside pictures, in small letters."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".dcm")


CropMode = Literal["center", "squash", "border", "corner", "first"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
Recipe = Literal["timm", "transformers", "transformers_pil", "paddle"]


class View(NamedTuple):
    """What a network sees of a picture.

    A picture is resized to a box, or so that the box is covered or holds it. Then the middle of ``size`` pixels is cut out.
    Where the resized picture is smaller, pixels of one color are put around it.

    size           (height, width) in pixels
    crop           part of the shorter side that is kept, in (0, 1]; the box is size / crop
    crop_mode      "center": the resized picture covers the box. "squash": it is the box, whatever its shape was.
                   "border": it fits into the box, in the middle. "corner": it fits into the box, at the upper left.
                   "first": the middle, ``crop`` of the shorter side, is cut out of the picture and resized to the size
    interpolation  "nearest", "bilinear", "bicubic", "lanczos", "box" or "hamming"
    resize         (height, width) of the box, where it is not size / crop
    recipe         whose arithmetic. "timm": that of timm and torchvision. "transformers": sides and offsets are cut to whole
                   pixels, and a picture is resized across, then down. "transformers_pil": as before, in the order that
                   Pillow chooses. "paddle": as "transformers", but sides are rounded (PP-LCNet)
    fill           the color of the pixels around the picture, in [0, 1]; black if empty
    """

    size: tuple[int, int]
    crop: float = 1.0
    crop_mode: CropMode = "center"
    interpolation: Interpolation = "bilinear"
    resize: tuple[int, int] | None = None
    recipe: Recipe = "timm"
    fill: tuple[float, ...] = ()


def read_picture(path: str | Path, white: float | None = None) -> Image.Image:
    """The picture in ``path``, upright, from 0 (black) to 255 (white): RGB of bytes, or gray numbers (mode "F").

    Gray, palette and CMYK pictures become RGB; transparent pixels are shown on white. A gray picture of more than 8 bits
    keeps its depth: it is mode "F", so that it can be resized before it is rounded. Color of 16 bits is rounded to 8. Color
    profiles are not applied. DICOM is read by ``dicom.read_dicom``.

    Args:
        path: a file of one of ``FORMATS``, whatever its suffix is.
        white: the value that is white in a picture of more than 8 bits, such as 4095 of a 12-bit X-ray; by default the
            largest of its type, 65535. A picture of 8 bits, a PGM or PPM, a TIFF of 12 bits and DICOM say it themselves.

    Raises:
        SeewhyError: the file is missing, empty, broken or animated; it has negative numbers, or numbers without a defined
            white; it has more than MAX_PIXELS pixels. Their number is read from the header, before anything is decoded.
    """
    path = Path(path)
    depth.check_white(white)
    if is_dicom(path):
        from seewhy.data.dicom import read_dicom

        return read_dicom(path)
    with opened(path) as picture:
        said, inverted, is_deep = depth.white_of(picture), depth.is_inverted(picture), depth.is_deep_color(picture)
        picture.load()
        if is_deep:
            with _open(path) as again:
                depth.round_color(picture, depth.low_bytes(again), white)
        return depth.on_scale(ImageOps.exif_transpose(picture), f"picture {path}", said or white, inverted)


@contextmanager
def opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """The picture in ``path`` as the file has it, neither decoded nor upright yet; what Pillow raises becomes one line."""
    try:
        if path.is_dir():
            raise SeewhyError(f"{path} is a folder, not a picture")
        if not path.is_file():
            raise SeewhyError(f"picture {path} does not exist{did_you_mean_file(path)}")
        if path.stat().st_size == 0:
            raise SeewhyError(f"picture {path} is empty (0 bytes)")
        with _open(path) as picture:
            check_size(f"picture {path}", picture.size)
            frames = getattr(picture, "n_frames", 1)
            if frames > 1 and picture.format != "MPO":  # a camera's MPO holds previews of the same picture
                raise SeewhyError(f"picture {path} has {frames} frames; save the one to explain as a still picture")
            yield picture
    except UnidentifiedImageError:
        raise SeewhyError(
            f"{path} is not a picture that can be read (png, jpeg, webp, tiff, bmp, gif, ppm, dicom)"
        ) from None
    except Image.DecompressionBombError:
        raise SeewhyError(f"picture {path} has more than {MAX_PIXELS // 10**6} million pixels; make it smaller") from None
    except SeewhyError:
        raise
    except PermissionError:
        raise SeewhyError(f"picture {path} may not be read (permission denied)") from None
    except Exception as error:  # broken bytes can make Pillow raise anything: a second page without sides is a TypeError
        if isinstance(error, OSError) and error.errno is not None:  # of the system, such as a name that is too long
            raise SeewhyError(f"picture {path} cannot be read ({error.strerror})") from None
        said = str(error).splitlines()[0] if str(error) else "it is cut off"
        raise SeewhyError(f"picture {path} is broken ({said}): copy or download it again") from None


@contextmanager
def _open(path: Path) -> Iterator[ImageFile.ImageFile]:
    """The picture as Pillow has opened it: a file of one of ``FORMATS``.

    Pillow gets no path. It would map the file into memory, and then it confuses the sides of a turned gray TIFF.
    """
    with path.open("rb") as content:
        with without_warnings(Image.DecompressionBombWarning):  # check_size has a clearer message
            picture = Image.open(content, formats=FORMATS)
        with picture:
            yield picture


def check_size(name: str, size: tuple[int, int]) -> None:
    """SeewhyError for a picture without pixels, with too many pixels, or in a strip. ``name`` begins the error."""
    width, height = size
    if min(size) < 1:
        raise SeewhyError(f"{name} has {width} x {height} pixels: there is nothing to see")
    if width * height > MAX_PIXELS:
        raise SeewhyError(f"{name} has {width} x {height} pixels, more than {MAX_PIXELS // 10**6} million; make it smaller")
    if max(size) > MAX_ASPECT * min(size):
        raise SeewhyError(f"{name} is a strip of {width} x {height} pixels, of which a crop would show nothing")


def as_seen(picture: Image.Image, view: View) -> Image.Image:
    """What the network sees of ``picture``, at the network's size: as its makers prepare it (see ``View``)."""
    height, width = view.size
    if view.crop_mode == "first":
        picture = picture.crop(seen_part(picture.size, view))
    resized = _resized(picture, resized_size(picture.size, view), view)
    left, top = cut_off(resized.size, view)
    if not view.fill or (resized.width >= width and resized.height >= height):
        return resized.crop((left, top, left + width, top + height))  # black where the picture does not reach
    color = tuple(round(255 * c) for c in view.fill) if resized.mode == "RGB" else 255 * sum(view.fill) / len(view.fill)
    seen = Image.new(resized.mode, (width, height), color)
    seen.paste(resized, (-left, -top))
    return seen


def _resized(picture: Image.Image, size: tuple[int, int], view: View) -> Image.Image:
    """The picture at (width, height) ``size``, as Pillow resizes it, or torch, with which Transformers resizes."""
    kind = Image.Resampling[view.interpolation.upper()]
    if view.recipe not in ("transformers", "paddle"):
        return picture.resize(size, kind)
    if view.interpolation != "nearest":  # the order matters where values are cut at black and white
        return picture.resize((size[0], picture.height), kind).resize(size, kind)
    across, down = (
        ((np.arange(n, dtype=np.float32) + np.float32(0.5)) * np.float32(old / n)).astype(np.int64).clip(max=old - 1)
        for n, old in zip(size, picture.size, strict=True)
    )
    return Image.fromarray(np.asarray(picture)[down[:, None], across])


def seen_part(size: tuple[int, int], view: View) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the part of a picture of (width, height) ``size`` that ``as_seen`` resizes.

    The whole picture, unless the crop comes first.
    """
    if view.crop_mode != "first":
        return 0, 0, *size
    side = int(view.crop * min(size) + EPSILON)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    return left, top, left + side, top + side


def resized_size(size: tuple[int, int], view: View) -> tuple[int, int]:
    """(width, height) to which ``as_seen`` resizes a picture of (width, height) ``size`` before it crops."""
    height, width = view.size
    if view.crop_mode == "first":
        return width, height
    high, wide = box_of(view)
    if view.crop_mode != "squash":
        fits = view.crop_mode in ("border", "corner")
        ratio = (max if fits else min)(size[1] / high, size[0] / wide)
        # timm and torchvision cut off the fraction of a side; timm rounds where the input is no square, or has borders
        cut = view.recipe.startswith("transformers") or (view.recipe == "timm" and high == wide and not fits)
        high, wide = (int(s / ratio + EPSILON) if cut else round(s / ratio) for s in (size[1], size[0]))
    return max(wide, 1), max(high, 1)


def box_of(view: View) -> tuple[int, int]:
    """(height, width) of the box to which a picture is resized, which the resized picture covers, or into which it fits."""
    height, width = view.size
    return view.resize or (int(height / view.crop + EPSILON), int(width / view.crop + EPSILON))


def cut_off(resized: tuple[int, int], view: View) -> tuple[int, int]:
    """Pixels that ``as_seen`` cuts off at the left and at the top of the resized picture; below 0, pixels are added."""
    spare = (resized[0] - view.size[1], resized[1] - view.size[0])
    if view.crop_mode == "corner":
        return max(spare[0], 0) // 2, max(spare[1], 0) // 2
    left, top = (-(-s // 2) if s < 0 else round(s / 2) if view.recipe == "timm" else s // 2 for s in spare)
    return left, top


def network_input(picture: Image.Image, view: View, gray: bool) -> Tensor:
    """(c, h, w) what the network sees of a picture, in three channels or one gray one."""
    seen = as_seen(picture, view)
    if seen.mode == "F":  # more than 8 bits, which were kept until now
        bands = [seen] if gray or not view.fill else [as_seen(picture, view._replace(fill=(c,))) for c in view.fill]
        levels = torch.from_numpy(np.stack([np.array(band) for band in bands])).div(255).clamp(0, 1)
        return levels.expand(1 if gray else 3, -1, -1).contiguous()
    return to_tensor(seen.convert("L").convert("RGB"))[:1] if gray else to_tensor(seen)


def to_tensor(picture: Image.Image) -> Tensor:
    """(3, h, w) float32 in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float() / 255


def to_picture(image: Tensor) -> Image.Image:
    """(3, h, w) or (1, h, w) in [0, 1] as a picture, the inverse of ``to_tensor``."""
    pixels = (image.detach().float().clamp(0, 1) * 255).round().byte().cpu()
    return Image.fromarray(pixels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in ``folder``, in alphabetical order, hidden ones left out: by their suffix, and DICOM."""
    return sorted(p for p in folder.iterdir() if p.name[0] != "." and is_picture(p))


def is_of_system(file: Path) -> bool:
    """Is it a file that a system puts beside pictures, such as ``._dog.jpg`` of macOS, which is no picture of its own?"""
    return file.name.startswith("._") or file.name.lower() in OF_SYSTEMS


def is_picture(file: Path) -> bool:
    """Has the file a suffix of pictures? DICOM has none, or a number; its first bytes say what it is."""
    if not file.is_file() or is_of_system(file):
        return False
    suffix = file.suffix.lower()
    return suffix in SUFFIXES or ((not suffix or suffix[1:].isdecimal()) and is_dicom(file))


def is_dicom(file: Path) -> bool:
    """Do the first bytes of the file say DICOM?"""
    with suppress(OSError, ValueError):  # of the system, and of a name that no file can have
        if file.is_file():  # no pipe, which would wait for its writer
            with file.open("rb") as content:
                return content.read(132)[128:] == b"DICM"
    return False


def list_pictures(folder: str | Path) -> list[Path]:
    """The pictures in ``folder``, see ``pictures_in``; SeewhyError if there are none."""
    found = pictures_in(Path(folder))
    if not found:
        inside = [str(p) for p in sorted(Path(folder).iterdir()) if p.is_dir() and p.name[0] != "." and pictures_in(p)]
        hint = f"; its folders do: give {' '.join(inside[:3])}{' ...' if len(inside) > 3 else ''}" if inside else ""
        raise SeewhyError(f"folder {folder} holds no picture ({', '.join(SUFFIXES)}){hint}")
    return found
