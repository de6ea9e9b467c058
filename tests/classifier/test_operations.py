"""The functions of a pass, seen one by one, on networks that do not change."""

import pytest
import torch
from support.tiny_models import TINY
from torch import nn
from torch.nn import functional as F

from seewhy.classifier.operations import Operations, attention_in_parts, name_of


class Seen(Operations):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def call(self, name, function, args, named):
        self.names.append(name)
        return function(*args, **named)


def test_one_name_for_all_spellings() -> None:
    x, y = torch.rand(2, 2), torch.rand(2, 2) + 1
    with Seen() as seen:
        x + y, x.add(y), torch.add(x, y), x.add_(y)
        x @ y, torch.matmul(x, y), torch.bmm(x[None], y[None]), x.mm(y)
        x.softmax(-1), torch.softmax(x, -1), F.softmax(x, -1), torch.special.softmax(x, -1)
        x /= y
        1 / y
    spelled = [name for name in seen.names if name != "getitem"]
    assert spelled == ["add"] * 4 + ["matmul"] * 4 + ["softmax"] * 4 + ["div"] * 2
    assert (name_of("__getitem__"), name_of("relu_")) == ("getitem", "relu")


def test_operands_are_in_their_order() -> None:
    class Left(Operations):
        def call(self, name, function, args, named):
            if name in ("sub", "div", "pow"):
                assert args[0] == 8
            return function(*args, **named)

    y = torch.tensor(2.0)
    with Left():
        assert [float(v) for v in (8 - y, 8 / y, 8**y, torch.rsub(y, 8))] == [6, 4, 64, 6]


@pytest.mark.parametrize("masked", ["no", "bool", "added", "causal", "groups"])
def test_attention_in_parts_is_fused_attention(masked: str) -> None:
    q, k, v = (torch.randn(2, 4, 5, 3, dtype=torch.float64) for _ in range(3))
    named: dict[str, object] = {}
    if masked == "bool":
        named["attn_mask"] = torch.rand(2, 1, 5, 5) > 0.3
        named["attn_mask"][..., 0] = True  # type: ignore[index]
    if masked == "added":
        named["attn_mask"] = torch.randn(4, 5, 5, dtype=torch.float64)
    if masked == "causal":
        named["is_causal"] = True
    if masked == "groups":
        k, v, named = k[:, :2], v[:, :2], {"enable_gqa": True, "scale": 0.3}
    fused = F.scaled_dot_product_attention(q, k, v, **named)  # type: ignore[arg-type]
    with Seen() as seen:
        again = F.scaled_dot_product_attention(q, k, v, **named)  # type: ignore[arg-type]
    assert torch.allclose(attention_in_parts(q, k, v, **named), fused, atol=1e-12)  # type: ignore[arg-type]
    assert torch.allclose(again, fused, atol=1e-12)
    assert "softmax" in seen.names


@pytest.mark.parametrize("need_weights", [False, True])
def test_a_multihead_attention_shows_its_parts(need_weights: bool) -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True).double().eval()
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    with torch.no_grad():
        expected = attention(x, x, x, need_weights=need_weights)[0]
        with Seen() as seen:
            found = attention(x, x, x, need_weights=need_weights)[0]
    assert torch.allclose(found, expected, atol=1e-12)
    parts = [name for name in seen.names if name in ("matmul", "softmax", "linear")]
    assert parts == ["linear", "matmul", "softmax", "matmul", "linear"]


def test_a_pass_is_as_without_the_mode_and_the_mode_is_given_back() -> None:
    classifier = TINY["vit"]()
    images = torch.rand(2, 3, 16, 16)
    expected = classifier.logits(images)
    with Seen():
        found = classifier.logits(images)
    assert torch.allclose(found, expected, atol=1e-6)

    class Fails(Operations):
        def call(self, name, function, args, named):
            if name == "linear":
                raise RuntimeError("no")
            return function(*args, **named)

    with pytest.raises(RuntimeError, match="no"), Fails():
        classifier.logits(images)
    assert torch.equal(classifier.logits(images), expected)
