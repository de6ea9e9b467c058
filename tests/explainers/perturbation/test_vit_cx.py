"""ViT-CX: the paper's steps written again in float64, exact numbers, and what it promises of clusters and noise."""

from math import exp

import pytest
import torch
from support import oracles
from support.slow_cams import LAYER, PREFIX, double, same
from support.tiny_models import SIZE, TINY
from support.tiny_transformers import pictures, transformer_classifier
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import UnsuitedError
from seewhy.explainers import ExplainsClasses, ViTCX, explainer
from seewhy.explainers.perturbation.vit_cx import cluster_masks, complete_linkage
from seewhy.maps import upsample

Rows = list[list[float]]


def scaled(rows: Rows) -> Rows:
    low, high = min(map(min, rows)), max(map(max, rows))
    return [[(v - low) / (high - low) for v in row] for row in rows]


def cosine_distance(a: Rows, b: Rows) -> float:
    flat, other = [v for row in a for v in row], [v for row in b for v in row]
    dot = sum(x * y for x, y in zip(flat, other, strict=True))
    return 1 - dot / (sum(x * x for x in flat) ** 0.5 * sum(y * y for y in other) ** 0.5)


def agglomerated(distances: list[list[float]], threshold: float) -> list[list[int]]:
    """The two clusters whose farthest members are nearest are merged, as long as these are nearer than the threshold."""
    clusters = [[i] for i in range(len(distances))]
    while len(clusters) > 1:
        pairs = [(p, q) for p in range(len(clusters)) for q in range(p)]
        farthest = {(p, q): max(distances[i][j] for i in clusters[p] for j in clusters[q]) for p, q in pairs}
        p, q = min(farthest, key=lambda pair: farthest[pair])
        if farthest[p, q] >= threshold:
            break
        clusters[q] += clusters.pop(p)
    return sorted(sorted(cluster) for cluster in clusters)


def masks_of(channels: list[Rows], threshold: float) -> list[Rows]:
    masks = [scaled(rows) for rows in channels if max(map(max, rows)) > min(map(min, rows))]
    distances = [[cosine_distance(a, b) for b in masks] for a in masks]
    sums = []
    for cluster in agglomerated(distances, threshold):
        h, w = len(masks[0]), len(masks[0][0])
        sums.append(scaled([[sum(masks[i][y][x] for i in cluster) for x in range(w)] for y in range(h)]))
    return sums


def probability(classifier: Classifier, image: Tensor, c: int) -> float:
    logits = classifier.logits(image[None])[0].tolist()
    return 1 / (1 + exp(-logits[c])) if classifier.multilabel else exp(logits[c]) / sum(map(exp, logits))


def vit_cx(model: str, image: Tensor, c: int, threshold: float, level: float, removed: Tensor) -> Tensor:
    """S(x) = sum_i C_i M_i(x) / sum_i M_i(x), with C_i = p(x ⊙ M_i + z_i) - p(x + z_i) + p(x)."""
    classifier, (h, w) = double(model), image.shape[1:]
    features = oracles.features_of(classifier, image, LAYER.get(model, "6"), PREFIX.get(model, 0))
    masks = masks_of([oracles.upsampled(channel, h, w).tolist() for channel in features], threshold)
    assert 1 < len(masks) < len(features)  # else the clusters would prove nothing
    generator = torch.Generator().manual_seed(0)
    impacts = []
    for mask in masks:
        drawn = torch.randn(image.shape, generator=generator).tolist()
        masked, beside = image.clone(), image.clone()
        for k, std in enumerate(classifier.std):
            for i in range(h):
                for j in range(w):
                    z = level * std * drawn[k][i][j] * (1 - mask[i][j])
                    masked[k, i, j] = mask[i][j] * image[k, i, j] + (1 - mask[i][j]) * removed[k, i, j] + z
                    beside[k, i, j] = image[k, i, j] + z
        p = probability(classifier, masked, c) - probability(classifier, beside, c)
        impacts.append(p + probability(classifier, image, c))

    def value(i: int, j: int) -> float:
        total = sum(mask[i][j] for mask in masks)
        return sum(p * mask[i][j] for p, mask in zip(impacts, masks, strict=True)) / total if total else 0.0

    return torch.tensor([[value(i, j) for j in range(w)] for i in range(h)], dtype=torch.float64)


@pytest.mark.parametrize(("threshold", "level", "gray"), [(0.2, 0.1, None), (0.15, 0.5, 0.25)])
@pytest.mark.parametrize("model", ["cnn", "cnn_multilabel", "vit", "vit_registers", "functional"])
def test_it_is_the_papers_algorithm(
    model: str, threshold: float, level: float, gray: float | None, batch: tuple[Tensor, Tensor]
) -> None:
    classifier, images, classes = double(model), batch[0][:2].double(), torch.tensor([3, 0])
    baseline = "mean_color" if gray is None else gray
    method = ViTCX(classifier, threshold=threshold, noise=level, baseline=baseline, batch_size=3)
    maps = method.explain_classes(images, classes)
    color = torch.tensor(classifier.mean if gray is None else [gray] * 3, dtype=torch.float64)
    for image, found in zip(images, maps, strict=True):
        removed = color[:, None, None].expand_as(image)
        for c, one in zip(classes.tolist(), found, strict=True):
            same(one, vit_cx(model, image, c, threshold, level, removed), 1e-8)


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.1, 0.3, 1.0])
def test_clusters_are_those_of_the_slow_loop(threshold: float) -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(14, 6, generator=generator, dtype=torch.float64) ** 3
    unit = points / points.norm(dim=1, keepdim=True)
    distances = 1 - unit @ unit.T
    labels = complete_linkage(distances, threshold).tolist()
    clusters = [[i for i, label in enumerate(labels) if label == k] for k in range(max(labels) + 1)]
    assert clusters == agglomerated(distances.tolist(), threshold)


def test_three_masks_by_hand() -> None:
    """Two maps that differ by scale and offset alone are one mask; the third is its opposite; a constant map is none."""
    left = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    masks = cluster_masks(torch.stack([left, 5 - 3 * left, 7 * left - 2, torch.full((2, 2), 4.0)]), 0.1)
    torch.testing.assert_close(masks, torch.stack([left, 1 - left]))
    assert not cluster_masks(torch.full((3, 2, 2), 4.0), 0.1).any()


class Halves(nn.Module):
    """Its two features are the brightness of the left and of the right half; class 1 is the mean of the left one."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        left = torch.zeros_like(x[:, 0])
        left[:, :, :8] = 1
        parts = self.parts(torch.stack([left, 1 - left], 1) * x.mean(1, keepdim=True))
        return torch.stack([torch.zeros_like(parts[:, 0, 0, 0]), 8 * parts[:, 0].mean((1, 2))], 1)


def test_exact_numbers() -> None:
    """The mask of the left half keeps the logit of class 1, that of the right half takes all of it."""
    classifier = Classifier(Halves(), (0.0,) * 3, (1.0,) * 3, (SIZE, SIZE), feature_layer="parts")
    image = torch.ones(1, 3, SIZE, SIZE)
    found = explainer("vit_cx", classifier, noise=0.0, selector="logit").explain(image, torch.tensor([1]))
    expected = torch.zeros(1, SIZE, SIZE)
    expected[..., :8] = 4  # 8 times the mean of a half that is 1
    torch.testing.assert_close(found, expected)


def test_the_noise_alone_is_taken_away() -> None:
    """A network that sees nothing but noise gives every mask the impact f(x): of a mask that keeps all, too."""
    classifier = double("vit")
    image = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    plain = explainer("vit_cx", classifier, noise=0.0, baseline=image).explain(image, torch.tensor([2]))
    noisy = explainer("vit_cx", classifier, noise=0.3, baseline=image).explain(image, torch.tensor([2]))
    p = probability(classifier, image[0], 2)
    torch.testing.assert_close(plain, torch.full_like(plain, p))  # the baseline is the image itself: nothing is removed
    torch.testing.assert_close(noisy, plain)


@pytest.mark.parametrize("model", ["cnn", "vit_registers"])
def test_a_batch_of_eight_is_eight_images_and_classes_are_the_loop(model: str) -> None:
    images = torch.rand(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    targets = torch.arange(8) % 5
    method = explainer("vit_cx", TINY[model]())
    together = method.explain(images, targets)
    for i in range(8):
        torch.testing.assert_close(method.explain(images[i : i + 1], targets[i : i + 1])[0], together[i], rtol=0, atol=1e-5)
    assert isinstance(method, ExplainsClasses)
    classes = method.explain_classes(images[:2], torch.arange(5))
    for c in range(5):
        torch.testing.assert_close(classes[:, c], method.explain(images[:2], torch.full((2,), c)), rtol=0, atol=1e-6)


def test_the_seed_draws_the_noise_alone() -> None:
    classifier, images, targets = TINY["vit"](), torch.rand(2, 3, SIZE, SIZE), torch.tensor([0, 1])
    first, again, other = (
        explainer("vit_cx", classifier, noise=0.5, seed=seed).explain(images, targets) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-4)


def test_every_cluster_is_one_pass_without_noise_and_two_with(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, image = TINY["cnn"](), torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    rows: list[int] = []
    logits = Classifier.logits
    monkeypatch.setattr(Classifier, "logits", lambda self, x: (rows.append(len(x)), logits(self, x))[1])
    with torch.no_grad(), classifier.capture(classifier.layer) as outputs:
        classifier.logits(image)
    m = len(cluster_masks(upsample(outputs[classifier.layer][0], (SIZE, SIZE)), 0.1))
    counts = []
    for noise in (0.0, 0.1):
        rows.clear()
        explainer("vit_cx", classifier, noise=noise).explain(image, torch.tensor([0]))
        counts.append(sum(rows))
    assert counts == [1 + m, 1 + 2 * m]


def test_finer_compares_with_the_most_similar_classes_of_the_whole_image() -> None:
    """Its score is a sum of logits, and the map is linear in the score: the same sum of the maps of these classes."""
    classifier = double("vit")
    image = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    maps = explainer("vit_cx", classifier, selector="logit").explain_classes(image, torch.arange(5))[0]  # type: ignore
    logits = classifier.logits(image)[0].tolist()
    similar = sorted((d for d in range(5) if d != 2), key=lambda d: abs(logits[d] - logits[2]))[:2]
    found = explainer("vit_cx", classifier, selector=("finer", 0.5, 2)).explain(image, torch.tensor([2]))[0]
    torch.testing.assert_close(found, maps[2] - 0.5 * (maps[similar[0]] + maps[similar[1]]) / 2)


def test_patches_leave_the_sequence_where_a_mask_keeps_less_than_half_of_them() -> None:
    """S(x) = sum_i p_i M_i(x) / sum_i M_i(x), with p_i the probability on the patches of M_i, one call for each mask."""
    classifier, images = transformer_classifier("timm_vit", double=True), pictures("timm_vit", 1, double=True)
    with torch.no_grad(), classifier.capture(classifier.layer) as outputs:
        classifier.logits(images)
    masks = cluster_masks(upsample(classifier.as_grid(outputs[classifier.layer], images)[0], (64, 64)), 0.3)
    sums, counts = torch.zeros(64, 64, dtype=torch.float64), set()
    for mask in masks:
        means = [float(mask[i : i + 16, j : j + 16].mean()) for i in range(0, 64, 16) for j in range(0, 64, 16)]
        kept = [mean > 0.5 or mean == max(means) for mean in means]
        counts.add(sum(kept))
        with torch.no_grad():
            sums += classifier.kept_logits(images, torch.tensor([kept])).softmax(1)[0, 3] * mask
    assert len(masks) > 2 < len(counts)
    found = explainer("vit_cx", classifier, threshold=0.3, removal="tokens", batch_size=2).explain(images, torch.tensor([3]))
    torch.testing.assert_close(found[0], sums / masks.sum(0))
    with pytest.raises(UnsuitedError, match="use removal=pixels"):
        explainer("vit_cx", TINY["cnn"](), removal="tokens")
