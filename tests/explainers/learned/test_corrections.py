"""Corrected explanations: unbiased whatever the explainer has learned, with honest errors."""

from dataclasses import replace

import pytest
import torch
from support.tiny_models import TINY
from torch import Tensor

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers.base import HasErrors
from seewhy.explainers.learned.salvage import Salvage
from seewhy.masking.shapley import all_sets, exact_values

PICTURES, CLASSES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3])


def salvage(classifier: Classifier, **options: object) -> Salvage:
    """With random weights: what is unbiased is so for any."""
    made = seewhy.explainer("salvage", classifier, removal="pixels", size=6, **options)  # 3 x 3 players
    assert isinstance(made, Salvage)
    made, generator = made.untrained(), torch.Generator().manual_seed(1)
    made.ready.eval()
    with torch.no_grad():
        for weight in made.ready.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)
    return made


def truth(made: Salvage, image: int) -> Tensor:
    """Exact values (p, 2) of the network's probabilities."""
    players = made.players(PICTURES)

    def v(kept: Tensor) -> Tensor:
        logits = made.ask(PICTURES[image : image + 1], made.players(PICTURES[:1]), kept[None])[0]
        return made.classifier.to_probabilities(logits.double())[:, CLASSES]

    assert len(all_sets(players.p)) == 512
    return exact_values(v, players.p).values


@pytest.mark.parametrize("model", ["vit", "cnn", "cnn_multilabel"])
def test_the_mean_over_seeds_is_the_exact_value_and_the_errors_say_how_far_one_is(model: str) -> None:
    classifier = TINY[model]()
    made = replace(salvage(classifier), corrections=16)
    seen = made.see(PICTURES)
    wanted = torch.stack([truth(made, i).T for i in range(2)])
    found, errors = [], []
    with torch.no_grad():
        for seed in range(60):
            values, error = replace(made, seed=seed).corrected(seen, CLASSES.expand(2, 2))
            found.append(values.double())
            errors.append(error.double())
    spread = torch.stack(found).std(0)
    away = (torch.stack(found).mean(0) - wanted).abs() / (spread / 60**0.5)
    assert away.max() < 4.5, "36 values, each within its own error of the mean"
    assert away.square().mean() < 2
    told = torch.stack(errors).square().mean(0).sqrt()
    assert 0.7 < float((told / spread).mean()) < 1.4
    learned = made.spread(replace(made, corrections=0).of_classes(seen, CLASSES.expand(2, 2)), PICTURES)
    assert (learned - made.spread(wanted.float(), PICTURES)).abs().mean() > 3 * (spread / 60**0.5).mean(), "u is far away"


def test_a_perfect_model_of_the_game_leaves_nothing_to_correct(monkeypatch: pytest.MonkeyPatch) -> None:
    """With u = v, the sets of v - u say 0, and what error is left is that of the values of u, which are free."""
    made = replace(salvage(TINY["vit"]()), corrections=4)
    seen = made.see(PICTURES[:1])
    terms = made.found(seen)

    def ask(images: Tensor, players: object) -> object:
        return lambda rows, kept: made.logits_of_sets(terms, kept[None])[0]

    object.__setattr__(made, "value", ask)
    with torch.no_grad():
        values, errors = made.corrected(seen, CLASSES[None])
    cheap = exact_values(lambda k: classifier_probabilities(made, terms, k), 9).values.T
    torch.testing.assert_close(values[0].double(), cheap, atol=4 * float(errors.max()) + 1e-6, rtol=0)
    assert errors.max() < 0.1 * cheap.abs().max()


def classifier_probabilities(made: Salvage, terms: Tensor, kept: Tensor) -> Tensor:
    return made.classifier.to_probabilities(made.logits_of_sets(terms, kept[None])[0].double())[:, CLASSES].detach()


def test_maps_and_errors_are_those_of_single_images_and_of_the_option() -> None:
    classifier = TINY["vit"]()
    plain = salvage(classifier)
    made = replace(plain, corrections=16)
    assert isinstance(made, HasErrors)
    maps, errors = made.explain_classes_with_errors(PICTURES, CLASSES)
    assert errors is not None
    assert maps.shape == errors.shape == (2, 2, 16, 16)
    assert (errors > 0).all()
    torch.testing.assert_close(made.explain_classes(PICTURES, CLASSES), maps)
    for i in range(2):
        alone, its = made.explain_classes_with_errors(PICTURES[i : i + 1], CLASSES)
        torch.testing.assert_close(alone[0], maps[i], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(its[0], errors[i], rtol=1e-4, atol=1e-5)
    uncorrected, none = plain.explain_classes_with_errors(PICTURES, CLASSES)
    assert none is None
    torch.testing.assert_close(uncorrected, plain.explain_classes(PICTURES, CLASSES))
    shown = seewhy.explain(PICTURES[0], classifier, made, target=3)
    torch.testing.assert_close(shown.map, maps[0, 1], rtol=1e-4, atol=1e-5)
    assert shown.error is not None
    torch.testing.assert_close(shown.error, errors[0, 1], rtol=1e-4, atol=1e-5)


def test_values_sum_to_what_all_players_change() -> None:
    made = replace(salvage(TINY["cnn"]()), corrections=8)
    with torch.no_grad():
        values, _ = made.corrected(made.see(PICTURES), CLASSES.expand(2, 2))
        whole = torch.stack([torch.zeros(9), torch.ones(9)]).bool()
        logits = made.ask(PICTURES, made.players(PICTURES), whole.expand(2, 2, 9))
    p = torch.stack([made.classifier.to_probabilities(one)[:, CLASSES] for one in logits])
    torch.testing.assert_close(values.sum(2), p[:, 1] - p[:, 0], rtol=1e-4, atol=1e-5)


def test_one_graph_cannot_ask_for_sets(tmp_path: object) -> None:
    made = replace(salvage(TINY["vit"]()), corrections=8)
    with pytest.raises(SeewhyError) as refused:
        seewhy.export(made, f"{tmp_path}/file.onnx")
    assert str(refused.value) == (
        "salvage with corrections asks the network again for parts of each picture, and one graph has one pass: "
        "give corrections=0"
    )


def test_too_few_corrections_are_refused() -> None:
    with pytest.raises(SeewhyError, match="corrections is 0, or at least 4 sets, got 2"):
        seewhy.explainer("salvage", TINY["vit"](), corrections=2)
