"""A picture of the user as the network's input."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from seewhy.classifier.checks import must_be_images
from seewhy.classifier.classifier import Classifier
from seewhy.data.depth import check_white, on_scale, say_note
from seewhy.data.pictures import check_size, network_input, read_picture
from seewhy.errors import SeewhyError, cause

Picture = str | Path | Image.Image | Tensor | NDArray[np.uint8] | NDArray[np.uint16]


def prepare(picture: Picture, classifier: Classifier, white: float | None = None) -> tuple[Tensor, str]:
    """(c, h, w) as the network sees it, on its device; and a name for the picture. ``white``: see ``read_picture``."""
    check_white(white)
    if isinstance(picture, Tensor):
        if picture.ndim != 3 or not picture.is_floating_point():
            raise SeewhyError(
                f"a picture as a tensor is (c, h, w) of floats in [0, 1], got {picture.dtype} {tuple(picture.shape)}"
            )
        must_be_images(picture[None], len(classifier.mean))
        return classifier.to_device(picture[None].detach())[0], "tensor"
    if isinstance(picture, str | Path):
        name, opened = Path(picture).name, read_picture(picture, white)
    elif isinstance(picture, Image.Image):
        name, opened = "picture", _upright(picture)
    elif isinstance(picture, np.ndarray):
        known = {np.dtype(np.uint8): ((), (3,), (4,)), np.dtype(np.uint16): ((),)}
        if picture.ndim < 2 or picture.shape[2:] not in known.get(picture.dtype, ()):
            got = f"got {picture.dtype} {picture.shape}"
            raise SeewhyError(
                f"a picture as an array is (h, w), (h, w, 3) or (h, w, 4) of bytes, or (h, w) of uint16; {got}"
            )
        name, opened = "array", Image.fromarray(picture)
    else:
        raise SeewhyError(f"a picture is a file, a Pillow image, an array or a tensor, not {type(picture).__name__}")
    check_size(f"the {name}", opened.size)
    shown = opened if isinstance(picture, str | Path) else on_scale(opened, f"the {name}", white)
    say_note(shown, f"picture {picture}" if isinstance(picture, str | Path) else f"the {name}")
    image = network_input(shown, classifier.view, gray=len(classifier.mean) == 1)
    return classifier.to_device(image[None])[0], name


def _upright(picture: Image.Image) -> Image.Image:
    """An opened picture, turned by its EXIF tag as a file is. SeewhyError where its file turns out to be broken."""
    try:
        upright = ImageOps.exif_transpose(picture)
        upright.load()
    except (OSError, ValueError, SyntaxError, EOFError) as error:  # what Pillow raises for broken files
        raise SeewhyError(f"the picture is broken ({cause(error)}): copy or download its file again") from None
    return upright
