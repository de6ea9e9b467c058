"""Each term against its equation written as loops over pixels in float64, and against numbers worked out by hand."""

from math import exp, log

import pytest
import torch
from support.planted import bounds_as_printed, variation_as_printed
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.explainers.learned.mask_terms import (
    classes_in,
    classes_predicted,
    classification,
    merged,
    negative_entropy,
    out_of_bounds,
    variation,
)

close = torch.testing.assert_close


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("a", "b"), [(0.05, 0.3), (0.0, 0.5), (0.3, 0.31)])
@pytest.mark.parametrize("size", [(10, 10), (7, 9)])
def test_bounds(size: tuple[int, int], a: float, b: float) -> None:
    masks = drawn(3, *size)
    close(out_of_bounds(masks, a, b), torch.tensor([bounds_as_printed(m.tolist(), a, b) for m in masks]).double())


def test_bounds_by_hand() -> None:
    """Of 100 pixels 5 must be 1, 30 may be 1, and 70 must be 0."""
    flat = torch.zeros(5, 100, dtype=torch.float64)
    flat[1] = 1
    flat[2, :5] = 1
    flat[3, :30] = 1
    flat[4, 40:44] = 1  # wherever they are
    close(out_of_bounds(flat.view(5, 10, 10), 0.05, 0.3), torch.tensor([0.05, 0.7, 0, 0, 0.01]).double())
    close(out_of_bounds(flat[1:2].view(1, 10, 10), 0.0, 0.29), torch.tensor([0.71]).double())  # 100 * 0.29 < 29 in floats


def test_variation() -> None:
    masks = drawn(3, 5, 7)
    for power in (1, 2):
        expected = torch.tensor([variation_as_printed(m.tolist(), power) for m in masks]).double()
        close(variation(masks, power), expected)
    step = torch.tensor([[[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]])
    close(variation(step), torch.tensor([3 / 6]))
    # mirrored, the pixel beyond the border is the last but one: |1 - 1| + |1 - 0| in the rows, 0 + 1 + 0 in the columns
    close(variation(step, mirrored=True), torch.tensor([5 / 6]))


def test_the_border_of_the_released_code() -> None:
    """Two kernels of 3 x 3 with mirrored padding."""
    mask = drawn(1, 6, 8)
    padded = torch.nn.functional.pad(mask[None], [1, 1, 1, 1], mode="reflect")[0, 0]
    down = (padded[1:-1, 1:-1] - padded[2:, 1:-1]).abs().sum()
    right = (padded[1:-1, 1:-1] - padded[1:-1, 2:]).abs().sum()
    close(variation(mask, mirrored=True), ((down + right) / 48)[None])


def test_entropy() -> None:
    logits = 4 * drawn(3, 5) - 2
    expected = []
    for row in logits.tolist():
        p = [exp(z) / sum(map(exp, row)) for z in row]
        expected.append(sum(x * log(x) for x in p) / 5)
    close(negative_entropy(logits), torch.tensor(expected).double())
    close(negative_entropy(torch.zeros(1, 4)), torch.tensor([-log(4) / 4]))
    certain = torch.tensor([[1000.0, 0.0, -1000.0]], requires_grad=True)
    assert negative_entropy(certain).item() == 0  # a probability of 0 adds nothing
    (slope,) = torch.autograd.grad(negative_entropy(certain).sum(), certain)
    assert torch.isfinite(slope).all()


def test_classification() -> None:
    logits, present = 4 * drawn(3, 4) - 2, torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).bool()
    expected = []
    for row, there in zip(logits.tolist(), present.tolist(), strict=True):
        p = [1 / (1 + exp(-z)) for z in row]
        expected.append(-sum(log(x) if t else log(1 - x) for x, t in zip(p, there, strict=True)) / 4)
    close(classification(logits, present, multilabel=True), torch.tensor(expected).double())
    one = classes_in(torch.tensor([2, 0, 3]), 4)
    of_softmax = [log(sum(map(exp, row))) - row[c] for row, c in zip(logits.tolist(), (2, 0, 3), strict=True)]
    close(classification(logits, one, multilabel=False), torch.tensor(of_softmax).double())
    with pytest.raises(SeewhyError, match="load it with multilabel"):
        classification(logits, present, multilabel=False)


def test_the_mask_of_several_classes_is_their_maximum() -> None:
    masks, chosen = drawn(3, 4, 2, 3), torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).bool()
    found = merged(masks, chosen)
    for i in range(2):
        for j in range(3):
            assert found[0, i, j] == max(masks[0, 0, i, j], masks[0, 2, i, j])
            assert found[1, i, j] == 0  # no class is there, or every class
            assert found[2, i, j] == max(masks[2, c, i, j] for c in range(4))


def test_the_classes_of_an_image() -> None:
    close(classes_in(torch.tensor([1, 0]), 3), torch.tensor([[0, 1, 0], [1, 0, 0]]).bool())
    close(classes_in(torch.tensor([[0.0, 1.0]]), 2), torch.tensor([[False, True]]))
    logits = torch.tensor([[1.0, 2.0, -1.0], [-1.0, -2.0, -3.0]])
    close(classes_predicted(logits, multilabel=True), torch.tensor([[1, 1, 0], [0, 0, 0]]).bool())
    close(classes_predicted(logits, multilabel=False), torch.tensor([[0, 1, 0], [1, 0, 0]]).bool())
