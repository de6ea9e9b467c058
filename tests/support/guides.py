"""What the pages of the documentation suppose: files in the reader's folder, and weights of the hub.

The text of a page runs as it stands. What is put in its place is listed here, each with its reason:

- Weights of the hub of timm: the same architecture with random weights, for pictures of 64 pixels.
  It prefers the class "goldfinch", so that some pictures are classified right and some wrong.
- Folders of Hugging Face: small networks of the same kind under the same names.
- Commands that take minutes: fewer images, steps or samples (``cheaper``).
"""

import re
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from support.picture_folders import voc, write_split
from support.two_towers import clip_folder, save_quietly, spread
from torch import nn

import seewhy
from seewhy.data.pictures import to_picture
from seewhy.data.shapes.shapes import Shapes

GOLDFINCH = 11
"""The class that random weights prefer, so that some pictures are classified right and some wrong."""


class Block(NamedTuple):
    """A block of code of a page."""

    language: str
    title: str
    needs: str
    code: str


def blocks(page: Path) -> list[Block]:
    """The blocks of a page in their order; ``needs`` is why a block cannot run in a test, and mostly empty."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^( *)```([^\n]*)\n(.*?)^\1```$", text, flags=re.MULTILINE | re.DOTALL)
    made = []
    for indent, info, body in found:
        language = re.match(r"\{?\.?(\w*)", info)
        title, needs = (re.search(rf'{key}="([^"]*)"', info) for key in ("title", "needs"))
        code = re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)
        made.append(Block(language[1] if language else "", title[1] if title else "", needs[1] if needs else "", code))
    return made


def lines(code: str) -> list[str]:
    """The commands of a block; a backslash at the end of a line joins the next one."""
    return [line for line in code.replace("\\\n", " ").splitlines() if line.strip()]


# -- cheaper commands -----------------------------------------------------------------------------------------------------

FEW_IMAGES = 2
SAMPLES = {"relax": "samples=8", "rise": "samples=8", "kernel_shap": "samples=64"}
"""Options of methods that take thousands of passes of a network."""


def fewer_steps(explainer: str) -> str:
    """Opti-CAM takes 100 steps, and the ablations of its page some other number: a fifth of them, or 4."""
    name, _, options = explainer.partition(":")
    if name not in ("opti_cam", "opti_cam_fast"):
        return explainer
    if "steps=" in options:
        return re.sub(r"steps=(\d+)", lambda found: f"steps={max(1, int(found[1]) // 5)}", explainer)
    return f"{explainer},steps=4" if options else f"{explainer}:steps=4"


def cheaper(words: list[str]) -> list[str]:
    """The command with fewer images, steps and samples; nothing else of it is changed."""
    command, words = words[0], list(words)
    if command == "evaluate":
        for i, word in enumerate(words):
            if word == "--limit":
                of, equals, number = words[i + 1].rpartition("=")
                words[i + 1] = f"{of}{equals}{min(int(number), FEW_IMAGES)}"
            if word == "--explainer":
                words[i + 1] = fewer_steps(words[i + 1])
        if "--limit" not in words:  # without a limit: all images
            words += ["--limit", "60" if "wrong" in words and "shapes" in words else str(FEW_IMAGES)]  # few are wrong
        if "--devices" in words:  # each process imports torch anew; tests/evaluation starts several
            words[words.index("--devices") + 1] = "1"
    if command == "fit":  # a training takes hours
        words += ["--max-steps", "1", "--batch-size", "2"]
        if "--limit" in words:
            words[words.index("--limit") + 1] = "20"
        if "salvage" in words:  # Shapley values of the held-out images, beside the loss
            words += ["--option", "monitor=1"]
    if command == "explain":
        of = [words[i + 1] for i, word in enumerate(words) if word == "--explainer"]
        words += [word for name in of if name in SAMPLES for word in ("--option", SAMPLES[name])]
    return words


# -- weights --------------------------------------------------------------------------------------------------------------


def random_weights(name: str, **options: Any) -> nn.Module:
    """The architecture with random weights that prefer one class; smaller pictures where it had its own weights."""
    pretrained = options.pop("pretrained", False)
    if pretrained and "vit" in name:
        options.setdefault("img_size", 56 if "patch14" in name else 64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = CREATE(name, pretrained=False, **options)
    head = module.get_classifier()
    if pretrained:
        side = options.get("img_size", 64)
        module.pretrained_cfg = {**module.pretrained_cfg, "input_size": (3, side, side)}
        if getattr(head, "bias", None) is not None:
            head.bias.data[GOLDFINCH] += 3
    return module


CREATE = timm.create_model


# -- the reader's folder ----------------------------------------------------------------------------------------------------


def drawn(i: int, side: int = 160) -> Image.Image:
    return to_picture(Shapes(n=i + 1, size=side).sample(i).image)


def pictures(folder: Path, *names: str) -> None:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        drawn(i).save(folder / name)


def x_ray(file: Path) -> None:
    """12 bits in a file of 16."""
    file.parent.mkdir(parents=True, exist_ok=True)
    gray = np.asarray(drawn(3).convert("L"), np.uint16) * 16 + 15
    Image.fromarray(gray).save(file)


def study(folder: Path) -> None:
    """A DICOM file that comes with pydicom."""
    import pydicom

    folder.mkdir()
    shutil.copy(Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm", folder)


def weights(file: Path, name: str, **options: Any) -> None:
    save_file(random_weights(name, **options).state_dict(), file)


def dinov2(folder: Path) -> None:
    import transformers

    config = transformers.Dinov2Config(
        image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2
    )
    save_quietly(spread(transformers.Dinov2Model(config)), folder)
    size = {"height": 32, "width": 32}
    save_quietly(transformers.BitImageProcessor(size={"shortest_edge": 32}, crop_size=size), folder)


def vit_folder(folder: Path) -> None:
    import transformers

    config = transformers.ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=3,
    )
    save_quietly(spread(transformers.ViTForImageClassification(config)), folder)
    save_quietly(transformers.ViTImageProcessor(size={"height": 32, "width": 32}), folder)


MODEL = """
import torch
from torch import nn

from seewhy import Classifier


def build(num_classes=2):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )
    names = ("cat", "dog", *map(str, range(2, num_classes)))
    return Classifier(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(64, 64), classes=names, multilabel=True)


make = build
"""


def run_of(folder: Path, explainers: tuple[str, ...] = ("grad_cam", "saliency", "random")) -> None:
    """A finished run of the built-in network."""
    dataset = seewhy.DATASETS["shapes"](n=12)
    seewhy.evaluate(seewhy.load("shapes"), list(explainers), ["srg", "average_gain"], dataset, out=folder)


def masks(folder: Path) -> None:
    classifier = seewhy.load("shapes")
    explainer = seewhy.explainer("nemt", classifier).untrained()
    seewhy.save_explainer(explainer, folder, card={})


def package(folder: Path) -> None:
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "models.py").write_text(MODEL)


def own_weights(at: Path) -> None:
    namespace: dict[str, Any] = {}
    exec(MODEL, namespace)
    save_file(namespace["build"](10).module.state_dict(), at / "my_weights.safetensors")


CLASSES = ("goldfinch", "tabby")
PHOTOS = [f"{CLASSES[i % 2]}/{letter}.jpg" for i, letter in enumerate("abcdef")]
THINGS: dict[str, Callable[[Path], Any]] = {
    "photo.jpg": lambda at: pictures(at, "photo.jpg"),
    "other.jpg": lambda at: drawn(1).save(at / "other.jpg"),
    "one.jpg": lambda at: drawn(2).save(at / "one.jpg"),
    "two.jpg": lambda at: drawn(3).save(at / "two.jpg"),
    "photos": lambda at: pictures(at / "photos", *PHOTOS),
    "pictures": lambda at: pictures(at / "pictures", "cat/a.jpg", "dog/b.jpg"),
    "xray.png": lambda at: x_ray(at / "xray.png"),
    "xrays": lambda at: [x_ray(at / "xrays" / f"{i}.png") for i in range(2)],
    "study": lambda at: study(at / "study"),
    "VOC2012": lambda at: (
        voc(at / "VOC2012", one=(("cat", (3, 4, 20, 25)),), two=(("dog", (8, 2, 30, 20)),)),
        write_split(at / "VOC2012", "val", "one\ntwo\n"),
    ),
    "my_model:": lambda at: (at / "my_model.py").write_text(MODEL),
    "my_package": lambda at: package(at / "my_package"),
    "my_weights.safetensors": own_weights,
    "names.txt": lambda at: (at / "names.txt").write_text("ape\nbat\ncat\n"),
    "texts.txt": lambda at: (at / "texts.txt").write_text("dog\ncat\n"),
    "resnet18.safetensors": lambda at: weights(at / "resnet18.safetensors", "resnet18", num_classes=3),
    "mobilenet.safetensors": lambda at: weights(
        at / "mobilenet.safetensors", "mobilenetv2_100", pad_type="same", num_classes=10
    ),
    "vit.safetensors": lambda at: weights(at / "vit.safetensors", "vit_tiny_patch16_224"),
    "vit_tiny.safetensors": lambda at: weights(at / "vit_tiny.safetensors", "vit_tiny_patch16_224"),
    "hf/openai/clip-vit-base-patch32": lambda at: clip_folder(at / "openai" / "clip-vit-base-patch32"),
    "hf/facebook/dinov2-base": lambda at: dinov2(at / "facebook" / "dinov2-base"),
    "hf/my_folder": lambda at: (clip_folder if at.name == "text" else vit_folder)(at / "my_folder"),
    "seewhy report runs/mine": lambda at: run_of(at / "runs" / "mine"),
    "runs/resnet": lambda at: run_of(at / "runs" / "resnet"),
    "runs/vit ": lambda at: run_of(at / "runs" / "vit"),
    "--explainer runs/masks": lambda at: masks(at / "runs" / "masks"),
}
"""What a page may speak of as there, by the words of the page that mean it."""
MAKES_ITSELF = {"seewhy report runs/mine": "--out runs/mine"}
"""Words of a page that say that a command before makes the thing."""


def furnish(folder: Path, text: str) -> None:
    """Put into the folder what the text of a page supposes."""
    for words, make in THINGS.items():
        if words in text and MAKES_ITSELF.get(words, "\0") not in text:
            make(folder)


def forget_modules(folder: Path) -> None:
    """Modules that were imported from a folder must not be met again by the next page."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, types.ModuleType) and str(folder) in str(getattr(module, "__file__", "") or ""):
            del sys.modules[name]


def without_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of timm's weights give random ones."""
    monkeypatch.setattr(timm, "create_model", random_weights)
