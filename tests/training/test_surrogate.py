"""The training of a surrogate: its loss written out, packed rows against dense ones, and a run folder that is loaded."""

from collections.abc import Callable
from dataclasses import replace
from math import exp, log
from pathlib import Path

import pytest
import torch
from support.command import run
from support.evaluations import Pictures
from support.tiny_models import TINY, tiny
from support.tiny_transformers import pictures, transformer_classifier
from support.trainables import log_of, same
from torch import Tensor, nn

import seewhy
from seewhy.classifier import token_dropping
from seewhy.classifier.classifier import Classifier
from seewhy.data.pictures import to_picture
from seewhy.data.shapes.shapes import Shapes
from seewhy.errors import SeewhyError, SeewhyWarning
from seewhy.explainers.learned.learned_explainer import Step
from seewhy.masking.coalitions import uniform_sets
from seewhy.masking.surrogate import Surrogate, load_surrogate
from seewhy.training.fit import fit
from seewhy.training.methods import learned_methods
from seewhy.training.surrogate import SurrogateTraining, divergence

N = 12
"""Images of a batch."""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- the loss ---------------------------------------------------------------------------------------------------------


def softmax_of(logits: list[float]) -> list[float]:
    return [exp(z) / sum(exp(other) for other in logits) for z in logits]


def test_the_divergence_is_written_out_class_by_class() -> None:
    target, found = (3 * torch.randn(4, 5, generator=seeded(i), dtype=torch.float64) for i in range(2))
    by_hand = 0.0
    for p, q in zip(map(softmax_of, target.tolist()), map(softmax_of, found.tolist()), strict=True):
        by_hand += sum(a * log(a / b) for a, b in zip(p, q, strict=True)) / 4
    assert float(divergence(target, found)) == pytest.approx(by_hand, rel=1e-12)
    several = 0.0
    for zs, ws in zip(target.tolist(), found.tolist(), strict=True):
        for z, w in zip(zs, ws, strict=True):
            p, q = 1 / (1 + exp(-z)), 1 / (1 + exp(-w))
            several += (p * log(p / q) + (1 - p) * log((1 - p) / (1 - q))) / 4
    assert float(divergence(target, found, multilabel=True)) == pytest.approx(several, rel=1e-12)
    assert float(divergence(target, target)) == 0.0


def test_a_single_logit_is_two_classes() -> None:
    """ViT-Shapley's code makes the divergence of pairs of log-sigmoids: the logits of the two classes are -z/2 and z/2."""
    z, w = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 0.25])
    pairs = [torch.stack([-v / 2, v / 2], 1) for v in (z, w)]
    assert torch.allclose(divergence(*pairs), divergence(z[:, None], w[:, None], multilabel=True))


def test_extreme_logits_have_a_finite_divergence() -> None:
    target, found = torch.tensor([[200.0, -200.0]]), torch.tensor([[-200.0, 200.0]])
    assert float(divergence(target, found)) == pytest.approx(400)
    assert float(divergence(target, found, multilabel=True)) == pytest.approx(400)


def step_and_gradients(made: SurrogateTraining, images: Tensor) -> tuple[Step, list[Tensor]]:
    step = made.loss(made.see(images), seeded(7))
    weights = [p for p in made.network.parameters() if p.requires_grad]
    return step, list(torch.autograd.grad(step.terms["divergence"], weights, allow_unused=True, materialize_grads=True))


def drawn_apart(classifier: Classifier) -> SurrogateTraining:
    """A training whose network has moved away from the classifier: else whole images have no divergence."""
    made = SurrogateTraining(classifier).untrained()
    with torch.no_grad():
        for p in made.network.parameters():
            p.add_(0.03 * torch.randn(p.shape, generator=seeded(1)))
    return made


def dense(made: SurrogateTraining, images: Tensor, kept: Tensor) -> Tensor:
    """The network of timm written out: all tokens run, and in each block the keys of the removed ones are masked."""
    vit = made.network
    tokens = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(made.classifier.normalize(images)))))
    prefix = kept.new_ones(len(kept), tokens.shape[1] - kept.shape[1])
    mask = torch.cat([prefix, kept], 1)[:, None, None]
    for block in vit.blocks:
        tokens = block(tokens, attn_mask=mask)
    return vit.forward_head(vit.norm(tokens))


@pytest.mark.parametrize("name", ["timm_vit", "timm_dinov2_registers", "timm_deit_distilled"])
def test_two_sets_in_a_row_have_the_loss_and_the_gradients_of_dense_key_masks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, images = drawn_apart(transformer_classifier(name)), pictures(name, N)
    rows: list[tuple[int, int]] = []
    lay_out = token_dropping.laid_out

    def noted(*given: object) -> object:
        layout = lay_out(*given)
        rows.append((*layout.source.shape, int((layout.segment < 0).sum())))
        return layout

    monkeypatch.setattr(token_dropping, "laid_out", noted)
    step, gradients = step_and_gradients(made, images)
    prefix = made.classifier.token_dropping.reading.prefix
    assert rows == [(N // 2, 16 + 2 * prefix, 0)], "two sets in each row, and no place is empty"
    kept = uniform_sets(N, 16, seeded(7))
    loss = divergence(made.see(images).logits, dense(made, images, kept))
    assert float(step.terms["divergence"].detach()) == pytest.approx(float(loss.detach()), abs=1e-5, rel=1e-5)
    weights = [p for p in made.network.parameters() if p.requires_grad]
    expected = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
    largest = max(float(g.abs().max()) for g in expected)
    for found, gradient in zip(gradients, expected, strict=True):
        assert (found - gradient).norm() <= 1e-4 * max(float(gradient.norm()), 1e-3 * largest)


def test_a_network_whose_blocks_take_no_mask_learns_the_same_in_groups() -> None:
    made, images = drawn_apart(transformer_classifier("torchvision_vit")), pictures("torchvision_vit", N)
    step, gradients = step_and_gradients(made, images)
    found = made.surrogate.classifier
    assert found.token_dropping.way == "grouped"
    found.__dict__["_token_dropping"] = replace(found.token_dropping, way="keys")
    slow, expected = step_and_gradients(made, images)
    assert torch.allclose(step.terms["divergence"], slow.terms["divergence"], rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(gradients, expected, strict=True):
        assert (mine - theirs).norm() <= 1e-4 * max(float(theirs.norm()), 1e-3)


def test_the_masks_of_a_step_are_the_pixels_of_its_sets() -> None:
    made = SurrogateTraining(TINY["cnn"](), size=8).untrained()
    images = torch.rand(6, 3, 16, 16, generator=seeded())
    step = made.loss(made.see(images), seeded(3))
    kept = uniform_sets(6, 4, seeded(3)).float().view(6, 1, 2, 2)
    assert torch.equal(step.masks, kept.repeat_interleave(8, 2).repeat_interleave(8, 3))


# -- a training -------------------------------------------------------------------------------------------------------


def fitted(model: str, out: Path, **options: object) -> SurrogateTraining:
    torch.manual_seed(0)
    given = {"tensorboard": False, "threads": 1, "batch_size": 8, "learning_rate": 0.01, **options}
    return fit("surrogate", TINY[model](), Pictures(n=25), out, **given)


@pytest.mark.parametrize("model", ["cnn", "vit", "cnn_multilabel"])
def test_it_learns_and_its_folder_is_loaded(model: str, tmp_path: Path) -> None:
    made = fitted(model, tmp_path / "run", epochs=4, validation=Pictures(n=16))
    losses = [float(line["loss"]) for line in log_of(tmp_path / "run", "held_out")]
    assert min(losses[1:]) < 0.9 * losses[0]
    torch.manual_seed(0)
    explained = TINY[model]()
    found = load_surrogate(tmp_path / "run", explained)
    images = torch.rand(3, 3, 16, 16, generator=seeded())
    players = found.players(images)
    kept = torch.rand(3, players.p, generator=seeded()) < 0.5
    expected = made.surrogate(images, players)(torch.arange(3), kept)
    assert torch.equal(found(images, players)(torch.arange(3), kept), expected)
    assert not torch.equal(expected, Surrogate.of(explained)(images, players)(torch.arange(3), kept))


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    fitted("vit", tmp_path / "whole", epochs=2)
    fitted("vit", tmp_path / "parts", epochs=2, max_steps=3)
    fitted("vit", tmp_path / "parts", epochs=2)
    same(tmp_path / "whole", tmp_path / "parts")


def test_the_explained_network_is_not_changed(tmp_path: Path) -> None:
    classifier = TINY["vit"]()
    classifier.module.requires_grad_(False)  # as a user may have it
    before = {name: t.clone() for name, t in classifier.module.state_dict().items()}
    made = fit("surrogate", classifier, Pictures(n=9), tmp_path / "run", epochs=1, tensorboard=False, threads=1)
    assert all(torch.equal(before[name], t) for name, t in classifier.module.state_dict().items())
    assert not any(p.requires_grad for p in classifier.module.parameters())
    assert any(not torch.equal(before[name], t) for name, t in made.surrogate.classifier.module.state_dict().items())


def test_a_network_whose_patches_overlap_says_so_once_and_trains_in_bfloat16(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    classifier, data = seewhy.load("shapes/vit"), seewhy.dataset("shapes", seewhy.load("shapes/vit"), 8)
    how = {"batch_size": 4, "max_steps": 1, "held_out": 0.0, "tensorboard": False, "threads": 1, "precision": "bf16"}
    made = fit("surrogate", classifier, data, tmp_path / "run", **how)
    assert made.removal == "tokens"
    assert sum("the stem of ShapesViT overlaps" in str(w.message) for w in recwarn if w.category is SeewhyWarning) == 1


# -- mistakes ---------------------------------------------------------------------------------------------------------


def values() -> Classifier:
    return replace(TINY["cnn"](), outputs="values")


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (values, {}, "returns values, which have no probabilities"),
        (TINY["cnn"], {"removal": "tokens"}, "cannot be dropped"),
        (TINY["vit"], {"size": 6}, "the network removes whole patches, of 4 x 4 pixels"),
        (lambda: transformer_classifier("timm_vit_mean"), {"removal": "tokens"}, "its patches, and a surrogate also learns"),
        (
            TINY["cnn"],
            {"removal": "words"},
            "surrogate cannot take removal='words': give auto or pixels",
        ),
        (TINY["cnn"], {"baseline": 2.0}, "surrogate cannot take baseline=2"),
        (TINY["cnn"], {"siez": 8}, "surrogate has no option 'siez'. Did you mean 'size'"),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    make: Callable[[], Classifier], options: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(SeewhyError, match=said):
        fit("surrogate", make(), Pictures(n=9), tmp_path / "run", options=options)
    assert not (tmp_path / "run").exists()


def test_what_learns_is_listed() -> None:
    assert learned_methods()[-1] == "surrogate"
    with pytest.raises(SeewhyError, match=r"grad_cam does not learn, .* nn_explainer, .*surrogate"):
        fit("grad_cam", tiny(nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())), Pictures(n=9), "x")


def test_the_command_says_where_the_surrogate_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    given = ["--model", "shapes", "--data", "shapes", "--limit", 12, "--out", out, "--no-tensorboard", "--threads", 1]
    found = run(capfd, "fit", "surrogate", *given, "--epochs", 1, "--batch-size", 4, "--option", "size=24")
    assert found.status == 0, found.err
    assert f"the surrogate in {out}: seewhy evaluate --model shapes --surrogate {out}" in found.out
    assert load_surrogate(out, seewhy.load("shapes")).size == 24
    to_picture(Shapes(n=1).sample(0).image).save(tmp_path / "photo.png")
    asked = ["--explainer", "occlusion", "--surrogate", out, "--option", "window=48", "--option", "stride=48"]
    explained = run(capfd, "explain", tmp_path / "photo.png", "--model", "shapes", *asked, "--out", tmp_path / "maps")
    assert explained.status == 0, explained.err
    assert "occlusion:surrogate" in explained.out
    again = run(capfd, "fit", "surrogate", *given, "--epochs", 1, "--batch-size", 4, "--option", "size=12")
    assert again.status == 2
    assert "has a training of another question (method's options's size is 24 there and 12 now)" in again.err
