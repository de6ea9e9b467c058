"""The depth of a picture: what is black and what is white where it has more than 8 bits."""

import re
import sys
import warnings
from math import inf, isfinite
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from seewhy.errors import SeewhyError, SeewhyWarning
from seewhy.options import Above, Doc

MAX_16_BITS = 65535
COLOR = re.compile("(?:RGBA?|RGBX|LA);16[BLN]")
"""How Pillow names the decoding of color of 16 bits."""
NOTE = "seewhy: note"
"""The key in ``info`` of a picture of what the user should know of it."""
White = Annotated[float, Above(0), Doc("The value that is white in pictures of more than 8 bits, such as 4095.")]
"""An option of datasets of files."""


def check_white(white: float | None) -> None:
    """SeewhyError unless ``white`` is a number above 0, or None."""
    if white is not None and not 0 < white < inf:
        raise SeewhyError(f"white is {white}; give the value that is white in the pictures, such as 4095")


def white_of(picture: Image.Image) -> float | None:
    """The value that is white, where the file says it: Pillow brings PGM to 65535, and TIFF may have 12 bits."""
    if picture.format == "PPM" and picture.mode == "I":
        return float(MAX_16_BITS)
    bits: tuple[int, ...] = picture.tag_v2.get(258, ()) if isinstance(picture, TiffImageFile) else ()
    return 2.0 ** bits[0] - 1 if len(bits) == 1 and 8 < bits[0] < 16 else None


def is_inverted(picture: Image.Image) -> bool:
    """Is 0 white? Pillow inverts such a TIFF of 8 bits, and no other."""
    return isinstance(picture, TiffImageFile) and picture.tag_v2.get(262) == 0 and picture.mode[0] in "IF"


def is_deep_color(picture: ImageFile.ImageFile) -> bool:
    """Has the file, which is opened and not loaded, color of 16 bits, of which Pillow would keep the upper 8?"""
    return bool(picture.tile) and all(COLOR.fullmatch(_raw_mode(tile)) for tile in picture.tile)


def low_bytes(picture: ImageFile.ImageFile) -> NDArray[np.uint8]:
    """(h, w, bands) the lower bytes of a picture that ``is_deep_color``.

    Pillow is told that the bytes of a number are in the other order; what it keeps then is the lower one. Of gray with
    transparency it is told that the four bytes of a pixel are four bands.
    """
    other = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    raw = _raw_mode(picture.tile[0])
    name = "RGBA" if raw.startswith("LA") else raw[:-1] + other[raw[-1]]
    picture.tile = [
        tile._replace(args=name if isinstance(tile.args, str) else (name, *(tile.args or ())[1:])) for tile in picture.tile
    ]
    low = np.asarray(picture)
    return low[..., [1, 1, 1, 3]] if raw.startswith("LA") else low


def _raw_mode(tile: ImageFile._Tile) -> str:
    """How Pillow decodes a tile, such as "RGB;16B"."""
    return str(tile.args if isinstance(tile.args, str) else (tile.args or ("",))[0])


def round_color(picture: Image.Image, low: NDArray[np.uint8], white: float | None) -> None:
    """Round a color picture of 16 bits, of which Pillow has kept the upper bytes, to 8 bits; ``low`` are the lower bytes."""
    deep = np.asarray(picture).astype(np.uint16) << 8 | low
    whites = np.array([white or MAX_16_BITS] * 3 + [MAX_16_BITS] * (deep.shape[-1] - 3), np.float32)  # alpha is never dim
    rounded = (deep * (255 / whites)).round().clip(0, 255).astype(np.uint8)
    picture.paste(Image.fromarray(rounded, picture.mode))
    if white is None:
        _note_if_dim(picture, float(deep[..., :3].max()))


def on_scale(
    picture: Image.Image, name: str = "the picture", white: float | None = None, inverted: bool = False
) -> Image.Image:  # fmt: skip
    """Any mode of Pillow from 0, black, to 255, white: RGB of bytes, or gray numbers (mode "F") where it has over 8 bits.

    Transparent pixels become white. ``name`` begins the errors; ``white`` is the value that is white in a picture of more
    than 8 bits, or the black one if ``inverted``.
    """
    if picture.mode[0] in "IF":
        return _deep_gray(picture, name, white, inverted)
    if picture.has_transparency_data:
        above = picture.convert("RGBA")
        shown = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), above).convert("RGB")
    else:
        shown = picture.convert("RGB")
    shown.info |= {key: value for key, value in picture.info.items() if key == NOTE}
    return shown


def _deep_gray(picture: Image.Image, name: str, white: float | None, inverted: bool) -> Image.Image:
    """A gray picture of 16 or 32 bits, or of floats, from 0 to 255 in mode "F"."""
    deep = np.asarray(picture).astype(np.float32)
    low, peak = float(deep.min()), float(deep.max())
    if not (isfinite(low) and isfinite(peak)):
        raise SeewhyError(f"{name} has numbers that are not finite")
    if low < 0:
        raise SeewhyError(f"{name} has negative numbers, of which none is black: save it with numbers from 0 on")
    if white is None and (picture.mode == "F" or peak > MAX_16_BITS):
        kind = "floating-point" if picture.mode == "F" else "32-bit"
        raise SeewhyError(f"{name} has {kind} numbers and no defined white: give white=, or save it with 8 or 16 bits")
    if inverted:
        deep = (white or MAX_16_BITS) - deep
    scaled = (deep * (255 / (white or MAX_16_BITS))).clip(0, 255)
    if isinstance(hidden := picture.info.get("transparency"), int):  # of a PNG: the value that is transparent
        scaled[np.asarray(picture) == hidden] = 255
    shown = Image.fromarray(scaled.astype(np.float32))
    if white is None:
        _note_if_dim(shown, peak)
    return shown


def _note_if_dim(picture: Image.Image, peak: float) -> None:
    """``note`` that the values of 16 bits stop far below their end, and which white is likely."""
    if 0 < peak < MAX_16_BITS / 4:
        likely = 2 ** int(peak).bit_length() - 1
        how = f"white={likely} (seewhy explain --white {likely}, seewhy evaluate --data-option white={likely})"
        dim = f"has 16 bits, but its values stop at or below {likely}, so it looks almost black"
        note(picture, f"{dim}: if {likely} is its white, give {how}")


def note(picture: Image.Image, said: str) -> None:
    """Keep with a picture what the user should know of how it is shown; ``say_note`` says it."""
    picture.info[NOTE] = said


def say_note(picture: Image.Image, name: str) -> bool:
    """A warning with the ``note`` of a picture, if it has one; whether it has. ``name`` begins the line."""
    said = picture.info.get(NOTE)
    if said:
        warnings.warn(f"{name} {said}", SeewhyWarning, stacklevel=3)
    return bool(said)
