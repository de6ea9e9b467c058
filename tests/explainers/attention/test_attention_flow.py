"""Attention flow, against a network of two blocks by hand and against the linear program that defines a maximum flow."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from support.tiny_transformers import pictures, transformer_classifier
from torch import Tensor

from seewhy import explainer
from seewhy.errors import SeewhyError
from seewhy.explainers.attention.attention_flow import maximum_flows
from seewhy.maps import upsample


def flow_by_linear_program(layers: list[Tensor], sink: int) -> float:
    """Most that leaves the source: every edge within its capacity, and all that enters a node between leaves it again."""
    edges = [(b, i, j) for b, layer in enumerate(layers) for i in range(len(layer)) for j in range(layer.shape[1])]
    capacity = [float(layers[b][i, j]) for b, i, j in edges]
    between = [(b, i) for b in range(1, len(layers)) for i in range(len(layers[b]))]
    between += [(len(layers), j) for j in range(layers[-1].shape[1]) if j != sink]  # no edge leaves these: nothing enters
    row = {node: number for number, node in enumerate(between)}
    kept = np.zeros((len(between), len(edges)))
    gain = np.zeros(len(edges))
    for number, (b, i, j) in enumerate(edges):
        if b == 0:
            gain[number] = -1
        else:
            kept[row[b, i], number] -= 1
        if (b + 1, j) in row:
            kept[row[b + 1, j], number] += 1
    found = linprog(gain, A_eq=kept, b_eq=np.zeros(len(between)), bounds=[(0, c) for c in capacity])
    return -float(found.fun)


def test_two_blocks_by_hand() -> None:
    """A1 = [[1, 0], [1/4, 3/4]] and A2 = [[5/8, 3/8], [0, 1]], from the first token.

    To token 0: 5/8 through token 0, whose edge takes all of it, and 1/4 of the 3/8 through token 1: 7/8. To token 1: nothing
    through token 0, and 3/8 through token 1.
    """
    head, second, first = (
        torch.tensor([[1.0, 0]]),
        torch.tensor([[5 / 8, 3 / 8], [0, 1]]),
        torch.tensor([[1, 0], [1 / 4, 3 / 4]]),
    )
    assert maximum_flows([head, second, first]).tolist() == [7 / 8, 3 / 8]


def test_flows_go_around_a_narrow_edge() -> None:
    """Paths that are chosen greedily block each other: the source has 1 for node 0 and 1 for node 1.

    Node 0 reaches both sinks, node 1 only the first. All 2 arrive where both sinks are one.
    """
    source, middle, last = torch.ones(1, 2), torch.tensor([[1.0, 1.0], [1.0, 0.0]]), torch.tensor([[1.0], [1.0]])
    assert maximum_flows([source, middle, last]).tolist() == [2.0]


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_random_networks_against_the_linear_program(blocks: int) -> None:
    generator = torch.Generator().manual_seed(blocks)
    layers = [torch.rand(5, 5, generator=generator, dtype=torch.float64) ** 4 for _ in range(blocks)]
    layers = [torch.rand(1, 5, generator=generator, dtype=torch.float64), *layers]
    expected = [flow_by_linear_program(layers, sink) for sink in range(5)]
    torch.testing.assert_close(maximum_flows(layers), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["timm_vit", "timm_vit_mean", "timm_siglip", "hf_deit_distilled", "hf_dinov2_registers"])
def test_it_is_the_papers_flow(name: str) -> None:
    """On real classes: (W + I) / 2 written out, no skip at an attention pooling, prefix tokens out of the map."""
    classifier, images = transformer_classifier(name, double=True), pictures(name, 1, double=True)
    transformer = classifier.transformer
    with classifier.running():
        weights = [a.weights[0].mean(0) for a in transformer.read(images)[1]]
    layers = [transformer.reads[None]]
    for number, w in reversed(list(enumerate(weights))):
        skip = not (transformer.pooled and number == len(weights) - 1)
        layers.append(torch.stack([(row + (torch.arange(len(row)) == i)) / 2 for i, row in enumerate(w)]) if skip else w)
    tokens = range(transformer.prefix, transformer.prefix + 16)
    expected = [flow_by_linear_program(layers, token) for token in tokens]
    assert max(expected) > min(expected) + 1e-3
    found = explainer("attention_flow", classifier).explain(images, torch.tensor([1]))
    torch.testing.assert_close(
        found, upsample(torch.tensor(expected, dtype=torch.float64).view(1, 4, 4), images.shape[-2:]), rtol=0, atol=1e-7
    )


def test_no_more_flows_than_the_first_block_and_the_head_let_through() -> None:
    classifier, images = transformer_classifier("timm_vit"), pictures("timm_vit", 3)
    with classifier.running():
        first = classifier.transformer.read(images)[1][0].weights.mean(1)
    bound = ((first + torch.eye(17)) / 2).sum(1).clamp_max(1)
    method = explainer("attention_flow", classifier)
    found = method.explain(images, torch.tensor([0, 1, 2]))
    assert (found <= classifier.transformer.as_maps(bound, images) + 1e-6).all()


def test_a_batch_of_eight_is_eight_single_images() -> None:
    classifier, images = transformer_classifier("timm_deit_distilled"), pictures("timm_deit_distilled", 8)
    method = explainer("attention_flow", classifier, batch_size=3)
    together = method.explain(images, torch.arange(8) % 5)
    alone = torch.cat([method.explain(image, torch.tensor([0])) for image in images.split(1)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert torch.equal(together, method.explain(images, torch.arange(8) % 5))


def test_many_tokens_are_refused_in_one_line() -> None:
    classifier, images = transformer_classifier("timm_vit"), pictures("timm_vit", 1)
    method = explainer("attention_flow", classifier, max_tokens=16)
    with pytest.raises(SeewhyError, match="takes long for 17 tokens, and max_tokens is 16: raise it") as error:
        method.explain(images, torch.tensor([0]))
    assert "\n" not in str(error.value)
    assert explainer("attention_flow", classifier, max_tokens=17).explain(images, torch.tensor([0])).isfinite().all()
