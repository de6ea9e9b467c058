"""Folders of Hugging Face: their own preprocessing, all of their weights, and none of their code."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from studies.processors import PROCESSORS, REFUSED, differences, save
from timm.data import create_transform
from torch import Tensor, nn

import seewhy
from seewhy.errors import SeewhyError
from seewhy.explanation.prepare import prepare

transformers = pytest.importorskip("transformers")


def picture(width: int, height: int) -> Image.Image:
    """Colors with hard edges and grain, whose every pixel differs from its neighbors."""
    rng = np.random.default_rng(width)
    soft = Image.fromarray(rng.integers(0, 255, (7, 5, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(soft) + rng.normal(0, 10, (height, width, 3))
    pixels[height // 3 : height // 2, width // 5 : width // 2] = (250, 10, 60)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_picture_is_prepared_as_its_processor_does(name: str, tmp_path: Path) -> None:
    """A wide, a high and a square picture: the network's input agrees with that of the processor to 1 % of the range."""
    save(PROCESSORS[name], tmp_path)
    _, found = differences(tmp_path, [picture(301, 200), picture(210, 333), picture(230, 230)])
    assert max(found) <= 0.01, [f"{d:.1%}" for d in found]


@pytest.mark.parametrize("name", REFUSED)
def test_steps_that_are_not_ours_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    make, words = REFUSED[name]
    save(make, tmp_path)
    with pytest.raises(SeewhyError, match=words) as error:
        seewhy.load(f"hf/{tmp_path}")
    assert "\n" not in str(error.value)
    assert "Processor" in str(error.value)


def vit(kind: str = "ViTForImageClassification", **keys: Any) -> nn.Module:
    config = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, **keys
    )
    torch.manual_seed(0)
    return getattr(transformers, kind)(config).eval()


def folder(path: Path, module: Any | None = None, safe: bool = True) -> Path:
    """A folder as ``save_pretrained`` leaves it, with safetensors or a pickle."""
    (module or vit()).save_pretrained(path)
    if not safe:
        torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
        (path / "model.safetensors").unlink()
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(path)
    return path


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_network_for_gray_pictures_gets_gray_pictures(tmp_path: Path) -> None:
    folder(tmp_path, vit(num_channels=1))
    transformers.ViTImageProcessor(
        size={"height": 32, "width": 32}, image_mean=[0.13], image_std=[0.31], do_convert_rgb=False
    ).save_pretrained(tmp_path)
    classifier = seewhy.load(f"hf/{tmp_path}")
    assert (classifier.mean, classifier.std) == ((0.13,), (0.31,))
    seen, _ = prepare(picture(50, 40), classifier)
    assert classifier.logits(seen[None]).shape == (1, 2)


# -- all weights ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ViTModel", "ViTForMaskedImageModeling"])
def test_a_random_head_is_refused(kind: str, tmp_path: Path) -> None:
    """The network was saved without a classifier: Transformers would make one of random numbers at every load."""
    folder(tmp_path, vit(kind))
    with pytest.raises(SeewhyError, match=r"2 missing: classifier\.bias, classifier\.weight"):
        seewhy.load(f"hf/{tmp_path}")


def test_dinov2_without_a_classifier_is_refused(tmp_path: Path) -> None:
    config = transformers.Dinov2Config(
        image_size=28, patch_size=14, hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    transformers.Dinov2Model(config).save_pretrained(tmp_path)
    transformers.BitImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(
        tmp_path
    )
    with pytest.raises(SeewhyError, match="random: 2 missing"):
        seewhy.load(f"hf/{tmp_path}")


def test_a_single_weight_that_is_missing_is_named(tmp_path: Path) -> None:
    folder(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["classifier.bias"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SeewhyError, match=r"1 missing: classifier\.bias"):
        seewhy.load(f"hf/{tmp_path}")


@pytest.mark.parametrize("options", [{"num_labels": 5}, {"num_labels": 5, "ignore_mismatched_sizes": True}], ids=str)
def test_a_head_of_another_size_is_refused(options: dict[str, object], tmp_path: Path) -> None:
    folder(tmp_path)
    with pytest.raises(
        SeewhyError, match=r"2 of another shape: .*classifier\.weight is \(2, 16\), the network has \(5, 16\)"
    ):
        seewhy.load(f"hf/{tmp_path}", options=options)


WRONG: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "int": (lambda t: (100 * t).int(), "wrong type: classifier.weight is (I32|int32)"),
    "bool": (lambda t: t > 0, "wrong type: classifier.weight is (BOOL|bool)"),
    "complex": (lambda t: t.to(torch.complex64), "wrong type: classifier.weight is (C64|complex64)"),
    "NaN": (lambda t: t.where(t > 0, torch.nan), "not finite: classifier.weight"),
    "infinite": (lambda t: t / 0, "not finite: classifier.weight"),
    "sparse": (lambda t: t.to_sparse(), "classifier.weight is sparse"),
    "on the meta device": (lambda t: t.to("meta"), "classifier.weight is on the meta device"),
}
IN_SAFETENSORS = ("int", "bool", "complex", "NaN", "infinite")


@pytest.mark.parametrize(("kind", "safe"), [*((k, False) for k in WRONG), *((k, True) for k in IN_SAFETENSORS)])
def test_weights_of_a_wrong_type_are_refused(kind: str, safe: bool, tmp_path: Path) -> None:
    spoil, words = WRONG[kind]
    folder(tmp_path, safe=safe)
    file = tmp_path / ("model.safetensors" if safe else "pytorch_model.bin")
    weights = load_file(file) if safe else torch.load(file)
    weights["classifier.weight"] = spoil(weights["classifier.weight"])
    if safe:
        save_file(weights, file, metadata={"format": "pt"})
    else:
        torch.save(weights, file)
    with pytest.raises(SeewhyError, match=words):
        seewhy.load(f"hf/{tmp_path}")


def test_weights_of_zeros_and_of_half_precision_are_loaded(tmp_path: Path) -> None:
    folder(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["classifier.weight"] = 0 * weights["classifier.weight"].half()
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    logits = seewhy.load(f"hf/{tmp_path}").logits(torch.rand(2, 3, 32, 32))
    assert torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("place", ["alone", "of a trainer"])
def test_the_file_of_a_folder_is_loaded_into_another_folder(place: str, tmp_path: Path) -> None:
    """Its weights have the names of the hub, which are not those of the network since version 5 of Transformers."""
    source, target = folder(tmp_path / "a", vit(num_labels=3)), folder(tmp_path / "b")
    module = transformers.ViTForImageClassification.from_pretrained(source).eval()
    file = source / "model.safetensors"
    if place == "of a trainer":
        torch.save({"state_dict": {f"model.{k}": v for k, v in load_file(file).items()}, "epoch": 3}, tmp_path / "a.ckpt")
        file = tmp_path / "a.ckpt"
    classifier = seewhy.load(f"hf/{target}", weights=file)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(classifier.logits(images), module(classifier.normalize(images)).logits)


def test_loading_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path)
    capfd.readouterr()
    seewhy.load(f"hf/{tmp_path}")
    assert capfd.readouterr() == ("", "")


# -- no code -------------------------------------------------------------------------------------------------------


class Hostile:
    """Code that a pickle runs where it is not opened with care."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return exec, (self.code,)


@pytest.fixture
def code(tmp_path: Path) -> str:
    """A line that leaves the file "owned" behind."""
    return f"open({str(tmp_path / 'owned')!r}, 'w').write('x')"


@pytest.mark.parametrize("model_type", ["vit", "mystery"])
@pytest.mark.parametrize("options", [{}, {"trust_remote_code": True}], ids=str)
def test_a_network_of_code_is_refused(options: dict[str, object], model_type: str, tmp_path: Path, code: str) -> None:
    """Also where a network of the library has the name of the folder's own one: what the folder means is its own."""
    path = folder(tmp_path / "net")
    (path / "modeling_x.py").write_text(f"{code}\nfrom transformers import ViTConfig as C, ViTForImageClassification as X\n")
    auto_map = {"AutoConfig": "modeling_x.C", "AutoModelForImageClassification": "modeling_x.X"}
    edit(path / "config.json", auto_map=auto_map, model_type=model_type)
    with pytest.raises(SeewhyError, match="code of"):
        seewhy.load(f"hf/{path}", options=options)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("kind", ["ViTImageProcessor", "Own"])
def test_a_processor_of_code_is_refused(kind: str, tmp_path: Path, code: str) -> None:
    path = folder(tmp_path / "net")
    (path / "processing_x.py").write_text(f"{code}\nfrom transformers import ViTImageProcessor as P\n")
    edit(path / "preprocessor_config.json", auto_map={"AutoImageProcessor": "processing_x.P"}, image_processor_type=kind)
    with pytest.raises(SeewhyError, match=r"code of its own \(processing_x.P\), which is never run"):
        seewhy.load(f"hf/{path}")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("options", [{}, {"weights_only": False}], ids=str)
@pytest.mark.parametrize("form", ["an archive", "a plain pickle"])
def test_a_pickle_of_code_is_not_opened(form: str, options: dict[str, object], tmp_path: Path, code: str) -> None:
    path = folder(tmp_path / "net", safe=False)
    if form == "an archive":
        torch.save({"classifier.weight": Hostile(code)}, path / "pytorch_model.bin")
    else:
        (path / "pytorch_model.bin").write_bytes(pickle.dumps(Hostile(code)))
    words = "weights_only" if options else "holds more than tensors.* a pickle can run code"
    with pytest.raises(SeewhyError, match=words):
        seewhy.load(f"hf/{path}", options=options)
    assert not (tmp_path / "owned").exists()


def test_a_pickle_beside_safetensors_is_not_read(tmp_path: Path, code: str) -> None:
    path = folder(tmp_path / "net")
    torch.save({"classifier.weight": Hostile(code)}, path / "pytorch_model.bin")
    seewhy.load(f"hf/{path}")
    assert not (tmp_path / "owned").exists()


def test_attention_from_the_hub_and_quantized_weights_are_refused(tmp_path: Path) -> None:
    path = folder(tmp_path)
    edit(path / "config.json", attn_implementation="someone/attention")
    with pytest.raises(SeewhyError, match=r"code of the hub \(someone/attention\), which is never run"):
        seewhy.load(f"hf/{path}")
    edit(path / "config.json", attn_implementation="eager", quantization_config={"quant_method": "bitsandbytes"})
    with pytest.raises(SeewhyError, match="quantized"):
        seewhy.load(f"hf/{path}")


# -- networks of timm ----------------------------------------------------------------------------------------------


def timm_folder(path: Path, **config: object) -> nn.Module:
    """A folder of timm with a network of seven classes, whose preprocessing differs from the usual one."""
    module = timm.create_model("test_resnet", num_classes=7).eval()
    timm.models.save_for_hf(module, path, safe_serialization=True)
    written = json.loads((path / "config.json").read_text())
    written["pretrained_cfg"].update({"crop_pct": 0.8, "interpolation": "bicubic", **config})
    (path / "config.json").write_text(json.dumps(written))
    return module


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("source", ["hf/", "local-dir:"])
def test_a_network_of_timm(source: str, mode: str, tmp_path: Path) -> None:
    """From a folder as it is on the hub, with its own preprocessing, through Transformers' name or timm's."""
    module = timm_folder(tmp_path, crop_mode=mode, mean=[0.3, 0.5, 0.6], std=[0.2, 0.25, 0.3])
    classifier = seewhy.load(f"{source}{tmp_path}")
    transform = create_transform(
        (3, 160, 160), crop_pct=0.8, crop_mode=mode, interpolation="bicubic", mean=(0.3, 0.5, 0.6), std=(0.2, 0.25, 0.3)
    )
    for shown in (picture(301, 200), picture(210, 333)):
        expected, seen = transform(shown)[None], prepare(shown, classifier)[0][None]
        pixels = (classifier.normalize(seen) - expected) * torch.tensor(classifier.std)[:, None, None]
        assert pixels.abs().max() <= 0.01
        with torch.no_grad():
            torch.testing.assert_close(classifier.logits(seen), module(classifier.normalize(seen)))


@pytest.mark.parametrize(("name", "option"), [("hf/", "num_labels"), ("local-dir:", "num_classes")])
def test_another_number_of_classes_would_be_a_random_head(name: str, option: str, tmp_path: Path) -> None:
    timm_folder(tmp_path)
    with pytest.raises(SeewhyError, match="random head, since its weights have 7 classes"):
        seewhy.load(f"{name}{tmp_path}", options={option: 5})
    with pytest.raises(SeewhyError, match="random head, since its weights have 1000 classes"):
        seewhy.load("torchvision/resnet18", options={"num_classes": 5})


def test_a_folder_of_timm_with_code_or_whole_numbers_is_refused(tmp_path: Path, code: str) -> None:
    path = tmp_path / "net"
    timm_folder(path)
    weights = load_file(path / "model.safetensors")
    save_file({**weights, "fc.weight": (100 * weights["fc.weight"]).int()}, path / "model.safetensors")
    with pytest.raises(SeewhyError, match=r"wrong type: fc\.weight is I32"):
        seewhy.load(f"local-dir:{path}")
    (path / "model.safetensors").unlink()
    torch.save({"fc.weight": Hostile(code)}, path / "pytorch_model.bin")
    for name in (f"local-dir:{path}", f"hf/{path}"):
        with pytest.raises(SeewhyError, match="a pickle can run code"):
            seewhy.load(name)
    with pytest.raises(SeewhyError, match="checkpoint_path"):
        seewhy.load("test_resnet", options={"checkpoint_path": str(path / "pytorch_model.bin")})
    assert not (tmp_path / "owned").exists()
