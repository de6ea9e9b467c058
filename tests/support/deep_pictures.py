"""Pictures of more than 8 bits, as files that Pillow itself cannot write."""

import struct
import zlib
from pathlib import Path

import numpy as np


def write_png(file: Path, pixels: np.ndarray, transparent: int | None = None, turned: int = 1) -> Path:
    """A PNG of 16 bits: (h, w) gray, or (h, w, 2), (h, w, 3), (h, w, 4) with alpha or color. ``turned``: its EXIF tag."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    height, width, bands = pixels.shape
    color = {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0))]
    if transparent is not None:
        chunks.append((b"tRNS", struct.pack(">H", transparent)))
    if turned != 1:
        chunks.append((b"eXIf", b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0112, 3, 1, turned) + b"\0\0\0\0"))
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    made = (struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks)
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(made))
    return file


def write_tiff(
    file: Path,
    pixels: np.ndarray,
    *,
    white_is_zero: bool = False,
    packed_bits: int = 0,
    order: str = "<",
    deflate: bool = False,
    turned: int = 1,
) -> Path:
    """A TIFF of the numbers of ``pixels``, (h, w) or (h, w, 3) or (h, w, 4); ``packed_bits``: 12 bits a value, packed."""
    height, width = pixels.shape[:2]
    bands = 1 if pixels.ndim == 2 else pixels.shape[2]
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    bits = packed_bits or pixels.dtype.itemsize * 8
    if packed_bits:
        rows = ("".join(f"{value:0{packed_bits}b}" for value in row) for row in pixels)
        data = b"".join(int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8), "big") for row in rows)
    else:
        data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if deflate else data
    photometric = 2 if bands > 1 else 0 if white_is_zero else 1
    tags = {256: width, 257: height, 258: [bits] * bands, 259: 8 if deflate else 1, 262: photometric, 273: 8, 274: turned}
    tags |= {277: bands, 278: height, 279: len(data), 339: [kind] * bands}
    if bands == 4:
        tags[338] = 2
    offset = 8 + len(data) + len(data) % 2
    extra_at = offset + 2 + 12 * len(tags) + 4
    entries, extra = b"", b""
    for tag, value in sorted(tags.items()):
        if isinstance(value, list) and len(value) > 2:
            entries += struct.pack(order + "HHII", tag, 3, len(value), extra_at + len(extra))
            extra += struct.pack(f"{order}{len(value)}H", *value)
        elif isinstance(value, list):
            entries += struct.pack(order + "HHIHH", tag, 3, 1, value[0], 0)
        else:
            entries += struct.pack(order + "HHII", tag, 4, 1, value)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", offset)
    body = data + b"\0" * (len(data) % 2)
    file.write_bytes(head + body + struct.pack(order + "H", len(tags)) + entries + b"\0\0\0\0" + extra)
    return file
