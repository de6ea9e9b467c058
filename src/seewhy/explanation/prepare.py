"""A picture of the user as the network's input."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from seewhy.classifier.checks import must_be_images
from seewhy.classifier.classifier import Classifier
from seewhy.data.pictures import as_rgb, check_size, network_input, read_picture
from seewhy.errors import SeewhyError

Picture = str | Path | Image.Image | Tensor | NDArray[np.uint8]


def prepare(picture: Picture, classifier: Classifier) -> tuple[Tensor, str]:
    """(c, h, w) as the network sees it, on its device; and a name for the picture."""
    if isinstance(picture, Tensor):
        if picture.ndim != 3 or not picture.is_floating_point():
            raise SeewhyError(
                f"a picture as a tensor is (c, h, w) of floats in [0, 1], got {picture.dtype} {tuple(picture.shape)}"
            )
        must_be_images(picture[None], len(classifier.mean))
        return classifier.to_device(picture[None].detach())[0], "tensor"
    if isinstance(picture, str | Path):
        name, opened = Path(picture).name, read_picture(picture)
    elif isinstance(picture, Image.Image):
        name, opened = "picture", ImageOps.exif_transpose(picture)  # upright, as a file is
    elif isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.shape[2:] not in ((), (3,), (4,)) or picture.ndim < 2:
            raise SeewhyError(
                f"a picture as an array is (h, w), (h, w, 3) or (h, w, 4) of bytes, got {picture.dtype} {picture.shape}"
            )
        name, opened = "array", Image.fromarray(picture)
    else:
        raise SeewhyError(f"a picture is a file, a Pillow image, an array or a tensor, not {type(picture).__name__}")
    check_size(f"the {name}", opened.size)
    image = network_input(as_rgb(opened, f"the {name}"), classifier.view, gray=len(classifier.mean) == 1)
    return classifier.to_device(image[None])[0], name
