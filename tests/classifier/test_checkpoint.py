"""Weights from a file into a network."""

import re
import signal
import struct
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from safetensors.torch import save_file
from support.tiny_models import TINY, cnn
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import seewhy
from seewhy.classifier.checkpoint import load_weights
from seewhy.errors import SeewhyError


def contiguous(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in module.state_dict().items()}


LAYOUTS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "alone": lambda weights: weights,
    "below state_dict": lambda weights: {"state_dict": weights, "epoch": 3, "optimizer": {"lr": 0.1}},
    "below model": lambda weights: {"model": weights, "args": None},
    "below model and state_dict": lambda weights: {"model": {"state_dict": weights}},
    "of DataParallel": lambda weights: {f"module.{k}": v for k, v in weights.items()},
    "of compile": lambda weights: {f"_orig_mod.{k}": v for k, v in weights.items()},
    "of compile within DataParallel": lambda weights: {f"module._orig_mod.{k}": v for k, v in weights.items()},
    "of DataParallel within compile": lambda weights: {f"_orig_mod.module.{k}": v for k, v in weights.items()},
    "of a trainer": lambda weights: {"state_dict": {f"model.{k}": v for k, v in weights.items()}, "epoch": 3},
    "below net, of DataParallel": lambda weights: {"net": {f"module.{k}": v for k, v in weights.items()}, "acc": 71.2},
    "under a name of its own": lambda weights: {"learner": {"student_net": {f"a.b_c.{k}": v for k, v in weights.items()}}},
    "beside weights of a loss": lambda weights: {
        "state_dict": {**{f"model.{k}": v for k, v in weights.items()}, "loss.weight": torch.ones(5), "a.b": torch.ones(1)},
        "hyper_parameters": {"lr": 0.1},
    },
    "beside weights of another network": lambda weights: {
        **{f"encoder.{k}": v for k, v in weights.items()}, **{f"decoder.{i}.weight": torch.ones(9, 9) for i in range(30)},
    },
    "twice, the same": lambda weights: {"model": weights, "best_model": weights},
    "of an average alone": lambda weights: {**{f"module.{k}": v for k, v in weights.items()}, "n_averaged": torch.tensor(3)},
    "of fastai": lambda weights: {"model": weights, "opt": {"state": [{"mom": torch.ones(3)}], "hypers": [{"lr": 0.1}]}},
    "with a trainer's settings": lambda weights: {
        "epoch": 3, "arch": "cnn", "state_dict": weights, "version": 2, "metric": 0.5,
        "args": Namespace(lr=0.1, output=Path("out"), crop=(1, 2)), "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}},
    },
    "without counts": lambda weights: {k: v for k, v in weights.items() if "num_batches" not in k},
    "in half precision": lambda weights: {k: v.half() if v.is_floating_point() else v for k, v in weights.items()},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_where_in_a_pickle_the_weights_are(layout: str, tmp_path: Path) -> None:
    module = TINY["cnn"]().module
    torch.save(LAYOUTS[layout](contiguous(module)), tmp_path / "weights.pth")
    loaded = seewhy.load("factories:bare", weights=tmp_path / "weights.pth").module
    tolerance = 2e-3 if layout == "in half precision" else 0
    for name, tensor in module.state_dict().items():
        if "num_batches" not in name:
            torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=tolerance)


def test_a_legacy_pickle_of_weights(tmp_path: Path) -> None:
    module = TINY["cnn"]().module
    torch.save(contiguous(module), tmp_path / "weights.th", _use_new_zipfile_serialization=False)
    loaded = seewhy.load("factories:bare", weights=tmp_path / "weights.th").module
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), module.state_dict().values(), strict=True))


def test_a_network_keeps_its_own_prefix(tmp_path: Path) -> None:
    """A network whose layers are called ``model.`` gets its weights with that prefix."""
    module = nn.ModuleDict({"model": nn.Linear(3, 2)})
    save_file(contiguous(module), tmp_path / "weights.safetensors")
    fresh = nn.ModuleDict({"model": nn.Linear(3, 2)})
    load_weights(fresh, tmp_path / "weights.safetensors")
    assert torch.equal(fresh["model"].weight, module["model"].weight)


def test_wrong_weights_change_nothing(tmp_path: Path) -> None:
    module = cnn()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    save_file(contiguous(cnn(k=7)), tmp_path / "seven.safetensors")
    with pytest.raises(SeewhyError, match=r"2 of another shape: .*10.weight is \(7, 8\), the network has \(5, 8\)"):
        load_weights(module, tmp_path / "seven.safetensors")
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


Weights = dict[str, Tensor]


def shifted(weights: Weights, by: float) -> Weights:
    return {name: tensor + by if tensor.is_floating_point() else tensor for name, tensor in weights.items()}


AVERAGES: dict[str, tuple[Callable[[Weights, Weights], object], str]] = {
    "of timm": (lambda last, ema: {"state_dict": last, "state_dict_ema": ema, "arch": "cnn"}, "under state_dict_ema"),
    "of Lightning": (
        lambda last, ema: {
            "current_model_state": {f"model.{k}": v for k, v in last.items()},
            "state_dict": {f"model.{k}": v for k, v in ema.items()},
            "averaging_state": {"n_averaged": torch.tensor(3)},
        },
        r"under state_dict\.model",
    ),
    "beside the network": (
        lambda last, ema: {**{f"net.{k}": v for k, v in last.items()}, **{f"ema.module.{k}": v for k, v in ema.items()}},
        r"under ema\.module",
    ),
    "below model_ema": (lambda last, ema: {"model": last, "model_ema": {"module": ema}, "epoch": 3}, r"under model_ema"),
}  # fmt: skip


@pytest.mark.parametrize("kind", AVERAGES)
def test_an_average_is_taken_and_it_is_said(kind: str, tmp_path: Path) -> None:
    make, said = AVERAGES[kind]
    last = contiguous(cnn())
    torch.save(make(last, shifted(last, 1)), tmp_path / "a.pth")
    module = seewhy.load("factories:bare", weights=tmp_path / "a.pth").module
    assert torch.equal(module.state_dict()["10.weight"], last["10.weight"] + 1)
    assert re.search(f"{said}.*average", load_weights(cnn(), tmp_path / "a.pth"))


def test_the_weights_beside_an_average_can_be_asked_for(tmp_path: Path) -> None:
    last = contiguous(cnn())
    torch.save({"state_dict": last, "state_dict_ema": shifted(last, 1)}, tmp_path / "a.pth")
    module = seewhy.load("factories:bare", weights=tmp_path / "a.pth", options={"weights_place": "state_dict"}).module
    assert torch.equal(module.state_dict()["10.weight"], last["10.weight"])
    with pytest.raises(SeewhyError, match=r"under 'no'; it has state_dict, state_dict_ema"):
        seewhy.load("factories:bare", weights=tmp_path / "a.pth", options={"weights_place": "no"})


@pytest.mark.parametrize("names", [("student", "teacher"), ("model", "ema", "model_ema"), ("first_ema", "ema")], ids=str)
def test_networks_that_fit_alike_are_named_and_one_is_chosen(names: tuple[str, ...], tmp_path: Path) -> None:
    weights = contiguous(cnn())
    content = {f"{name}.{k}": v for i, name in enumerate(names) for k, v in shifted(weights, i).items()}
    torch.save({"state_dict": content}, tmp_path / "a.pth")
    with pytest.raises(SeewhyError, match=rf"'state_dict\.{names[0]}', .*'state_dict\.{names[-1]}': choose.*weights_place="):
        seewhy.load("factories:bare", weights=tmp_path / "a.pth")
    for place in (names[-1], f"state_dict.{names[-1]}"):
        module = seewhy.load("factories:bare", weights=tmp_path / "a.pth", options={"weights_place": place}).module
        torch.testing.assert_close(module.state_dict()["10.bias"], weights["10.bias"] + (len(names) - 1))


def test_what_was_left_out_is_said(tmp_path: Path) -> None:
    torch.save({"net": {**{f"a.{k}": v for k, v in cnn().state_dict().items()}, "loss": torch.ones(2)}}, tmp_path / "a.pth")
    assert load_weights(cnn(), tmp_path / "a.pth") == "under net.a; left out: loss"


@pytest.fixture
def at_most_a_minute() -> Iterator[None]:
    """A test that would never end fails instead."""

    def stop(*_: object) -> None:
        raise AssertionError("it does not end")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("at_most_a_minute")
def test_a_file_that_holds_itself_or_is_very_deep_is_no_trouble(tmp_path: Path) -> None:
    weights = contiguous(cnn())
    itself: dict[str, object] = {"epoch": 3}
    itself["state_dict"] = itself
    torch.save(itself, tmp_path / "itself.pth")
    torch.save({}, tmp_path / "empty.pth")
    level = b"}X" + struct.pack("<I", 10) + b"state_dict"
    with ZipFile(tmp_path / "empty.pth") as empty, ZipFile(tmp_path / "deep.pth", "w") as deep:
        for name in empty.namelist():  # torch cannot write such a file, and reads it
            pickled = b"\x80\x02" + 5000 * level + b"}" + 5000 * b"s" + b"."
            deep.writestr(name, pickled if name.endswith("data.pkl") else empty.read(name))
    for name in ("itself", "deep"):
        with pytest.raises(SeewhyError, match="no tensors") as error:
            load_weights(cnn(), tmp_path / f"{name}.pth")
        assert "\n" not in str(error.value)
    torch.save({**itself, "net": {"again": itself, "model": weights}}, tmp_path / "within.pth")
    assert load_weights(cnn(), tmp_path / "within.pth") == "under net.model"


WRONG: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "int": (lambda t: (100 * t).int(), "1 of a wrong type: 4.weight is int32"),
    "bool": (lambda t: t > 0, "1 of a wrong type: 4.weight is bool"),
    "complex": (lambda t: t.to(torch.complex64), "1 of a wrong type: 4.weight is complex64"),
    "sparse": (lambda t: t.to_sparse(), "1 of a wrong type: 4.weight is sparse"),
    "on the meta device": (lambda t: t.to("meta"), "1 of a wrong type: 4.weight is on the meta device"),
    "NaN": (lambda t: t.where(t > 0, torch.nan), "1 not finite: 4.weight"),
    "infinite": (lambda t: t / 0, "1 not finite: 4.weight"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_weights_that_are_no_numbers_of_a_network_are_refused(kind: str, tmp_path: Path) -> None:
    spoil, words = WRONG[kind]
    weights = contiguous(cnn())
    torch.save({**weights, "4.weight": spoil(weights["4.weight"])}, tmp_path / "a.pth")
    module = cnn()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(SeewhyError, match=words):
        load_weights(module, tmp_path / "a.pth")
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantized_weights_are_refused(tmp_path: Path) -> None:
    weights = contiguous(cnn())
    quantized = torch.quantize_per_tensor(weights["4.weight"], 0.1, 0, torch.qint8)
    torch.save({**weights, "4.weight": quantized}, tmp_path / "a.pth")
    with pytest.raises(SeewhyError, match=r"4\.weight is quantized"):
        load_weights(cnn(), tmp_path / "a.pth")


def test_zeros_are_weights_and_a_buffer_may_be_infinite(tmp_path: Path) -> None:
    class Masked(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 2)
            self.register_buffer("mask", torch.full((2,), -torch.inf))

    torch.save(
        {name: tensor if name == "mask" else 0 * tensor for name, tensor in Masked().state_dict().items()},
        tmp_path / "a.pth",
    )
    module = Masked()
    load_weights(module, tmp_path / "a.pth")
    assert not module.weight.any()


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ('with torch.device("meta"):\n        network = cnn()', "meta device"),
        ("network = cnn()\n    network[4].weight.data[0, 0, 0, 0] = torch.nan", r"not finite: 4\.weight"),
        ("network = cnn()\n    network[4].weight.data /= 0", r"not finite: 4\.weight"),
        ("network = cnn()\n    network[1].running_var[0] = torch.nan", r"not finite: 1\.running_var"),
        ("network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(5))", "lazy layers"),
    ],
)
def test_a_network_of_a_factory_without_numbers_is_refused(
    made: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"own_{abs(hash(made))}"
    code = f"import torch\nfrom support.tiny_models import cnn\n\n\ndef make():\n    {made}\n    return network\n"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SeewhyError, match=words):
        seewhy.load(f"{name}:make")


def test_a_checkpoint_of_lightning(tmp_path: Path) -> None:
    """Really trained for one step, with weights in its loss and with settings of any kind."""
    from lightning import LightningModule, Trainer

    class Task(LightningModule):
        def __init__(self, settings: Namespace) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.network, self.loss = cnn(), nn.CrossEntropyLoss(weight=torch.ones(5))

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            return self.loss(self.network(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters())

    task = Task(Namespace(data=Path("data"), lr=0.1))
    trainer = Trainer(
        max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", default_root_dir=tmp_path,
    )  # fmt: skip
    batches = TensorDataset(torch.rand(4, 3, 16, 16), torch.arange(4))
    trainer.fit(task, DataLoader(batches, batch_size=4))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    module = seewhy.load("factories:bare", weights=tmp_path / "a.ckpt").module
    assert all(torch.equal(tensor, module.state_dict()[name]) for name, tensor in task.network.state_dict().items())
    assert load_weights(cnn(), tmp_path / "a.ckpt") == "under state_dict.network; left out: loss.weight"


def test_objects_in_a_pickle_are_not_made(tmp_path: Path) -> None:
    """A trainer's settings of a class of its own: the weights beside them are read, and no code of the class is run."""
    torch.save({"model": contiguous(cnn()), "callback": Recorded(str(tmp_path / "owned"))}, tmp_path / "a.pth")
    (tmp_path / "owned").unlink()
    load_weights(cnn(), tmp_path / "a.pth")
    assert not (tmp_path / "owned").exists()
    torch.load(tmp_path / "a.pth", weights_only=False)
    assert (tmp_path / "owned").exists(), "the file has such code"


class Recorded:
    """Leaves a file behind when it is made, and when it is read from a pickle."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.__setstate__({"file": file})

    def __setstate__(self, state: dict[str, str]) -> None:
        Path(state["file"]).write_text("made")
