"""Inputs that are damaged: pictures, csv files, VOC's XML, weights, files of class names and options of the command line."""

import json
import pickle
import re
import struct
import zipfile
import zlib
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from support.fuzz.damage import HUGE, TEXTS, damaged_bytes, damaged_text, damaged_tree, encoded
from support.fuzz.trial import Trial

SAVED = {
    "rgb.png": ("RGB", {}),
    "gray.png": ("L", {}),
    "palette.png": ("P", {}),
    "alpha.png": ("RGBA", {}),
    "deep.png": ("I;16", {}),
    "bit.png": ("1", {}),
    "rgb.jpg": ("RGB", {}),
    "cmyk.jpg": ("CMYK", {}),
    "progressive.jpg": ("RGB", {"progressive": True}),
    "rgb.webp": ("RGB", {}),
    "rgb.bmp": ("RGB", {}),
    "rgb.gif": ("P", {}),
    "rgb.ppm": ("RGB", {}),
    "rgb.tiff": ("RGB", {}),
    "lzw.tiff": ("RGB", {"compression": "tiff_lzw"}),
    "jpeg.tiff": ("RGB", {"compression": "jpeg"}),
    "deep.tiff": ("I;16", {}),
    "float.tiff": ("F", {}),
    "lab.tiff": ("LAB", {}),
    "deflate.tiff": ("L", {"compression": "tiff_adobe_deflate"}),
}
CLASSES = ("circle", "square", "triangle", "star", "cross", "heart")


def write_good_files(folder: Path) -> None:
    """Sound files of every kind, of which the makers damage copies."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (20, 26, 3), np.uint8)
    for name, (mode, options) in SAVED.items():
        picture = Image.fromarray(pixels)
        exif = Image.Exif()
        exif[0x0112], exif[0x010E] = 6, "a picture"
        if mode == "I;16":
            picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 256)
        else:
            picture = (
                picture.convert("L").convert("F") if mode == "F" else picture.convert(mode) if mode != "LAB" else picture
            )
        more = {} if name.endswith((".bmp", ".gif", ".ppm")) else {"exif": exif, "icc_profile": b"\x00\x00\x02\x0clcms" * 60}
        picture.save(folder / name, **options, **more)
    for name in ("plain.png", "plain.jpg"):  # as a viewer shows them without a look at EXIF
        Image.fromarray(pixels).save(folder / name)
    weights = {k: v.contiguous() for k, v in shapes_weights().items()}
    save_file(weights, folder / "good.safetensors")
    torch.save(weights, folder / "good.pth")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in weights.items()}}, folder / "trainer.pth")


def shapes_weights() -> dict[str, torch.Tensor]:
    import seewhy

    return seewhy.load("shapes").module.state_dict()


# -- pictures --------------------------------------------------------------------------------------------------------------


def picture(random: Random, good: Path, work: Path) -> Trial:
    name = random.choice((*SAVED, "chunks", "sizes"))
    if name == "chunks":
        content, note = chunks(random), "the chunks of a PNG"
    elif name == "sizes":
        content, note = header(random), "a header that lies of the size"
    else:
        content, note = damaged_bytes(random, (good / name).read_bytes()), name
    suffix = Path(name).suffix or ".png"
    if random.random() < 0.1:
        suffix = random.choice((".png", ".jpg", ".tif", ".gif", ".webp", ".xyz", ""))
    stem = random.choice(("p", "p", "p", "p", "é", "\udce9", "a b", "-p", "p" * 240))
    (work / "pictures").mkdir()
    file = work / "pictures" / f"{stem}{suffix}"
    file.write_bytes(content)
    given = f"pictures/{file.name}"
    if random.random() < 0.15:
        return Trial(["evaluate", "--model", "shapes", "--data", "pictures", "--metric", "complexity", "--out", "run"], note)
    return Trial(["explain", given if random.random() < 0.9 else "pictures", "--model", "shapes", "--out", "out"], note)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def chunks(random: Random) -> bytes:
    """A PNG whose chunks are in any order, missing, doubled or of another form, with sums that are right."""
    kind, depth = random.choice((0, 2, 3, 4, 6, 7)), random.choice((1, 2, 4, 8, 16, 3))
    size = random.choice((1, 5, 16)), random.choice((1, 5, 16))
    known = [
        (b"IHDR", struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, random.choice((0, 0, 1, 2)))),
        (b"PLTE", bytes(random.choice((0, 3, 768, 7)))),
        (b"tRNS", bytes(random.choice((0, 1, 2, 6, 256)))),
        (b"iCCP", b"icc\x00\x00" + zlib.compress(random.randbytes(40))),
        (b"eXIf", random.choice((b"MM\x00*" + random.randbytes(40), b"II*\x00\x08\x00\x00\x00\xff\xff", b""))),
        (b"zTXt", b"k\x00\x00" + zlib.compress(bytes(random.choice((10, 3_000_000))))),
        (b"iTXt", b"k\x00\x01\x00\x00\x00" + random.randbytes(9)),
        (b"acTL", struct.pack(">II", random.choice((0, 1, 2, 2**31)), 0)),
        (b"fcTL", bytes(random.choice((26, 3)))),
        (b"gAMA", bytes(random.choice((0, 4)))),
        (b"IDAT", zlib.compress(bytes(random.choice((0, 10, 3000))))),
    ]
    chosen = [known[0], *random.choices(known, k=random.randrange(7)), known[-1]]
    if random.random() < 0.3:
        random.shuffle(chosen)
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*one) for one in chosen) + _chunk(b"IEND", b"")


def header(random: Random) -> bytes:
    """The start of a picture that says it is huge, flat or nothing."""
    width, height = (random.choice((0, 1, 5, 300, 9_999, 65_535, 2**31 - 1, 2**32 - 1)) for _ in range(2))
    low = min(width, 65_535), min(height, 65_535)
    return random.choice(
        (
            b"\x89PNG\r\n\x1a\n"
            + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + _chunk(b"IDAT", zlib.compress(bytes(99))),
            b"GIF89a"
            + struct.pack("<HH", *low)
            + b"\xf7\x00\x00"
            + bytes(768)
            + b",\x00\x00\x00\x00"
            + struct.pack("<HH", *low)
            + b"\x00\x08\x01\x00",
            b"BM"
            + struct.pack(
                "<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, min(width, 2**31 - 1), -min(height, 2**31 - 1), 1, 24, 0, 0, 0, 0, 0, 0
            )
            + bytes(99),
            f"P6\n{width} {height}\n255\n".encode() + bytes(99),
            f"P5\n# {'9' * 70}\n{width} {height} {'9' * 30}\n".encode(),
            b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", *low) + b"\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00\xff\xd9",
            b"II*\x00\x08\x00\x00\x00\x03\x00"
            + struct.pack("<HHIIHHIIHHII", 256, 4, 1, width, 257, 4, 1, height, 273, 4, 1, 8)
            + bytes(9),
        )
    )


# -- files of labels -------------------------------------------------------------------------------------------------------


def csv_file(random: Random, good: Path, work: Path) -> Trial:
    (work / "data").mkdir()
    for i in range(3):
        (work / "data" / f"{i}.png").write_bytes((good / "plain.png").read_bytes())
    (work / "data" / "mask.png").write_bytes((good / "plain.png").read_bytes())
    column = random.choice(("index", "label", "class", "name", "wnid"))
    rows = [
        ["file", column, "boxes", "mask"],
        *([f"{i}.png", str(i), f"1 2 {9 + i} 12", random.choice(("", "mask.png"))] for i in range(3)),
    ]
    text = "\n".join(random.choice((",",) * 9 + (";",)).join(row) for row in rows) + random.choice(("\n", ""))
    content = encoded(random, damaged_text(random, text, ",\n ") if random.random() < 0.85 else text)
    if random.random() < 0.2:
        content = damaged_bytes(random, content)
    (work / "data" / "labels.csv").write_bytes(content)
    metric = random.choice(("complexity", "relevance_mass", "average_gain"))
    where = random.choice(("data", "data/labels.csv", "folder:data"))
    arguments = ["evaluate", "--model", "shapes", "--data", where, "--metric", metric, "--out", "run"]
    more = random.choice(([], [], ["--target", "label"], ["--data-option", "boxes_column=boxes"]))
    return Trial([*arguments, *more], f"labels.csv {content[:200]!r}")


def xml_file(random: Random, good: Path, work: Path) -> Trial:
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (work / "data" / name).mkdir(parents=True)
    objects = "".join(
        f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>{9 + i}</xmax>"
        f"<ymax>12</ymax></bndbox></object>"
        for i, name in enumerate(random.sample(CLASSES, 2))
    )
    text = f"<annotation><filename>0.jpg</filename><size><width>26</width><height>20</height></size>{objects}</annotation>"
    if random.random() < 0.6:  # the words between the tags, so that the file can be read
        hit = random.choice(re.findall(r">[^<]+<", text))
        text = text.replace(hit, f">{random.choice(TEXTS)}<", random.choice((1, -1)))
    elif random.random() < 0.5:
        text = damaged_text(random, text, "<>")
    if random.random() < 0.15:
        text = random.choice(
            (
                "<a>" * HUGE + "</a>" * HUGE,
                f"<annotation>{'<b>' * HUGE}{'</b>' * HUGE}{objects}</annotation>",
                f"<!DOCTYPE a [<!ENTITY b 'c'>]>{text}",
                f"<?xml version='1.0' encoding='no-such'?>{text}",
                f"<?xml version='1.0' encoding='utf-16'?>{text}",
                text.replace(">2<", f">{'9' * HUGE}<"),
                text.replace(">26<", ">1e300<"),
                text.replace(">26<", f">{'9' * 300}<"),
                text.replace("<annotation>", "<annotation xmlns='http://a'>"),
                "<annotation/>",
            )
        )
    content = encoded(random, text)
    if random.random() < 0.3:
        content = damaged_bytes(random, content)
    (work / "data" / "Annotations" / "0.xml").write_bytes(content)
    (work / "data" / "JPEGImages" / "0.jpg").write_bytes((good / "plain.jpg").read_bytes())
    (work / "data" / "ImageSets" / "Main" / "test.txt").write_bytes(
        encoded(random, random.choice(("0\n", "0\n", "", "1", "\x00", "0 1", "é")))
    )
    arguments = [
        "evaluate",
        "--model",
        "shapes/cnn_multilabel",
        "--data",
        random.choice(("data", "voc:data")),
        "--out",
        "run",
    ]
    more = random.choice(
        ([], [], ["--data-option", "split=test"], ["--target", "label"], ["--data-option", "difficult=false"])
    )
    return Trial(
        [*arguments, "--metric", random.choice(("complexity", "relevance_mass")), *more], f"0.xml {content[:200]!r}"
    )


def class_file(random: Random, good: Path, work: Path) -> Trial:
    names = [random.choice((name, name, name, random.choice(TEXTS))) for name in CLASSES]
    suffix = random.choice((".txt", ".txt", ".csv", "", ".json"))
    if suffix == ".csv":
        heading = random.choice(("index,name", "name,index", "index,name", "name", "index;name", "", "name,name"))
        rows = [f"{i},{name}" if heading.startswith("index") else f"{name},{i}" for i, name in enumerate(names)]
        text = damaged_text(random, "\n".join([heading, *rows]), ",\n")
    else:
        text = random.choice(("\n", "\n", "\n", "\r\n", "\u2028")).join(names)
    content = encoded(random, text)
    if random.random() < 0.2:
        content = damaged_bytes(random, content)
    (work / f"names{suffix}").write_bytes(content)
    (work / "p.png").write_bytes((good / "rgb.png").read_bytes())
    arguments = ["explain", "p.png", "--model", "shapes", "--classes", f"names{suffix}", "--out", "out"]
    target = random.choice((None, None, "top:2", random.choice(names), random.choice(TEXTS)))
    return Trial([*arguments, *([] if target is None else [f"--target={target}"])], f"names{suffix} {content[:200]!r}")


# -- weights ---------------------------------------------------------------------------------------------------------------


def weights(random: Random, good: Path, work: Path) -> Trial:
    what = random.choice(("bytes", "bytes", "header", "header", "values", "values", "tree", "pickle", "zip"))
    suffix = (
        random.choice((".safetensors", ".pth"))
        if what in ("bytes", "values")
        else ".safetensors"
        if what == "header"
        else ".pth"
    )
    file, note = work / f"w{suffix}", what
    source = good / ("good.safetensors" if suffix == ".safetensors" else random.choice(("good.pth", "trainer.pth")))
    if what == "bytes":
        file.write_bytes(damaged_bytes(random, source.read_bytes()))
    elif what == "header":
        note = _damage_header(random, source, file)
    elif what == "zip":
        _damage_zip(random, source, file)
    elif what == "pickle":
        file.write_bytes(
            damaged_bytes(random, pickle.dumps(random.choice(([1], {"a": 1}, "a", {"state_dict": {}})), random.randrange(6)))
        )
    else:
        state = dict(shapes_weights())
        key = random.choice(list(state))
        state, note = _another_state(random, state, key) if what == "tree" else _another_value(random, state, key)
        if suffix == ".pth":
            torch.save(state, file)
        else:
            save_file({k: v.contiguous() for k, v in state.items()}, file)
    (work / "p.png").write_bytes((good / "rgb.png").read_bytes())
    return Trial(["explain", "p.png", "--model", "shapes", "--weights", file.name, "--out", "out"], note)


def _damage_header(random: Random, source: Path, file: Path) -> str:
    """A safetensors file whose header is other JSON, or whose length lies."""
    content = source.read_bytes()
    (n,) = struct.unpack("<Q", content[:8])
    text, note = damaged_tree(random, json.loads(content[8 : 8 + n]))
    changed = text.encode("utf-8", "surrogatepass")
    length = random.choice((len(changed),) * 5 + (0, 1, len(changed) + 9, 2**40, 2**63, 2**64 - 1))
    file.write_bytes(struct.pack("<Q", length) + changed + content[8 + n :])
    return f"{note}; length {length} for {len(changed)}"


def _damage_zip(random: Random, source: Path, file: Path) -> None:
    """A file of torch.save whose zip is sound, with a member that is damaged, missing or renamed."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(file, "w") as after:
        hit = random.choice(before.namelist())
        for name in before.namelist():
            content = before.read(name)
            if name == hit:
                what = random.choice(("damaged", "damaged", "gone", "renamed"))
                if what == "gone":
                    continue
                content = content if what == "renamed" else damaged_bytes(random, content)
            after.writestr(f"{name}x" if name == hit and what == "renamed" else name, content)


def _another_value(random: Random, state: dict[str, torch.Tensor], key: str) -> tuple[dict[str, torch.Tensor], str]:
    value = state[key].float() if state[key].is_floating_point() else state[key].float() + 0.5
    made = {
        "bool": lambda: value > 0,
        "int8": lambda: value.to(torch.int8),
        "int64": lambda: value.to(torch.int64),
        "half": value.half,
        "double": value.double,
        "bfloat": value.bfloat16,
        "nan": lambda: torch.full_like(value, float("nan")),
        "inf": lambda: torch.full_like(value, float("inf")),
        "empty": lambda: value.reshape(-1)[:0],
        "flat": lambda: value.reshape(-1),
        "more": lambda: torch.cat([value.reshape(-1)] * 2),
        "huge": lambda: torch.full_like(value, 1e38),
        "scalar": lambda: torch.tensor(1.0),
        "complex": lambda: value.to(torch.complex64),
    }
    what = random.choice(list(made))
    return {**state, key: made[what]()}, f"{key} is {what}"


def _another_state(random: Random, state: dict[str, torch.Tensor], key: str) -> tuple[object, str]:
    value = state[key]
    made = {
        "a list": lambda: [state],
        "nothing": lambda: {},
        "a tensor": lambda: value,
        "a number": lambda: 3,
        "two keys": lambda: {"state_dict": state, "model": state},
        "deep": lambda: {"model": {"state_dict": {"model": state}}},
        "numbers as keys": lambda: dict(enumerate(state.values())),
        "none": lambda: {**state, key: None},
        "a list in it": lambda: {**state, key: value.tolist()},
        "prefix": lambda: {f"net.{k}": v for k, v in state.items()},
        "half a prefix": lambda: {k if k == key else f"module.{k}": v for k, v in state.items()},
        "meta": lambda: {**state, key: value.to("meta")},
        "sparse": lambda: {**state, key: value.to_sparse()},
        "one more": lambda: {**state, "x" * HUGE: value},
        "without one": lambda: {k: v for k, v in state.items() if k != key},
        "quantized": lambda: {**state, key: torch.quantize_per_tensor(value.float(), 0.1, 0, torch.qint8)},
        "a strange name": lambda: {**state, random.choice(TEXTS): value},
        "nested": nested,
    }
    what = random.choice(list(made))
    return made[what](), what


def nested() -> dict[str, object]:
    tree: dict[str, object] = {}
    for _ in range(300):
        tree = {"state_dict": tree}
    return tree


# -- options ---------------------------------------------------------------------------------------------------------------


FLAGS = {
    "explain": (
        "--model",
        "--weights",
        "--classes",
        "--model-option",
        "--explainer",
        "--option",
        "--target",
        "--out",
        "--device",
    ),
    "evaluate": (
        "--model",
        "--data",
        "--metric",
        "--weights",
        "--classes",
        "--model-option",
        "--explainer",
        "--option",
        "--metric-option",
        "--data-option",
        "--target",
        "--scored",
        "--only",
        "--map-class",
        "--limit",
        "--seed",
        "--batch-size",
        "--out",
        "--pictures",
        "--shard",
    ),
    "report": ("--out",),
    "list": ("--json",),
}
"""The flags of each command, but those that take the machine's processors: they have tests of their own."""
SMALL = {"samples": 2, "steps": 2, "iterations": 2, "n_draws": 2, "runs": 2}
"""Options that cost time: a number that is taken is a small one."""


def options(random: Random, good: Path, work: Path) -> Trial:
    (work / "p.png").write_bytes((good / "rgb.png").read_bytes())
    command = random.choice(("explain", "explain", "evaluate", "evaluate", "report", "list"))
    arguments = {
        "explain": ["explain", "p.png", "--model", "shapes", "--out", "out"],
        "evaluate": [
            "evaluate",
            "--model",
            "shapes",
            "--data",
            "shapes",
            "--limit",
            "1",
            "--metric",
            "complexity",
            "--out",
            "run",
        ],
        "report": ["report", "run"],
        "list": ["list"],
    }[command]
    for _ in range(random.choice((1, 1, 2))):
        what = random.random()
        if what < 0.45 and command in ("explain", "evaluate"):
            arguments += _method_option(random, command)
        elif what < 0.9:
            flag = random.choice(FLAGS[command])
            value = _value(random, flag)
            arguments += [f"{flag}={value}"] if random.random() < 0.8 else [flag, value]
        elif what < 0.95:
            arguments.insert(random.randrange(1, len(arguments) + 1), random.choice(TEXTS))
        elif len(arguments) > 1:
            del arguments[random.randrange(1, len(arguments))]
    return Trial(arguments, "options", anywhere=True)


def _method_option(random: Random, command: str) -> list[str]:
    """A method with an option of its own that has a value of any kind."""
    from seewhy import EXPLAINERS, METRICS
    from seewhy.options import described

    flag, registry = (
        random.choice((("--explainer", EXPLAINERS), ("--metric", METRICS)))
        if command == "evaluate"
        else ("--explainer", EXPLAINERS)
    )
    name = random.choice(CHEAP_EXPLAINERS if registry is EXPLAINERS else CHEAP_METRICS)
    known = described(registry[name])
    if not known:
        return [flag, name]
    option = random.choice(known)
    kinds = (
        option.default,
        *option.choices,
        -1,
        0,
        1,
        2,
        0.5,
        "",
        *random.sample(TEXTS, 6),
        "9" * 25,
        "[1,2]",
        "[0.5]",
        '["a"]',
        "1e400",
        "-0.0",
        "NaN",
        "Infinity",
        "true",
        "8",
    )
    value = random.choice(kinds)
    few = [f"{key}={n}" for key, n in SMALL.items() if key != option.name and any(o.name == key for o in known)]
    return [flag, f"{name}:{','.join([f'{option.name}={value}', *few])}"]


CHEAP_EXPLAINERS = (
    "grad_cam",
    "grad_cam_pp",
    "layer_cam",
    "cam",
    "saliency",
    "smooth_grad",
    "integrated_gradients",
    "gradient_shap",
    "eigen_cam",
    "occlusion",
    "rise",
    "random",
    "center",
    "lime",
    "kernel_shap",
    "opti_cam",
    "meaningful_perturbation",
    "input_x_gradient",
)
CHEAP_METRICS = ("complexity", "average_gain", "deletion", "relevance_mass", "class_masks", "max_sensitivity", "road")


def _value(random: Random, flag: str) -> str:
    usual = {
        "--model": (
            "shapes",
            "shapes/vit",
            "hf/",
            "torchvision/",
            "no.module:x",
            "os:getcwd",
            "json:loads",
            ":",
            "a:b:c",
            "hf/../..",
            "timm/",
        ),
        "--model-option": (
            "size=32",
            "size=-1",
            "size=1e9",
            "mean=",
            "mean=nan",
            "std=0",
            "crop=2",
            "feature_layer=0",
            "a=b",
            "=",
            "classes=1",
        ),
        "--data": ("shapes", "folder:.", "voc:.", ".", "p.png", "folder:", "shapes:3", "voc:" + "a" * 300),
        "--data-option": ("seed=1", "n=2", "size=8", "seed=-1", "shortcut=x", "limit=0", "size=0", "seed=" + "9" * 30),
        "--metric": ("deletion:steps=2", "complexity:", "average_gain:alpha=nan", "deletion:steps=" + "9" * 30),
        "--limit": ("1", "0", "complexity=1", "=", "=1", "a=b", "complexity=0", "grad_cam/complexity=0", "9" * 30),
        "--seed": ("0", "-1", "9" * 19, "9" * 30, "1.5"),
        "--batch-size": ("1", "0", "9" * 30),
        "--pictures": ("0", "-1", "9" * 30),
        "--shard": ("1/1", "1/2", "2/1", "0/0", "1", "/", f"1/{'9' * 30}", f"1/{'9' * HUGE}"),
        "--target": ("0", "5", "6", "heart", "top:2", "all", "0,1", "0,heart", ",", "-1", "label", "9" * 30),
        "--scored": ("label", "0", "9" * 30),
        "--only": ("correct", "wrong", "all"),
        "--map-class": ("0", "heart", "9" * 30, "-1"),
        "--device": ("cpu", "cuda", "cpu:9", "meta", "cuda:-1", "x"),
        "--out": ("out/x", "p.png", "p.png/x", "", ".", "a" * 300, "é"),
        "--explainer": ("grad_cam:", "grad_cam:layer=4", "saliency,rise"),
        "--option": ("layer=0", "batch_size=0", "batch_size=" + "9" * 25, "a=b", "=b", "layer=", "steps=1", "samples=1"),
        "--metric-option": ("steps=2", "a=b"),
        "--weights": ("p.png", ".", "gone", "a" * 300),
        "--classes": ("imagenet", "p.png", ".", "gone"),
    }
    return random.choice((*usual.get(flag, ()), random.choice(TEXTS), random.choice(TEXTS)))
