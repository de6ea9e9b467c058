"""LeGrad, against its equations on blocks written out, and against networks that really end after a block."""

from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from support.tiny_models import TINY
from support.tiny_transformers import MAKE, pictures, transformer_classifier
from torch import Tensor, nn

from seewhy import explainer
from seewhy.classifier.attention import Attending
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.explainers import ExplainsClasses
from seewhy.maps import upsample


def mean_of_positive(slopes: Tensor) -> Tensor:
    """1 / (h q) of the sum over heads and queries of the positive slopes (h, q, m)."""
    h, q, m = slopes.shape
    found = torch.zeros(m, dtype=torch.float64)
    for head in slopes.tolist():
        for row in head:
            for j, slope in enumerate(row):
                found[j] += max(slope, 0) / (h * q)
    return found


@pytest.mark.parametrize(("pooling", "blocks"), [("mean", None), ("own", None), ("mean", 2)])
def test_the_equations_on_blocks_written_out(pooling: str, blocks: int | None) -> None:
    """z' = z + proj(A v), then the perceptron; s = head(norm(mean of the tokens)); each block's weights are a leaf."""
    classifier, images = transformer_classifier("timm_vit", double=True), pictures("timm_vit", 1, double=True)
    network, c = cast(Any, classifier.module), 3
    maps = []
    tokens = network.patch_embed(classifier.normalize(images))
    tokens = torch.cat([network.cls_token.expand(1, -1, -1), tokens], 1) + network.pos_embed
    for block in network.blocks:
        q, k, v = block.attn.qkv(block.norm1(tokens))[0].view(17, 3, 2, 16).permute(1, 2, 0, 3)
        scores = torch.stack(
            [torch.stack([torch.stack([q[h, i] @ k[h, j] / 4 for j in range(17)]) for i in range(17)]) for h in range(2)]
        )
        weights = (scores.exp() / scores.exp().sum(-1, keepdim=True)).detach().requires_grad_()
        attended = torch.cat([weights[h] @ v[h].detach() for h in range(2)], 1)[None]
        after = tokens.detach() + block.attn.proj(attended)
        after = after + block.mlp(block.norm2(after))
        read = after[0].mean(0) if pooling == "mean" else after[0, 0]
        score = network.head(network.norm(read))[c]
        maps.append(mean_of_positive(torch.autograd.grad(score, weights)[0]))
        tokens = after.detach()
    maps = maps[-blocks:] if blocks else maps
    expected = upsample((sum(maps) / len(maps))[1:].view(1, 4, 4), (64, 64))
    found = explainer("legrad", classifier, pooling=pooling, blocks=blocks).explain(images, torch.tensor([c]))
    assert expected.max() > 1.2 * expected.min()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


class Passes(nn.Module):
    """In the place of a block that is cut out: the tokens go through."""

    def __init__(self, in_tuple: bool) -> None:
        super().__init__()
        self.in_tuple = in_tuple

    def forward(self, tokens: Tensor, *_: object, **__: object) -> Tensor | tuple[Tensor]:
        return (tokens,) if self.in_tuple else tokens


def ends_after(classifier: Classifier, block: int, mean: bool) -> Classifier:
    """A copy of the network whose blocks after ``block`` are cut out; ``mean``: the head gets the mean of all tokens."""
    network = deepcopy(classifier.module)
    outputs: dict[str, object] = {}
    handles = [
        network.get_submodule(name).register_forward_hook(lambda m, a, out, name=name: outputs.update({name: out}))
        for name in classifier.blocks
    ]
    with torch.no_grad():
        network(torch.zeros(1, 3, *classifier.input_size, dtype=torch.float64))
    for handle in handles:
        handle.remove()
    for name in classifier.blocks[block + 1 :]:
        network.set_submodule(name, Passes(isinstance(outputs[name], tuple)))
    if mean:

        def averaged(_module: nn.Module, _args: object, output: Any) -> Any:
            tokens = output[0] if isinstance(output, tuple) else output
            same = tokens.mean(1, keepdim=True).expand_as(tokens)
            return (same, *output[1:]) if isinstance(output, tuple) else same

        network.get_submodule(classifier.blocks[block]).register_forward_hook(averaged)
    return replace(classifier, module=network)


OWN = ("timm_deit_distilled", "timm_siglip", "hf_dinov2_registers", "hf_siglip")


@pytest.mark.parametrize(("name", "pooling"), [*((name, "mean") for name in MAKE), *((name, "own") for name in OWN)])
def test_a_score_is_that_of_a_network_that_ends_after_the_block(name: str, pooling: str) -> None:
    classifier, images = transformer_classifier(name, double=True), pictures(name, 1, double=True)
    transformer, c, maps = classifier.transformer, 2, []
    for block in range(3):
        short = ends_after(classifier, block, mean=pooling == "mean" and not transformer.pooled)
        with short.running(gradients=True), Attending(1) as attending:
            logits = short.logits(images.clone().requires_grad_())
        weights = attending.attentions[-1 if transformer.pooled else block].weights
        maps.append(mean_of_positive(torch.autograd.grad(logits[0, c], weights)[0][0]))
    expected = upsample((sum(maps) / 3)[transformer.prefix :].view(1, 4, 4), images.shape[-2:])
    found = explainer("legrad", classifier, pooling=pooling).explain(images, torch.tensor([c]))
    assert expected.max() > 1.2 * expected.min()
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", ["timm_deit_distilled", "timm_siglip"])
def test_a_batch_of_eight_is_eight_images_and_classes_are_the_loop(name: str) -> None:
    classifier, images, targets = transformer_classifier(name), pictures(name, 8), torch.arange(8) % 5
    method = explainer("legrad", classifier, batch_size=5)
    together = method.explain(images, targets)
    alone = torch.cat([method.explain(images[i : i + 1], targets[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-7)
    assert isinstance(method, ExplainsClasses)
    classes = method.explain_classes(images[:2], torch.tensor([4, 0]))
    for j, k in enumerate((4, 0)):
        torch.testing.assert_close(classes[:, j], method.explain(images[:2], torch.full((2,), k)), rtol=1e-4, atol=1e-7)


def test_more_blocks_than_there_are_and_networks_without_blocks_are_refused_in_one_line() -> None:
    classifier = transformer_classifier("timm_vit")
    assert explainer("legrad", classifier, blocks=3)
    with pytest.raises(SeewhyError, match="legrad cannot read 4 blocks: the network has 3"):
        explainer("legrad", classifier, blocks=4)
    with pytest.raises(UnsuitedError, match="has no attention over tokens"):
        explainer("legrad", TINY["cnn"]())
