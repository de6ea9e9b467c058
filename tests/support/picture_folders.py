"""Small folders of pictures, in the layouts of the datasets."""

from pathlib import Path

import numpy as np
from PIL import Image

from seewhy.data.pictures import View

VIEWS = [
    View((32, 32), 0.875),
    View((32, 32), 1.0),
    View((32, 32), 0.7, "squash"),
    View((32, 32), 1.0, "squash", "bicubic"),
    View((24, 40), 0.9),
    View((40, 24), 0.8, "center", "lanczos"),
    View((32, 32), 1.0, "squash", "bicubic", resize=(36, 44), recipe="transformers"),
    View((33, 31), 1.0, "center", resize=(40, 40), recipe="paddle"),
    View((40, 40), 1.0, "center", resize=(30, 30), recipe="transformers"),
    View((32, 32), 0.9, "border"),
    View((32, 32), 1.0, "corner", recipe="transformers"),
    View((32, 32), 0.8, "first"),
]
SIZE = (40, 30)
Thing = tuple[str, tuple[float, ...]] | tuple[str, tuple[float, ...], str]


def paint(path: Path, size: tuple[int, int] = (40, 30), box: tuple[int, int, int, int] | None = None) -> Path:
    """A black picture of (width, height) with a white rectangle; without ``box``, of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    if box is not None:
        pixels[:] = 0
        pixels[box[1] : box[3], box[0] : box[2]] = 255
    Image.fromarray(pixels).save(path)
    return path


def listed(folder: Path, *lines: str, name: str = "labels.csv", encoding: str = "utf-8") -> Path:
    """A folder with a csv file of these lines."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n", encoding=encoding)
    return folder


def xml(*things: Thing, filename: str = "", size: tuple[int, int] | None = SIZE) -> str:
    """An annotation; each thing is a name, its xmin, ymin, xmax, ymax, and perhaps its flag."""
    said = f"<filename>{filename}</filename>" if filename else ""
    if size is not None:
        said += f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    for name, box, *flag in things:
        sides = "".join(f"<{s}>{x}</{s}>" for s, x in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        flags = "".join(f"<difficult>{f}</difficult>" for f in flag)
        said += f"<object><name>{name}</name><pose>Left</pose>{flags}<bndbox>{sides}</bndbox></object>"
    return f"<annotation><folder>VOC2007</folder>{said}</annotation>"


def annotate(root: Path, stem: str, text: str | bytes) -> Path:
    file = root / "Annotations" / f"{stem}.xml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def voc(root: Path, **things: tuple[Thing, ...]) -> Path:
    """A picture of noise and an annotation for each name."""
    for stem, found in things.items():
        paint(root / "JPEGImages" / f"{stem}.png", SIZE)
        annotate(root, stem, xml(*found, filename=f"{stem}.png"))
    return root


def write_split(root: Path, name: str, text: str) -> None:
    (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "Main" / f"{name}.txt").write_text(text, encoding="utf-8")
