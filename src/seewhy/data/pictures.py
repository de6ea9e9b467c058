"""A picture from a file: read safely, and seen as a classifier sees it."""

import warnings
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

MAX_PIXELS = 100_000_000
MAX_ASPECT = 25
"""The longest side of a picture in shortest sides."""
EPSILON = 1e-6
"""Undoes rounding: 224 / 0.875 is 256, not 255.99."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""The formats that Pillow may open, by a file's content. With others a picture can start a program, as PostScript does."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".dcm")


CropMode = Literal["center", "squash"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


class View(NamedTuple):
    """What a network sees of a picture.

    size           (height, width) in pixels
    crop           part of the shorter side that is kept, in (0, 1]
    crop_mode      "center": resize to size / crop at the shorter side, crop in the middle; "squash": resize both sides
                   to size / crop, crop in the middle
    interpolation  "nearest", "bilinear", "bicubic" or "lanczos"
    """

    size: tuple[int, int]
    crop: float = 1.0
    crop_mode: str = "center"
    interpolation: str = "bilinear"


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
    if path.is_file() and is_dicom(path):
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
    if path.is_dir():
        raise SeewhyError(f"{path} is a folder, not a picture")
    if not path.is_file():
        raise SeewhyError(f"picture {path} does not exist")
    if path.stat().st_size == 0:
        raise SeewhyError(f"picture {path} is empty (0 bytes)")
    try:
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
    except (OSError, ValueError, SyntaxError, EOFError) as error:  # what Pillow raises for broken files
        said = str(error).splitlines()[0] if str(error) else "it is cut off"
        raise SeewhyError(f"picture {path} is broken ({said}): copy or download it again") from None


@contextmanager
def _open(path: Path) -> Iterator[ImageFile.ImageFile]:
    """The picture as Pillow has opened it: a file of one of ``FORMATS``.

    Pillow gets no path. It would map the file into memory, and then it confuses the sides of a turned gray TIFF.
    """
    with path.open("rb") as content:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # check_size has a clearer message
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
    """The part of ``picture`` that the network sees, at the network's size; as timm and torchvision prepare it."""
    height, width = view.size
    resized = picture.resize(resized_size(picture.size, view), Image.Resampling[view.interpolation.upper()])
    left, top = round((resized.width - width) / 2), round((resized.height - height) / 2)
    return resized.crop((left, top, left + width, top + height))


def resized_size(size: tuple[int, int], view: View) -> tuple[int, int]:
    """(width, height) to which ``as_seen`` resizes a picture of (width, height) ``size`` before it crops."""
    height, width = view.size
    high, wide = int(height / view.crop + EPSILON), int(width / view.crop + EPSILON)
    if view.crop_mode == "center":
        ratio = min(size[1] / high, size[0] / wide)
        # timm and torchvision cut off the fraction of a side; timm rounds where the input is no square
        high, wide = (int(s / ratio + EPSILON) if height == width else round(s / ratio) for s in (size[1], size[0]))
    return max(wide, width), max(high, height)


def network_input(picture: Image.Image, view: View, gray: bool) -> Tensor:
    """(c, h, w) what the network sees of a picture, in three channels or one gray one."""
    seen = as_seen(picture, view)
    if seen.mode == "F":  # more than 8 bits, which were kept until now
        levels = torch.from_numpy(np.array(seen)).div(255).clamp(0, 1)
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


def is_picture(file: Path) -> bool:
    """Has the file a suffix of pictures? DICOM has none, or a number; its first bytes say what it is."""
    if not file.is_file() or file.name == "DICOMDIR":  # the index of a disk
        return False
    suffix = file.suffix.lower()
    return suffix in SUFFIXES or ((not suffix or suffix[1:].isdecimal()) and is_dicom(file))


def is_dicom(file: Path) -> bool:
    """Do the first bytes of the file say DICOM?"""
    with suppress(OSError), file.open("rb") as content:
        return content.read(132)[128:] == b"DICM"
    return False


def list_pictures(folder: str | Path) -> list[Path]:
    """The pictures in ``folder``, see ``pictures_in``; SeewhyError if there are none."""
    found = pictures_in(Path(folder))
    if not found:
        raise SeewhyError(f"folder {folder} holds no picture ({', '.join(SUFFIXES)})")
    return found
