"""Presets: every one that ships can be read, and a mistake in one of your own is one line."""

from pathlib import Path

import pytest

from seewhy.errors import SeewhyError
from seewhy.explainers.learned.settings import Settings
from seewhy.training import presets
from seewhy.training.methods import learned_methods, registry_of
from seewhy.training.presets import preset, preset_names, settings_with


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_can_be_read_and_says_what_it_is(name: str) -> None:
    found = preset(name)
    assert found.about
    assert found.method in learned_methods()
    assert settings_with(registry_of(found.method)[found.method].settings, found.training)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return tmp_path / "mine.toml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[trainig]", "has no setting 'trainig'. Did you mean 'training'"),
        ("[training]\nepoch = 3", "has no setting 'epoch'. Did you mean 'epochs'"),
        ("[training]\nepochs = 0", "cannot take epochs=0: give a whole number of at least 1"),
        ("[training]\noptimizer = 'sgd'", "cannot take optimizer='sgd': give adam or adamw or prodigy"),
        ("[explainer]\nsamplez = 3", "has no setting 'samplez'. Did you mean 'samples'"),
        ("[explainer]\nsamples = 'many'", "cannot take samples='many'"),
        ("training = 3", "training is no table"),
        ("about = [1]", "about is no text"),
        ("[training", "cannot be read"),
        ("\x00", "cannot be read"),
        ("method = 'grad_cam'", "is for grad_cam, not for smooth_grad"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(mine: Path, text: str, said: str) -> None:
    mine.write_text(text)
    with pytest.raises(SeewhyError) as error:
        preset(str(mine), "smooth_grad")
    assert said in str(error.value)


def test_a_file_of_yours_is_read(mine: Path) -> None:
    mine.write_text(
        "about = 'for X-rays'\nmethod = 'smooth_grad'\n[explainer]\nsamples = 3\n[training]\nepochs = 7\nclip = 1"
    )
    found = preset(str(mine), "smooth_grad")
    assert (found.about, found.explainer, found.training) == ("for X-rays", {"samples": 3}, {"epochs": 7, "clip": 1})
    assert settings_with(Settings(), found.training) == Settings(epochs=7, clip=1.0)


def test_an_unknown_preset_is_answered_with_those_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "PRESETS", tmp_path)
    for name in ("rise_voc", "rise_coco"):
        (tmp_path / f"{name}.toml").write_text("about = 'a'\nmethod = 'rise'")
    assert preset_names() == ["rise_coco", "rise_voc"]
    with pytest.raises(
        SeewhyError, match=r"unknown preset 'rise_vox'. Did you mean 'rise_voc'\? Known: rise_coco, rise_voc"
    ):
        preset("rise_vox")
    with pytest.raises(SeewhyError, match=r"preset rise_voc is for rise, not for lime\. Presets for it: none"):
        preset("rise_voc", "lime")


def test_prodigy_has_the_learning_rate_1_unless_somebody_says_otherwise() -> None:
    assert settings_with(Settings(), {"optimizer": "prodigy"}).learning_rate == 1.0
    assert settings_with(Settings(), {"optimizer": "prodigy", "learning_rate": 0.5}).learning_rate == 0.5
    assert settings_with(Settings(optimizer="prodigy", learning_rate=0.3), {"optimizer": "prodigy"}).learning_rate == 0.3
