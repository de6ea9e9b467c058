"""A user's mistake is one line that says what, where and what to do; status 2, no traceback, and nothing left behind."""

import os
import pickle
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from support.command import as_users_run_it, run, tree
from support.tiny_models import TINY, cnn
from torch import Tensor, nn

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError


class Hostile:
    """What a malicious file does to those who unpickle it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


def header_of_png(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and ends."""
    fields = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = struct.pack(">I", 13) + fields + struct.pack(">I", zlib.crc32(fields))
    return b"\x89PNG\r\n\x1a\n" + start + struct.pack(">I", 1000) + b"IDAT"


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good and bad files."""
    folder = tmp_path_factory.mktemp("files")
    pictures_into(folder)
    weights_into(folder)
    texts_into(folder)
    return folder


def pictures_into(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    good = Image.fromarray(pixels)
    good.save(folder / "good.png")
    good.save(folder / "good.jpg")
    for name in ("good.png", "good.jpg"):
        content = (folder / name).read_bytes()
        (folder / f"cut_{name}").write_bytes(content[: len(content) * 4 // 5])
    (folder / "start.jpg").write_bytes((folder / "good.jpg").read_bytes()[:200])
    Image.fromarray(np.full((16, 16), 70_000, np.int32)).save(folder / "deep.tiff")
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("not a picture\n")
    (folder / "huge.png").write_bytes(header_of_png(60_000, 60_000))
    (folder / "large.png").write_bytes(header_of_png(12_000, 12_000))
    (folder / "none.png").write_bytes(header_of_png(0, 16))
    Image.new("RGB", (5000, 1)).save(folder / "strip.png")
    Image.new("F", (16, 16)).save(folder / "float.tiff")
    other = Image.fromarray(255 - pixels)
    for name in ("moving.gif", "moving.webp", "moving_apng.png", "pages.tiff"):
        good.save(folder / name, save_all=True, append_images=[other])
    (folder / "without").mkdir()
    (folder / "without" / "notes.txt").write_text("no picture here\n")
    (folder / "mixed").mkdir()
    good.save(folder / "mixed" / "a.png")
    (folder / "mixed" / "b.png").write_bytes((folder / "cut_good.png").read_bytes())


def weights_into(folder: Path) -> None:
    weights = {k: v.contiguous() for k, v in TINY["cnn"]().module.state_dict().items()}
    save_file(weights, folder / "good.safetensors")
    content = (folder / "good.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(content[: len(content) // 2])
    (folder / "text.safetensors").write_text("weights\n" * 20)
    (folder / "text.pth").write_text("weights\n" * 20)
    (folder / "empty.pth").touch()
    torch.save(weights, folder / "good.pth")
    content = (folder / "good.pth").read_bytes()
    (folder / "cut.pth").write_bytes(content[: len(content) // 2])
    save_file(nn.Linear(3, 2).state_dict(), folder / "other.safetensors")
    save_file({k: v.contiguous() for k, v in cnn(k=7).state_dict().items()}, folder / "seven.safetensors")
    torch.save(TINY["cnn"]().module, folder / "module.pth")
    torch.save([weights], folder / "list.pth")
    torch.save(torch.zeros(3), folder / "tensor.pth")
    torch.save({"epoch": 3, "loss": 0.5}, folder / "numbers.pth")
    torch.save({}, folder / "nothing.pth")
    torch.save({"state_dict": Hostile(folder / "owned")}, folder / "hostile_zip.pth")
    (folder / "hostile.pth").write_bytes(pickle.dumps(Hostile(folder / "owned")))


def texts_into(folder: Path) -> None:
    (folder / "five.txt").write_text("one\ntwo\nthree\nfour\nfive\n")
    (folder / "three.txt").write_text("one\ntwo\nthree\n")
    (folder / "empty.txt").touch()
    (folder / "blank.txt").write_text("\n \n")
    (folder / "binary.txt").write_bytes(bytes(range(256)))
    (folder / "column.csv").write_text("index,title\n0,one\n")
    (folder / "headless.csv").touch()
    (folder / "index.csv").write_text("index,name\nzero,one\n")
    (folder / "noindex.csv").write_text("name,index\none\ntwo\n")
    (folder / "twice.csv").write_text("index,name\n0,one\n1,two\n1,three\n")
    (folder / "cranes.txt").write_text("ant\ncrane\ncat\nCrane\nelk\n")
    (folder / "syntax_error_here.py").write_text("def factory(:\n")
    (folder / "import_error_here.py").write_text("from seewhy import no_such_name\n")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Path) -> Path:
    """An empty working folder, and the folder of files to import from."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.syspath_prepend(str(files))
    return tmp_path / "work"


# what is wrong -> (arguments of "seewhy explain", in which FILES is the folder above; what the line must say)
GOOD = "FILES/good.png --model factories:small"
WRONG: dict[str, tuple[str, tuple[str, ...]]] = {
    # pictures
    "a picture that does not exist": ("FILES/no.jpg --model factories:small", ("no.jpg", "does not exist")),
    "an empty picture": ("FILES/empty.jpg --model factories:small", ("empty.jpg", "is empty")),
    "a text named jpg": ("FILES/text.jpg --model factories:small", ("text.jpg", "is not a picture")),
    "a JPEG that is cut off": (
        "FILES/cut_good.jpg --model factories:small",
        ("cut_good.jpg", "is broken", "truncated", "download it again"),
    ),
    "a JPEG of which the start is there": ("FILES/start.jpg --model factories:small", ("start.jpg", "is broken")),
    "a PNG that is cut off": ("FILES/cut_good.png --model factories:small", ("cut_good.png", "is broken")),
    "a PNG of 3.6 billion pixels": (
        "FILES/huge.png --model factories:small",
        ("huge.png", "100 million", "smaller"),
    ),
    "a PNG of 144 million pixels": ("FILES/large.png --model factories:small", ("12000 x 12000", "100 million")),
    "a PNG without width": ("FILES/none.png --model factories:small", ("none.png",)),
    "a strip of one pixel's height": ("FILES/strip.png --model factories:small", ("strip.png", "5000 x 1")),
    "a moving GIF": ("FILES/moving.gif --model factories:small", ("moving.gif", "2 frames", "still")),
    "a moving WebP": ("FILES/moving.webp --model factories:small", ("moving.webp", "2 frames")),
    "a moving PNG": ("FILES/moving_apng.png --model factories:small", ("moving_apng.png", "2 frames")),
    "a TIFF of two pages": ("FILES/pages.tiff --model factories:small", ("pages.tiff", "2 frames")),
    "a TIFF of floating-point numbers": (
        "FILES/float.tiff --model factories:small",
        ("float.tiff", "floating-point"),
    ),
    "a TIFF of large numbers": ("FILES/deep.tiff --model factories:small", ("deep.tiff", "32-bit")),
    "a device in the place of a picture": ("/dev/null --model factories:small", ("/dev/null",)),
    "a folder without pictures": ("FILES/without --model factories:small", ("without", "no picture")),
    "a folder with one broken picture": ("FILES/mixed --model factories:small", ("b.png", "is broken")),
    "a good picture before a missing one": (
        "FILES/good.png FILES/no.png --model factories:small",
        ("no.png", "does not exist"),
    ),
    # names
    "an unknown explainer": (f"{GOOD} --explainer grad_cma", ("'grad_cma'", "Did you mean 'grad_cam'?", "Known:")),
    "an unknown model": ("FILES/good.png --model resnet5", ("'resnet5'", "Did you mean 'resnet50'?", "list models")),
    "an unknown torchvision model": (
        "FILES/good.png --model torchvision/vgg_16",
        ("'vgg_16'", "Did you mean 'vgg16'?"),
    ),
    "an unknown torchvision tag": (
        "FILES/good.png --model torchvision/vgg16.V9",
        ("'V9'", "IMAGENET1K_V1"),
    ),
    "an unknown network of shapes": ("FILES/good.png --model shapes/cnm", ("'cnm'", "Did you mean 'cnn'?")),
    "an hf folder that does not exist": ("FILES/good.png --model hf/./no/such/folder", ("no/such/folder",)),
    "an hf folder without a model": ("FILES/good.png --model hf/FILES/without", ("without",)),
    # options of explainers
    "an unknown option": (f"{GOOD} --option stesp=3 --explainer integrated_gradients", ("'stesp'", "Did you mean 'steps'?")),
    "an option without a value": (f"{GOOD} --option layer", ("'layer'", "key=value")),
    "an option without a key": (f"{GOOD} --option =3", ("'=3'", "key=value")),
    "a batch of none": (f"{GOOD} --option batch_size=0", ("grad_cam", "batch_size=0", "at least 1")),
    "a batch of minus one": (f"{GOOD} --option batch_size=-1", ("batch_size=-1", "at least 1")),
    "a batch of one and a half": (f"{GOOD} --option batch_size=1.5", ("batch_size=1.5", "whole number")),
    "a batch in words": (f"{GOOD} --option batch_size=many", ("batch_size='many'", "whole number")),
    "a batch that is true": (f"{GOOD} --option batch_size=true", ("batch_size=True", "whole number")),
    "no steps": (f"{GOOD} --explainer integrated_gradients --option steps=0", ("steps=0", "at least 1")),
    "steps in words": (f"{GOOD} --explainer integrated_gradients --option steps=x", ("steps='x'", "whole number")),
    "no samples": (f"{GOOD} --explainer smooth_grad --option samples=0", ("samples=0", "at least 1")),
    "noise in words": (f"{GOOD} --explainer smooth_grad --option noise_level=loud", ("noise_level='loud'", "number")),
    "noise that is NaN": (f"{GOOD} --explainer smooth_grad --option noise_level=NaN", ("noise_level=nan", "number")),
    "negative noise": (f"{GOOD} --explainer smooth_grad --option noise_level=-1", ("noise_level=-1", "at least 0")),
    "a seed in words": (f"{GOOD} --explainer random --option seed=lucky", ("seed='lucky'", "whole number")),
    "an unknown baseline": (
        f"{GOOD} --explainer integrated_gradients --option baseline=foo",
        ("baseline='foo'", "black", "mean_color", "number"),
    ),
    "an unknown baseline among several": (
        f'{GOOD} --explainer gradient_shap --option baselines=["black","foo"]',
        ("baselines", "foo", "mean_color"),
    ),
    "no baselines": (f"{GOOD} --explainer gradient_shap --option baselines=[]", ("baselines=[]",)),
    "one baseline where a list is needed": (
        f"{GOOD} --explainer gradient_shap --option baselines=black",
        ("baselines='black'", "list"),
    ),
    "an unknown quadrature": (
        f"{GOOD} --explainer integrated_gradients --option quadrature=foo",
        ("quadrature='foo'", "gauss_legendre", "midpoint"),
    ),
    "a trapezoid of one step": (
        f"{GOOD} --explainer integrated_gradients --option quadrature=trapezoid --option steps=1",
        ("integrated_gradients",),
    ),
    "an unknown reading": (
        f"{GOOD} --explainer active_saliency --option reading=foo",
        ("reading='foo'", "equation", "released"),
    ),
    "signs of a method that has no gradient": (
        f"{GOOD} --explainer positive_saliency --option of=grad_cam",
        ("'grad_cam'", "no gradient method", "saliency"),
    ),
    "signs of an unknown method": (
        f"{GOOD} --explainer positive_saliency --option of=salience",
        ("'salience'", "Did you mean 'saliency'?"),
    ),
    "an unknown layer": (f"{GOOD} --option layer=features.1", ("'features.1'", "The last ones: ")),
    "a layer that has no grid": (f"{GOOD} --option layer=10", ("grid",)),
    "a switch in words": (f"{GOOD} --explainer eigen_cam --option center=perhaps", ("center='perhaps'", "true or false")),
    # options of models
    "an option that the factory does not take": (f"{GOOD} --model-option colour=red", ("colour", "factories:small")),
    "an option that the architecture does not take": (
        "FILES/good.png --model mobilenetv2_100 --weights FILES/good.safetensors --model-option colour=red",
        ("mobilenetv2_100", "colour"),
    ),
    "an option that the torchvision network does not take": (
        "FILES/good.png --model torchvision/squeezenet1_0 --weights FILES/good.safetensors --model-option colour=red",
        ("squeezenet1_0", "colour"),
    ),
    "classes of the architecture in words": (
        "FILES/good.png --model mobilenetv2_050 --weights FILES/good.safetensors --model-option num_classes=many",
        ("mobilenetv2_050", "many"),
    ),
    "an option of a network of shapes": ("FILES/good.png --model shapes --model-option depth=3", ("shapes", "depth")),
    "a mean in words": (f"{GOOD} --model-option mean=abc", ("mean", "abc")),
    "a mean of nothing": (f"{GOOD} --model-option mean=[]", ("mean",)),
    "a mean that is NaN": (f"{GOOD} --model-option mean=NaN", ("mean", "number")),
    "a mean of a word among numbers": (f"{GOOD} --model-option mean=0.5,x,0.5", ("mean", "'x'", "number")),
    "a mean of two numbers": (f"{GOOD} --model-option mean=0.5,0.5", ("mean", "2 numbers", "mean=1,1,1")),
    "a std of four numbers": (f"{GOOD} --model-option std=1,1,1,1", ("std", "4 numbers", "std=1,1,1")),
    "a std of 0": (f"{GOOD} --model-option std=0", ("std", "positive")),
    "a negative size": (f"{GOOD} --model-option size=-3", ("size", "-3")),
    "a size of one and a half": (f"{GOOD} --model-option size=1.5", ("size", "1.5")),
    "a size of three numbers": (f"{GOOD} --model-option size=16,16,16", ("size", "3 numbers", "size=1,1")),
    "a size in words": (f"{GOOD} --model-option size=large", ("size", "large")),
    "a size that the network does not take": (
        "FILES/good.png --model factories:attentive --model-option size=20",
        ("TinyViT", "good.png"),
    ),
    "a crop of seven": (f"{GOOD} --model-option crop=7", ("crop", "7")),
    "a crop in words": (f"{GOOD} --model-option crop=tight", ("crop", "tight")),
    "an unknown crop mode": (f"{GOOD} --model-option crop_mode=foo", ("crop_mode", "'foo'", "squash")),
    "an unknown interpolation": (f"{GOOD} --model-option interpolation=foo", ("interpolation", "'foo'", "bicubic")),
    "multilabel in words": (f"{GOOD} --model-option multilabel=perhaps", ("multilabel", "perhaps", "true or false")),
    "prefix tokens in words": (f"{GOOD} --model-option n_prefix_tokens=few", ("n_prefix_tokens", "few", "whole number")),
    "prefix tokens below 0": (f"{GOOD} --model-option n_prefix_tokens=-1", ("n_prefix_tokens", "-1")),
    "prefix tokens that leave no grid": (
        "FILES/good.png --model factories:attentive --model-option n_prefix_tokens=5 --option layer=blocks.1.norm1",
        ("17 tokens", "5 prefix tokens", "no grid"),
    ),
    "an unknown feature layer": (f"{GOOD} --model-option feature_layer=nosuch", ("'nosuch'", "The last ones: ")),
    # weights
    "weights that do not exist": (f"{GOOD} --weights FILES/no.pth", ("no.pth", "does not exist")),
    "a folder as weights": (f"{GOOD} --weights FILES/without", ("without", "is a folder")),
    "a text named pth": (f"{GOOD} --weights FILES/text.pth", ("text.pth", "is no weights file")),
    "a text named safetensors": (f"{GOOD} --weights FILES/text.safetensors", ("text.safetensors", "no safetensors file")),
    "an empty file of weights": (f"{GOOD} --weights FILES/empty.pth", ("empty.pth",)),
    "safetensors that are cut off": (f"{GOOD} --weights FILES/cut.safetensors", ("cut.safetensors", "cut off")),
    "a pickle that is cut off": (f"{GOOD} --weights FILES/cut.pth", ("cut.pth", "cut off")),
    "weights of another network": (
        f"{GOOD} --weights FILES/other.safetensors",
        ("other.safetensors", "14 missing: 0.weight", "2 not in the network: bias, weight"),
    ),
    "weights of seven classes": (f"{GOOD} --weights FILES/seven.safetensors", ("10.weight is (7, 8)", "(5, 8)")),
    "a picture as weights": (f"{GOOD} --weights FILES/good.png", ("good.png", "is no weights file")),
    "a pickled tensor": (f"{GOOD} --weights FILES/tensor.pth", ("tensor.pth", "Tensor", "by name")),
    "a pickled list": (f"{GOOD} --weights FILES/list.pth", ("list.pth", "list")),
    "a pickle without tensors": (f"{GOOD} --weights FILES/numbers.pth", ("numbers.pth", "epoch, loss")),
    "a pickle of nothing": (f"{GOOD} --weights FILES/nothing.pth", ("nothing.pth",)),
    "a pickled module": (f"{GOOD} --weights FILES/module.pth", ("module.pth", "state_dict", "safetensors")),
    "a pickle that runs code": (f"{GOOD} --weights FILES/hostile.pth", ("hostile.pth", "can run code")),
    "an archive that runs code": (f"{GOOD} --weights FILES/hostile_zip.pth", ("hostile_zip.pth", "can run code")),
    "weights for a network that cannot be had": (
        "FILES/good.png --model timm/resnet18.no_such_tag",
        ("no_such_tag",),
    ),
    # names of classes
    "class names that do not exist": (f"{GOOD} --classes FILES/no.txt", ("no.txt", "no such file")),
    "a folder as class names": (f"{GOOD} --classes FILES/without", ("without",)),
    "class names of an empty file": (f"{GOOD} --classes FILES/empty.txt", ("empty.txt", "is empty")),
    "class names of blank lines": (f"{GOOD} --classes FILES/blank.txt", ("blank.txt", "is empty")),
    "class names of a binary file": (f"{GOOD} --classes FILES/binary.txt", ("binary.txt", "not a text file")),
    "a csv without the column": (f"{GOOD} --classes FILES/column.csv", ("column.csv", "'name'")),
    "a csv without a line": (f"{GOOD} --classes FILES/headless.csv", ("headless.csv", "'name'")),
    "a csv with an index in words": (f"{GOOD} --classes FILES/index.csv", ("index.csv", "index", "0 is missing")),
    "a csv without an index in a row": (f"{GOOD} --classes FILES/noindex.csv", ("noindex.csv", "index")),
    "a csv with an index twice": (f"{GOOD} --classes FILES/twice.csv", ("twice.csv", "index", "2 is missing")),
    "three names for five classes": (f"{GOOD} --classes FILES/three.txt", ("5 classes", "3 class names")),
    "the names of ImageNet for five classes": (f"{GOOD} --classes imagenet", ("5 classes", "1000 class names")),
    "a factory's two names for five classes": (
        "FILES/good.png --model factories:misnamed",
        ("5 classes", "2 class names"),
    ),
    # targets
    "an unknown class": (f"{GOOD} --target dgo", ("'dgo'", "Did you mean 'dog'?")),
    "a name where there are none": (
        "FILES/good.png --model factories:bare --target dog --model-option size=16",
        ("index",),
    ),
    "a class above the last": (f"{GOOD} --target 5", ("class 5", "0 to 4")),
    "a class below 0": (f"{GOOD} --target -1", ("class -1", "0 to 4")),
    "one unknown class of several": (f"{GOOD} --target dog,frog", ("'frog'", "does not exist")),
    "a class without a name": (f"{GOOD} --target dog,,cat", ("''", "does not exist")),
    "the top 0": (f"{GOOD} --target top:0", ("'top:0'", "1 to 5")),
    "the top x": (f"{GOOD} --target top:x", ("'top:x'", "1 to 5")),
    "the top 9999": (f"{GOOD} --target top:9999", ("'top:9999'", "1 to 5")),
    "the top of a raised digit": (f"{GOOD} --target top:²", ("'top:²'", "1 to 5")),
    "a name of two classes": (
        f"{GOOD} --classes FILES/cranes.txt --target CRANE",
        ("2 classes", "'CRANE'", "1 'crane', 3 'Crane'"),
    ),
    # factories
    "a module that does not exist": ("FILES/good.png --model no_such:factory", ("no_such:factory", "no module named")),
    "a function that does not exist": (
        "FILES/good.png --model factories:smal",
        ("factories:smal", "Did you mean 'small'?"),
    ),
    "a factory without a name": ("FILES/good.png --model factories:", ("factories:", "function")),
    "a module with a syntax error": (
        "FILES/good.png --model syntax_error_here:factory",
        ("syntax_error_here", "SyntaxError"),
    ),
    "a module with an import error": (
        "FILES/good.png --model import_error_here:factory",
        ("import_error_here", "no_such_name"),
    ),
    "a factory that returns nothing": (
        "FILES/good.png --model factories:returns_nothing",
        ("NoneType", "return a module"),
    ),
    "a factory that raises TypeError": (
        "FILES/good.png --model factories:raises_type_error",
        ("factories:raises_type_error", "unsupported operand"),
    ),
    "a factory that misses its file": (
        "FILES/good.png --model factories:raises_os_error",
        ("factories:raises_os_error", "no weights here"),
    ),
    "a network that returns NaN": ("FILES/good.png --model factories:nan", ("NaN", "good.png", "check its weights")),
    "a network that returns infinity": ("FILES/good.png --model factories:infinite", ("infinite", "good.png")),
    "a network that returns a vector": (
        "FILES/good.png --model factories:vector",
        ("(1,)", "(1, number of classes)"),
    ),
    "a network that returns a volume": (
        "FILES/good.png --model factories:volume",
        ("(1, 5, 1, 1)", "number of classes"),
    ),
    "a network that returns two logits": (
        "FILES/good.png --model factories:ambiguous",
        ("first, second", "'logits'"),
    ),
    "a network that returns words": ("FILES/good.png --model factories:words", ("str", "(n, k)")),
    "a network that fails": (
        "FILES/good.png --model factories:broken",
        ("ZeroDivisionError: division by zero", "good.png"),
    ),
    "a network without a grid": ("FILES/good.png --model factories:flat", ("Sequential",)),
    "CAM of a network without a grid": (
        "FILES/good.png --model factories:flat --explainer cam",
        ("Sequential", "cam"),
    ),
    # where to compute, where to write
    "a GPU that is not there": (f"{GOOD} --device cuda:99", ("cuda:99",)),
    "a device that does not exist": (f"{GOOD} --device toaster", ("'toaster'", "cpu")),
    "a device without memory": (f"{GOOD} --device meta", ("meta",)),
    "a file as the output folder": (f"{GOOD} --out FILES/five.txt", ("five.txt", "is a file")),
    "an output folder below a file": (f"{GOOD} --out FILES/five.txt/deep/out", ("five.txt", "is a file")),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_one_line(
    mistake: str, files: Path, work: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    arguments, says = WRONG[mistake]
    before = tree(work, files)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        result = run(capfd, "explain", *arguments.replace("FILES", str(files)).split())
    assert result.status == 2, result
    assert result.err.startswith("seewhy: "), result.err
    assert result.err.count("\n") == 1, result.err
    assert result.err.endswith("\n")
    assert "Traceback" not in result.err
    assert " object at 0x" not in result.err
    assert len(result.err.replace(str(files), "")) < 800, result.err
    missing = [part for part in says if part not in result.err]
    assert not missing, result.err
    assert not [str(w.message) for w in said if not issubclass(w.category, DeprecationWarning)]
    assert {k: v for k, v in tree(work, files).items() if "__pycache__" not in k} == before
    assert result.out == ""


# -- the other doors of the command line --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("explian x.png", "No such command 'explian'"),
        ("explain --model shapes", "Missing argument"),
        ("evaluate --data shapes --metric srg", "Missing option '--model'"),
        ("explain x.png --model shapes --explaner grad_cam", "No such option: --explaner"),
    ],
)
def test_a_misspelled_command_is_told_how_it_is_used(
    arguments: str, says: str, work: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    result = run(capfd, *arguments.split())
    assert result.status == 2
    assert says in result.err
    assert result.err.startswith("seewhy: ")
    assert result.err.count("\n") == 1
    assert result.err.endswith(" --help says how it is used)\n")
    assert result.out == ""
    assert list(work.iterdir()) == []


def refused(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line in which ``seewhy explain`` refuses."""
    result = run(capfd, "explain", *arguments)
    assert result.status == 2
    assert result.err.startswith("seewhy: ")
    assert result.err.count("\n") == 1
    return result.err


def test_a_picture_that_may_not_be_read(
    files: Path, work: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", forbidden)  # root may read everything, so the file's own mode will not do
    assert "good.png may not be read" in refused(capfd, files / "good.png", "--model", "factories:small")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_that_may_not_be_written(files: Path, work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (work / "closed").mkdir(mode=0o500)
    line = refused(capfd, files / "good.png", "--model", "factories:small", "--out", work / "closed" / "out")
    assert "Permission denied" in line
    assert "closed" in line


def test_an_output_that_is_a_folder_already(files: Path, work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No file is moved into place if one of them cannot be."""
    (work / "out" / "manifest.json").mkdir(parents=True)
    line = refused(capfd, files / "good.png", "--model", "factories:small", "--out", work / "out")
    assert "manifest.json" in line
    assert sorted(p.name for p in (work / "out").iterdir()) == [".unfinished", "manifest.json"]
    assert [p.name for p in work.iterdir()] == ["out"]


def test_a_network_that_fails_at_the_second_picture(files: Path, work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The first one is explained by then: no result is left behind, but its map is kept for the next time."""
    (work / "pictures").mkdir()
    Image.new("RGB", (16, 16), "red").save(work / "pictures" / "a.png")
    Image.new("RGB", (16, 16), "black").save(work / "pictures" / "b.png")
    line = refused(capfd, work / "pictures", "--model", "factories:nan_in_the_dark", "--out", work / "deep" / "out")
    assert "b.png" in line
    assert sorted(p.name for p in (work / "pictures").iterdir()) == ["a.png", "b.png"]
    assert [p.name for p in (work / "deep" / "out").iterdir()] == [".unfinished"]


def test_a_malicious_pickle_is_not_run(files: Path, work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("hostile.pth", "hostile_zip.pth"):
        if name == "hostile.pth":
            pickle.loads((files / name).read_bytes())
        else:
            torch.load(files / name, weights_only=False)
        assert (files / "owned").exists(), "the file is malicious"
        (files / "owned").unlink()
        line = refused(capfd, files / "good.png", "--model", "factories:small", "--weights", files / name)
        assert name in line
        assert not (files / "owned").exists()


@pytest.mark.parametrize("mistake", ["a JPEG that is cut off", "a network that fails"])
def test_in_a_process_of_its_own(mistake: str, files: Path, work: Path) -> None:
    """No warning of a library, no traceback, no bar: what a user's shell sees."""
    arguments, says = WRONG[mistake]
    command = [sys.executable, "-c", "from seewhy.app.cli.main import main; main()", "explain"]
    tests = Path(__file__).parents[1]
    paths = [str(tests), str(tests / "support"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [*command, *arguments.replace("FILES", str(files)).split()],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("seewhy: ")
    assert done.stderr.count("\n") == 1
    assert all(part in done.stderr for part in says)
    assert done.stdout == ""
    assert list(work.iterdir()) == []


# -- in Python ----------------------------------------------------------------------------------------------------


def images(*shape: int) -> Tensor:
    return torch.rand(*(shape or (2, 3, 16, 16)), generator=torch.Generator().manual_seed(0))


TWO = torch.tensor([0, 1])
# what is wrong -> (explainer, its options, images, targets, what the error must say)
CALLS: dict[str, tuple[str, dict[str, object], Tensor, Tensor, tuple[str, ...]]] = {
    "an unknown explainer": ("gradcam", {}, images(), TWO, ("'gradcam'", "Did you mean 'grad_cam'?")),
    "an unknown option": ("grad_cam", {"layers": "4"}, images(), TWO, ("'layers'", "Did you mean 'layer'?")),
    "an option of another type": ("grad_cam", {"batch_size": "32"}, images(), TWO, ("batch_size='32'", "whole number")),
    "a layer as a shell leaves a list": ("opti_cam", {"layer": "[4,6]"}, images(), TWO, ("'[4,6]'", '["a","b"]')),
    "an area, not a list of them": ("extremal_perturbation", {"areas": 0.2}, images(), TWO, ("areas=0.2", "[0.1, 0.2]")),
    "a layer by number": ("grad_cam", {"layer": 4}, images(), TWO, ("layer=4", "text")),
    "an unknown layer": ("grad_cam", {"layer": "layer4"}, images(), TWO, ("'layer4'", "The last ones")),
    "a batch of none": ("saliency", {"batch_size": 0}, images(), TWO, ("batch_size=0", "at least 1")),
    "images in 0..255": ("grad_cam", {}, images() * 255, TWO, ("[0, 1]", "divide bytes by 255")),
    "images that are normalized": ("grad_cam", {}, images() * 4 - 2, TWO, ("[0, 1]", "do not normalize them")),
    "images of bytes": ("grad_cam", {}, (images() * 255).byte(), TWO, ("floats", "uint8")),
    "images that are NaN": ("grad_cam", {}, images() * torch.nan, TWO, ("[0, 1]", "NaN")),
    "one image without a batch": ("grad_cam", {}, images(3, 16, 16), TWO, ("(n, c, h, w)", "(3, 16, 16)")),
    "a video": ("grad_cam", {}, images(2, 3, 4, 16, 16), TWO, ("(n, c, h, w)", "(2, 3, 4, 16, 16)")),
    "images of one channel": ("grad_cam", {}, images(2, 1, 16, 16), TWO, ("1 channels", "takes 3")),
    "three targets for two images": ("grad_cam", {}, images(), torch.tensor([0, 1, 2]), ("2 images", "3 targets")),
    "targets of floats": ("grad_cam", {}, images(), torch.tensor([0.0, 1.0]), ("class indices", "float32")),
    "a target above the last": ("grad_cam", {}, images(), torch.tensor([0, 5]), ("class 5", "0 to 4")),
    "a target below 0": ("grad_cam", {}, images(), torch.tensor([-1, 0]), ("class -1", "0 to 4")),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_call_is_one_line(call: str) -> None:
    name, options, x, targets, says = CALLS[call]
    with as_users_run_it(), pytest.raises(SeewhyError) as error:
        seewhy.explainer(name, TINY["cnn"](), **options).explain(x, targets)
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in says), error.value


NO_PICTURE: dict[str, tuple[object, tuple[str, ...]]] = {
    "a batch": (images(1, 3, 16, 16), ("(c, h, w)", "(1, 3, 16, 16)")),
    "a tensor of bytes": ((images(3, 16, 16) * 255).byte(), ("floats in [0, 1]", "uint8")),
    "a tensor in 0..255": (images(3, 16, 16) * 255, ("[0, 1]",)),
    "a tensor of one channel": (images(1, 16, 16), ("1 channels", "takes 3")),
    "a tensor that is NaN": (images(3, 16, 16) * torch.nan, ("[0, 1]",)),
    "an array of floats": (np.zeros((16, 16, 3)), ("of bytes", "float64 (16, 16, 3)")),
    "an array of five channels": (np.zeros((16, 16, 5), np.uint8), ("(16, 16, 5)",)),
    "an array of one axis": (np.zeros(16, np.uint8), ("(16,)",)),
    "an array of four axes": (np.zeros((1, 16, 16, 3), np.uint8), ("(1, 16, 16, 3)",)),
    "an array of nothing": (np.zeros((0, 16, 3), np.uint8), ("16 x 0 pixels",)),
    "a number": (3, ("not int",)),
    "nothing": (None, ("not NoneType",)),
    "a picture of floating-point numbers": (Image.new("F", (16, 16)), ("floating-point",)),
    "a picture of nothing": (Image.new("RGB", (0, 0)), ("0 x 0 pixels",)),
    "a picture of a strip": (Image.new("RGB", (5000, 1)), ("5000 x 1",)),
}


@pytest.mark.parametrize("what", NO_PICTURE)
def test_what_is_no_picture(what: str) -> None:
    picture, says = NO_PICTURE[what]
    with as_users_run_it(), pytest.raises(SeewhyError) as error:
        seewhy.explain(picture, TINY["cnn"](), "saliency")  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in says), error.value


def test_a_wrong_target_of_a_picture() -> None:
    picture = Image.new("RGB", (20, 20), "red")
    for target, says in (("unicorn", "'unicorn' does not exist"), (5, "0 to 4"), (-1, "0 to 4"), ("", "does not exist")):
        with as_users_run_it(), pytest.raises(SeewhyError, match=says):
            seewhy.explain(picture, TINY["cnn"](), "saliency", target)


@pytest.mark.parametrize("target", ["²", "--1"])
def test_a_target_that_looks_like_a_number(target: str) -> None:
    with as_users_run_it(), pytest.raises(SeewhyError, match="does not exist"):
        seewhy.explain(Image.new("RGB", (20, 20)), TINY["cnn"](), "saliency", target)


@pytest.mark.parametrize(
    ("classifier", "says"),
    [
        ({"mean": (0.5,), "std": (0.5, 0.5)}, "mean has 1 numbers and std 2"),
        ({"std": (1.0, 0.0, 1.0)}, "std must be positive"),
        ({"input_size": (0, 16)}, "describe no picture"),
        ({"crop": 0.0}, "describe no picture"),
        ({"interpolation": "cubic"}, "bicubic"),
        ({"crop_mode": "centre"}, "center"),
    ],
)
def test_a_classifier_that_cannot_be(classifier: dict[str, object], says: str) -> None:
    with as_users_run_it(), pytest.raises(SeewhyError, match=says):
        Classifier(nn.Identity(), **classifier)  # type: ignore[arg-type]


# -- what looks wrong and is right --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        "--option layer=4",  # a layer may be called by a number
        "--option layer=null",
        '--explainer gradient_shap --option baselines=["black",0.5] --option samples=2',
        "--explainer integrated_gradients --option baseline=0.5 --option steps=2",
        "--explainer eigen_cam --option center=true",
        "--explainer eigen_cam --option center=True",
        "--explainer center --option sigma=1",
        "--explainer smooth_grad --option noise_level=0 --option samples=1",
        "--explainer grad_cam --explainer smooth_grad --option samples=2",  # an option that one of them has
        "--target CAT",
        "--target dog,cat",
        "--target 0,4",
        "--target top:5",
        "--model-option feature_layer=4",
        "--model-option mean=0.5,0.4,0.3 --model-option std=0.5",
        "--model-option size=18,20",
        "--model-option multilabel=true",
        "--model-option crop_mode=squash --model-option interpolation=lanczos --model-option crop=1",
        "--weights FILES/good.pth",
        "--weights FILES/good.safetensors",
        "--classes FILES/five.txt --target three",
    ],
)
def test_what_is_right_is_taken(arguments: str, files: Path, work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = run(capfd, "explain", *f"{GOOD} {arguments}".replace("FILES", str(files)).split())
    assert result == (0, result.out, "")
    assert (work / "explanations" / "manifest.json").is_file()


NETWORK = nn.Flatten()
SHAPES = seewhy.DATASETS["shapes"](n=2)
# what is wrong -> (the call, what the error must say)
MISTAKES: dict[str, tuple[Callable[[Any], object], tuple[str, ...]]] = {
    "a network that is no classifier, explained": (
        lambda _: seewhy.explain("photo.jpg", cast(Any, NETWORK)),
        ("Flatten is no Classifier", "seewhy.Classifier(network, mean=..., std=...)"),
    ),
    "a network that is no classifier, for an explainer": (
        lambda _: seewhy.explainer("grad_cam", cast(Any, NETWORK)),
        ("Flatten is no Classifier",),
    ),
    "a network that is no classifier, evaluated": (
        lambda _: seewhy.evaluate(cast(Any, NETWORK), ["grad_cam"], ["average_gain"], SHAPES),
        ("Flatten is no Classifier",),
    ),
    "a folder for a dataset": (
        lambda c: seewhy.evaluate(c, ["grad_cam"], ["average_gain"], cast(Any, "photos")),
        ("'photos' is no dataset", 'seewhy.dataset("folder", classifier)'),
    ),
    "options as on the command line": (
        lambda c: seewhy.evaluate(c, ["opti_cam:steps=2"], ["average_gain"], SHAPES),
        ("'opti_cam:steps=2' has options", "a mapping", "explainer"),
    ),
    "a limit under the name without options": (
        lambda c: seewhy.evaluate(
            c, {"rise:samples=9": seewhy.explainer("rise", c)}, ["average_gain"], SHAPES, limits={"rise": 1}
        ),
        ("a limit for rise", "Did you mean 'rise:samples=9'?"),
    ),
    "a target that is nearly a word": (
        lambda c: seewhy.evaluate(c, ["grad_cam"], ["average_gain"], SHAPES, target="labels"),
        ("target 'labels' is none of label, predicted", "Did you mean 'label'?"),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_python_is_one_line(mistake: str) -> None:
    call, says = MISTAKES[mistake]
    with as_users_run_it(), pytest.raises(SeewhyError) as error:
        call(seewhy.load("shapes"))
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in says), error.value
