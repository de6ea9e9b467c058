"""What Salvage and ViT-Shapley share: players, values, remembered sets, backbones, heads, and the folder."""

from pathlib import Path

import pytest
import torch
from support.tiny_models import TINY
from torch import Tensor

from seewhy import explainer, load_explainer, save_explainer
from seewhy.classifier.borrow import frozen
from seewhy.errors import SeewhyError
from seewhy.explainers.learned.learned_explainer import ValuedSets
from seewhy.explainers.learned.learned_shapley import LearnedShapley
from seewhy.explainers.learned.shapley_heads import on_grid
from seewhy.explanation.export import in_one_graph
from seewhy.testing.learned import check_learned


def method(name: str = "salvage", model: str = "vit_registers", seed: int = 0, **options: object) -> LearnedShapley:
    made = explainer(name, TINY[model](), **{"sets": 4, "small": False, **options})
    assert isinstance(made, LearnedShapley)
    return made.untrained(seed)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_a_map_shows_the_score_of_each_player_on_its_pixels(batch: tuple[Tensor, Tensor]) -> None:
    images, targets = batch
    made = method()
    maps, scores = made.explain(images, targets), made.scores(made.see(images))
    ids = made.players(images).ids
    for i in range(len(images)):
        for y, x in ((0, 0), (3, 9), (15, 15), (8, 4)):
            assert float(maps[i, y, x]) == pytest.approx(float(scores[i, ids[i, y, x], targets[i]]), abs=1e-6)


def test_values_are_those_of_the_network_on_the_players_alone(batch: tuple[Tensor, Tensor]) -> None:
    """Of a CNN: pixels of the other players become the baseline. Each set of each image is asked by itself."""
    images = batch[0]
    made = method(model="cnn", size=4, baseline=0.0)
    players = made.players(images)
    kept = torch.rand(len(images), 3, players.p, generator=generator()) > 0.5
    found = made.ask(images, players, kept)
    for i in range(len(images)):
        for j in range(3):
            seen = images[i].clone()
            for y in range(16):
                for x in range(16):
                    if not kept[i, j, players.ids[i, y, x]]:
                        seen[:, y, x] = 0
            with torch.no_grad():
                expected = made.classifier.logits(seen[None])[0]
            torch.testing.assert_close(found[i, j], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["salvage", "vit_shapley"])
@pytest.mark.parametrize("options", [{"backbone": "copy"}, {"head": "transformer"}, {"head": "linear"}, {"head": "cnn"}])
def test_the_contract_holds_for_every_backbone_and_head(
    name: str, options: dict[str, object], batch: tuple[Tensor, Tensor]
) -> None:
    check_learned(lambda c: explainer(name, c, sets=2, small=False, **options), TINY["vit_registers"](), *batch)  # type: ignore[arg-type, return-value]


def test_a_copy_is_trained_and_the_explained_network_is_not(batch: tuple[Tensor, Tensor]) -> None:
    made = method(backbone="copy")
    made.ready.train()
    with made.classifier.running(gradients=True):
        step = made.loss(made.see(batch[0]), generator())
        step.terms["error"].backward()
    assert made.net.encoder is not None
    assert any(float(p.grad.abs().sum()) > 0 for p in made.net.encoder.parameters() if p.grad is not None)
    assert all(p.grad is None for p in made.classifier.module.parameters())
    copied, own = made.net.encoder.state_dict(), made.classifier.module.state_dict()
    assert all(torch.equal(copied[key], own[key]) for key in own)
    assert all(copied[key].data_ptr() != own[key].data_ptr() for key in own)


def test_small_outputs_start_at_zero(batch: tuple[Tensor, Tensor]) -> None:
    made = method(small=True)
    assert float(made.scores(made.see(batch[0])).abs().max()) == 0
    assert float(method(small=False).scores(made.see(batch[0])).abs().max()) > 0


def test_remembered_sets_count_as_new_ones_do(batch: tuple[Tensor, Tensor]) -> None:
    """The loss of an image is the mean over all of its sets; what fills the rows up is no set."""
    made = method(sampling="uniform")
    made.ready.train()
    seen = made.see(batch[0])
    first = made.loss(seen, generator())
    assert first.asked is not None
    assert bool(first.asked.there.all())
    there = torch.ones(3, 5, dtype=torch.bool)
    there[1, 2:], there[2] = False, False
    old = ValuedSets(torch.rand(3, 5, made.players(batch[0]).p) > 0.5, torch.randn(3, 5, 5), there)
    second = made.loss(seen._replace(sets=old), generator())
    assert second.asked is not None
    assert torch.equal(second.asked.kept, first.asked.kept)
    terms, expected = made.found(seen), 0.0
    for i in range(3):
        each = [float(e) for e in made.errors(terms, first.asked)[i]]
        each += [float(e) for e, is_set in zip(made.errors(terms, old)[i], there[i], strict=True) if is_set]
        expected += sum(each) / len(each) / 3
    assert float(second.terms["error"]) == pytest.approx(expected, rel=1e-5)


def test_held_out_images_are_asked_once(batch: tuple[Tensor, Tensor]) -> None:
    made = method()
    made.ready.eval()
    seen, calls = made.see(batch[0]), list[int]()
    first = made.loss(seen, generator())
    assert first.asked is not None
    handle = made.value.classifier.module.register_forward_pre_hook(lambda *_: calls.append(1))
    again = made.loss(seen._replace(sets=first.asked), generator())
    handle.remove()
    assert again.asked is None
    assert not calls
    torch.testing.assert_close(again.terms["error"], first.terms["error"])


def test_a_folder_knows_its_players(tmp_path: Path, batch: tuple[Tensor, Tensor]) -> None:
    """The side of the patches and v(none) come back with the weights, for no surrogate is read when it explains."""
    images, targets = batch
    made = method("vit_shapley", "cnn", size=4)
    save_explainer(made, tmp_path / "e")
    again = load_explainer(tmp_path / "e", made.classifier)
    assert isinstance(again, LearnedShapley)
    assert again.net.side == 4
    assert again.grid(images) == (4, 4)
    assert torch.equal(again.net.empty, made.net.empty)
    assert torch.equal(again.explain(images, targets), made.explain(images, targets))


@pytest.mark.parametrize("model", ["vit_registers", "cnn"])
@pytest.mark.parametrize("name", ["salvage", "vit_shapley"])
def test_classifier_and_maps_are_one_graph(name: str, model: str) -> None:
    """As an exporter needs it: no tensor is asked for its values. The tiny transformer itself fixes the number of images."""
    made, images = method(name, model, size=0 if model == "vit_registers" else 5), torch.rand(3, 3, 16, 16)
    one, shapes = in_one_graph(made), {0: torch.export.Dim.DYNAMIC} if model == "cnn" else None
    with frozen(one), torch.no_grad():
        program = torch.export.export(one, (images[: 2 if shapes else 3],), dynamic_shapes=(shapes,), strict=False)
        _, maps = program.module()(images)
    expected = made.explain_classes(images, torch.arange(made.classifier.n_classes))
    torch.testing.assert_close(maps, expected, atol=1e-5, rtol=1e-5)


def test_a_surrogate_that_is_not_there_is_one_line() -> None:
    with pytest.raises(SeewhyError, match="there is no folder nowhere"):
        explainer("salvage", TINY["cnn"](), surrogate="nowhere").untrained()  # type: ignore[attr-defined]


def test_features_come_onto_the_grid_of_the_players() -> None:
    features = torch.arange(16.0).view(1, 1, 4, 4)
    assert on_grid(features, (4, 4)) is features
    torch.testing.assert_close(on_grid(features, (2, 2))[0, 0, 0, 0], features[0, 0, :2, :2].mean())
    assert on_grid(features, (6, 8)).shape == (1, 1, 6, 8)
