"""Raw attention, against the weights that a network computes from its own queries and keys."""

import pytest
import torch
from support.tiny_transformers import pictures, transformer_classifier

from seewhy import explainer
from seewhy.maps import upsample


def test_it_is_the_class_tokens_row_of_the_last_block() -> None:
    """Literal: the last block's queries and keys by hand, one head and one token after the other."""
    classifier, images = transformer_classifier("timm_vit", double=True), pictures("timm_vit", 1, double=True)
    network = classifier.module
    with torch.no_grad():
        tokens = network.patch_embed(classifier.normalize(images))  # type: ignore[operator]
        tokens = torch.cat([network.cls_token.expand(1, -1, -1), tokens], 1) + network.pos_embed  # type: ignore
        for block in network.blocks[:-1]:  # type: ignore[index]
            tokens = block(tokens)
        attention, normed = network.blocks[-1].attn, network.blocks[-1].norm1(tokens)  # type: ignore
        q, k, _ = attention.qkv(normed).view(17, 3, 2, 16).unbind(1)
    row = torch.zeros(17, dtype=torch.float64)
    for head in range(2):
        scores = torch.stack([q[0, head] @ k[j, head] / 4 for j in range(17)])
        row += scores.exp() / scores.exp().sum() / 2
    found = explainer("raw_attention", classifier).explain(images, torch.tensor([1]))
    torch.testing.assert_close(found, upsample(row[1:].view(1, 4, 4), (64, 64)))


@pytest.mark.parametrize("name", ["timm_deit_distilled", "timm_vit_mean", "timm_siglip", "hf_dinov2_registers"])
def test_the_rows_are_those_that_the_head_reads(name: str) -> None:
    classifier, images = transformer_classifier(name), pictures(name)
    with classifier.running():
        last = classifier.transformer.read(images)[1][-1].weights.mean(1)
    expected = {
        "timm_deit_distilled": lambda: (last[:, 0] + last[:, 1]) / 2,
        "timm_vit_mean": lambda: last.mean(1),
        "timm_siglip": lambda: last[:, 0],
        "hf_dinov2_registers": lambda: (last[:, 0] + last[:, 5:].mean(1)) / 2,
    }[name]()
    found = explainer("raw_attention", classifier).explain(images, torch.tensor([1, 2]))
    torch.testing.assert_close(found, classifier.transformer.as_maps(expected, images))
