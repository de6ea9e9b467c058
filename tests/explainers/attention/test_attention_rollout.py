"""Rollout, against a network of two blocks that was computed by hand and against the product written out."""

from itertools import product

import pytest
import torch
from support.tiny_transformers import MAKE, pictures, transformer_classifier
from torch import Tensor

from seewhy import explainer
from seewhy.errors import SeewhyError
from seewhy.explainers import AttentionRollout
from seewhy.maps import upsample


def literal_rollout(weights: list[Tensor], pooled: bool) -> Tensor:
    """Equation 1 for one image, a sum over all paths through the blocks: each weight is (w + identity) / 2."""
    blocks = [w.double().mean(0) for w in weights]
    m = blocks[0].shape[-1]
    made = torch.eye(m, dtype=torch.float64)
    for number, block in enumerate(blocks):
        last = pooled and number == len(blocks) - 1
        new = torch.zeros(len(block), m, dtype=torch.float64)
        for i, j in product(range(len(block)), range(m)):
            weight = block[i, j] if last else (block[i, j] + (i == j)) / 2
            new[i] += weight * made[j]
        made = new
    return made


def test_two_blocks_by_hand() -> None:
    """Two tokens, one head: W1 = [[1, 0], [1/2, 1/2]], W2 = [[1/4, 3/4], [0, 1]].

    A1 = (W1 + I) / 2 = [[1, 0], [1/4, 3/4]] and A2 = [[5/8, 3/8], [0, 1]]. The first row of A2 A1 is
    [5/8 + 3/32, 9/32] = [23/32, 9/32].
    """
    rollout = AttentionRollout(transformer_classifier("timm_vit"))

    first = torch.tensor([[[[1, 0], [0.5, 0.5]]]])
    second = torch.tensor([[[[0.25, 0.75], [0, 1]]]])
    assert rollout.product([first, second], pooled=False)[0, 0].tolist() == [23 / 32, 9 / 32]


@pytest.mark.parametrize("name", list(MAKE))
def test_it_is_the_product_of_the_matrices_written_out(name: str) -> None:
    classifier, images = transformer_classifier(name), pictures(name)
    transformer = classifier.transformer
    with classifier.running():
        weights = [a.weights for a in transformer.read(images)[1]]
    rows = [literal_rollout([w[i] for w in weights], transformer.pooled) for i in range(2)]
    tokens = torch.stack([(transformer.reads[:, None] * row).sum(0) for row in rows])[:, transformer.prefix :]
    expected = upsample(tokens.view(2, 4, 4), images.shape[-2:])
    found = explainer("attention_rollout", classifier).explain(images, torch.tensor([1, 2]))
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_a_batch_of_eight_is_eight_single_images() -> None:
    classifier, images = transformer_classifier("timm_dinov2_registers"), pictures("timm_dinov2_registers", 8)
    method = explainer("attention_rollout", classifier)
    together = method.explain(images, torch.arange(8) % 5)
    alone = torch.cat([method.explain(image, torch.tensor([0])) for image in images.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-7)


def test_heads_are_fused_and_the_lowest_weights_left_out() -> None:
    classifier = transformer_classifier("timm_vit")
    weights = torch.tensor([[[[0.1, 0.9], [0.4, 0.6]], [[0.3, 0.7], [0.8, 0.2]]]])
    fused = {f: AttentionRollout(classifier, fusion=f).fused(weights)[0] for f in ("mean", "max", "min")}
    assert {f: m.flatten().tolist() for f, m in fused.items()} == {
        "mean": pytest.approx([0.2, 0.8, 0.6, 0.4]),
        "max": pytest.approx([0.3, 0.9, 0.8, 0.6]),
        "min": pytest.approx([0.1, 0.7, 0.4, 0.2]),
    }
    half = AttentionRollout(classifier, discard_ratio=0.5).fused(weights)[0]
    assert half.flatten().tolist() == pytest.approx([0, 0.8, 0.6, 0])


def test_it_starts_at_a_block() -> None:
    classifier, images = transformer_classifier("timm_vit"), pictures("timm_vit")
    with classifier.running():
        weights = [a.weights for a in classifier.transformer.read(images)[1]]
    found = explainer("attention_rollout", classifier, start_block=2).explain(images, torch.tensor([1, 2]))
    expected = ((weights[2].mean(1) + torch.eye(17)) / 2)[:, 0]
    torch.testing.assert_close(found, classifier.transformer.as_maps(expected, images))
    with pytest.raises(SeewhyError, match="start_block is 3, but the network has 3 blocks, 0 to 2"):
        explainer("attention_rollout", classifier, start_block=3)
