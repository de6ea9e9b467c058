"""What is found in the images of a step, or in held-out images: numbers that processes add up."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from math import inf

from seewhy.explainers.learned.learned_explainer import Step


@dataclass
class LossSums:
    """LossSums over images, and extremes.

    n          images
    sums       of each term of the loss
    low, high  the lowest and the highest value of all masks
    mask_sum   the sum over images of the mean of their masks
    """

    n: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    low: float = inf
    high: float = -inf
    mask_sum: float = 0.0

    def plus(self, other: "LossSums") -> "LossSums":
        names = {**self.sums, **other.sums}
        return LossSums(
            self.n + other.n,
            {name: self.sums.get(name, 0.0) + other.sums.get(name, 0.0) for name in names},
            min(self.low, other.low),
            max(self.high, other.high),
            self.mask_sum + other.mask_sum,
        )

    @property
    def terms(self) -> dict[str, float]:
        """The mean of each term over the images."""
        return {name: value / self.n for name, value in self.sums.items()}

    @property
    def mask_mean(self) -> float:
        return self.mask_sum / self.n


def sums_of(made: Step, n: int) -> LossSums:
    """What a step found in n images."""
    terms = {name: float(term.detach()) * n for name, term in made.terms.items()}
    masks = made.masks.detach().float()
    low, high = (float(end) for end in masks.aminmax())
    return LossSums(n, terms, low, high, float(masks.mean()) * n)


def added_up(parts: Iterable[LossSums]) -> LossSums:
    return reduce(LossSums.plus, parts, LossSums())
