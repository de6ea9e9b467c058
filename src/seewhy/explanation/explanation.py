"""What ``explain`` returns: one explanation, or several with a sheet."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, overload

import numpy as np
from PIL import Image
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.explanation import overlay
from seewhy.explanation.comparison import by_picture, comparison
from seewhy.files import safely, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a classifier gave a class its score: one map, with its class, method and picture.

    map             (h, w) raw, on the part of the picture that the network saw; CPU, float
    target          index of the explained class
    class_name      name of the explained class
    probability     of the explained class, in [0, 1]; None where the network returns values, which have no probability, and
                    where the network is not there
    explainer       name of the method
    image           (c, h, w) in [0, 1], the network's input
    name            name of the picture
    value           the number explained, of a network that returns values of a regression or an embedding; else None
    short_name      the class in captions and names of files: its first name, but the whole of a text
    error           (h, w) the standard error of each pixel's value, of a method that samples and says how sure it is; else
                    None
    class_specific  does the map depend on the class? If not, it is the same for every class, and its sign speaks for none
    """

    map: Tensor = field(repr=False)
    target: int
    class_name: str
    probability: float | None
    explainer: str
    image: Tensor = field(repr=False)
    name: str = "picture"
    value: float | None = None
    short_name: str = ""
    error: Tensor | None = field(default=None, repr=False)
    class_specific: bool = True

    def __post_init__(self) -> None:
        if not self.short_name:
            object.__setattr__(self, "short_name", self.class_name.partition(",")[0])

    @property
    def caption(self) -> str:
        """The class and its probability; or the output and its value; the class alone where the network is not there."""
        if self.probability is None and self.value is None:
            return self.short_name
        said = f"{self.value:.4g}" if self.probability is None else percent(self.probability)
        return f"{self.short_name}  {said}"

    @property
    def signed(self) -> bool:
        """Is the map drawn in two colors, for and against the class? The sign of a map of no class says nothing."""
        return self.class_specific and overlay.colormap_of(self.map) == overlay.DIVERGING

    @property
    def scale(self) -> overlay.Scale:
        """The values of the map that have the extreme colors where it is drawn."""
        return overlay.scale_of(self.map, self.signed)

    def overlay(self, size: int = 448) -> Image.Image:
        """The map over the picture, with class, probability, method and scale below; ``size`` pixels on the short side."""
        same = "" if self.class_specific else " (the same for every class)"
        return overlay.captioned(self.drawn(size), [self.caption, self.explainer + same], self.scale)

    def drawn(self, size: int | None = None) -> Image.Image:
        """The map over the picture, without words; ``size`` pixels on the short side, by default those of the input."""
        return overlay.overlay(self.image, self.map, size, self.signed)

    def figure(self, axes: "Axes | None" = None) -> "Figure":
        """The map over the picture as a figure of matplotlib, with class, probability and method, and the map's scale.

        Args:
            axes: draw there, beside what is yours, and return their figure; by default a new figure.
        """
        from seewhy.explanation.figures import figure_of_one

        return figure_of_one(self, axes)

    def save(self, path: str | Path) -> None:
        """Write the overlay (.png, .jpg, …) or the raw map (.npy) to ``path``; whole or not at all."""
        if Path(path).suffix == ".npy":
            save_array(self.map, Path(path))
        else:
            save_picture(self.overlay, Path(path), ".png for the overlay or .npy for the raw map")

    def _repr_png_(self) -> bytes:
        return png_of(self.overlay())


class WithSheet(ABC, Sequence[T]):
    """Several results, which show themselves as one sheet: ``len``, ``[i]``, ``for``, and a picture in a notebook.

    items  the results, picture by picture
    """

    items: tuple[T, ...]

    @abstractmethod
    def sheet(self, size: int | None = None) -> Image.Image:
        """All of them as one picture."""

    @abstractmethod
    def _write(self, folder: Path) -> None:
        """Write the files of ``seewhy explain`` into the folder."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> "WithSheet[T]": ...
    def __getitem__(self, index: int | slice) -> "T | WithSheet[T]":
        return type(self)(self.items[index]) if isinstance(index, slice) else self.items[index]  # type: ignore[call-arg]

    def __len__(self) -> int:
        return len(self.items)

    def save(self, path: str | Path) -> None:
        """Write the sheet to a file (.png, .jpg, …); or to a folder the files that ``seewhy explain --out`` writes.

        A path without a suffix is a folder, which is made where it does not exist. The files are whole or not at all.
        """
        path = Path(path)
        if path.is_dir() or not path.suffix:
            self._write(path)
        else:
            save_picture(self.sheet, path, ".png for the sheet, or give a folder for all files")

    def _repr_png_(self) -> bytes:
        return png_of(self.sheet())


@dataclass(frozen=True, eq=False)
class Explanations(WithSheet[Explanation]):
    """Explanations of several pictures, classes or methods, in this order: picture, method, class.

    They are a sequence (``len``, ``[i]``, ``for``), and a sheet: a notebook shows it, ``sheet`` draws it and ``save`` writes
    it.

    items  the explanations
    """

    items: tuple[Explanation, ...]

    def of(
        self, *, name: str | None = None, explainer: str | None = None, target: int | str | None = None
    ) -> "Explanations":
        """Those of a picture, of a method, of a class (index, name or first name), or of several of these."""

        def fits(e: Explanation) -> bool:
            of_class = target in (None, e.target, e.class_name, e.short_name)
            return name in (None, e.name) and explainer in (None, e.explainer) and of_class

        return Explanations(tuple(e for e in self.items if fits(e)))

    def sheet(self, size: int | None = None) -> Image.Image:
        """The sheet: a row for each picture and class, a column for each method, and below each map its scale.

        The photograph, each name, and a map that is the same for every class stand there once. In an overlay of a signed
        map, red speaks for the class and blue against it; the ends of its scale are symmetric.

        Args:
            size: width of each map in pixels; by default that of the network's input, and at least 224.
        """
        return comparison(self.items, size)

    def figure(self, axes: "Sequence[Axes] | None" = None) -> "Figure":
        """The maps as a figure of matplotlib: a row for each picture and class, a column for each method.

        Args:
            axes: one for each explanation, in the order of the sequence: draw there, and return their figure.
        """
        from seewhy.explanation.figures import figure_of_several

        return figure_of_several(self.items, axes)

    def _write(self, folder: Path) -> None:
        from seewhy.explanation.files import write  # it imports this module

        write(folder, by_picture(self.items), {})

    def __repr__(self) -> str:
        return f"Explanations({', '.join(f'{e.name}: {e.caption}, {e.explainer}' for e in self.items)})"


def percent(probability: float) -> str:
    """The probability in percent; ">99.9 %" and "<0.1 %" near the ends, so that 99.98 % is not 100 %."""
    text = f"{100 * probability:.1f}"
    return f"{'>99.9' if text == '100.0' and probability < 1 else '<0.1' if text == '0.0' and probability > 0 else text} %"


def save_picture(draw: Callable[[], Image.Image], path: Path, name_it: str) -> None:
    """Write what ``draw`` draws to ``path``; SeewhyError, which says ``name_it``, where its suffix is that of no picture."""
    must_have_folder(path)
    kind = Image.registered_extensions().get(path.suffix.lower(), "")
    if kind not in Image.SAVE:
        raise SeewhyError(f"cannot write {path}: name it {name_it}")
    with safely(path):
        write_atomically(path, partial(draw().save, format=kind))


def save_array(values: Tensor, path: Path) -> None:
    """Write the values to ``path``, as NumPy reads them."""
    must_have_folder(path)
    with safely(path):
        write_atomically(path, lambda content: np.save(content, values.numpy()))


def must_have_folder(path: Path) -> None:
    """SeewhyError where the folder of a file is not there."""
    if not path.parent.is_dir():
        raise SeewhyError(f"cannot write {path}: there is no folder {path.parent}")


def png_of(picture: Image.Image) -> bytes:
    """The picture as a notebook takes it."""
    content = BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()
