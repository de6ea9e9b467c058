"""Metric-driven attribution (Walker, Jha & Ewetz, 2025): the order of the patches that ordering metrics reward."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import isotonic_regression
from torch import Tensor

from seewhy.explainers.base import Method
from seewhy.explainers.options import BaselineOption, BatchSize, PlayerSize, PlayersOption, PrecisionOption, SelectorOption
from seewhy.explainers.selectors import Wanted, select, with_similar
from seewhy.masking.baselines import baseline_images
from seewhy.masking.players import Players, divide
from seewhy.masking.values import Game, removal_game
from seewhy.options import AtLeast, AtMost
from seewhy.types import Attribution, Images, Scores, Targets

Sets = Bool[Tensor, "m p"]
Worth = Callable[[Sets], Scores]
"""What a search makes as high as it can, of sets of players."""
APART = 1e-3
"""The least share of the ranks in a map: players of equal gain keep their order."""


class MetricDriven(Method, name="metric_driven", family="optimized", paper="walker2025mda"):
    """The order of the patches that insertion and deletion reward, found by asking for both. Not negative.

    The method optimizes the very metrics that judge maps. Its score is a ceiling with which other maps can be compared. Its
    score is no evidence of a good explanation. The ceiling is that of one metric: the objective "srg" is the default, and
    "insertion" and "deletion" have their own.

    The objective "both" has the paper's order, a greedy search in two stages. It is high in insertion and deletion, and the
    ceiling of neither. First, the patch that raises the score most is shown, and then
    the next, until the score has gone the part ``sufficient`` of its way from nothing shown to the whole image. These
    patches are the first of the order. Then the rest is ordered from its end: of what is left, the patch that raises the
    score least when it alone joins the last ones. The magnitudes follow the curves of this order, as in the paper: the mean
    of the insertion curve and of one minus the deletion curve, between 0 and 1, made to rise at a falling rate. A patch has
    the rise that it brings.

    Ours, where the paper differs or is silent:

    - The candidates of a step are the patches that gained most when they were last tried, where the paper takes those that
      are highest in the map of another method. The first step tries all patches.
    - The least concave curve above the measured one takes the place of the nearest concave curve, a quadratic program.
    - Equal magnitudes are told apart by a thousandth of the ranks, since a metric would order them at random.
    - The objectives "insertion", "deletion" and "srg".

    Each image is searched alone, and each of its classes. One photograph of 196 patches takes about 5800 passes with "both",
    and about twice as many with "srg".

    Args:
        objective: what the order is to make high: "both", in the paper's two stages, "insertion", the first stage until the
            end, "deletion", the second stage alone, or "srg", at each step what keeping gains over removing.
        size: side of a patch in pixels, or number of superpixels. A metric with the same players can see the whole order.
        candidates: patches that are tried in a step, the paper's 28. None is all of them, p (p + 1) / 2 passes.
        sufficient: part of the score at which the first stage ends.
        density: 0 is the paper's sparse map, whose magnitudes follow the curves; 1 is a dense map, the ranks.
        baseline: what removed pixels become while patches are removed, and in both games of "srg".
        baseline_shown: what the image grows from while patches are shown.
        batch_size: masked images that are run at a time.
    """

    objective: Literal["both", "insertion", "deletion", "srg"] = "srg"
    players: PlayersOption = "patches"
    size: PlayerSize = 16
    candidates: Annotated[int, AtLeast(1)] | None = 28
    sufficient: Annotated[float, AtLeast(0), AtMost(1)] = 0.9
    density: Annotated[float, AtLeast(0), AtMost(1)] = 0.0
    selector: SelectorOption = "probability"
    baseline: BaselineOption = "mean_color"
    baseline_shown: BaselineOption = "rise_blur"
    precision: PrecisionOption = "fp32"
    batch_size: BatchSize = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        self.classifier.check(images, targets)
        images = images.detach()
        division = divide(images, self.players, self.size)
        wanted = with_similar(self.classifier, images, targets[:, None], self.selector, self.batch_size)
        shown_from = self.baseline if self.objective == "srg" else self.baseline_shown
        removed, start = (baseline_images(b, self.classifier, images) for b in (self.baseline, shown_from))
        alone = (t.split(1) for t in (images, removed, start, division.ids, division.counts, wanted))
        maps = []
        with self.classifier.running(self.precision):
            for image, gone, first, ids, count, one in zip(*alone, strict=True):
                players = Players(ids, count)
                showing, removing = (removal_game(self.classifier, image, b, players) for b in (first, gone))
                search = _Search(self, players.p, showing, removing, one)
                maps.append(search.magnitudes(search.order()).to(image)[ids[0]])
        return torch.stack(maps)


@dataclass(frozen=True, eq=False)
class _Search:
    """The search for one image: p players, and the games in which they are shown and removed."""

    options: MetricDriven
    p: int
    showing: Game
    removing: Game
    wanted: Wanted

    def shown(self, sets: Sets) -> Scores:
        """The score where these players are shown."""
        return self._scores(self.showing, sets)

    def left(self, sets: Sets) -> Scores:
        """The score where all but these players are removed."""
        return self._scores(self.removing, sets)

    def order(self) -> list[int]:
        """The players from the best to the worst."""
        match self.options.objective:
            case "both":
                best = self.greedy(self.shown, enough=self._enough())
                return best + self.greedy(lambda sets: -self.left(sets), but=best)[::-1]
            case "insertion":
                return self.greedy(self.shown)
            case "deletion":
                return self.greedy(lambda sets: -self.left(sets))[::-1]
            case "srg":
                return self.greedy(lambda sets: self.shown(sets) - self.left(~sets))

    def greedy(self, worth: Worth, but: Sequence[int] = (), enough: float = inf) -> list[int]:
        """The player whose set is worth most, then the one that makes most of it, and so on until it is worth ``enough``."""
        device, order = self.wanted.device, list[int]()
        have = torch.zeros(self.p, dtype=torch.bool, device=device)
        gain = torch.full((self.p,), inf, dtype=torch.float64, device=device)  # when last tried; all are tried first
        gain[torch.tensor(list(but), dtype=torch.long, device=device)] = -inf
        value = float(worth(have[None]))
        while len(order) + len(but) < self.p and value < enough:
            free = self.p - len(but) - len(order)
            tried = gain.sort(descending=True, stable=True).indices[
                : min(free, self.options.candidates or free) if order else free
            ]
            sets = have.repeat(len(tried), 1)
            sets[torch.arange(len(tried), device=device), tried] = True
            found = worth(sets).double()
            gain[tried] = found - value
            best = int(found.sort(descending=True, stable=True).indices[0])
            order.append(int(tried[best]))
            have[order[-1]], gain[order[-1]], value = True, -inf, float(found[best])
        return order

    def magnitudes(self, order: list[int]) -> Float[Tensor, "p"]:
        """The magnitude of each player, which falls along the order: what the mean of the curves rises by, and the ranks."""
        p, objective = self.p, self.options.objective
        rank = torch.tensor(order, device=self.wanted.device).argsort()
        best = rank < torch.arange(p + 1, device=rank.device)[:, None]  # the best k, for each k from 0 on
        curves = [_rising(self.shown(best))] if objective != "deletion" else []
        curves += [_rising(-self.left(~best))] if objective != "insertion" else []
        rises = isotonic_regression(torch.stack(curves).mean(0).diff().cpu().numpy(), increasing=False).x
        sparse, ranks = rises / (rises.max() or 1), np.arange(p, 0, -1) / p
        dense = max(self.options.density, APART)
        return torch.from_numpy((1 - dense) * sparse + dense * ranks).to(rank.device)[rank]

    def _enough(self) -> float:
        """The score at which the first stage ends."""
        none, all_ = self.shown(torch.tensor([[False], [True]], device=self.wanted.device).expand(2, self.p)).tolist()
        return none + self.options.sufficient * abs(all_ - none)

    def _scores(self, game: Game, sets: Sets) -> Scores:
        parts = []
        for some in sets.split(self.options.batch_size):
            logits = game(torch.zeros(len(some), dtype=torch.long, device=sets.device), some)
            parts.append(
                select(self.options.classifier, logits, self.wanted.expand(len(some), -1, -1), self.options.selector)
            )
        return torch.cat(parts)[:, 0]


def _rising(curve: Scores) -> Float[Tensor, "m"]:
    """The curve as a part of its way from the first value to the last, between 0 and 1, where it has been highest so far."""
    way = curve.double() - curve[0]
    return (way / (way[-1].abs() if way[-1] else 1)).clamp(0, 1).cummax(0).values
