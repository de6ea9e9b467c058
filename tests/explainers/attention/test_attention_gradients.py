"""Gradient times attention, against equations 5 and 6 written out, and against two blocks computed by hand."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from support.tiny_transformers import MAKE, pictures, transformer_classifier
from torch import Tensor

from seewhy import explainer
from seewhy.explainers import AttentionGradients
from seewhy.maps import upsample


def literal_rows(weights: list[Tensor], gradients: list[Tensor], pooled: bool) -> Tensor:
    """Equations 5 and 6 for one image: R = I, then R = R + A R for each block; a pooling is R = A R."""
    m = weights[0].shape[-1]
    made = torch.eye(m, dtype=torch.float64)
    for number, (w, g) in enumerate(zip(weights, gradients, strict=True)):
        heads, q = len(w), w.shape[1]
        block = torch.zeros(q, m, dtype=torch.float64)
        for h, i, j in product(range(heads), range(q), range(m)):
            block[i, j] += max(float(w[h, i, j] * g[h, i, j]), 0) / heads
        added = torch.stack([sum(block[i, j] * made[j] for j in range(m)) for i in range(q)])  # type: ignore[misc]
        made = added if pooled and number == len(weights) - 1 else made + added
    return made if pooled else made - torch.eye(m, dtype=torch.float64)


@pytest.mark.parametrize("name", list(MAKE))
def test_it_is_the_equations_written_out(name: str) -> None:
    classifier, images = transformer_classifier(name, double=True), pictures(name, double=True)
    transformer = classifier.transformer
    with classifier.running(gradients=True):
        logits, attentions = transformer.read(images.clone().requires_grad_())
        gradients = torch.autograd.grad(logits[0, 1] + logits[1, 2], [a.weights for a in attentions])
    weights = [a.weights.detach() for a in attentions]
    rows = [literal_rows([w[i] for w in weights], [g[i] for g in gradients], transformer.pooled) for i in range(2)]
    tokens = torch.stack([(transformer.reads[:, None] * row).sum(0) for row in rows])[:, transformer.prefix :]
    found = explainer("attention_gradients", classifier).explain(images, torch.tensor([1, 2]))
    torch.testing.assert_close(found, upsample(tokens.view(2, 4, 4), images.shape[-2:]), rtol=1e-6, atol=1e-15)


def test_two_blocks_by_hand() -> None:
    """Two tokens, two heads. Gradient times weights of block 1, positive parts: [[1/2, 0], [0, 1]] and [[0, 1], [0, 0]].

    Their mean is A1 = [[1/4, 1/2], [0, 1/2]]. Block 2 has A2 = [[1, 1/2], [0, 0]]. R1 = I + A1 = [[5/4, 1/2], [0, 3/2]], and
    R2 = R1 + A2 R1, whose first row is [5/4, 1/2] + [5/4, 1/2] + [0, 3/4] = [5/2, 7/4].
    """
    half, one = torch.full((2, 2), 0.5), torch.ones(2, 2)
    weights = [torch.stack([half, one])[None], torch.stack([one, one])[None]]
    first = torch.tensor([[[1.0, -3], [-1, 2]], [[0, 1], [-1, 0]]])[None]
    second = torch.tensor([[[1.0, 1], [0, -1]], [[1, -2], [-1, 0]]])[None]

    transformer = replace(transformer_classifier("timm_vit").transformer, reads=torch.tensor([1.0, 0]))
    found = AttentionGradients(transformer.classifier).tokens(transformer, weights, [first, second])
    assert found.tolist() == [[5 / 2 - 1, 7 / 4]]  # less the I that every token has of itself
