"""Images of other classes: the surest of each, the same in every process, whatever cannot be read."""

from dataclasses import replace

import pytest
import torch

import seewhy
from seewhy.data import Batch, Shapes
from seewhy.errors import ImageError, SeewhyError
from seewhy.evaluation.companions import OF_A_CLASS, find_companions

N = 20


def test_the_surest_of_each_class_that_is_predicted() -> None:
    classifier, data = seewhy.load("shapes"), Shapes(n=N)
    found = find_companions(classifier, data, range(N), 16)
    images = data.batch(range(N)).images
    with torch.no_grad():
        sure, seen = classifier.probabilities(images).max(1)
    for c in seen.unique():
        mine = (seen == c).nonzero()[:, 0]
        best = mine[sure[mine].argsort(descending=True)][:OF_A_CLASS]
        got = found.images[found.classes == c]
        assert len(got) == len(best)
        assert {g.sum().item() for g in got} == {images[b].sum().item() for b in best}
    again = find_companions(classifier, data, range(N), 7)
    assert torch.equal(found.images, again.images)
    assert torch.equal(found.classes, again.classes)


class Broken(Shapes):
    """Every third picture cannot be read, or none can."""

    every = 3

    def batch(self, indices: list[int]) -> Batch:  # type: ignore[override]
        if any(i % self.every == 0 for i in indices):
            raise ImageError("this picture is damaged")
        return super().batch(indices)


def test_what_cannot_be_read_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = seewhy.load("shapes")
    found = find_companions(classifier, Broken(n=9), range(9), 4)
    assert 0 < len(found.images) <= 6
    monkeypatch.setattr(Broken, "every", 1)
    with pytest.raises(SeewhyError, match="no image of the data can be read"):
        find_companions(classifier, Broken(n=9), range(9), 4)
    assert replace(Broken(n=9), n=10).n == 10
