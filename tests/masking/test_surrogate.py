"""A surrogate as a value function and as a folder: the same numbers come back, and one line where it cannot be."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.command import as_users_run_it
from support.tiny_models import TINY
from support.tiny_transformers import pictures, transformer_classifier
from torch import Tensor

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.masking.surrogate import Surrogate, is_surrogate, load_surrogate, save_surrogate
from seewhy.metrics import Case
from seewhy.metrics.base import metric

IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def other(classifier: Classifier) -> Classifier:
    """A copy with other weights."""
    module = deepcopy(classifier.module)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    return replace(classifier, module=module)


def sets(players: int, n: int = 3) -> Tensor:
    return torch.rand(n, players, generator=torch.Generator().manual_seed(2)) < 0.5


@pytest.fixture
def explained() -> Classifier:
    torch.manual_seed(0)
    return TINY["vit"]()


@pytest.fixture
def saved(explained: Classifier, tmp_path: Path) -> Path:
    return save_surrogate(Surrogate.of(other(explained)), explained, tmp_path / "run", {"seconds": 1.5})


# -- players and removal ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "removal", "players"),
    [
        ("timm_vit", "tokens", 16),
        ("timm_dinov2_registers", "tokens", 16),
        ("timm_vit_mean", "pixels", 64),  # its head reads patches: without any it has no answer
        ("hf_vit", "tokens", 16),
    ],
)
def test_a_transformer_drops_tokens_where_it_can_drop_all_of_them(name: str, removal: str, players: int) -> None:
    found = Surrogate.of(transformer_classifier(name))
    assert (found.removal, found.players(pictures(name)).p) == (removal, players)


@pytest.mark.parametrize(("size", "side"), [(224, 16), (96, 8), (384, 27), (16, 8)])
def test_a_cnn_has_about_200_patches_of_at_least_8_pixels(size: int, side: int) -> None:
    found = Surrogate.of(replace(TINY["cnn"](), input_size=(size, size)))
    assert (found.removal, found.size, found.baseline) == ("pixels", side, "mean_color")


@pytest.mark.parametrize(
    ("model", "removal"), [("cnn", "pixels"), ("vit", "tokens"), ("vit", "pixels"), ("vit", "mask_tokens")]
)
def test_the_game_and_the_logits_with_gradients_are_the_same_numbers(model: str, removal: str) -> None:
    found = Surrogate.of(TINY[model](), removal, 8 if removal == "pixels" else 0)
    players = found.players(IMAGES)
    kept = sets(players.p)
    logits = found.logits(IMAGES, kept)
    assert logits.requires_grad
    assert torch.allclose(logits.detach(), found(IMAGES, players)(torch.arange(3), kept), atol=1e-6)


def test_players_may_be_several_patches_of_the_network() -> None:
    classifier = TINY["vit"]()
    large = Surrogate.of(classifier, "tokens", 8)
    kept = sets(4)
    patches = kept.view(3, 2, 1, 2, 1).expand(-1, -1, 2, -1, 2).reshape(3, 16)
    assert torch.allclose(large.logits(IMAGES, kept), classifier.kept_logits(IMAGES, patches), atol=1e-6)
    with pytest.raises(SeewhyError, match="the network removes whole patches, of 4 x 4 pixels"):
        Surrogate.of(classifier, "tokens", 6)


@pytest.mark.parametrize("model", ["cnn", "vit"])
def test_a_batch_of_8_is_8_images(model: str) -> None:
    found = Surrogate.of(TINY[model]())
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    kept = sets(found.players(images).p, 8)
    alone = torch.cat([found.logits(image, one) for image, one in zip(images.split(1), kept.split(1), strict=True)])
    assert torch.allclose(found.logits(images, kept), alone, atol=1e-5)


def test_blanked_patches_are_blanked_pixel_by_pixel() -> None:
    classifier = TINY["cnn"]()
    found = Surrogate.of(classifier, size=8)
    kept = sets(4)
    blanked = IMAGES.clone()
    for i in range(3):
        for y in range(16):
            for x in range(16):
                if not kept[i, (y // 8) * 2 + x // 8]:
                    blanked[i, :, y, x] = torch.tensor(classifier.mean)
    assert torch.allclose(found.logits(IMAGES, kept), classifier.logits(blanked), atol=1e-5)


# -- a value function and a classifier --------------------------------------------------------------------------------


def test_a_metric_with_the_surrogate_as_its_value_is_the_metric_of_the_surrogate(explained: Classifier) -> None:
    found, none = Surrogate.of(other(explained), "tokens"), torch.zeros(3, dtype=torch.long)
    maps = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(5))
    srg = metric("srg", size=4)
    with_value = srg.score(Case(explained, IMAGES, none, none, maps, value=found))
    own = metric("srg", size=4, removal="tokens").score(Case(found.classifier, IMAGES, none, none, maps))
    assert torch.allclose(with_value, own, atol=1e-6)
    assert not torch.allclose(with_value, srg.score(Case(explained, IMAGES, none, none, maps)), atol=1e-3)


# -- there and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "options"),
    [("vit", {}), ("vit", {"size": 8}), ("cnn", {"size": 4, "baseline": 0.25}), ("cnn_multilabel", {"baseline": "blur"})],
)
def test_what_was_saved_gives_the_same_values_bit_for_bit(model: str, options: dict[str, object], tmp_path: Path) -> None:
    torch.manual_seed(0)
    explained = TINY[model]()
    made = Surrogate.of(other(explained), **options)
    save_surrogate(made, explained, tmp_path / "run")
    found = seewhy.load_surrogate(tmp_path / "run", explained)
    assert (found.removal, found.size, found.baseline) == (made.removal, made.size, made.baseline)
    assert found.classifier.multilabel == explained.multilabel
    players = made.players(IMAGES)
    kept = sets(players.p)
    assert torch.equal(found(IMAGES, players)(torch.arange(3), kept), made(IMAGES, players)(torch.arange(3), kept))
    assert not torch.allclose(found.classifier.logits(IMAGES), explained.logits(IMAGES), atol=1e-2)
    assert is_surrogate(tmp_path / "run")
    assert not is_surrogate(tmp_path)


def test_no_folder_is_the_classifier_itself_and_a_name_another_network() -> None:
    classifier = seewhy.load("shapes")
    own = load_surrogate("", classifier, size=12)
    assert own.classifier is classifier
    assert (own.removal, own.size) == ("pixels", 12)
    named = load_surrogate("shapes/cnn_shortcut", classifier, baseline="blur")
    assert type(named.classifier.module) is type(classifier.module)
    assert (named.size, named.baseline) == (8, "blur")
    with pytest.raises(SeewhyError, match="shapes/cnn has other classes than the network that is explained"):
        load_surrogate("shapes/cnn", TINY["cnn"]())


def test_a_folder_keeps_the_options_of_its_training(saved: Path, explained: Classifier) -> None:
    assert load_surrogate(saved, explained, removal="tokens").removal == "tokens"
    for options, said in (
        ({"removal": "pixels"}, "trained with removal=tokens, so it takes no removal=pixels"),
        ({"size": 8}, "trained with size=0, so it takes no size=8"),
        ({"baseline": "blur"}, "trained with baseline=mean_color, so it takes no baseline=blur"),
    ):
        with pytest.raises(SeewhyError, match=said):
            load_surrogate(saved, explained, **options)


def changed(name: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "surrogate.json"
        content = json.loads(file.read_text())
        file.write_text(json.dumps({**content, name: value}))

    return change


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / "surrogate.json").unlink(), "holds no surrogate, it has no surrogate.json"),
        (lambda folder: (folder / "surrogate.json").write_text("{"), "surrogate.json cannot be read"),
        (lambda folder: (folder / "surrogate.json").write_text("[1]"), "is of another version"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors cannot be read"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x00" * 20), "model.safetensors cannot be read"),
        (changed("schema", 2), r"is of another version \(schema 2, this one reads 1\)"),
        (changed("removal", "nothing"), "is damaged"),
        (changed("removal", "pixels"), "is damaged"),  # of size 0
        (changed("baseline", 7), "is damaged"),
        (changed("size", -1), "is damaged"),
        (changed("explained", {}), "is damaged"),
        (changed("weights", "0" * 16), "is not that of surrogate.json beside it"),
    ],
)
def test_a_damaged_folder_is_one_line(harm: Callable[[Path], object], said: str, saved: Path, explained: Classifier) -> None:
    harm(saved)
    with as_users_run_it(), pytest.raises(SeewhyError, match=said):
        load_surrogate(saved, explained)


def test_another_network_is_refused(saved: Path, explained: Classifier) -> None:
    for network, said in (
        (other(explained), "has other weights"),
        (replace(explained, mean=(0.1, 0.2, 0.3)), r"has mean \[0.1, 0.2, 0.3\], and not"),
        (TINY["cnn"](), "was trained for another network, a TinyViT: this Sequential has"),
    ):
        with pytest.raises(SeewhyError, match=said):
            load_surrogate(saved, network)
    with as_users_run_it(), pytest.raises(SeewhyError, match="Sequential is no Classifier"):
        load_surrogate(saved, TINY["cnn"]().module)


def test_a_folder_that_does_not_exist_is_one_line(explained: Classifier, tmp_path: Path) -> None:
    for name in (str(tmp_path / "nothing"), "runs/nothing", "nothing"):
        with pytest.raises(SeewhyError, match=f"there is no folder {name}: seewhy fit surrogate --out writes one"):
            load_surrogate(name, explained)


def test_a_network_without_patches_drops_no_tokens() -> None:
    with pytest.raises(UnsuitedError, match="cannot be dropped"):
        Surrogate.of(TINY["cnn"](), "tokens")
