"""A learned explainer as a folder: written, read, and refused where it is not what the classifier needs."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.learned_methods import register_two
from support.tiny_models import TINY
from torch import Tensor

import seewhy
from seewhy.errors import SeewhyError, SeewhyWarning, UntrainedError
from seewhy.explainers import EXPLAINERS, explainer
from seewhy.explainers.learned import folder as folder_module
from seewhy.explainers.learned.folder import folder_labels, load_explainer, save_explainer, shipped
from seewhy.explainers.learned.learned_explainer import LearnedExplainer

CARD = {
    "data": {"name": "shapes", "images": 12},
    "settings": {"epochs": 2},
    "scores": {"relevance_mass": 0.25},
    "seconds": 3.5,
}


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EXPLAINERS, "_entries", dict(EXPLAINERS._entries))
    register_two()


def trained(name: str, model: str = "cnn", **options: object) -> LearnedExplainer:
    method = explainer(name, TINY[model](), **options)
    assert isinstance(method, LearnedExplainer)
    return method.untrained(1)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """An explainer that reads a layer of the CNN."""
    return save_explainer(trained("weighed"), tmp_path / "masks", CARD)


# -- there and back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "model"), [("weighed", "cnn"), ("weighed", "vit_registers"), ("painted", "cnn_multilabel")]
)
def test_what_was_saved_gives_the_same_maps_bit_for_bit(
    name: str, model: str, tmp_path: Path, batch: tuple[Tensor, Tensor]
) -> None:
    method, classifier = trained(name, model), TINY[model]()
    state = torch.get_rng_state()
    save_explainer(method, tmp_path / "deep" / "folder")
    again = load_explainer(tmp_path / "deep" / "folder", classifier)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(again.explain(*batch), method.explain(*batch))
    assert not again.ready.training
    by_name = explainer(str(tmp_path / "deep" / "folder"), classifier)
    assert torch.equal(by_name.explain(*batch), method.explain(*batch))


def test_the_folder_holds_what_the_card_says(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    assert config["schema"] == 1
    assert config["method"] == "weighed"
    assert config["options"] == {"batch_size": 32}
    assert config["explained"]["layers"] == ["6"]
    assert config["explained"]["classes"] == ["ant", "bee", "cat", "dog", "elk"]
    assert config["card"] == CARD
    assert config["parameters"] == 8 * 5 + 5
    card = (saved / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: seewhy\n")
    for part in (
        "## Data",
        "| images | 12 |",
        "## Training",
        "## Held-out scores",
        "| relevance\\_mass | 0.25 |",
        "| seconds | 3.5 |",
    ):
        assert part in card
    assert 'load_explainer("masks", classifier)' in card
    assert "license" not in card
    assert sorted(path.name for path in saved.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_a_license_stands_in_the_head_of_the_card(tmp_path: Path) -> None:
    save_explainer(trained("painted"), tmp_path, {"license": 'mit"\ntags: evil'})
    head = (tmp_path / "README.md").read_text().split("---")[1]
    assert 'license: "mit\\"\\\\ntags: evil"' in head


def test_half_precision_is_half_as_large(saved: Path, tmp_path: Path, batch: tuple[Tensor, Tensor]) -> None:
    save_explainer(trained("weighed"), tmp_path / "half", half=True)
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert all(tensor.dtype == torch.float16 for tensor in stored.values())
    maps = load_explainer(tmp_path / "half", TINY["cnn"]()).explain(*batch)
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, trained("weighed").explain(*batch), rtol=1e-2, atol=1e-3)


def test_an_option_that_is_a_tensor_comes_back(tmp_path: Path) -> None:
    baseline = torch.rand(1, 3, 16, 16)
    save_explainer(trained("painted", baseline=baseline), tmp_path)
    again: Any = load_explainer(tmp_path, TINY["cnn"]())
    assert torch.equal(again.baseline, baseline)


def test_names_from_a_network_do_no_harm_in_the_card(tmp_path: Path) -> None:
    names = ("a|b", "<script>", "\x1b[31mred\n# title", "`code`", "*e*")
    method = explainer("painted", replace(TINY["cnn"](), classes=names))
    assert isinstance(method, LearnedExplainer)
    save_explainer(method.untrained(), tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "<script>" not in card
    assert "\x1b" not in card
    assert "\n# title" not in card
    (line,) = [line for line in card.splitlines() if line.startswith("| classes |")]
    assert line.replace("\\|", "").count("|") == 3


def test_other_files_stay_and_a_failed_save_leaves_nothing_new(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the run folder of a training, which has checkpoints and logs beside."""
    (saved / "log.csv").write_text("step,loss\n")
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def fail(*_: object) -> str:
        raise RuntimeError("the card fails")

    monkeypatch.setattr(folder_module, "model_card", fail)
    for place in (saved, tmp_path / "new"):
        with pytest.raises(RuntimeError):
            save_explainer(trained("painted"), place)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert not (tmp_path / "new").exists()


def test_only_a_trained_learned_explainer_can_be_saved(tmp_path: Path) -> None:
    with pytest.raises(SeewhyError, match="grad_cam is not learned"):
        save_explainer(explainer("grad_cam", TINY["cnn"]()), tmp_path)
    with pytest.raises(UntrainedError, match="not trained for this network: seewhy fit weighed trains it"):
        save_explainer(explainer("weighed", TINY["cnn"]()), tmp_path)
    assert not list(tmp_path.iterdir())


# -- options -----------------------------------------------------------------------------------------------------------


def test_only_options_that_matter_when_explaining_can_be_chosen(tmp_path: Path, batch: tuple[Tensor, Tensor]) -> None:
    method = trained("painted", channels=3)
    save_explainer(method, tmp_path)
    again: Any = load_explainer(tmp_path, TINY["cnn"](), power=2.0, batch_size=1)
    assert (again.power, again.batch_size, again.channels) == (2.0, 1, 3)
    torch.testing.assert_close(again.explain(*batch), method.explain(*batch) ** 2)
    with pytest.raises(
        SeewhyError, match="takes no option 'channels', which belongs to the training; it takes batch_size, power"
    ):
        explainer(str(tmp_path), TINY["cnn"](), channels=4)
    with pytest.raises(SeewhyError, match="cannot take power='high'"):
        load_explainer(tmp_path, TINY["cnn"](), power="high")


# -- the network that it was trained for ---------------------------------------------------------------------------------


def test_other_weights_are_refused_unless_they_are_meant(saved: Path, batch: tuple[Tensor, Tensor]) -> None:
    other = TINY["cnn"]()
    with torch.no_grad():
        next(other.module.parameters()).mul_(2)
    with pytest.raises(SeewhyError, match=r"this Sequential has other weights; give any_weights=true where that is meant"):
        load_explainer(saved, other)
    assert load_explainer(saved, other, any_weights=True).explain(*batch).isfinite().all()
    with pytest.raises(SeewhyError, match=r"has mean \[0.0, 0.0, 0.0\], and not"):
        load_explainer(saved, replace(TINY["cnn"](), mean=(0.0, 0.0, 0.0)))


def test_another_number_of_classes_and_missing_layers_are_refused_always(saved: Path) -> None:
    from support.tiny_models import cnn, tiny

    with pytest.raises(SeewhyError, match="explains 5 classes of Sequential, and this network has 4"):
        load_explainer(saved, replace(tiny(cnn(k=4)), classes=()), any_weights=True)
    with pytest.raises(SeewhyError, match="trained for Sequential and reads its layers: no layer '6' in TinyViT"):
        load_explainer(saved, TINY["vit"](), any_weights=True)


def test_another_size_of_images_is_a_warning(saved: Path) -> None:
    with pytest.warns(SeewhyWarning, match="trained on images of 16 x 16 pixels, not 24 x 24"):
        load_explainer(saved, replace(TINY["cnn"](), input_size=(24, 24)))


def test_without_a_classifier_an_explainer_with_its_own_network_explains(
    tmp_path: Path, saved: Path, batch: tuple[Tensor, Tensor]
) -> None:
    method = trained("painted")
    save_explainer(method, tmp_path / "own")
    alone = load_explainer(tmp_path / "own")
    assert torch.equal(alone.explain(*batch), method.explain(*batch))
    assert alone.explain_classes(torch.rand(2, 3, 20, 24), torch.tensor([4, 0])).shape == (2, 2, 20, 24)
    assert alone.classifier.class_index("dog") == 3
    for asked in (lambda: alone.predict_and_explain(batch[0]), lambda: alone.classifier.logits(batch[0])):
        with pytest.raises(SeewhyError, match=r"^Sequential is not here, so that there are no logits: give the classifier"):
            asked()
    with pytest.raises(SeewhyError, match="images must be in"):
        alone.explain(batch[0] * 9, batch[1])
    with pytest.raises(SeewhyError, match="class 7 does not exist"):
        alone.explain(batch[0], batch[1] + 4)
    with pytest.raises(SeewhyError, match=r"reads the features of Sequential \(6\): give the classifier \(--model\)"):
        load_explainer(saved)


# -- what is broken ------------------------------------------------------------------------------------------------------


def edited(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def explained(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())["explained"]


def retrained(folder: Path) -> None:
    save_file({"weigh.weight": torch.zeros(5, 8, 1, 1), "weigh.bias": torch.zeros(5)}, folder / "model.safetensors")


def cut(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-7])


def pickled(folder: Path) -> None:
    torch.save({"weigh.weight": torch.zeros(5)}, folder / "model.safetensors")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "holds no explainer, it has no config.json"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors: it is not complete"),
    "cut": (cut, "is no safetensors file, or is cut off"),
    "empty": (lambda f: (f / "model.safetensors").write_bytes(b""), "is no safetensors file, or is cut off"),
    "a pickle": (pickled, "is no safetensors file, or is cut off"),
    "other weights": (retrained, "is not that of config.json beside it"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read"),
    "a list": (lambda f: (f / "config.json").write_text("[1]"), "holds no learned explainer of seewhy"),
    "deep": (lambda f: (f / "config.json").write_text("[" * 10_000 + "]" * 10_000), "config.json cannot be read"),
    "another program's": (lambda f: (f / "config.json").write_text('{"model_type": "vit"}'), "holds no learned explainer"),
    "newer": (lambda f: edited(f, schema=2), r"is of a later version \(schema 2, this version reads 1\): update seewhy"),
    "unknown method": (lambda f: edited(f, method="weigher"), "'weigher', which is unknown here. Did you mean 'weighed'"),
    "no learned method": (lambda f: edited(f, method="grad_cam"), "'grad_cam', which is not learned"),
    "unknown option": (lambda f: edited(f, options={"depth": 3}), "has an option 'depth', which weighed does not have"),
    "a wrong option": (lambda f: edited(f, options={"batch_size": -3}), "cannot take batch_size=-3"),
    "a wrong type": (lambda f: edited(f, options=[3]), r"config.json is damaged \(options is"),
    "a steering method": (lambda f: edited(f, method="\x1b[2J\nevil"), r"x1b\[2J"),
    "a steering option": (lambda f: edited(f, options={"\x1b[2J": 1}), "has an option"),
    "too many classes": (lambda f: edited(f, explained={**explained(f), "n_classes": 10**12}), "config.json is damaged"),
    "a lacking part": (lambda f: edited(f, explained={"module": "x"}), "config.json is damaged"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_one_line(what: str, saved: Path) -> None:
    spoil, said = BROKEN[what]
    spoil(saved)
    with pytest.raises(SeewhyError, match=said) as error:
        load_explainer(saved, TINY["cnn"]())
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)


def test_weights_of_another_shape_name_the_tensors(saved: Path) -> None:
    """As where a later version builds the network differently: the digest is right, and the weights do not fit."""
    from seewhy.describe import state_digest

    state = {"weigh.weight": torch.zeros(5, 9, 1, 1), "weigh.bias": torch.zeros(5)}
    save_file(state, saved / "model.safetensors")
    edited(saved, weights=state_digest(state))
    with pytest.raises(SeewhyError, match=r"do not fit OneLayer: 1 of another shape: weigh.weight is \(5, 9, 1, 1\)"):
        load_explainer(saved, TINY["cnn"]())


@pytest.mark.parametrize("name", ["no/such/folder", "./nothing", "a\0b/c", "x" * 5000 + "/y"])
def test_a_folder_that_is_not_there_is_one_line(name: str) -> None:
    with pytest.raises(SeewhyError) as error:
        explainer(name, TINY["cnn"]())
    assert "\n" not in str(error.value)


def test_no_name_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(save_explainer(trained("painted"), tmp_path))
    with pytest.raises(SeewhyError, match="unknown explainer ''"):
        explainer("", TINY["cnn"]())


def test_options_that_make_no_network_are_one_line(tmp_path: Path) -> None:
    save_explainer(trained("painted"), tmp_path)
    edited(tmp_path, options={"channels": 10**17})
    with pytest.raises(SeewhyError, match=r"^the network of .* cannot be made \(") as error:
        load_explainer(tmp_path, TINY["cnn"]())
    assert "\n" not in str(error.value)


def test_a_method_comes_before_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_explainer(trained("painted"), "weighed")
    save_explainer(trained("painted"), "mine")
    assert type(explainer("weighed", TINY["cnn"]())) is EXPLAINERS["weighed"]
    assert type(explainer("./weighed", TINY["cnn"]())) is EXPLAINERS["painted"]
    assert type(explainer("mine", TINY["cnn"]())) is EXPLAINERS["painted"]


# -- names -------------------------------------------------------------------------------------------------------------


def test_labels_are_the_names_of_folders_and_all_different(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder_labels(["runs/masks/"]) == {"runs/masks/": "masks"}
    assert folder_labels(["a/masks", "b/masks", "c/other"]) == {
        "a/masks": "a-masks",
        "b/masks": "b-masks",
        "c/other": "other",
    }
    assert folder_labels(["runs/nemt"], ["nemt", "rise"]) == {"runs/nemt": "runs-nemt"}
    assert len(set(folder_labels(["x/a/masks", "y/a/masks", "a-masks"]).values())) == 3
    (label,) = folder_labels(["hf/owner/" + "long" * 40]).values()
    assert len(label) <= 36
    assert folder_labels(["odd\x1bname"])["odd\x1bname"] == "odd_name"
    assert folder_labels(["odd\\name"])["odd\\name"] == "odd_name"


# -- explainers that come with the package --------------------------------------------------------------------------------


def test_a_shipped_explainer_is_found_by_its_method_and_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: tuple[Tensor, Tensor]
) -> None:
    method = trained("painted", channels=3)
    save_explainer(method, tmp_path / "shipped" / "one")
    monkeypatch.setattr(folder_module, "files", lambda _: tmp_path)
    folder_module._all_shipped.cache_clear()
    try:
        found: Any = explainer("painted", TINY["cnn"](), batch_size=2)
        assert (found.channels, found.batch_size) == (3, 2)
        torch.testing.assert_close(found.explain(*batch), method.explain(*batch))
        assert explainer("painted", TINY["cnn"](), channels=4).network is None, "another training is asked for"
        other = TINY["cnn"]()
        with torch.no_grad():
            next(other.module.parameters()).mul_(2)
        assert shipped("painted", other, {}) is None
        assert shipped("weighed", TINY["cnn"](), {}) is None
    finally:
        folder_module._all_shipped.cache_clear()


def test_the_public_names() -> None:
    assert seewhy.load_explainer is load_explainer
    assert seewhy.save_explainer is save_explainer
