"""A picture from a file: read safely, and seen as a classifier sees it."""

import warnings
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from seewhy.errors import SeewhyError

MAX_PIXELS = 100_000_000
MAX_ASPECT = 25
"""The longest side of a picture in shortest sides."""
EPSILON = 1e-6
"""Undoes rounding: 224 / 0.875 is 256, not 255.99."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")


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


def read_picture(path: str | Path) -> Image.Image:
    """The picture in ``path`` as 8-bit RGB, upright.

    Gray, palette, CMYK and 16-bit pictures are converted; transparent pixels are shown on white. SeewhyError for a file that
    is missing, empty, broken or animated, or has more than MAX_PIXELS pixels. Their number is read from the header, before
    anything is decoded.
    """
    path = Path(path)
    if path.is_dir():
        raise SeewhyError(f"{path} is a folder, not a picture")
    if not path.is_file():
        raise SeewhyError(f"picture {path} does not exist")
    if path.stat().st_size == 0:
        raise SeewhyError(f"picture {path} is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # check_size has a clearer message
            with Image.open(path) as opened:
                check_size(f"picture {path}", opened.size)
                frames = getattr(opened, "n_frames", 1)
                if frames > 1 and opened.format != "MPO":  # a camera's MPO holds previews of the same picture
                    raise SeewhyError(f"picture {path} has {frames} frames; save the one to explain as a still picture")
                opened.load()
                return as_rgb(ImageOps.exif_transpose(opened), f"picture {path}")
    except UnidentifiedImageError:
        raise SeewhyError(f"{path} is not a picture that can be read (png, jpeg, webp, tiff, bmp, gif)") from None
    except Image.DecompressionBombError:
        raise SeewhyError(f"picture {path} has more than {MAX_PIXELS // 10**6} million pixels; make it smaller") from None
    except SeewhyError:
        raise
    except PermissionError:
        raise SeewhyError(f"picture {path} may not be read (permission denied)") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:  # what Pillow raises for broken files
        said = str(error).splitlines()[0] if str(error) else "it is cut off"
        raise SeewhyError(f"picture {path} is broken ({said}): copy or download it again") from None


def as_rgb(picture: Image.Image, name: str = "the picture") -> Image.Image:
    """Any mode of Pillow as 8-bit RGB: transparency on white, 16 bits scaled to 8. ``name`` begins the errors."""
    if picture.mode == "F":
        raise SeewhyError(f"{name} has floating-point numbers and no defined white; save it with 8 or 16 bits a channel")
    if picture.mode.startswith("I"):
        deep = np.asarray(picture, dtype=np.float64)
        if deep.min() < 0 or deep.max() > 65535:
            raise SeewhyError(f"{name} has 32-bit numbers and no defined white; save it with 8 or 16 bits a channel")
        return Image.fromarray((deep / 65535 * 255).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


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
    return to_tensor(seen.convert("L").convert("RGB"))[:1] if gray else to_tensor(seen)


def to_tensor(picture: Image.Image) -> Tensor:
    """(3, h, w) float32 in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float() / 255


def to_picture(image: Tensor) -> Image.Image:
    """(3, h, w) or (1, h, w) in [0, 1] as a picture, the inverse of ``to_tensor``."""
    pixels = (image.detach().float().clamp(0, 1) * 255).round().byte().cpu()
    return Image.fromarray(pixels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())


def list_pictures(folder: str | Path) -> list[Path]:
    """The files in ``folder`` with a suffix of pictures, in alphabetical order; SeewhyError if there are none."""
    found = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise SeewhyError(f"folder {folder} holds no picture ({', '.join(SUFFIXES)})")
    return found
