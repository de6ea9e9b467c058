"""What "removed" means for the patches of a transformer: dropped tokens, mask tokens, and who can be a player."""

import pytest
import timm
import torch
from support.tiny_models import TINY
from torch import nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.explainers import explainer
from seewhy.masking.players import divide
from seewhy.masking.tokens import MaskTokens, RemoveTokens, network_patches, owners, value_of
from seewhy.metrics import Case
from seewhy.metrics.base import metric


@pytest.fixture(scope="module")
def vit() -> Classifier:
    torch.manual_seed(0)
    return of(timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, embed_dim=16, num_heads=2, num_classes=5))


def of(module: nn.Module) -> Classifier:
    """The network with weights that give every patch something to say."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3 + (1 if parameter.ndim == 1 else 0))
    return Classifier(module.eval(), input_size=(64, 64), outputs="logits")


IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
"""Of 4 x 4 patches."""


def test_players_of_several_patches_drop_all_of_them(vit: Classifier) -> None:
    large, small = divide(IMAGES, "patches", 32), divide(IMAGES, "patches", 16)
    rows = torch.tensor([1, 0, 1])
    kept = torch.tensor([[True, False, False, True], [False, True, False, False], [True, True, True, True]])
    patch = (kept.view(3, 2, 1, 2, 1).expand(-1, -1, 2, -1, 2)).reshape(3, 16)
    found = RemoveTokens(vit)(IMAGES, large)(rows, kept)
    assert torch.allclose(found, RemoveTokens(vit)(IMAGES, small)(rows, patch), atol=1e-6)
    assert torch.allclose(found, vit.kept_logits(IMAGES, patch, rows), atol=1e-6)
    assert torch.allclose(found[2], vit.logits(IMAGES[1:])[0], atol=1e-5)


@pytest.mark.parametrize(("division", "size"), [("pixels", 1), ("superpixels", 9), ("patches", 8), ("patches", 24)])
@pytest.mark.parametrize("kind", [RemoveTokens, MaskTokens])
def test_parts_of_patches_are_no_players(vit: Classifier, kind: type, division, size) -> None:
    with pytest.raises(SeewhyError, match=r"patches, of 16 x 16 pixels: give players=patches and a size .* removal=pixels"):
        kind(vit)(IMAGES, divide(IMAGES, division, size))


def test_pixels_beyond_the_last_patch_belong_to_none() -> None:
    images = torch.rand(1, 3, 70, 64)
    assert owners(divide(images, "patches", 16), (4, 4)).tolist() == [list(range(16))]


def test_a_mask_token_hides_the_pixels_and_keeps_the_position(vit: Classifier) -> None:
    game = MaskTokens(vit)
    players = divide(IMAGES, "patches", 16)
    kept = torch.rand(4, 16, generator=torch.Generator().manual_seed(0)) < 0.5
    rows = torch.tensor([0, 1, 1, 0])
    found = game(IMAGES, players)(rows, kept)
    noise = torch.where(players.pixels(rows, kept)[:, None], IMAGES[rows], torch.rand(4, 3, 64, 64))
    assert torch.allclose(game(noise, divide(noise, "patches", 16))(torch.arange(4), kept), found, atol=1e-6)
    # the network written out: the vectors of removed patches are zero before positions are added
    module = vit.module.eval()
    with torch.no_grad():
        vectors = module.patch_embed(vit.normalize(IMAGES[rows])) * kept[..., None]
        tokens = torch.cat([module.cls_token.expand(4, -1, -1), vectors], 1) + module.pos_embed
        expected = module.forward_head(module.norm(module.blocks(tokens)))
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_network_has_its_own_mask_token() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=64, patch_size=16, num_labels=5
    )
    classifier = of(transformers.Dinov2ForImageClassification(config))
    assert classifier.patch_embedding.mask_token == "dinov2.embeddings.mask_token"
    kept = torch.rand(2, 16, generator=torch.Generator().manual_seed(0)) < 0.5
    found = MaskTokens(classifier)(IMAGES, divide(IMAGES, "patches", 16))(torch.arange(2), kept)
    with torch.no_grad():
        hidden = classifier.module.dinov2(classifier.normalize(IMAGES), bool_masked_pos=~kept).last_hidden_state
        expected = classifier.module.classifier(torch.cat([hidden[:, 0], hidden[:, 1:].mean(1)], 1))
    assert torch.allclose(found, expected, atol=1e-5)


def case_of(classifier: Classifier) -> Case:
    maps = torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(2))
    return Case(classifier, IMAGES, torch.tensor([0, 3]), torch.tensor([0, 3]), maps)


METRICS = [
    "insertion",
    "deletion",
    "srg",
    "lif",
    "mif",
    "aopc",
    "r_srg",
    "faithfulness_correlation",
    "faithfulness_estimate",
]


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("removal", ["tokens", "mask_tokens"])
def test_every_ordering_metric_asks_the_network_without_tokens(vit: Classifier, name: str, removal) -> None:
    options: dict[str, object] = {"players": "patches", "size": 16, "removal": removal}
    options |= {"n_draws": 2} if name == "r_srg" else {"subset_size": 5} if name == "faithfulness_correlation" else {}
    case = case_of(vit)
    found = metric(name, **options).score(case)
    own = Case(
        vit,
        *(getattr(case, f) for f in ("images", "explained", "scored", "attributions")),
        value=value_of(removal, vit, "black"),
    )
    assert torch.allclose(found, metric(name, **{**options, "removal": "pixels"}).score(own), atol=1e-6)
    assert not torch.allclose(found, metric(name, **{**options, "removal": "pixels"}).score(case_of(vit)), atol=1e-4)


def test_srg_with_dropped_tokens_is_the_mean_of_probabilities_written_out(vit: Classifier) -> None:
    case, players = case_of(vit), divide(IMAGES, "patches", 16)
    found = metric("srg", removal="tokens", value="logit").score(case)
    for i in range(2):
        order = players.means(case.attributions)[i].argsort(descending=True)
        gain = 0.0
        for k in range(1, 17):
            for best, sign in ((order[:k], 1), (order[16 - k :], -1)):
                kept = torch.zeros(1, 16, dtype=torch.bool).index_fill(1, best, True)
                gain += sign * float(vit.kept_logits(IMAGES[i : i + 1], kept)[0, case.scored[i]]) / 16
        assert abs(float(found[i]) - gain) < 1e-5


OPTIONS = {
    "rise": {"samples": 20, "cells": 3},
    "lime": {"samples": 30, "players": "patches", "size": 32},
    "kernel_shap": {"players": "patches", "size": 32},
    "exact_shapley": {"players": "patches", "size": 32},
    "occlusion": {"window": 32, "stride": 16},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("removal", ["tokens", "mask_tokens"])
def test_maps_by_removal_ask_the_network_without_tokens(vit: Classifier, name: str, removal) -> None:
    targets = torch.tensor([0, 3])
    found = explainer(name, vit, removal=removal, **OPTIONS[name]).explain(IMAGES, targets)
    blanked = explainer(name, vit, **OPTIONS[name]).explain(IMAGES, targets)
    cells = found.unflatten(1, (4, 16)).unflatten(3, (4, 16)).transpose(2, 3).flatten(3)
    assert torch.allclose(cells, cells[..., :1].expand_as(cells), atol=1e-6)  # whole patches alone
    assert found.std() > 0
    assert not torch.allclose(found, blanked, atol=1e-4)
    alone = explainer(name, vit, removal=removal, **OPTIONS[name]).explain(IMAGES[1:], targets[1:])
    assert torch.allclose(found[1:], alone, atol=1e-5)


def test_kernel_shap_of_dropped_tokens_sums_to_what_they_do(vit: Classifier) -> None:
    values = explainer("kernel_shap", vit, removal="tokens", players="patches", size=32).explain(
        IMAGES[:1], torch.tensor([3])
    )
    ends = vit.kept_logits(IMAGES[:1].expand(2, -1, -1, -1), torch.tensor([[True] * 16, [False] * 16]))[:, 3]
    assert torch.allclose(values[0, ::32, ::32].sum(), ends[0] - ends[1], atol=1e-5)


def test_rise_of_tokens_keeps_each_patch_with_its_probability(vit: Classifier) -> None:
    method = explainer("rise", vit, removal="tokens", samples=3000, cells=3, keep_probability=0.3)
    masks = torch.cat(list(method._masks(IMAGES[0])))
    assert set(masks.unique().tolist()) == {0, 1}
    patches = network_patches("tokens", vit, IMAGES[:1])
    assert torch.allclose(patches.means(masks.mean(0)[None]), torch.tensor(0.3), atol=0.05)
    with pytest.raises(SeewhyError, match="masks of 0 and 1 that are the same within each of the 16 patches"):
        explainer("rise", vit, removal="tokens", masks=torch.rand(3, 64, 64)).explain(IMAGES, torch.tensor([0, 1]))


def test_a_network_without_patches_says_so_in_one_line() -> None:
    with pytest.raises(
        UnsuitedError, match=r"Sequential cannot be dropped, since it has no attention .*: use removal=pixels"
    ):
        RemoveTokens(TINY["cnn"]())(torch.rand(1, 3, 16, 16), divide(torch.rand(1, 3, 16, 16), "patches", 4))
