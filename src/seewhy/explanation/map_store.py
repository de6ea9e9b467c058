"""Maps on disk, found again by what they answer: the network, the options of the explainer, the image and the class."""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seewhy.describe import digest_of, tensor_bytes
from seewhy.errors import SeewhyError, cause
from seewhy.explainers import EXPLAINERS
from seewhy.files import write_atomically


class MapStore:
    """Maps in a folder: ``EXPLAINER-DIGEST/NAME.npz`` has the maps of some images, and a key for each.

    The digest in the name of a subfolder is that of the network and the explainer's options. A map is found again only if
    these, the image and the class are the same. The name under which an explainer of this library is given does not matter.

    Args:
        folder: where; it is made with the first map.
        network: gives the identity of the network as JSON.
        explainers: what ``about_explainers`` says of each explainer, by the name under which it is given.
    """

    def __init__(self, folder: Path, network: Callable[[], object], explainers: Mapping[str, Mapping[str, object]]) -> None:
        self.folder, self._network, self._explainers = folder, network, explainers

    def find(self, explainer: str, name: str, keys: Sequence[str], size: Sequence[int]) -> Tensor | None:
        """(len(keys), *size) the maps with these keys in the file ``name``; None where one is missing.

        SeewhyError if the file is damaged.
        """
        file = self._file(explainer, name)
        if not file.is_file():
            return None
        found = read_maps(file, key="U")
        if found["maps"].shape[1:] != tuple(size):
            raise SeewhyError(f"{file} has maps of another size: delete it, its maps are then made again")
        place = {key: i for i, key in enumerate(found["key"].tolist())}
        rows = [place.get(key, -1) for key in keys]
        return None if -1 in rows else torch.from_numpy(found["maps"][rows])

    def keep(self, explainer: str, name: str, keys: Sequence[str], maps: Tensor, **about: Sequence[object]) -> None:
        """Write maps (r, h, w) with their keys; ``about`` has more arrays (r,), for readers of the file."""
        file = self._file(explainer, name)
        wide = maps.detach().cpu()
        values = (wide.float() if wide.dtype == torch.bfloat16 else wide).numpy()  # NumPy knows no bfloat16
        more = {column: np.array(of) for column, of in about.items()}
        save_maps(file, maps=values, key=np.array(keys), **more)

    def _file(self, explainer: str, name: str) -> Path:
        about = self._explainers[explainer]
        known = about["method"] in EXPLAINERS  # the options of a user's own class may say less than its name
        asked = [self._network(), about["method"], about["options"], None if known else explainer]
        digest = digest_of(json.dumps(asked, default=str, sort_keys=True).encode())
        return self.folder / f"{about['method']}-{digest}" / f"{name}.npz"


def map_keys(images: Tensor, classes: Sequence[object]) -> list[str]:
    """A key for each image (n, c, h, w) and what is explained in it: a class, or several."""
    about = f"{list(images.shape[1:])} {images.dtype} {images.device.type}"
    return [
        sha256(json.dumps([about, which]).encode() + tensor_bytes(image)).hexdigest()[:32]
        for image, which in zip(images, classes, strict=True)
    ]


def save_maps(file: Path, **arrays: NDArray[Any]) -> None:
    """Write the array ``maps`` (r, h, w), and arrays that belong to it, in one step."""
    write_atomically(file, lambda content: np.savez_compressed(content, **arrays))  # type: ignore[arg-type]


def read_maps(file: Path, **kinds: str) -> dict[str, NDArray[Any]]:
    """The array ``maps`` (r, ..., h, w) of one file, and those arrays (r,) that ``kinds`` names.

    SeewhyError if the file is damaged. ``kinds`` says what each array holds, as the letters of NumPy: "iu" for whole
    numbers, "U" for text.
    """
    try:
        with np.load(file, allow_pickle=False) as opened:
            found = {name: opened[name] for name in ("maps", *kinds)}
        maps = found["maps"]
        if maps.ndim < 3 or maps.dtype.kind != "f" or 0 in maps.shape[1:] or not np.isfinite(maps).all():
            raise ValueError(f"its maps are {maps.dtype} {maps.shape}, or not finite")
        for name, kind in kinds.items():
            if found[name].shape != maps.shape[:1] or found[name].dtype.kind not in kind:
                raise ValueError(f"{name} is {found[name].dtype} {found[name].shape} for {len(maps)} maps")
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error, MemoryError, NotImplementedError) as error:
        raise SeewhyError(f"{file} cannot be read ({cause(error)}): delete it, its maps are then made again") from None
    return found


def read_maps_by_row(file: Path) -> dict[tuple[int, int], NDArray[Any]]:
    """The maps (h, w) of a file that has ``index`` and ``explained``, by these; SeewhyError if it is damaged."""
    found = read_maps(file, index="iu", explained="iu")
    if found["maps"].ndim != 3 or min(found["index"].min(initial=0), found["explained"].min(initial=0)) < 0:
        raise SeewhyError(f"{file} is damaged (no maps by image and class): delete it, its maps are then made again")
    rows = zip(found["index"].tolist(), found["explained"].tolist(), strict=True)
    return dict(zip(rows, found["maps"], strict=True))
