"""The ladder beside the frozen network: what it reads, what it computes, and that nothing else is trained."""

import pytest
import torch
from support.tiny_models import TINY

import seewhy
from seewhy.errors import SeewhyError
from seewhy.explainers.learned.learned_shapley import LearnedShapley
from seewhy.explainers.learned.side_ladder import SideLadder, ladder_of


def test_it_reads_the_blocks_of_a_transformer_and_the_levels_of_a_cnn() -> None:
    vit, cnn = seewhy.load("shapes/vit"), seewhy.load("shapes")
    assert [name for name, _ in ladder_of(vit)] == ["blocks.0", "blocks.1", "blocks.2", "blocks.3.norm1"]
    assert [name for name, _ in ladder_of(cnn)] == [level.name for level in cnn.levels]


def test_it_climbs_rung_by_rung() -> None:
    """s <- block(s + gelu(W norm(h))), with s = 0 at first, written out."""
    torch.manual_seed(0)
    ladder = SideLadder(TINY["vit"]()).eval()
    features = tuple(torch.randn(2, 12, 4, 4) for _ in ladder.layers)
    side = torch.zeros(2, 16, ladder.width)
    with torch.no_grad():
        for norm, into, block, h in zip(ladder.norms, ladder.maps, ladder.blocks, features, strict=True):
            tokens = torch.stack([h[:, :, i // 4, i % 4] for i in range(16)], 1)
            side = block(side + torch.nn.functional.gelu(into(norm(tokens))))
        found, last = ladder(features, (4, 4)), ladder.last_norm(side)
    for player in range(16):
        torch.testing.assert_close(found[:, :, player // 4, player % 4], last[:, player])


@pytest.mark.parametrize("method", ["salvage", "vit_shapley"])
@pytest.mark.parametrize("model", ["vit", "cnn"])
def test_only_the_ladder_and_the_head_are_trained(model: str, method: str) -> None:
    classifier = TINY[model]()
    made = seewhy.explainer(method, classifier, backbone="side", sets=2)
    assert isinstance(made, LearnedShapley)
    made, images = made.untrained(), torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for weight in made.ready.head.last.parameters() if hasattr(made.ready.head, "last") else ():
            weight.normal_(std=0.02)  # the outputs start at 0, where no gradient goes further
    step = made.loss(made.see(images), torch.Generator().manual_seed(0))
    torch.stack(list(step.terms.values())).sum().backward()
    reached = {name for name, weight in made.ready.named_parameters() if weight.grad is not None and weight.grad.abs().sum()}
    assert {f"ladder.maps.{i}.weight" for i in range(len(made.layers))} <= reached
    assert all(weight.grad is None for weight in classifier.module.parameters())
    assert not any(name.startswith("encoder") for name, _ in made.ready.named_parameters())


def test_a_decoder_of_features_cannot_read_its_tokens() -> None:
    made = seewhy.explainer("salvage", TINY["cnn"](), backbone="side", head="cnn")
    assert isinstance(made, LearnedShapley)
    with pytest.raises(SeewhyError, match="head=block"):
        made.untrained()
