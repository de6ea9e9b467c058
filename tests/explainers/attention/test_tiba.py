"""TiBA, against a network of two blocks whose relevance is computed step by step, with loops in float64."""

from dataclasses import replace
from itertools import product
from math import erf, exp, sqrt

import pytest
import torch
from support.tiny_models import tiny
from support.tiny_transformers import MAKE, pictures, transformer_classifier
from torch import Tensor, nn
from torch.nn import functional as F

from seewhy import explainer
from seewhy.classifier.borrow import capture
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.relevance import RelevancePass
from seewhy.errors import UnsuitedError
from seewhy.maps import upsample

WIDTH, HEADS, TOKENS = 6, 2, 5


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 8), nn.Linear(8, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class TwoBlocks(nn.Module):
    """A class token and four patches of 4 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, WIDTH, 4, 4), nn.Parameter(torch.randn(1, 1, WIDTH))
        self.position = nn.Parameter(torch.randn(1, TOKENS, WIDTH))
        self.blocks = nn.Sequential(Block(), Block())
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], 1) + self.position
        return self.head(self.norm(self.blocks(tokens))[:, 0])


def two_blocks() -> Classifier:
    classifier = tiny(TwoBlocks())
    return replace(classifier, module=classifier.module.double(), input_size=(8, 8))


# -- the same network with numbers in lists: every intermediate is kept, every rule is applied by hand ---------------

Matrix = list[list[float]]


def linear(layer: nn.Linear, rows: Matrix) -> Matrix:
    w, b = layer.weight.tolist(), layer.bias.tolist()
    return [[sum(w[i][j] * row[j] for j in range(len(row))) + b[i] for i in range(len(w))] for row in rows]


def normed(layer: nn.LayerNorm, rows: Matrix) -> Matrix:
    made = []
    for row in rows:
        mean = sum(row) / len(row)
        deviation = sqrt(sum((x - mean) ** 2 for x in row) / len(row) + layer.eps)
        scaled = zip(row, layer.weight.tolist(), layer.bias.tolist(), strict=True)
        made.append([(x - mean) / deviation * g + b for x, g, b in scaled])
    return made


def plus(a: Matrix, b: Matrix) -> Matrix:
    return [[x + y for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]


class Pass:
    """One image, forwards. ``weights[block][head]`` may be given, and are computed where they are not."""

    def __init__(self, network: TwoBlocks, image: Tensor, given: dict[tuple[int, int], Matrix] | None = None) -> None:
        w, b = network.patch.weight.flatten(1).tolist(), network.patch.bias.tolist()
        patches = [image[:, i : i + 4, j : j + 4].flatten().tolist() for i in (0, 4) for j in (0, 4)]
        rows = [[sum(v * p for v, p in zip(w[i], patch, strict=True)) + b[i] for i in range(WIDTH)] for patch in patches]
        x = plus([network.token.flatten().tolist(), *rows], network.position[0].tolist())
        self.weights, self.kept = {}, []
        size = WIDTH // HEADS
        for number, block in enumerate(network.blocks):
            before = normed(block.norm1, x)
            qkv = linear(block.qkv, before)
            heads, mixed = [], [[0.0] * WIDTH for _ in range(TOKENS)]
            for h in range(HEADS):
                q, k, v = ([row[p * WIDTH + h * size : p * WIDTH + (h + 1) * size] for row in qkv] for p in range(3))
                scores = [[sum(a * b for a, b in zip(qi, kj, strict=True)) / sqrt(size) for kj in k] for qi in q]
                a = [[exp(s) / sum(map(exp, row)) for s in row] for row in scores]
                a = (given or {}).get((number, h), a)
                self.weights[number, h] = a
                heads.append((q, k, v, scores))
                for i, j, e in product(range(TOKENS), range(TOKENS), range(size)):
                    mixed[i][h * size + e] += a[i][j] * v[j][e]
            out = linear(block.proj, mixed)
            middle = plus(x, out)
            inner = normed(block.norm2, middle)
            hidden = linear(block.fc1, inner)
            active = [[u * (1 + erf(u / sqrt(2))) / 2 for u in row] for row in hidden]
            last = linear(block.fc2, active)
            self.kept.append((x, before, heads, mixed, out, middle, inner, active, last))
            x = plus(middle, last)
        self.read = normed(network.norm, x[:1])
        self.logits = linear(network.head, self.read)[0]


def of_linear(layer: nn.Linear, rows: Matrix, relevance: Matrix) -> Matrix:
    """Eq. 5: the positive products share."""
    w = layer.weight.tolist()
    found = [[0.0] * len(row) for row in rows]
    for t, row in enumerate(rows):
        for i, r in enumerate(relevance[t]):
            positive = {j: row[j] * w[i][j] for j in range(len(row)) if row[j] * w[i][j] > 0}
            for j, share in positive.items():
                found[t][j] += share / sum(positive.values()) * r
    return found


def of_sum(a: Matrix, b: Matrix, relevance: Matrix) -> tuple[Matrix, Matrix]:
    """Eq. 1 and 9."""
    parts = [
        [[own[t][c] / (a[t][c] + b[t][c]) * r for c, r in enumerate(row)] for t, row in enumerate(relevance)]
        for own in (a, b)
    ]
    p, q = (sum(map(sum, part)) for part in parts)
    whole = sum(map(sum, relevance))
    factors = (abs(p) / (abs(p) + abs(q)) * whole / p, abs(q) / (abs(p) + abs(q)) * whole / q)
    scaled = [[[value * f for value in row] for row in part] for part, f in zip(parts, factors, strict=True)]
    return scaled[0], scaled[1]


def of_product(a: Matrix, b: Matrix, made: Matrix, relevance: Matrix) -> tuple[Matrix, Matrix]:
    """Eq. 1 for both factors of made = a b, halved."""
    of_a, of_b = [[0.0] * len(row) for row in a], [[0.0] * len(row) for row in b]
    for i, k, j in product(range(len(a)), range(len(b[0])), range(len(b))):
        share = a[i][j] * b[j][k] / made[i][k] * relevance[i][k] / 2
        of_a[i][j] += share
        of_b[j][k] += share
    return of_a, of_b


def transposed(a: Matrix) -> Matrix:
    return [list(column) for column in zip(*a, strict=True)]


def literal_relevance(network: TwoBlocks, seen: Pass, c: int) -> dict[tuple[int, int], Matrix]:
    """The relevance of the weights of each block and head, from 1 at the logit of class c."""
    found, size = {}, WIDTH // HEADS
    first = of_linear(network.head, seen.read, [[float(i == c) for i in range(5)]])  # the last normalization passes it on
    r = [*first, *([0.0] * WIDTH for _ in range(TOKENS - 1))]
    for number in (1, 0):
        block = network.blocks[number]
        x, before, heads, mixed, out, middle, inner, active, last = seen.kept[number]
        r, branch = of_sum(middle, last, r)
        r = plus(r, of_linear(block.fc1, inner, of_linear(block.fc2, active, branch)))
        r, branch = of_sum(x, out, r)
        of_mixed = of_linear(block.proj, mixed, branch)
        of_qkv = [[0.0] * (3 * WIDTH) for _ in range(TOKENS)]
        for h, (q, k, v, _) in enumerate(heads):
            columns = slice(h * size, (h + 1) * size)
            a = seen.weights[number, h]
            of_a, of_v = of_product(a, v, [row[columns] for row in mixed], [row[columns] for row in of_mixed])
            found[number, h] = of_a
            raw = [[sum(s * t for s, t in zip(qi, kj, strict=True)) for kj in k] for qi in q]
            of_q, of_k = of_product(q, transposed(k), raw, of_a)  # softmax and scale pass it on
            for part, values in enumerate((of_q, transposed(of_k), of_v)):
                for t, e in product(range(TOKENS), range(size)):
                    of_qkv[t][part * WIDTH + h * size + e] = values[t][e]
        r = plus(r, of_linear(block.qkv, before, of_qkv))
    return found


def literal_gradients(network: TwoBlocks, image: Tensor, c: int) -> dict[tuple[int, int], Matrix]:
    """How the logit of class c changes with each weight: two passes with the weight a little smaller and larger."""
    weights, step = Pass(network, image).weights, 1e-5
    found = {}
    for place, matrix in weights.items():
        found[place] = [[0.0] * TOKENS for _ in range(TOKENS)]
        for i, j in product(range(TOKENS), range(TOKENS)):
            ends = []
            for sign in (-1, 1):
                changed = [list(row) for row in matrix]
                changed[i][j] += sign * step
                ends.append(Pass(network, image, {place: changed}).logits[c])
            found[place][i][j] = (ends[1] - ends[0]) / (2 * step)
    return found


def literal_tiba(network: TwoBlocks, image: Tensor, c: int) -> Tensor:
    """Eq. 13 and 14: the class token's row of the product, at the patches."""
    relevance, gradients = literal_relevance(network, Pass(network, image), c), literal_gradients(network, image, c)
    rows = [[float(i == j) for j in range(TOKENS)] for i in range(TOKENS)]
    for number in (0, 1):
        block = [[float(i == j) for j in range(TOKENS)] for i in range(TOKENS)]
        for h, i, j in product(range(HEADS), range(TOKENS), range(TOKENS)):
            block[i][j] += max(gradients[number, h][i][j] * relevance[number, h][i][j], 0) / HEADS
        rows = [[sum(block[i][k] * rows[k][j] for k in range(TOKENS)) for j in range(TOKENS)] for i in range(TOKENS)]
    return torch.tensor(rows[0][1:], dtype=torch.float64).view(2, 2)


def test_two_blocks_step_by_step() -> None:
    classifier, images = two_blocks(), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    normalized, targets = classifier.normalize(images), (1, 4)
    passes = [Pass(classifier.module, image) for image in normalized]
    torch.testing.assert_close(
        torch.tensor([p.logits for p in passes], dtype=torch.float64), classifier.logits(images).detach()
    )
    transformer, leaf = classifier.transformer, images.clone().requires_grad_()
    with classifier.running(gradients=True):
        with RelevancePass(leaf):
            logits, attentions = transformer.read(leaf)
        found = torch.autograd.grad(logits[0, 1] + logits[1, 4], [a.weights for a in attentions])
    for n, (number, h) in product(range(2), product(range(2), range(HEADS))):
        expected = literal_relevance(classifier.module, passes[n], targets[n])[number, h]
        torch.testing.assert_close(found[number][n, h], torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)
    maps = explainer("tiba", classifier).explain(images, torch.tensor(targets))
    expected = torch.stack([literal_tiba(classifier.module, x, c) for x, c in zip(normalized, targets, strict=True)])
    torch.testing.assert_close(maps, upsample(expected, (8, 8)), rtol=1e-5, atol=1e-9)


# -- conservation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["timm_vit", "timm_vit_mean", "timm_deit_distilled", "timm_eva02", "timm_dinov3"])
def test_the_relevance_of_an_image_is_1_after_every_block(name: str) -> None:
    """With all biases: a bias gets nothing. It holds for wide layers, where every output has some positive product."""
    classifier, images = transformer_classifier(name, double=True), pictures(name, 3, double=True).requires_grad_()
    transformer, blocks = classifier.transformer, [f"blocks.{i}" for i in range(3)]
    with classifier.running(gradients=True), capture(classifier.module, *blocks) as seen:
        with RelevancePass(images):
            logits, attentions = transformer.read(images)
        tensors = [seen[b] for b in blocks] + [t for a in attentions for t in (a.output, a.weights, a.value)]
        relevance = [r.flatten(1).sum(1) for r in torch.autograd.grad(logits[:, 2].sum(), tensors)]
    for block in relevance[:3]:
        torch.testing.assert_close(block, torch.ones(3).double(), rtol=1e-9, atol=1e-9)
    for output, weights, value in zip(*(relevance[3 + i :: 3] for i in range(3)), strict=True):
        torch.testing.assert_close(weights, output / 2, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(value, output / 2, rtol=1e-9, atol=1e-9)


# -- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(MAKE))
def test_a_batch_is_its_images_alone(name: str) -> None:
    classifier, images = transformer_classifier(name), pictures(name, 2)
    made = explainer("tiba", classifier)
    together = made.explain(images, torch.tensor([1, 2]))
    alone = torch.cat([made.explain(images[i : i + 1], torch.tensor([i + 1])) for i in range(2)])
    for a, b in zip(together, alone, strict=True):
        assert float(a.max()) > 0
        torch.testing.assert_close(a / b.max(), b / b.max(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["tiba", "attention_gradients"])
def test_a_batch_of_eight_in_all_sizes(method: str) -> None:
    classifier, images, targets = transformer_classifier("timm_vit"), pictures("timm_vit", 8), torch.arange(8) % 5
    expected = explainer(method, classifier, batch_size=8).explain(images, targets)
    for size in (1, 3):
        found = explainer(method, classifier, batch_size=size).explain(images, targets)
        torch.testing.assert_close(found / expected.max(), expected / expected.max(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["timm_vit", "timm_beit", "timm_eva02", "timm_siglip"])
@pytest.mark.parametrize("method", ["tiba", "attention_gradients"])
def test_fused_attention_changes_nothing(method: str, name: str) -> None:
    classifier, images, targets = (
        transformer_classifier(name, double=True),
        pictures(name, double=True),
        torch.tensor([1, 2]),
    )
    found = []
    for fused in (True, False):
        for part in classifier.module.modules():
            if hasattr(part, "fused_attn"):
                part.fused_attn = fused
        found.append(explainer(method, classifier).explain(images, targets))
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-6 * float(found[0].max()))


def test_eager_and_fused_attention_of_hugging_face_are_the_same() -> None:
    images, targets = pictures("hf_vit", double=True), torch.tensor([1, 2])
    fused, eager = (
        explainer("tiba", transformer_classifier(name, double=True)).explain(images, targets)
        for name in ("hf_vit", "hf_vit_eager")
    )
    torch.testing.assert_close(fused, eager, rtol=1e-6, atol=1e-6 * float(fused.max()))


@pytest.mark.parametrize("method", ["tiba", "attention_gradients"])
def test_all_classes_share_the_forward_passes(method: str) -> None:
    classifier, images = transformer_classifier("timm_vit"), pictures("timm_vit", 2)
    made, calls = explainer(method, classifier), []
    made.explain(images[:1], torch.tensor([0]))  # what is found once is found by now
    handle = classifier.module.register_forward_hook(lambda *_: calls.append(1))
    maps = made.explain_classes(images, torch.arange(5))
    handle.remove()
    assert len(calls) == {"tiba": 2, "attention_gradients": 1}[method]
    for c in range(5):
        alone = made.explain(images, torch.tensor([c, c]))
        torch.testing.assert_close(maps[:, c] / alone.max(), alone / alone.max(), rtol=1e-5, atol=1e-6)


def test_the_two_classes_of_one_logit_have_maps_of_their_own() -> None:
    network = transformer_classifier("timm_vit", double=True)
    network.module.head = nn.Linear(32, 1).double()
    classifier, images = Classifier(network.module, input_size=(64, 64)), pictures("timm_vit", 1, double=True)
    no, yes = (explainer("tiba", classifier).explain(images, torch.tensor([c])) for c in (0, 1))
    assert float((no / no.max() - yes / yes.max()).abs().max()) > 0.1


def test_it_starts_at_a_block() -> None:
    classifier, images = transformer_classifier("timm_vit"), pictures("timm_vit")
    last = explainer("tiba", classifier, start_block=2).explain(images, torch.tensor([1, 2]))
    leaf = images.clone().requires_grad_()
    with classifier.running(gradients=True):
        with RelevancePass(leaf):
            logits, attentions = classifier.transformer.read(leaf)
        r = torch.autograd.grad(logits[0, 1] + logits[1, 2], attentions[2].weights)[0]
        logits, attentions = classifier.transformer.read(leaf)
        g = torch.autograd.grad(logits[0, 1] + logits[1, 2], attentions[2].weights)[0]
    expected = classifier.transformer.as_maps((g * r).clamp(min=0).mean(1)[:, 0].float(), images)
    torch.testing.assert_close(last, expected)


class Cumulative(TwoBlocks):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).cumsum(1)


class TokensFirst(nn.Module):
    """Tokens before images, as ``nn.MultiheadAttention`` has them by default."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.head = nn.Conv2d(3, WIDTH, 4, 4), nn.Linear(WIDTH, 5)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.position = nn.Parameter(torch.randn(4, 1, WIDTH))
        self.first, self.second = nn.MultiheadAttention(WIDTH, HEADS), nn.MultiheadAttention(WIDTH, HEADS)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).permute(2, 0, 1) + self.position
        for norm, attention in ((self.norm1, self.first), (self.norm2, self.second)):
            normed = norm(tokens)
            tokens = tokens + attention(normed, normed, normed)[0]
        return self.head(tokens.mean(0))


def test_a_network_with_a_function_that_has_no_rule_gets_one_line() -> None:
    classifier = replace(tiny(Cumulative()), input_size=(8, 8))
    images, targets = torch.rand(2, 3, 8, 8), torch.tensor([1, 2])
    with pytest.raises(UnsuitedError, match=r"no rule for 'cumsum'.*attention_gradients") as error:
        explainer("tiba", classifier)
    assert "\n" not in str(error.value)
    assert explainer("attention_gradients", classifier).explain(images, targets).isfinite().all()


@pytest.mark.parametrize("n", [2, 4])
def test_images_on_another_axis_are_kept_apart(n: int) -> None:
    """Also where there are as many images as tokens."""
    classifier = replace(tiny(TokensFirst()), input_size=(8, 8))
    images, targets = torch.rand(n, 3, 8, 8), torch.arange(n)
    made = explainer("tiba", classifier)
    alone = torch.cat([made.explain(images[i : i + 1], targets[i : i + 1]) for i in range(n)])
    torch.testing.assert_close(made.explain(images, targets) / alone.max(), alone / alone.max(), rtol=1e-5, atol=1e-5)
