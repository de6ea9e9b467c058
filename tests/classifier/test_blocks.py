"""The blocks of a transformer as modules, on the networks of three libraries and on networks that have none."""

import pytest
import torch
from support.tiny_models import TINY, Block, TinyViT, tiny
from support.tiny_transformers import MAKE, transformer_classifier
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import UnsuitedError
from seewhy.testing.explainers import expect_same, snapshot


@pytest.mark.parametrize("name", list(MAKE))
def test_a_block_is_a_module_of_the_networks_own_list_of_blocks(name: str) -> None:
    classifier = transformer_classifier(name)
    before = snapshot(classifier.module)
    blocks = classifier.blocks
    expect_same(before, snapshot(classifier.module))
    parents = {block.rpartition(".")[0] for block in blocks}
    assert len(parents) == 1
    children = dict(classifier.module.get_submodule(*parents).named_children())
    assert list(children) == [block.rpartition(".")[2] for block in blocks]
    assert len(blocks) == classifier.transformer.n_blocks - classifier.transformer.pooled == 3


class Loose(nn.Module):
    """The residual sums are written in the network itself: no module returns the tokens that go on."""

    def __init__(self) -> None:
        super().__init__()
        whole = TinyViT()
        self.patch, self.head, self.norm = whole.patch, whole.head, whole.norm
        self.parts = nn.ModuleList(Block(12) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        for part in self.parts:
            tokens = tokens + part.attn(part.norm1(tokens))
            tokens = tokens + part.mlp(part.norm2(tokens))
        return self.head(self.norm(tokens).mean(1))


class Beside(nn.Module):
    """The head reads the tokens of the first block too: those of the last one are not all that goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = TinyViT()

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.whole.patch(x).flatten(2).transpose(1, 2)
        first = self.whole.blocks[0](tokens)
        return self.whole.head((self.whole.norm(self.whole.blocks[1](first)) + first).mean(1))


@pytest.mark.parametrize("network", [Loose, Beside])
def test_a_network_without_such_modules_is_refused_in_one_line(network: type[nn.Module]) -> None:
    classifier = tiny(network())
    assert classifier.transformer.n_blocks == 2
    with pytest.raises(
        UnsuitedError, match="no module for each block whose tokens alone go on: attention_gradients"
    ) as error:
        _ = classifier.blocks
    assert "\n" not in str(error.value)


def test_a_network_without_attention_says_so() -> None:
    with pytest.raises(UnsuitedError, match="has no attention over tokens"):
        _ = TINY["cnn"]().blocks


def test_it_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = TINY["vit"]()
    assert classifier.blocks == ("blocks.0", "blocks.1")

    def fail(*_: object) -> Tensor:
        raise AssertionError("the network was asked again")

    monkeypatch.setattr(Classifier, "logits", fail)
    monkeypatch.setattr(Classifier, "record", fail)
    assert classifier.blocks == ("blocks.0", "blocks.1")
    assert torch.is_grad_enabled()
