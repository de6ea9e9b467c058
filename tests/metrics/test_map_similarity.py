"""Similarity of two maps: against SciPy and scikit-image, and for constant and tiny maps."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from skimage.feature import hog
from support.metric_cases import noise

from seewhy.errors import SeewhyError
from seewhy.metrics.map_similarity import (
    SIMILARITIES,
    _pairs,
    absolute_rank_correlation,
    hog_similarity,
    rank_correlation,
    ssim,
)


def test_rank_correlation_is_spearmans_with_ties() -> None:
    a, b = (noise(4, 9, 7, seed=s).mul(2).round() for s in (0, 1))
    expected = [spearmanr(x.flatten(), y.flatten()).statistic for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    np.testing.assert_allclose(rank_correlation(a, b).numpy(), expected, atol=1e-6)
    torch.testing.assert_close(rank_correlation(a, -a), -torch.ones(4))
    torch.testing.assert_close(absolute_rank_correlation(a, -a), torch.ones(4))


def test_ties_do_not_correlate_by_their_place() -> None:
    """Two sparse maps whose zeros would be ordered alike by a scan from the upper left."""
    a, b = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)
    a[0, 0, 0], b[0, 7, 7] = 1, 1
    assert -0.1 < rank_correlation(a, b) < 0


def test_hog_is_the_correlation_of_skimages_features() -> None:
    a, b = noise(2, 64, 80, seed=0), noise(2, 64, 80, seed=1)
    found = hog_similarity(a, b)
    for i in range(2):
        features = []
        for m in (a[i].double().numpy(), b[i].double().numpy()):
            stretched = (m - m.min()) / (m.max() - m.min())
            features.append(hog(stretched, orientations=9, pixels_per_cell=(16, 16), cells_per_block=(1, 1)))
        assert float(found[i]) == pytest.approx(np.corrcoef(*features)[0, 1], abs=1e-4)


@pytest.mark.parametrize("how", list(SIMILARITIES))
@pytest.mark.parametrize("size", [(5, 5), (16, 16), (30, 100)])
def test_similarity_of_any_two_maps(how: str, size: tuple[int, int]) -> None:
    compare = SIMILARITIES[how]  # type: ignore[index]
    a, b, flat = noise(1, *size), noise(1, *size, seed=1), torch.full((1, *size), 3.0)
    torch.testing.assert_close(compare(a, a), torch.ones(1))
    torch.testing.assert_close(compare(a, b), compare(b, a))
    assert compare(a, b) < 0.8
    assert compare(flat, torch.zeros_like(flat)).tolist() == [1.0]
    assert compare(flat, a).tolist() == [0.0]
    assert compare(a, flat).tolist() == [0.0]
    spot = torch.zeros(1, *size)
    spot[0, 0, 0] = 1e-30
    for x, y in [(spot, a), (spot, spot), (a * 1e30, b), (a.double(), b.double())]:
        assert torch.isfinite(compare(x, y)).all()
        assert compare(x, y).dtype == x.dtype


def test_similarity_of_maps_that_cannot_be_compared() -> None:
    with pytest.raises(SeewhyError, match="cannot be compared"):
        _pairs(noise(1, 4, 4), noise(1, 4, 5), lambda x, y: 0.0)
    for compare in (hog_similarity, ssim):
        with pytest.raises(SeewhyError, match="needs maps of at least"):
            compare(noise(1, 2, 2), noise(1, 2, 2))
