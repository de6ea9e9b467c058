"""A file in the place of a network's name is answered with what it is and with the command that was meant."""

import pickle
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from seewhy.classifier.load import load
from seewhy.errors import SeewhyError


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.file,)


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(name: str) -> str:
    with pytest.raises(SeewhyError) as error:
        load(name)
    return str(error.value)


def test_weights_are_answered_with_the_architecture_whose_weights_they_are(inside: Path) -> None:
    with torch.device("meta"):
        network = torchvision.models.resnet18(num_classes=3)
    weights = {name: torch.zeros(t.shape, dtype=t.dtype) for name, t in network.state_dict().items()}
    save_file(weights, "x.safetensors")
    said = answer("x.safetensors")
    assert "x.safetensors holds the weights of resnet18: give --model resnet18 --weights x.safetensors" in said
    assert "torchvision/resnet18" in said
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": t.half() for name, t in weights.items()}}, "x.pth")
    assert "give --model resnet18 --weights x.pth" in answer("x.pth"), "under another name, and in another type"
    assert load("resnet18", weights="x.safetensors").n_classes == 3, "the command that the answer gives"


def test_weights_of_another_network_are_answered_with_its_name(inside: Path) -> None:
    with torch.device("meta"):
        network = torchvision.models.squeezenet1_1(num_classes=2)
    save_file({name: torch.zeros(t.shape) for name, t in network.state_dict().items()}, "x.safetensors")
    with pytest.raises(SeewhyError, match=r"do not fit .*They are the weights of torchvision/squeezenet1_1: give --model"):
        load("torchvision/squeezenet1_0", weights="x.safetensors")


def test_a_transformer_is_told_from_its_larger_sisters(inside: Path) -> None:
    with torch.device("meta"):
        network = timm.create_model("vit_tiny_patch16_224", num_classes=2)
    torch.save({name: torch.zeros(t.shape) for name, t in network.state_dict().items()}, "x.pt")
    assert "give --model vit_tiny_patch16_224 --weights x.pt" in answer("x.pt")


def test_weights_of_an_unknown_architecture_say_what_is_missing(inside: Path) -> None:
    torch.save(nn.Linear(2, 3).state_dict(), "x.pt")
    said = answer("x.pt")
    assert "no file of weights says which architecture" in said
    assert "--model NAME --weights x.pt" in said


def test_a_whole_network_is_not_opened(inside: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())
    torch.save(network, "x.pt")
    said = answer("x.pt")
    assert "x.pt is a whole pickled network (torch.nn.modules.container.Sequential), and was not opened" in said
    command = said.partition("in Python: ")[2].partition(";")[0]
    exec(command, {"torch": torch})  # what the answer says to do
    assert torch.load("weights.pt", weights_only=True).keys() == network.state_dict().keys()
    torch.save({"model": network, "bad": Hostile(inside / "owned")}, "y.pt")
    assert "was not opened" in answer("y.pt")
    (inside / "z.pt").write_bytes(pickle.dumps(Hostile(inside / "owned")))
    assert "was not opened" in answer("z.pt")
    assert not (inside / "owned").exists()


def test_files_of_other_formats_are_named(inside: Path) -> None:
    for name, says in {"n.onnx": "is ONNX", "n.h5": "is a file of Keras", "n.tflite": "is TensorFlow Lite"}.items():
        (inside / name).write_bytes(b"0" * 64)
        assert says in answer(name)
        assert "package.module:function" in answer(name)
    exported = torch.export.export(nn.Linear(2, 3).eval(), (torch.zeros(1, 2),))
    torch.export.save(exported, inside / "n.pt2")
    said = answer("n.pt2")
    assert "is a program of torch.export" in said
    exec(said.partition("in Python, ")[2].partition(", and give")[0], {"torch": torch})
    assert torch.load("weights.pt", weights_only=True)["weight"].shape == (3, 2)
    with pytest.raises(SeewhyError, match=r"is no weights file, it is a program of torch\.export"):
        load("shapes", weights="n.pt2")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_torchscript_is_named(inside: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 3)), "n.pt")
    said = answer("n.pt")
    assert "n.pt is TorchScript" in said
    exec(said.partition("in Python, ")[2].partition(", and give")[0], {"torch": torch})
    assert torch.load("weights.pt", weights_only=True)["weight"].shape == (3, 2)


def test_a_folder_says_how_it_is_named(inside: Path) -> None:
    configs = {
        "timm": '{"architecture": "x"}',
        "hf": '{"model_type": "vit"}',
        "mine": '{"method": "nemt", "schema": 1}',
        "": "",
    }
    for name, config in configs.items():
        (inside / f"of_{name}").mkdir()
        (inside / f"of_{name}" / "config.json").write_text(config)
    assert "give --model local-dir:of_timm" in answer("of_timm")
    assert "give --model hf/of_hf" in answer("of_hf")
    assert "--explainer of_mine" in answer("of_mine")
    assert "give the name of the architecture" in answer("of_")


def test_a_file_that_is_not_there_and_a_program(inside: Path) -> None:
    (inside / "best.pt").touch()
    assert "the file bst.pt does not exist. Did you mean 'best.pt'?" in answer("bst.pt")
    assert "--model nets.mine:FUNCTION" in answer("nets/mine.py")
    assert "--model nets.mine:make" in answer("nets/mine.py:make")
