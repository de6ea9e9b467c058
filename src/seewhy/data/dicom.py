"""DICOM: a picture as a viewer shows it, with the window that the file names."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seewhy.data.depth import note
from seewhy.data.pictures import check_size
from seewhy.errors import SeewhyError, cause

if TYPE_CHECKING:
    from pydicom import Dataset

DEFLATED = "1.2.840.10008.1.2.1.99"
"""The transfer syntax of a file that is compressed as a whole: of which nobody knows how large it becomes."""


def read_dicom(path: Path) -> Image.Image:
    """The picture in ``path``, from 0 (black) to 255 (white): gray numbers (mode "F"), or RGB of bytes.

    Gray goes through the modality LUT, or the rescale slope and intercept, and then through the VOI LUT or the first window.
    Without a window 8 bits are shown as they are; of more bits the smallest value is black and the largest white, and
    ``note`` says so. MONOCHROME1 is inverted. YBR and palettes become RGB. Overlays, presentation states and color profiles
    are not applied, and pixels are taken as squares.

    Source: DICOM PS3.3, C.7.6.3, C.11.1 and C.11.2.

    Raises:
        SeewhyError: pydicom is missing; the file is broken, has several frames or no picture, or is compressed in a way for
            which pydicom needs other libraries.
    """
    try:
        import pydicom
    except ImportError:
        raise SeewhyError(f'picture {path} is DICOM, which needs pydicom: pip install "seewhy[dicom]"') from None
    name = f"picture {path}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that break the standard, mostly those of no picture
        try:
            must_be_one_picture(pydicom.dcmread(path, stop_before_pixels=True), name)
            file = pydicom.dcmread(path)
            shown = _color(file) if file.SamplesPerPixel > 1 or file.PhotometricInterpretation == "PALETTE COLOR" else None
            return _gray(file) if shown is None else Image.fromarray(shown)
        except SeewhyError:
            raise
        except Exception as error:  # pydicom raises anything for a broken file
            raise SeewhyError(f"{name} cannot be decoded ({cause(error)}){_help(path)}") from None


def must_be_one_picture(header: "Dataset", name: str) -> None:
    """SeewhyError for a file of several frames or of none, and for one that is too large. No pixel has been read yet."""
    if getattr(header.file_meta, "TransferSyntaxUID", "") == DEFLATED:
        raise SeewhyError(f"{name} is deflated as a whole, and nobody knows how large it is: save it uncompressed")
    if "Rows" not in header or "Columns" not in header:
        kind = getattr(header.get("SOPClassUID"), "name", "of an unknown kind")
        raise SeewhyError(f"{name} is DICOM without a picture ({kind}): leave it out")
    check_size(name, (int(header.Columns), int(header.Rows)))
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > 1:
        raise SeewhyError(f"{name} has {frames} frames; save the one to explain as a file")


def _gray(file: "Dataset") -> Image.Image:
    """MONOCHROME1 or MONOCHROME2 in mode "F"."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):  # where an enhanced file has them
        for step in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for found in [item for group in file.get(groups) or [] for item in group.get(step) or []]:
                file.update(found)
    stored = _pixels(file)
    if file.get("ModalityLUTSequence"):
        values = _looked_up(stored, file.ModalityLUTSequence[0])
    else:
        slope, intercept = (_first(file.get(f"Rescale{key}")) for key in ("Slope", "Intercept"))
        values = stored * (1 if slope is None else slope) + (intercept or 0.0)
    share, noted = _windowed(values, file), None
    if share is None and file.BitsAllocated == 8 and values.min() >= 0 and values.max() <= 255:
        share = values / 255
    elif share is None:
        padding = file.get("PixelPaddingValue")
        counted = values[stored != padding] if padding is not None and (stored != padding).any() else values
        low, high = float(counted.min()), float(counted.max())
        share = (values - low) / (high - low or 1)
        noted = f"is DICOM without a window: its smallest value, {low:g}, is shown black, and its largest, {high:g}, white"
    share = 1 - share if file.PhotometricInterpretation == "MONOCHROME1" else share
    shown = Image.fromarray((255 * share.clip(0, 1)).astype(np.float32))
    if noted:
        note(shown, noted)
    return shown


def _windowed(values: NDArray[np.float64], file: "Dataset") -> NDArray[np.float64] | None:
    """The values through the VOI LUT, or the first window, as shares of white; None if the file has neither (C.11.2)."""
    if file.get("VOILUTSequence"):
        lut = file.VOILUTSequence[0]
        return _looked_up(values.round().astype(np.int64), lut) / (2.0 ** int(lut.LUTDescriptor[2]) - 1)
    center, width = (_first(file.get(key)) for key in ("WindowCenter", "WindowWidth"))
    function = str(file.get("VOILUTFunction") or "LINEAR").upper()
    if center is None or width is None or width < (1 if function == "LINEAR" else 1e-9):
        return None
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - center) / width))
    if function == "LINEAR_EXACT":
        return (values - center) / width + 0.5
    return (values - (center - 0.5)) / max(width - 1, 1e-9) + 0.5


def _looked_up(values: NDArray[Any], lut: "Dataset") -> NDArray[np.float64]:
    """The entry of each value, beyond an end that of the end. (pydicom mixes up the places of a table of 8 bits.)"""
    n, first = int(lut.LUTDescriptor[0]) or 2**16, int(lut.LUTDescriptor[1])
    data = lut.LUTData
    if isinstance(data, bytes):
        data = np.frombuffer(data, np.uint8 if len(data) == n else "<u2" if lut.is_little_endian is not False else ">u2")
    return np.asarray(data, np.float64)[(values.astype(np.int64) - first).clip(0, n - 1)]


def _first(value: Any) -> float | None:
    """The first of one number or several."""
    several = value if isinstance(value, list | tuple) or hasattr(value, "__getitem__") else [value]
    return None if value is None or not len(several) or several[0] is None else float(several[0])


def _color(file: "Dataset") -> NDArray[np.uint8]:
    """(h, w, 3) RGB, of which pydicom has made YBR; a palette is looked up."""
    from pydicom.pixels.processing import apply_color_lut

    stored = _pixels(file)
    if file.PhotometricInterpretation == "PALETTE COLOR":
        colors = apply_color_lut(stored, file)
        bits = colors.dtype.itemsize * 8
    else:
        colors, bits = stored, int(file.BitsStored)
    return (colors[..., :3] * (255 / (2**bits - 1))).round().clip(0, 255).astype(np.uint8)


def _pixels(file: "Dataset") -> NDArray[Any]:
    """(h, w) or (h, w, 3) the stored values, those of YBR as RGB."""
    from pydicom.pixels.utils import pixel_array

    found = pixel_array(file)
    return found[0] if found.ndim == 4 or (found.ndim == 3 and file.SamplesPerPixel == 1) else found


def _help(path: Path) -> str:
    """What to do about a file that cannot be decoded."""
    from pydicom.filereader import read_file_meta_info

    try:
        syntax = read_file_meta_info(path).TransferSyntaxUID
        if syntax.is_encapsulated:
            libraries = "pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
            return f": it is compressed as {syntax.name}; pip install {libraries} may help, or save it uncompressed"
    except Exception:  # pydicom raises anything for a broken file, and then there is no more to say
        pass
    return ": copy or download it again"
