"""AOPC, the area over the perturbation curve (Samek et al., 2017)."""

from typing import Annotated

from seewhy.metrics.case import Case
from seewhy.metrics.curves import OverPlayers, by_player_count, curves, target_scores
from seewhy.metrics.options import GameBaselineOption, SizeOption, TiesOption
from seewhy.options import AtLeast, Doc
from seewhy.types import Scores


class AOPC(OverPlayers, name="aopc", better="higher", range=(-1.0, 1.0), explains="label", paper="samek2017evaluating"):
    r"""AOPC: the mean fall of the class's probability over the first few regions that are removed.

    $$\mathrm{AOPC} = \frac{1}{L + 1} \sum_{k=0}^{L} \big( p(x) - p(x^{(k)}) \big),$$

    with $x^{(k)}$ the image without its $k$ highest regions.

    Rewards: maps whose very highest regions matter; what comes later does not count.

    Fooled by: as `deletion`, of which it is the beginning.

    Defined: regions of equal value are in random order. Where there are fewer than ``regions`` players, all are removed.

    Args:
        size: side of a patch, 14 in Opti-CAM; or number of superpixels.
        baseline: what stands for removed; "darkest" is the lowest value of the normalized image. Opti-CAM measured with
            Quantus, whose code calls this value black. A value function of the case's own takes its place.

    Source: Samek et al. (2017), eq. 12; settings of Opti-CAM, section 5.3.3. Quantus up to 0.5 lets regions begin at every
    pixel; here, as in its later versions, they are a fixed grid.
    """

    size: SizeOption = 14
    baseline: GameBaselineOption = "darkest"
    regions: Annotated[int, AtLeast(1), Doc("L, the number of regions that are removed.")] = 10
    ties: TiesOption = "random"

    def score(self, case: Case) -> Scores:
        return by_player_count(case, self.players, self.size, self._score)

    def _score(self, case: Case) -> Scores:
        pair = curves(case, self.players, self.size, self.baseline, self.ties, self.removal)
        ks = range(min(self.regions, pair.players.p) + 1)
        p = target_scores(case, pair.removed(ks), self.value)
        return p[:, 0] - p.mean(1)
