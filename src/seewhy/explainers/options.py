"""Options that several explainers have: each says once what it takes and what it does.

A method's own ``Args:`` describes the other options, and says of these only what differs.
"""

from typing import Annotated

from torch import Tensor

from seewhy.classifier.precision import Precision
from seewhy.explainers.selectors import Selector
from seewhy.masking.baselines import Baseline
from seewhy.masking.players import Division
from seewhy.masking.tokens import Removal
from seewhy.options import AtLeast, AtMost, Doc

BatchSize = Annotated[
    int,
    AtLeast(1),
    Doc("Images, masked copies of an image, or classes that are run at a time. The map is the same, up to rounding."),
]
LayerOption = Annotated[str | None, Doc("Layer whose features are read. None is the classifier's feature layer.")]
Seed = Annotated[int, AtLeast(0), Doc("Seed of all random draws. The same seed gives the same map, alone and in a batch.")]
Samples = Annotated[int, AtLeast(1), Doc("Number of random draws.")]
Steps = Annotated[int, AtLeast(1), Doc("Steps of the optimization.")]
LearningRate = Annotated[float, AtLeast(0), Doc("Learning rate of the optimization.")]
CoarseCells = Annotated[int, AtLeast(1), Doc("Cells of the mask along the shorter side of the image.")]
PrecisionOption = Annotated[
    Precision, Doc('"bf16" runs the network in bfloat16. Masks, sums, regressions and maps keep their own type.')
]
SelectorOption = Annotated[
    Selector,
    Doc(
        'The score of a class: its "logit", "probability", "log_probability", "log_odds", its "contrast" to the highest '
        'other logit, or "finer": its logit less 0.6 of the mean logit of the 3 most similar classes, those whose logits on '
        'the whole image are nearest. ["finer", 1.0, 5] has another strength and another number of classes.'
    ),
]
BaselineOption = Annotated[
    Baseline | float | Tensor,
    AtLeast(0),
    AtMost(1),
    Doc("What removed pixels become: a name, a gray in [0, 1], or pixels (see ``masking.baselines.baseline_images``)."),
]
RemovalOption = Annotated[
    Removal,
    Doc(
        'What removed players become: "pixels" of the baseline; "tokens" that leave the sequence of a transformer; or '
        '"mask_tokens". The last two take patches of the network, and no baseline.'
    ),
]
PlayersOption = Annotated[Division, Doc('"superpixels" or "patches"; "pixels" only for images of few pixels.')]
PlayerSize = Annotated[int, AtLeast(1), Doc("Number of superpixels of an image, about; or the side of a patch in pixels.")]
Flip = Annotated[
    bool, Doc("Mirror the blurred image left to right at every second step. Not for a network that minds, say of digits.")
]
LibraOption = Annotated[
    bool,
    Doc(
        "LibraGrad's repair of the backward pass, for transformers and other networks with gates, attention or layer "
        "normalization; plain ReLU networks have nothing to repair (see ``Classifier.balanced``)."
    ),
]
