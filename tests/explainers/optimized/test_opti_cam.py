"""Opti-CAM against the paper's equations, whose derivatives are taken by hand here: one number at a time, in float64."""

from copy import deepcopy
from dataclasses import replace
from math import exp, log, sqrt
from typing import Any

import pytest
import torch
from support import oracles
from support.tiny_models import TINY
from torch import Tensor

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import OptiCAM
from seewhy.explainers.optimized.feature_masks import combination
from seewhy.explainers.selectors import select_all
from seewhy.masking.baselines import blend

LAYER, PREFIX = {"cnn": "6", "vit": "blocks.1.norm1"}, {"cnn": 0, "vit": 1}
IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
TARGETS = torch.tensor([2, 4])


def double(model: str) -> Classifier:
    classifier = TINY[model]()
    return replace(classifier, module=deepcopy(classifier.module).double())


# -- the oracle -------------------------------------------------------------------------------------------------------


def softmax(u: list[float]) -> list[float]:
    parts = [exp(v - max(u)) for v in u]
    return [p / sum(parts) for p in parts]


def enlarged(cells: list[float], grid: tuple[int, int], size: tuple[int, int]) -> list[float]:
    rows = [cells[i * grid[1] : (i + 1) * grid[1]] for i in range(grid[0])]
    return oracles.upsampled(rows, *size).flatten().tolist()


def mask_and_slope(s: list[float], normalization: str, above: list[float] | None) -> tuple[list[float], list[float]]:
    """n(s), and the derivative by s of something whose derivative by n(s) is ``above``."""
    low, high = min(s), max(s)
    if normalization == "sigmoid":
        m = [1 / (1 + exp(-v)) for v in s]
        return m, [] if above is None else [a * v * (1 - v) for a, v in zip(above, m, strict=True)]
    if normalization == "range":
        m = [(v - low) / (high - low) for v in s]
        slope = [] if above is None else [a / (high - low) for a in above]
        by_low = sum(a * (v - 1) / (high - low) for a, v in zip(above or [], m, strict=False))
    else:
        m = [max(v / high, 0) for v in s]
        slope = [] if above is None else [a / high * (v > 0) for a, v in zip(above, m, strict=True)]
        by_low = 0.0
    by_high = -sum(a * v for a, v in zip(above or [], m, strict=False)) / (high - low if normalization == "range" else high)
    for value, share in ((low, by_low), (high, by_high)):
        ends = [q for q, v in enumerate(s) if v == value]
        for q in ends if above is not None else []:
            slope[q] += share / len(ends)
    return m, slope


def selected(logits: list[float], c: int, selector: str) -> tuple[float, list[float]]:
    """g_c(y), and its derivative by each logit."""
    k, p = range(len(logits)), softmax(logits)
    if selector == "logit":
        return logits[c], [float(j == c) for j in k]
    if selector == "probability":
        return p[c], [p[c] * ((j == c) - p[j]) for j in k]
    if selector == "log_probability":
        return log(p[c]), [(j == c) - p[j] for j in k]
    if selector == "log_odds":
        rest = sum(p[j] for j in k if j != c)
        return log(p[c] / rest), [1.0 if j == c else -p[j] / rest for j in k]
    other = max((j for j in k if j != c), key=lambda j: logits[j])
    return logits[c] - logits[other], [float(j == c) - float(j == other) for j in k]


def score(
    classifier: Classifier, image: Tensor, removed: Tensor, m: list[float], c: int, selector: str
) -> tuple[float, list[float]]:
    """g_c of the image under the mask, and its derivative by the mask; only the network's own gradient is autograd's."""
    mask = torch.tensor(m, dtype=image.dtype).view(image.shape[1:])
    x = (image * mask + removed * (1 - mask)).requires_grad_()
    logits = classifier.logits(x[None])[0]
    value, weights = selected(logits.tolist(), c, selector)
    (gradient,) = torch.autograd.grad(logits @ torch.tensor(weights, dtype=image.dtype), x)
    return value, (gradient * (image - removed)).sum(0).flatten().tolist()


def oracle(model: str, image: Tensor, c: int, steps: int, layers: list[str] | None = None, **options: object) -> Tensor:
    """The mask after ``steps`` steps of Adam (Kingma & Ba, algorithm 1) on minus F, from u = 0."""
    classifier = double(model)
    o = {
        "objective": "mask",
        "normalization": "range",
        "selector": "logit",
        "baseline": 0.0,
        "learning_rate": 0.1,
        **options,
    }
    removed = torch.full_like(image, float(str(o["baseline"])))
    size = (image.shape[1], image.shape[2])
    grid = oracles.features_of(classifier, image, LAYER[model], PREFIX[model])
    features = [[v for row in channel for v in row] for channel in grid]
    if o.get("negative") == "cut":
        features = [[max(v, 0.0) for v in channel] for channel in features]
    shape = (len(grid[0]), len(grid[0][0]))
    # upsampling is linear: its matrix, a column for each cell
    columns = [
        enlarged([float(i == j) for i in range(shape[0] * shape[1])], shape, size) for j in range(shape[0] * shape[1])
    ]
    u = [0.0] * len(features)
    first, second = [0.0] * len(u), [0.0] * len(u)
    selector = str(o["selector"])
    whole, _ = score(classifier, image, removed, [1.0] * image[0].numel(), c, selector)

    def mask() -> tuple[list[float], list[float], list[float]]:
        w = softmax(u)
        cells = [sum(w[k] * features[k][j] for k in range(len(u))) for j in range(len(columns))]  # eq. 8
        s = [sum(columns[j][q] * cells[j] for j in range(len(columns))) for q in range(len(columns[0]))]
        return w, s, mask_and_slope(s, str(o["normalization"]), None)[0]

    for t in range(1, steps + 1):
        w, s, m = mask()
        inside, by_inside = score(classifier, image, removed, m, c, selector)
        outside, by_outside = score(classifier, image, removed, [1 - v for v in m], c, selector)
        by_outside = [-v for v in by_outside]  # the complement falls where the mask rises
        sign_in, sign_out = (1 if whole >= inside else -1), (1 if whole >= outside else -1)
        by_mask = {  # minus the derivative of F
            "mask": [-a for a in by_inside],
            "diff": [-sign_in * a for a in by_inside],
            "io_mask": [b - a for a, b in zip(by_inside, by_outside, strict=True)],
            "io_diff": [-sign_in * a + sign_out * b for a, b in zip(by_inside, by_outside, strict=True)],
        }[str(o["objective"])]
        by_s = mask_and_slope(s, str(o["normalization"]), by_mask)[1]
        by_cell = [sum(columns[j][q] * by_s[q] for q in range(len(s))) for j in range(len(columns))]
        by_w = [sum(by_cell[j] * features[k][j] for j in range(len(columns))) for k in range(len(u))]
        mean = sum(a * b for a, b in zip(w, by_w, strict=True))
        for k in range(len(u)):
            g = w[k] * (by_w[k] - mean)
            first[k] = 0.9 * first[k] + 0.1 * g
            second[k] = 0.999 * second[k] + 0.001 * g * g
            step = first[k] / (1 - 0.9**t) / (sqrt(second[k] / (1 - 0.999**t)) + 1e-8)
            u[k] -= float(str(o["learning_rate"])) * step
    return torch.tensor(mask()[2], dtype=image.dtype).view(image.shape[1:])


def after(steps: int) -> dict[str, Any]:
    """Options that leave the mask as it is after so many steps; before the first one it is that of the start."""
    return {"steps": steps} if steps else {"steps": 1, "learning_rate": 0.0}


CHOICES: list[dict[str, object]] = [
    {},
    {"objective": "diff"},
    {"objective": "io_mask"},
    {"objective": "io_diff"},
    {"normalization": "maximum"},
    {"normalization": "sigmoid"},
    {"selector": "probability"},
    {"selector": "log_probability"},
    {"selector": "log_odds"},
    {"selector": "contrast"},
    {"negative": "cut"},
    {"baseline": 0.5, "learning_rate": 0.5},
]


@pytest.mark.parametrize("options", CHOICES, ids=lambda o: ",".join(map(str, o.values())) or "default")
@pytest.mark.parametrize("model", ["cnn", "vit"])
def test_every_step_is_that_of_the_equations(model: str, options: dict[str, object]) -> None:
    for steps in (0, 1, 2, 5):
        ours = OptiCAM(double(model), **(options | after(steps))).explain(IMAGES, TARGETS)
        theirs = torch.stack([oracle(model, x, int(c), steps, **options) for x, c in zip(IMAGES, TARGETS, strict=True)])
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-7)
    assert not torch.allclose(ours, OptiCAM(double(model), **(options | after(0))).explain(IMAGES, TARGETS), atol=1e-3)


# -- what the method promises -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["cnn", "vit"])
def test_the_masked_image_says_the_class_louder(model: str) -> None:
    classifier = double(model)

    def said(steps: int) -> Tensor:
        masks = OptiCAM(classifier, **after(steps)).explain(IMAGES, TARGETS)
        return classifier.scores(blend(IMAGES, masks, torch.zeros_like(IMAGES)), TARGETS)

    assert (said(100) > said(20)).all()
    assert (said(20) > said(0)).all()


def test_the_map_is_a_convex_combination() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[5.0, -2.0]]]])
    u = torch.tensor([[0.0, log(3.0)]])  # weights 1/4 and 3/4
    torch.testing.assert_close(combination(features, u), torch.tensor([[[4.0, -1.0]]]))


def test_an_image_stops_when_its_own_loss_stands_still() -> None:
    classifier = double("cnn")
    images = torch.cat([IMAGES, torch.full_like(IMAGES[:1], 0.5)])
    targets = torch.tensor([2, 4, 1])
    together = OptiCAM(classifier, tolerance=0.02, steps=60).explain(images, targets)
    alone = [OptiCAM(classifier, tolerance=0.02, steps=60).explain(images[i : i + 1], targets[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-9)
    rows: list[int] = []  # images that each pass still runs
    handle = classifier.module.register_forward_hook(lambda _m, args, _out: rows.append(len(args[0])))
    OptiCAM(classifier, tolerance=0.02, steps=60).explain(images, targets)
    handle.remove()
    steps = rows[1:]  # after the pass for the features
    assert len(set(steps)) > 2, "all images stopped together, which proves nothing"
    assert steps == sorted(steps, reverse=True)
    assert len(steps) < 60, "none stopped early"


def test_a_change_below_the_tolerance_ends_it() -> None:
    classifier = double("cnn")
    stopped = OptiCAM(classifier, tolerance=1e9).explain(IMAGES, TARGETS)
    torch.testing.assert_close(stopped, OptiCAM(classifier, steps=1).explain(IMAGES, TARGETS), rtol=0, atol=0)


def test_several_layers_share_one_softmax() -> None:
    classifier = double("cnn")
    start = OptiCAM(classifier, layer=("2", "6"), **after(0)).features(IMAGES)
    assert start.shape == (2, 14, 16, 16)  # six channels of 16 x 16 and eight of 8 x 8, on the finer grid
    one = OptiCAM(classifier, layer=("6",), steps=4).explain(IMAGES, TARGETS)
    torch.testing.assert_close(one, OptiCAM(classifier, layer="6", steps=4).explain(IMAGES, TARGETS))
    both = OptiCAM(classifier, layer=("2", "6"), steps=30).explain(IMAGES, TARGETS)
    blank = torch.zeros_like(IMAGES)
    before = OptiCAM(classifier, layer=("2", "6"), **after(0)).explain(IMAGES, TARGETS)
    rise = classifier.scores(blend(IMAGES, both, blank), TARGETS) - classifier.scores(blend(IMAGES, before, blank), TARGETS)
    assert (rise > 0).all()


def test_a_dead_layer_is_refused() -> None:
    with pytest.raises(SeewhyError, match="does not depend on the grid"):
        OptiCAM(TINY["vit"](), layer="norm").explain(IMAGES.float(), TARGETS)


def test_a_random_start_is_that_of_the_seed() -> None:
    classifier = double("cnn")
    start: dict[str, Any] = {"start": "random", **after(0)}
    first, again, other = (OptiCAM(classifier, seed=s, **start).explain(IMAGES, TARGETS) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_bf16_finds_the_same_maps() -> None:
    classifier = seewhy.load("shapes")
    batch = seewhy.DATASETS["shapes"](n=6).batch(range(6))
    exact = OptiCAM(classifier, steps=30).explain(batch.images, batch.labels)
    rough = OptiCAM(classifier, steps=30, precision="bf16").explain(batch.images, batch.labels)
    assert rough.dtype == torch.float32
    agreement = [
        float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) for a, b in zip(exact, rough, strict=True)
    ]
    assert min(agreement) > 0.95, agreement
    assert not torch.equal(exact, rough)


def test_bf16_is_refused_for_a_network_in_float64() -> None:
    with pytest.raises(SeewhyError, match="float64"):
        OptiCAM(double("cnn"), precision="bf16").explain(IMAGES, TARGETS)


def test_bf16_gives_the_weights_back() -> None:
    classifier = TINY["vit"]()
    before = {name: (t.data_ptr(), t.dtype) for name, t in classifier.module.state_dict().items()}
    OptiCAM(classifier, steps=2, precision="bf16").explain(IMAGES.float(), TARGETS)
    assert {name: (t.data_ptr(), t.dtype) for name, t in classifier.module.state_dict().items()} == before


def test_log_odds_of_a_network_that_is_certain() -> None:
    """1 - p is 0 in single precision; the odds to the other classes are not lost, nor is their slope."""
    logits = torch.tensor([[120.0, 0.0, 1.0], [0.3, -0.2, 0.3]], requires_grad=True)
    odds = select_all(TINY["cnn"](), logits, "log_odds")
    p = logits.detach().double().softmax(1)
    others = torch.stack([p[:, [j for j in range(3) if j != k]].sum(1) for k in range(3)], 1)
    torch.testing.assert_close(odds, (p / others).log().float())
    (slope,) = torch.autograd.grad(odds[0, 0], logits)
    rest = torch.tensor([0.0, 1.0]).softmax(0)
    torch.testing.assert_close(slope[0], torch.tensor([1.0, -float(rest[0]), -float(rest[1])]))
    torch.testing.assert_close(select_all(TINY["cnn_multilabel"](), logits, "log_odds"), logits)
