"""The options of metrics: a type says what an option takes and what it is, once for all metrics that have it."""

from typing import Annotated, Literal

from seewhy.maps import Reading
from seewhy.masking.baselines import Baseline
from seewhy.masking.players import Division
from seewhy.options import AtLeast, Doc

Score = Literal["probability", "logit"]
Ties = Literal["random", "position"]
MaskScale = Literal["min_max", "clipped"]

BaselineOption = Annotated[Baseline, Doc("What stands for removed pixels.")]
GameBaselineOption = Annotated[
    Baseline, Doc("What stands for removed pixels. A value function of the case's own takes its place.")
]
PlayersOption = Annotated[Division, Doc("The parts of the image that are removed as one: pixels, patches or superpixels.")]
SizeOption = Annotated[int, AtLeast(1), Doc("Side of a patch, or number of superpixels.")]
StepsOption = Annotated[int, AtLeast(1), Doc("Number of steps from no player to all players.")]
SizesOption = Annotated[int, AtLeast(0), Doc("How many of the sizes 1 to p are evaluated; 0 is each.")]
ValueOption = Annotated[Score, Doc("What is read of the class scored: its probability or its logit.")]
TiesOption = Annotated[
    Ties, Doc('The order of equal values: "random", or by "position" from the upper left, as other libraries have it.')
]
ReadsOption = Annotated[Reading, Doc("How the map is read.")]
ScaleOption = Annotated[MaskScale, Doc('How a map becomes a mask: "min_max", or "clipped" for maps that are masks already.')]
