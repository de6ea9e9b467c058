"""Each paper's equations, written again slowly and literally: float64, one image, one class and one pixel at a time.

Nothing of the library is used but ``Classifier.logits``. A map is a list of rows of numbers while it is made, a tensor
(h, w) when it is returned. The network must be in eval mode.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import exp

import torch
from scipy.integrate import quad_vec
from scipy.special import roots_legendre
from torch import Tensor

from seewhy.classifier.classifier import Classifier

# -- gradients of pixels ----------------------------------------------------------------------------------------------


def pixel_gradient(classifier: Classifier, image: Tensor, c: int) -> Tensor:
    """dS_c / dI_kij, (channels, h, w)."""
    x = image.detach().clone()[None].requires_grad_()
    with torch.enable_grad():
        score = classifier.logits(x)[0, c]
    return torch.autograd.grad(score, x)[0][0]


def _over_pixels(image: Tensor, value: Callable[[int, int], float]) -> Tensor:
    h, w = image.shape[-2:]
    return torch.tensor([[value(i, j) for j in range(w)] for i in range(h)], dtype=image.dtype)


def _relu(number: float) -> float:
    return number if number > 0 else 0.0


Sign = Callable[[Classifier, Tensor, int], Tensor]
"""(classifier, image, class) -> an attribution (channels, h, w): the gradient, or what takes its place."""


def saliency(classifier: Classifier, image: Tensor, c: int, of: Sign = pixel_gradient) -> Tensor:
    """Llorente et al. 2023, eq. 2."""
    g = of(classifier, image, c).tolist()
    return _over_pixels(image, lambda i, j: max(abs(channel[i][j]) for channel in g))


def positive_saliency(classifier: Classifier, image: Tensor, c: int, of: Sign = pixel_gradient) -> Tensor:
    """Eq. 3."""
    g = of(classifier, image, c).tolist()
    return _over_pixels(image, lambda i, j: max(_relu(channel[i][j]) for channel in g))


def negative_saliency(classifier: Classifier, image: Tensor, c: int, of: Sign = pixel_gradient) -> Tensor:
    """Eq. 4."""
    g = of(classifier, image, c).tolist()
    return _over_pixels(image, lambda i, j: max(_relu(-channel[i][j]) for channel in g))


def all_gradients(classifier: Classifier, image: Tensor, of: Sign = pixel_gradient) -> list[list[list[list[float]]]]:
    """[class][channel][row][column]."""
    k = classifier.logits(image[None]).shape[1]
    return [of(classifier, image, c).tolist() for c in range(k)]


def active_saliency(
    classifier: Classifier, image: Tensor, c: int, reading: str = "equation", of: Sign = pixel_gradient, tie: float = 0
) -> Tensor:
    """Eq. 5, "argmax" read as max; or what the released code does. Numbers closer than ``tie`` are the same."""
    gradients = all_gradients(classifier, image, of)

    def entry(k: int, i: int, j: int) -> float:
        own = gradients[c][k][i][j]
        others = [g[k][i][j] for index, g in enumerate(gradients) if index != c]
        if reading == "released":
            return 0.0 if any(other >= own - tie for other in others) else abs(own)
        return own if own >= max([own, *others]) - tie else 0.0

    return _over_pixels(image, lambda i, j: max(entry(k, i, j) for k in range(len(image))))


def inactive_saliency(
    classifier: Classifier, image: Tensor, c: int, reading: str = "magnitude", of: Sign = pixel_gradient, tie: float = 0
) -> Tensor:
    """Eq. 6, "argmin" read as min; its magnitude (minus the gradient); or what the released code does."""
    gradients = all_gradients(classifier, image, of)

    def entry(k: int, i: int, j: int) -> float:
        own = gradients[c][k][i][j]
        others = [g[k][i][j] for index, g in enumerate(gradients) if index != c]
        if reading == "released":
            return 0.0 if any(other <= own + tie for other in others) else abs(own)
        kept = own if own <= min([own, *others]) + tie else 0.0
        return kept if reading == "equation" else -kept

    return _over_pixels(image, lambda i, j: max(entry(k, i, j) for k in range(len(image))))


def smooth_gradient(classifier: Classifier, image: Tensor, c: int, noises: Iterable[Tensor], level: float) -> Tensor:
    """Smilkov et al. 2017, before the channels are merged: 1/n sum of M_c(x + N(0, sigma^2))."""
    sigma = level * (max(image.flatten().tolist()) - min(image.flatten().tolist()))
    maps = [pixel_gradient(classifier, image + sigma * noise, c) for noise in noises]
    return sum(maps[1:], maps[0]) / len(maps)


def smooth_grad(classifier: Classifier, image: Tensor, c: int, noises: Iterable[Tensor], level: float) -> Tensor:
    return saliency(classifier, image, c, lambda *a: smooth_gradient(*a, noises, level))


def input_x_gradient(classifier: Classifier, image: Tensor, c: int) -> Tensor:
    g, x = pixel_gradient(classifier, image, c).tolist(), image.tolist()
    return _over_pixels(image, lambda i, j: sum(x[k][i][j] * g[k][i][j] for k in range(len(x))))


def quadrature(rule: str, steps: int) -> list[tuple[float, float]]:
    """(place, weight) of a rule on [0, 1]."""
    if rule == "gauss_legendre":
        return [((x + 1) / 2, w / 2) for x, w in zip(*map(list, roots_legendre(steps)), strict=True)]
    if rule == "midpoint":
        return [((m - 0.5) / steps, 1 / steps) for m in range(1, steps + 1)]
    interval = 1 / (steps - 1)  # trapezoid: the mean of both ends of every interval
    weights = [0.0] * steps
    for m in range(steps - 1):
        weights[m] += interval / 2
        weights[m + 1] += interval / 2
    return [(m * interval, w) for m, w in enumerate(weights)]


def integrated_gradient(
    classifier: Classifier, image: Tensor, c: int, baseline: Tensor, rule: str = "gauss_legendre", steps: int = 50
) -> Tensor:
    """Sundararajan et al. 2017, eq. 1, before the channels are merged; rule "integral" is the integral itself."""
    way = image - baseline

    def along(alpha: float) -> Tensor:
        return pixel_gradient(classifier, baseline + alpha * way, c)

    if rule == "integral":
        value, _ = quad_vec(lambda alpha: along(float(alpha)).numpy(), 0, 1, epsabs=1e-10, epsrel=1e-10)
        return way * torch.as_tensor(value)
    total = torch.zeros_like(image)
    for alpha, weight in quadrature(rule, steps):
        total = total + weight * along(alpha)
    return way * total


def integrated_gradients(
    classifier: Classifier, image: Tensor, c: int, baseline: Tensor, rule: str = "gauss_legendre", steps: int = 50
) -> Tensor:
    a = integrated_gradient(classifier, image, c, baseline, rule, steps).tolist()
    return _over_pixels(image, lambda i, j: sum(channel[i][j] for channel in a))


@dataclass(frozen=True)
class Draw:
    """One sample of GradientSHAP."""

    baseline: Tensor
    alpha: float
    noise: Tensor


def gradient_shap(classifier: Classifier, image: Tensor, c: int, draws: list[Draw]) -> Tensor:
    """Mean over the draws of (x' - b) times the gradient at b + alpha (x' - b), where x' is the noisy image."""
    total = torch.zeros_like(image)
    for draw in draws:
        noisy = image + draw.noise
        place = (1 - draw.alpha) * draw.baseline + draw.alpha * noisy
        total = total + (noisy - draw.baseline) * pixel_gradient(classifier, place, c)
    a = (total / len(draws)).tolist()
    return _over_pixels(image, lambda i, j: sum(channel[i][j] for channel in a))


# -- features ---------------------------------------------------------------------------------------------------------

Grid = list[list[list[float]]]
"""[channel][row][column]"""


def features_and_gradient(
    classifier: Classifier, image: Tensor, c: int, layer: str, prefix: int = 0, channels_last: bool = False
) -> tuple[Grid, Grid]:
    """A^k_ij of the layer's last call and dS_c / dA^k_ij, through the whole network's graph."""
    kept: list[Tensor] = []

    def keep(_module: object, _args: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # an in-place operation that follows must not reach what was kept

    handle = classifier.module.get_submodule(layer).register_forward_hook(keep)
    x = image.detach().clone()[None].requires_grad_()
    with torch.enable_grad():
        score = classifier.logits(x)[0, c]
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept[-1])
    return tuple(_grid(t.detach()[0], image, prefix, channels_last) for t in (kept[-1], gradient))  # type: ignore[return-value]


def features_of(classifier: Classifier, image: Tensor, layer: str, prefix: int = 0) -> Grid:
    """A^k_ij alone: for layers that the score need not depend on."""
    kept: list[Tensor] = []
    handle = classifier.module.get_submodule(layer).register_forward_hook(lambda m, a, out: kept.append(out.clone()))
    with torch.no_grad():
        classifier.logits(image[None])
    handle.remove()
    return _grid(kept[-1][0], image, prefix, False)


def _grid(features: Tensor, image: Tensor, prefix: int, channels_last: bool) -> Grid:
    numbers = features.tolist()
    if features.ndim == 2:  # tokens, row after row
        patches = numbers[prefix:]
        width = next(w for w in range(1, len(patches) + 1) if w * w * image.shape[1] == len(patches) * image.shape[2])
        rows = [patches[start : start + width] for start in range(0, len(patches), width)]
        return [[[patch[k] for patch in row] for row in rows] for k in range(len(patches[0]))]
    if channels_last:
        return [[[cell[k] for cell in row] for row in numbers] for k in range(len(numbers[0][0]))]
    return numbers


def _over_cells(a: Grid, value: Callable[[int, int], float]) -> list[list[float]]:
    return [[value(i, j) for j in range(len(a[0][0]))] for i in range(len(a[0]))]


def _total(channel: list[list[float]]) -> float:
    return sum(sum(row) for row in channel)


def _weighted(a: Grid, weights: list[float]) -> list[list[float]]:
    return _over_cells(a, lambda i, j: sum(w * channel[i][j] for w, channel in zip(weights, a, strict=True)))


def _cut(m: list[list[float]]) -> list[list[float]]:
    return [[_relu(v) for v in row] for row in m]


def grad_cam(a: Grid, g: Grid) -> list[list[float]]:
    """Selvaraju et al. 2017, eq. 1 and 2."""
    z = len(a[0]) * len(a[0][0])
    return _cut(_weighted(a, [_total(channel) / z for channel in g]))


def grad_cam_pp(a: Grid, g: Grid) -> list[list[float]]:
    """Chattopadhay et al. 2018, eq. 18 and 19 for the score exp(logit), of which the factor exp(logit) is left out."""
    weights = []
    for channel, slopes in zip(a, g, strict=True):
        weight = 0.0
        for row in slopes:
            for slope in row:
                below = 2 * slope**2 + _total(channel) * slope**3
                weight += (slope**2 / below if below else 0.0) * _relu(slope)
        weights.append(weight)
    return _cut(_weighted(a, weights))


def x_grad_cam(a: Grid, g: Grid) -> list[list[float]]:
    """Fu et al. 2020, eq. 7 and 8."""
    weights = []
    for channel, slopes in zip(a, g, strict=True):
        total = _total(channel)
        products = [x * s for row, slope in zip(channel, slopes, strict=True) for x, s in zip(row, slope, strict=True)]
        weights.append(sum(products) / total if total else 0.0)
    return _cut(_weighted(a, weights))


def hires_cam(a: Grid, g: Grid) -> list[list[float]]:
    """Draelos & Carin 2020, eq. 4."""
    return _over_cells(a, lambda i, j: sum(x[i][j] * s[i][j] for x, s in zip(a, g, strict=True)))


def layer_cam(a: Grid, g: Grid) -> list[list[float]]:
    """Jiang et al. 2021, eq. 5 to 7."""
    return _cut(_over_cells(a, lambda i, j: sum(_relu(s[i][j]) * x[i][j] for x, s in zip(a, g, strict=True))))


def eigen_cam(a: Grid, center: bool = False) -> list[list[float]]:
    """Muhammad & Yeasin 2020: the features times the first eigenvector of O'O, found by power iteration."""
    h, w = len(a[0]), len(a[0][0])
    o = [[channel[i][j] for channel in a] for i in range(h) for j in range(w)]
    lengths = [sum(x * x for x in row) ** 0.5 for row in o]
    if center:
        means = [sum(column) / len(o) for column in zip(*o, strict=True)]
        o = [[x - m for x, m in zip(row, means, strict=True)] for row in o]
    d = len(a)
    gram = [[sum(row[p] * row[q] for row in o) for q in range(d)] for p in range(d)]
    v = [1.0 + 0.1 * p for p in range(d)]
    for _ in range(20000):
        u = [sum(gram[p][q] * v[q] for q in range(d)) for p in range(d)]
        length = sum(x * x for x in u) ** 0.5
        if length == 0:
            break
        u = [x / length for x in u]
        moved = max(abs(x - y) for x, y in zip(u, v, strict=True))
        v = u
        if moved < 1e-15:
            break
    projection = [sum(x * y for x, y in zip(row, v, strict=True)) for row in o]
    # a singular vector has no sign: the map is to be high where the features are long
    sign = -1.0 if sum(p * length for p, length in zip(projection, lengths, strict=True)) < 0 else 1.0
    return [[sign * projection[i * w + j] for j in range(w)] for i in range(h)]


def cam(a: Grid, weights: list[float]) -> list[list[float]]:
    """Zhou et al. 2016, eq. 2."""
    return _weighted(a, weights)


def upsampled(m: list[list[float]], h: int, w: int) -> Tensor:
    """Bilinear, cells as areas (corners not aligned), constant beyond the centers of the outer cells."""

    def ends(place: int, size: int, cells: int) -> tuple[int, int, float]:
        x = max((place + 0.5) * cells / size - 0.5, 0.0)
        low = min(int(x), cells - 1)
        return low, min(low + 1, cells - 1), x - low

    out = []
    for y in range(h):
        i, i1, p = ends(y, h, len(m))
        row = []
        for x in range(w):
            j, j1, q = ends(x, w, len(m[0]))
            upper, lower = m[i][j] * (1 - q) + m[i][j1] * q, m[i1][j] * (1 - q) + m[i1][j1] * q
            row.append(upper * (1 - p) + lower * p)
        out.append(row)
    return torch.tensor(out, dtype=torch.float64)


# -- references -------------------------------------------------------------------------------------------------------


def fake_cam(image: Tensor) -> Tensor:
    """Poppi et al. 2021: 1 everywhere but in the top left corner."""
    return _over_pixels(image, lambda i, j: 0.0 if i == j == 0 else 1.0)


def center(image: Tensor, sigma: float) -> Tensor:
    h, w = image.shape[-2:]
    ys, xs = [(i - (h - 1) / 2) / (sigma * h) for i in range(h)], [(j - (w - 1) / 2) / (sigma * w) for j in range(w)]
    return _over_pixels(image, lambda i, j: exp(-(ys[i] ** 2) / 2) * exp(-(xs[j] ** 2) / 2))
