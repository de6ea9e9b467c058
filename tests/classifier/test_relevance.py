"""Each rule of relevance, against its equation written with loops in float64, one number at a time."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seewhy.classifier.operations import Operations
from seewhy.classifier.relevance import MOVES, RULES, RelevancePass
from seewhy.errors import UnsuitedError
from seewhy.explainers.attention.attention_gradients import through_blocks


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def back(
    compute: Callable[..., Tensor], inputs: list[Tensor], relevance: Tensor | None = None
) -> tuple[list[Tensor], Tensor]:
    """The relevance of each input, and that of the output: random numbers, if none are given."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    with RelevancePass(leaves[0]):
        made = compute(*leaves)
    assert torch.equal(made.detach(), compute(*inputs))
    given = numbers(*made.shape, seed=9) if relevance is None else relevance
    return list(torch.autograd.grad(made, leaves, given, materialize_grads=True)), given


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


# -- the rules, literally ---------------------------------------------------------------------------------------------


def literal_linear(x: Tensor, w: Tensor, relevance: Tensor) -> Tensor:
    """Eq. 5 for one vector: R_j = sum over i of (x_j w_ij) / (sum over j' of x_j' w_ij') R_i, over products > 0."""
    found = torch.zeros_like(x)
    for i in range(len(w)):
        positive = {j: float(x[j] * w[i, j]) for j in range(len(x)) if x[j] * w[i, j] > 0}
        for j, share in positive.items():
            found[j] += share / sum(positive.values()) * relevance[i]
    return found


def test_a_linear_layer() -> None:
    x, w, b = numbers(2, 3, 12), numbers(5, 12, seed=1), numbers(5, seed=2)
    (found,), relevance = back(lambda x: F.linear(x, w, bias=b), [x])
    for n, t in product(range(2), range(3)):
        same(found[n, t], literal_linear(x[n, t], w, relevance[n, t]))
    same(found.sum((1, 2)), relevance.sum((1, 2)))  # a bias gets nothing


def test_an_output_without_a_positive_product_passes_nothing_on() -> None:
    x, w = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[-1.0, -1.0], [1.0, -1.0]]).double()
    (found,), _ = back(lambda x: F.linear(x, w), [x], torch.tensor([[7.0, 3.0]]).double())
    assert found.tolist() == [[3, 0]]


def test_a_convolution_is_the_linear_layer_of_its_patches() -> None:
    x, w, b = numbers(2, 2, 4, 4), numbers(3, 2, 2, 2, seed=1), numbers(3, seed=2)
    (found,), relevance = back(lambda x: F.conv2d(x, w, b, stride=2), [x])
    for n, i, j in product(range(2), range(2), range(2)):
        patch = (n, slice(None), slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2))
        expected = literal_linear(x[patch].flatten(), w.flatten(1), relevance[n, :, i, j])
        same(found[patch].flatten(), expected)


@pytest.mark.parametrize("fixed", ["left", "right"])
def test_a_product_with_a_fixed_matrix_is_a_linear_layer(fixed: str) -> None:
    """As the queries of an attention pooling, which are the same for every image."""
    x, w = numbers(2, 3, 4), numbers(4, 5, seed=1)
    (found,), relevance = back(lambda x: x @ w if fixed == "right" else w.T @ x.transpose(1, 2), [x])
    relevance = relevance if fixed == "right" else relevance.transpose(1, 2)
    for n, t in product(range(2), range(3)):
        same(found[n, t], literal_linear(x[n, t], w.T, relevance[n, t]))


def literal_product(u: Tensor, v: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 1 for each factor of z_ik = sum over j of u_ij v_jk, halved."""
    of_u, of_v = torch.zeros_like(u), torch.zeros_like(v)
    for i, k in product(range(len(u)), range(v.shape[1])):
        z = sum(float(u[i, j] * v[j, k]) for j in range(len(v)))
        for j in range(len(v)):
            share = u[i, j] * v[j, k] * relevance[i, k] / z / 2
            of_u[i, j] += share
            of_v[j, k] += share
    return of_u, of_v


@pytest.mark.parametrize("written", ["@", "bmm", "einsum", "einsum_list"])
def test_a_product_of_two_tensors(written: str) -> None:
    u, v = numbers(2, 3, 4), numbers(2, 4, 5, seed=1)
    compute = {
        "@": lambda u, v: u @ v,
        "bmm": torch.bmm,
        "einsum": lambda u, v: torch.einsum("nij,njk->nik", u, v),
        "einsum_list": lambda u, v: torch.einsum("nij,njk->nik", [u, v]),
    }[written]
    (of_u, of_v), relevance = back(compute, [u, v])
    for n in range(2):
        expected = literal_product(u[n], v[n], relevance[n])
        same(of_u[n], expected[0])
        same(of_v[n], expected[1])
    same(of_u.sum((1, 2)), relevance.sum((1, 2)) / 2)
    same(of_v.sum((1, 2)), relevance.sum((1, 2)) / 2)


def test_a_product_of_numbers_gives_half_to_each() -> None:
    """As in a gate."""
    u, v = numbers(2, 3), numbers(2, 3, seed=1)
    (of_u, of_v), relevance = back(lambda u, v: u * v, [u, v])
    same(of_u, relevance / 2)
    same(of_v, relevance / 2)


def literal_sum(u: Tensor, v: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 1 and eq. 9 for one image."""
    of_u, of_v = torch.zeros_like(u), torch.zeros_like(v)
    for at in product(*map(range, u.shape)):
        of_u[at] = u[at] * relevance[at] / (u[at] + v[at])
        of_v[at] = v[at] * relevance[at] / (u[at] + v[at])
    p, q, whole = of_u.sum(), of_v.sum(), relevance.sum()
    return of_u * (p.abs() / (p.abs() + q.abs()) * whole / p), of_v * (q.abs() / (p.abs() + q.abs()) * whole / q)


@pytest.mark.parametrize("written", ["+", "+=", "add_", "-", "alpha"])
def test_a_sum_is_shared_image_by_image(written: str) -> None:
    def compute(u: Tensor, v: Tensor) -> Tensor:
        if written == "add_":
            again = u * 1
            again.add_(v)  # what it returns is thrown away
            return again
        if written == "+=":
            u = u * 1
            u += v
            return u
        return {"+": lambda: u + v, "-": lambda: u - v, "alpha": lambda: torch.add(u, v, alpha=0.5)}[written]()

    u, v = numbers(3, 2, 4), numbers(3, 2, 4, seed=1)
    factor = {"-": -1, "alpha": 0.5}.get(written, 1)
    (of_u, of_v), relevance = back(compute, [u, v])
    for n in range(3):
        expected = literal_sum(u[n], factor * v[n], relevance[n])
        same(of_u[n], expected[0])
        same(of_v[n], expected[1])
    same((of_u + of_v).sum((1, 2)), relevance.sum((1, 2)))


def test_equation_9_by_hand() -> None:
    """z = (3 - 1, 1 + 1).

    R = (2, 2): the parts u R/z = (3, 1) and v R/z = (-1, 1) have the sums 4 and 0, and u gets all. R = (2, 1): the parts
    (3, 1/2) and (-1, 1/2) have the sums 7/2 and -1/2. They share the whole 3 as 7 : 1, so u is scaled to 21/8, by 3/4, and v
    to 3/8, by -3/4.
    """
    u, v = torch.tensor([[3.0, 1.0]]).double(), torch.tensor([[-1.0, 1.0]]).double()
    (of_u, of_v), _ = back(lambda u, v: u + v, [u, v], torch.tensor([[2.0, 2.0]]).double())
    assert (of_u.tolist(), of_v.tolist()) == ([[3, 1]], [[0, 0]])
    (of_u, of_v), _ = back(lambda u, v: u + v, [u, v], torch.tensor([[2.0, 1.0]]).double())
    assert (of_u.tolist(), of_v.tolist()) == ([[2.25, 0.375]], [[0.75, -0.375]])


def test_pooling_shares_by_what_was_pooled() -> None:
    x = numbers(2, 5, 3)
    (found,), relevance = back(lambda x: x.mean(1), [x])
    for n, j, c in product(range(2), range(5), range(3)):
        same(found[n, j, c], x[n, j, c] / x[n, :, c].sum() * relevance[n, c])


UNCHANGED: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": lambda x: F.relu(x * 1, inplace=True),
    "relu_": lambda x: (x * 1).relu_(),
    "elu": lambda x: F.elu(x * 1, 1.0, True),  # in place, and says so by its place
    "softmax": lambda x: x.softmax(-1),
    "layer_norm": lambda x: F.layer_norm(x, (4,), numbers(4, seed=5), numbers(4, seed=6)),
    "scale": lambda x: x / 3 * numbers(4, seed=5),
    "bias": lambda x: 1 - (x + numbers(4, seed=5)),
    "norm": lambda x: F.normalize(x, dim=-1),
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
}


@pytest.mark.parametrize("name", list(UNCHANGED))
def test_relevance_passes_unchanged(name: str) -> None:
    (found,), relevance = back(UNCHANGED[name], [numbers(2, 3, 4)])
    same(found, relevance)


def test_what_moves_numbers_moves_relevance() -> None:
    def compute(x: Tensor) -> Tensor:
        tokens = torch.cat([torch.zeros(2, 1, 4).double(), x.flatten(2).transpose(1, 2)], 1)
        return torch.stack([tokens[:, 1:].unbind(1)[2], tokens[:, 3]], 1)  # one token, twice

    (found,), relevance = back(compute, [numbers(2, 4, 3)])
    same(found[..., 2], relevance.sum(1))
    same(found[..., :2], torch.zeros(2, 4, 2).double())


# -- two blocks -------------------------------------------------------------------------------------------------------


def test_two_blocks_of_two_tokens_by_hand() -> None:
    """Tokens x = (1, 2) of one number; a block adds A x; the logit is the first token.

    A1 = [[1/2, 1/2], [0, 1]] gives A1 x = (3/2, 2) and x1 = (5/2, 4). A2 = [[1/4, 3/4], [1, 0]] gives 29/8 for the first
    token, and the logit 49/8. Of its relevance 1 the skip gets 20/49 and A2 x1 gets 29/49. The weights of A2 and the tokens
    x1 get half each, in the ratio 5/8 : 3, which is (5/98, 24/98). So x1 has (45/98, 24/98). Of this A1 x gets 3/5 and 1/2,
    (27/98, 12/98). The weights of A1 get half, [[9, 18], [0, 12]] / 196. The gradients of the logit by A2's first row are
    x1, and by A1 (5/4, 3/4) times x. Gradient times relevance: A2 has [25, 192] / 196 in its first row, and A1 has
    [[45, 180], [0, 72]] / 784.
    """
    first = torch.tensor([[[0.5, 0.5], [0, 1]]]).double()
    second = torch.tensor([[[0.25, 0.75], [1, 0]]]).double()

    def logit(a1: Tensor, a2: Tensor, x: Tensor) -> Tensor:
        x1 = x + a1 @ x
        return (x1 + a2 @ x1)[:, 0]

    x = torch.tensor([[[1.0], [2.0]]]).double()
    (r1, r2, r0), _ = back(logit, [first, second, x], torch.ones(1, 1).double())
    same(r2 * 98, torch.tensor([[[5.0, 24], [0, 0]]]).double())
    same(r1 * 196, torch.tensor([[[9.0, 18], [0, 12]]]).double())
    same((r0.sum() + r1.sum() + r2.sum()), torch.tensor(1.0).double())
    g1, g2 = torch.autograd.functional.jacobian(lambda a, b: logit(a, b, x).sum(), (first, second))
    blocks = [(g * r).clamp(min=0) for g, r in ((g1, r1), (g2, r2))]
    same(blocks[0] * 784, torch.tensor([[[45.0, 180], [0, 72]]]).double())
    same(blocks[1] * 196, torch.tensor([[[25.0, 192], [0, 0]]]).double())
    patch = 180 / 784 + 192 / 196 + 25 / 196 * 180 / 784 + 192 / 196 * 72 / 784
    assert float(through_blocks(blocks, pooled=False)[0, 0, 1]) == pytest.approx(patch)


# -- what has no rule, and what the pass keeps ------------------------------------------------------------------------


def test_a_function_without_a_rule_is_named() -> None:
    with pytest.raises(UnsuitedError, match=r"no rule for 'cumsum'.*choose attention_gradients") as error:
        back(lambda x: (x + 1).cumsum(1), [numbers(2, 3)])
    assert "\n" not in str(error.value)
    with pytest.raises(UnsuitedError, match="'cumsum'"):
        back(lambda x: (x + 1).cumsum_(1), [numbers(2, 3)])
    with pytest.raises(UnsuitedError, match="'einsum of several tensors'"):
        back(lambda x: torch.einsum("ni,ni,ni->n", x, x, x), [numbers(2, 3)])
    with pytest.raises(UnsuitedError, match="weights depend on the image"):
        back(lambda x: F.linear(x, x), [numbers(3, 3)])


def test_a_function_without_a_rule_does_not_matter_where_no_relevance_comes() -> None:
    """Before the tensors that are asked for, or in a branch that gets nothing, as a divisor."""
    (found,), relevance = back(lambda x: x / x.cumsum(1), [numbers(2, 3)])
    same(found, relevance)
    x = numbers(2, 3).requires_grad_()
    with RelevancePass(x):
        tokens = x.cumsum(1)
        made = tokens * 2
    same(torch.autograd.grad(made, tokens, relevance)[0], relevance)


def test_a_pass_in_float32_computes_in_float64() -> None:
    """In float32, where numbers nearly cancel, the rounding of a sum decides its shares."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 4)).requires_grad_(False)
    x = torch.randn(2, 6)
    leaf = x.clone().requires_grad_()
    with RelevancePass(leaf):
        made = network(leaf)
        assert made.dtype == made.float().dtype == made.softmax(-1, dtype=torch.float32).dtype == torch.float64
    relevance = torch.ones_like(made)
    found = torch.autograd.grad(made, leaf, relevance)[0]
    assert found.dtype == torch.float32
    torch.testing.assert_close(made.detach(), network.double()(x.double()))
    (exact,), _ = back(network, [x.double()], relevance)
    torch.testing.assert_close(found, exact.float())


def test_nothing_stays_behind() -> None:
    x = numbers(2, 3).requires_grad_()
    with pytest.raises(IndexError), RelevancePass(x):
        x[7]
    assert torch.autograd.grad((x * x).sum(), x)[0].equal(2 * x)


def test_sums_over_other_axes_than_images_are_noticed() -> None:
    """Of nine images (9, 4, 2), added as they are and with the tokens first (4, 9, 2)."""
    x = numbers(9, 4, 2).requires_grad_()
    with RelevancePass(x) as images_first:
        x + x
    with RelevancePass(x) as tokens_first:
        x.transpose(0, 1) + x.transpose(0, 1)
    assert (images_first.separate, tokens_first.separate) == (True, False)


def test_the_rules_are_under_the_names_of_operations() -> None:
    """A rule under a name that no function has would never be used."""
    names = set()

    class Named(Operations):
        def call(self, name, function, args, named):
            names.add(name)
            return function(*args, **named)

    x = numbers(2, 3)
    with Named():
        x + x, x - x, x * x, x / x, x @ x.T, x**2, F.linear(x, x), x.softmax(1), F.gelu(x), F.silu(x), x.mean(1), -x
        F.layer_norm(x, (3,)), F.rms_norm(x, (3,)), F.conv2d(x[None], x[None, :1, :1, None]), torch.einsum("ij->i", x)
        x[0], x.T, x.view(3, 2), x.to(torch.float32), torch.cat([x, x]), F.normalize(x), F.dropout(x), x.copy_(x)
    assert names - {"norm"} <= set(RULES) | MOVES
