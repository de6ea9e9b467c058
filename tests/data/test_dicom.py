"""DICOM: shown as a viewer shows it, or refused in one line."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from support.command import run
from support.tiny_models import TINY

import seewhy
from seewhy.data import Folder
from seewhy.data.pictures import View, list_pictures, read_picture
from seewhy.errors import SeewhyError

RAMP = np.linspace(0, 4095, 40 * 60).round().astype(np.uint16).reshape(40, 60)
SAMPLES = Path(pydicom.__file__).parent / "data"
"""Files of many makers, which come with pydicom."""


def written(file: Path, pixels: np.ndarray = RAMP, **tags: object) -> Path:
    """A file of these stored values. ``tags`` by their DICOM keywords; None leaves one out."""
    of = Dataset()
    of.file_meta = FileMetaDataset()
    of.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    of.file_meta.MediaStorageSOPClassUID, of.file_meta.MediaStorageSOPInstanceUID = CTImageStorage, "1.2.3"
    bits = pixels.dtype.itemsize * 8
    known = {
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
    }
    known |= {"SOPClassUID": CTImageStorage, "SamplesPerPixel": 1 if pixels.ndim == 2 else 3}
    known |= {"PhotometricInterpretation": "MONOCHROME2" if pixels.ndim == 2 else "RGB"}
    known |= {"PixelRepresentation": int(pixels.dtype.kind == "i"), "PixelData": pixels.tobytes()}
    if pixels.ndim == 3:
        known["PlanarConfiguration"] = 0
    for key, value in (known | tags).items():
        if value is not None:
            setattr(of, key, value)
    of["PixelData"].VR = "OW"
    of.save_as(file, enforce_file_format=True)
    return file


def shown(file: Path) -> np.ndarray:
    """(h, w) shares of white, of a gray picture."""
    picture = read_picture(file)
    assert picture.mode == "F"
    return np.asarray(picture) / 255


def lut(first: int, entries: np.ndarray, bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.LUTData = entries.astype(np.uint16).tolist()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "US"
    return item


WINDOW = {"WindowCenter": 1000, "WindowWidth": 400}
VALUES = RAMP.astype(np.float64)
# what the file says -> what a viewer shows, by the formulas of PS3.3 C.11.2
SHOWN: dict[str, tuple[dict[str, object], Callable[[], np.ndarray]]] = {
    "a window": (WINDOW, lambda: (VALUES - 999.5) / 399 + 0.5),
    "the first of two windows": (
        {"WindowCenter": [1000, 50], "WindowWidth": [400, 10]},
        lambda: (VALUES - 999.5) / 399 + 0.5,
    ),
    "an exact window": ({**WINDOW, "VOILUTFunction": "LINEAR_EXACT"}, lambda: (VALUES - 1000) / 400 + 0.5),
    "a sigmoid": ({**WINDOW, "VOILUTFunction": "SIGMOID"}, lambda: 1 / (1 + np.exp(-4 * (VALUES - 1000) / 400))),
    "a rescaled window": (
        {"WindowCenter": 40, "WindowWidth": 400, "RescaleSlope": 2, "RescaleIntercept": -1024},
        lambda: (2 * VALUES - 1024 - 39.5) / 399 + 0.5,
    ),
    "an inverted window": (
        {**WINDOW, "PhotometricInterpretation": "MONOCHROME1"},
        lambda: 1 - ((VALUES - 999.5) / 399 + 0.5).clip(0, 1),
    ),
    "no window": ({"BitsStored": 12, "HighBit": 11}, lambda: VALUES / 4095),
    "no window, inverted": ({"PhotometricInterpretation": "MONOCHROME1"}, lambda: 1 - VALUES / 4095),
    "a window of no width": ({"WindowCenter": 1000, "WindowWidth": 0}, lambda: VALUES / 4095),
    "a VOI LUT": (
        {"VOILUTSequence": [lut(0, np.arange(4096) // 16, 8)]},
        lambda: (RAMP // 16) / 255,
    ),
    "a VOI LUT that begins late": (
        {"VOILUTSequence": [lut(1000, np.arange(1024), 10)]},
        lambda: (VALUES - 1000).clip(0, 1023) / 1023,
    ),
    "a modality LUT": (
        {"ModalityLUTSequence": [lut(0, 4095 - np.arange(4096), 16)], **WINDOW},
        lambda: (4095 - VALUES - 999.5) / 399 + 0.5,
    ),
}


@pytest.mark.parametrize("kind", SHOWN)
def test_gray_is_shown_as_a_viewer_shows_it(kind: str, tmp_path: Path) -> None:
    tags, wanted = SHOWN[kind]
    for name, option in (("a", None), ("b", 100.0)):
        file = written(tmp_path / f"{name}.dcm", **tags)
        assert np.abs(np.asarray(read_picture(file, option)) / 255 - wanted().clip(0, 1)).max() < 1e-5


def test_signed_values_and_padding(tmp_path: Path) -> None:
    """A CT pads its round picture with a value far below all others; the window counts from what is seen."""
    values = RAMP.astype(np.int16) - 1000
    assert np.abs(shown(written(tmp_path / "a.dcm", values)) - RAMP / 4095).max() < 1e-5
    values[:5] = -20000
    assert shown(written(tmp_path / "b.dcm", values))[5:].min() > 0.8, "the padding makes all else white"
    padded = shown(written(tmp_path / "c.dcm", values, PixelPaddingValue=-20000))
    assert padded[:5].max() == 0
    low = int(values[5:].min())
    assert np.abs(padded[5:] - (values[5:] - low) / (int(values.max()) - low)).max() < 1e-5


def test_eight_bits_are_shown_as_they_are(tmp_path: Path) -> None:
    """A dim picture of 8 bits is meant so: nothing is stretched, and nothing is said."""
    pixels = (RAMP // 64).astype(np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.abs(shown(written(tmp_path / "a.dcm", pixels)) - pixels / 255).max() < 1e-6
        seewhy.explain(tmp_path / "a.dcm", TINY["cnn"](), "center")


def test_enhanced_files_have_their_window_in_groups(tmp_path: Path) -> None:
    shared, rescale, window = Dataset(), Dataset(), Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept = 2, -1024
    window.WindowCenter, window.WindowWidth = 40, 400
    shared.PixelValueTransformationSequence, shared.FrameVOILUTSequence = [rescale], [window]
    file = written(tmp_path / "a.dcm", SharedFunctionalGroupsSequence=[shared], NumberOfFrames=1)
    assert np.abs(shown(file) - ((2 * VALUES - 1024 - 39.5) / 399 + 0.5).clip(0, 1)).max() < 1e-5


def test_color(tmp_path: Path) -> None:
    color = np.stack([RAMP // 16, RAMP[::-1] // 16, RAMP[:, ::-1] // 16], 2).astype(np.uint8)
    assert np.asarray(read_picture(written(tmp_path / "a.dcm", color))).tolist() == color.tolist()
    deep = color.astype(np.uint16) * 257
    assert np.asarray(read_picture(written(tmp_path / "b.dcm", deep))).tolist() == color.tolist()
    blue = np.full((8, 8, 3), (29, 255, 107), np.uint8)  # of pure blue, in YBR_FULL
    seen = np.asarray(read_picture(written(tmp_path / "c.dcm", blue, PhotometricInterpretation="YBR_FULL")))
    assert np.abs(seen.astype(int) - (0, 0, 255)).max() <= 2
    palette = {"PhotometricInterpretation": "PALETTE COLOR"}
    for i, name in enumerate(("Red", "Green", "Blue")):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        palette[f"{name}PaletteColorLookupTableData"] = (np.arange(256, dtype=np.uint16) * 257 // (i + 1)).tobytes()
    indices = (RAMP // 16).astype(np.uint8)
    seen = np.asarray(read_picture(written(tmp_path / "d.dcm", indices, **palette))).astype(int)
    assert np.abs(seen - np.stack([indices, indices // 2, indices // 3], 2)).max() <= 1


@pytest.mark.parametrize("kind", ["", "_bigendian", "_RLE", "_jp2klossless", "_padded", "_implicit"])
def test_windows_are_those_of_pydicom(kind: str) -> None:
    """Whose function returns a part of the range of the stored values, here those of 16 bits with a sign."""
    path = SAMPLES / "test_files" / f"MR_small{kind}.dcm"
    file = pydicom.dcmread(path)
    wanted = apply_voi_lut(apply_modality_lut(file.pixel_array, file), file)
    assert (file.PixelRepresentation, file.BitsStored) == (1, 16)
    assert np.abs(shown(path) - (wanted + 2**15) / (2**16 - 1)).max() < 1e-5


def line_about(file: Path) -> str:
    """What is said about a file, without its name; nothing if it is read."""
    try:
        assert read_picture(file).mode in ("F", "RGB")
    except SeewhyError as error:
        return str(error).replace(str(file), "")
    return ""


def test_every_sample_is_a_picture_or_one_line() -> None:
    """193 files of many makers: whole and broken, compressed and not, reports, plans and waves."""
    files = [
        f for f in sorted(SAMPLES.rglob("*")) if f.is_file() and f.suffix in (".dcm", "") and f.stat().st_size < 300_000
    ]
    read, lines = 0, set()
    for file in files:
        line = line_about(file)
        read += not line
        lines.add(line)
    assert read > 60
    assert not any("\n" in line for line in lines)
    assert any("it is compressed as JPEG-LS" in line and "pip install pylibjpeg" in line for line in lines)
    assert any("is DICOM without a picture (RT Plan Storage): leave it out" in line for line in lines)
    assert any("has 15 frames; save the one to explain as a file" in line for line in lines)
    assert any("is deflated as a whole" in line for line in lines)


def test_what_is_broken_is_one_line(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.dcm", **WINDOW).read_bytes()
    file = tmp_path / "b.dcm"
    random = np.random.default_rng(0)
    for i in range(60):
        damaged = bytearray(whole[: random.integers(132, len(whole))] if i % 2 else whole)
        for place in random.integers(132, min(len(damaged), 700) + 1, 8 if i % 2 == 0 else 0):
            damaged[min(place, len(damaged) - 1)] = random.integers(256)
        file.write_bytes(damaged)
        assert "\n" not in line_about(file)
    written(file, Rows=20_000, Columns=20_000)
    with pytest.raises(SeewhyError, match="has 20000 x 20000 pixels, more than 100 million"):
        read_picture(file)
    written(file, NumberOfFrames=3)
    with pytest.raises(SeewhyError, match="has 3 frames"):
        read_picture(file)


def test_without_pydicom_a_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path / "a.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(SeewhyError, match=r'a.dcm is DICOM, which needs pydicom: pip install "seewhy\[dicom\]"'):
        read_picture(file)


def test_dicom_in_a_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By its suffix, or by its first bytes where it has none, or a number as its suffix; in every command."""
    names = ("a.dcm", "IM000001", "1.2.840.113619", "B.DCM")
    for name in names:
        written(tmp_path / "x" / name if (tmp_path / "x").mkdir(exist_ok=True) is None else tmp_path, **WINDOW)
    (tmp_path / "x" / "README").write_text("no picture")
    (tmp_path / "x" / "DICOMDIR").write_bytes((tmp_path / "x" / "a.dcm").read_bytes())
    (tmp_path / "x" / "notes.1").write_text("no picture")
    assert sorted(p.name for p in list_pictures(tmp_path / "x")) == sorted(names)
    assert sorted(Folder(tmp_path, View((16, 16))).ids) == sorted(f"x/{name}" for name in names)
    done = run(capfd, "explain", tmp_path / "x", "--model", "shapes", "--explainer", "center", "--out", tmp_path / "out")
    assert (done.status, done.err) == (0, "")
    written(tmp_path / "x" / "a.dcm")
    done = run(capfd, "explain", tmp_path / "x", "--model", "shapes", "--explainer", "center", "--out", tmp_path / "out")
    said = "is DICOM without a window: its smallest value, 0, is shown black, and its largest, 4095, white"
    assert (done.status, done.err) == (0, f"seewhy: picture {tmp_path / 'x' / 'a.dcm'} {said}\n")
