"""AOPC, the area over the perturbation curve (Samek et al., 2017)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from seewhy.masking.baselines import Baseline
from seewhy.masking.players import Division
from seewhy.metrics.base import METRICS, Family, Need
from seewhy.metrics.case import Case
from seewhy.metrics.curves import Score, Ties, alike, curves, read_out
from seewhy.types import Scores


@METRICS.register("aopc")
@dataclass(frozen=True)
class AOPC:
    r"""AOPC: the mean fall of the class's probability over the first few regions that are removed.

    $$\mathrm{AOPC} = \frac{1}{L + 1} \sum_{k=0}^{L} \big( p(x) - p(x^{(k)}) \big),$$

    with $x^{(k)}$ the image without its $k$ highest regions.

    Rewards: maps whose very highest regions matter; what comes later does not count.

    Fooled by: as `deletion`, of which it is the beginning.

    Defined: regions of equal value are in random order. Where there are fewer than ``regions`` players, all are removed.

    Args:
        regions: L.
        players: patches, pixels or superpixels.
        size: side of a patch; 14 in Opti-CAM.
        baseline: what stands for removed; "darkest" is the lowest value of the normalized image, which Quantus, with
            whose code Opti-CAM measured, calls black.
        value: probability or logit.
        ties: the order of equal values.

    Source: Samek et al. (2017), eq. 12; settings of Opti-CAM, section 5.3.3. Quantus up to 0.5 lets regions begin at every
    pixel; here, as in its later versions, they are a fixed grid.
    """

    family: ClassVar[Family] = "ordering"
    higher_is_better: ClassVar[bool | None] = True
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    reads: ClassVar[str] = "order"
    target: ClassVar[Literal["label", "predicted", "any"]] = "label"
    paper: ClassVar[str] = "samek2017evaluating"

    regions: int = 10
    players: Division = "patches"
    size: int = 14
    baseline: Baseline = "darkest"
    value: Score = "probability"
    ties: Ties = "random"

    def score(self, case: Case) -> Scores:
        return alike(case, self.players, self.size, self._score)

    def _score(self, case: Case) -> Scores:
        pair = curves(case, self.players, self.size, self.baseline, self.ties)
        values = read_out(case, pair.removed(range(min(self.regions, pair.players.p) + 1)), self.value)
        return values[:, 0] - values.mean(1)
