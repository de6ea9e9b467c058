"""What NEM-U and NEMt share: a decoder of the explained network's own features, and the filter that smooths its masks."""

from math import log
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.explainers.learned.learned_explainer import LearnedExplainer
from seewhy.explainers.learned.neighborhood import FilterBorder, averaged, random_kernels, side_of
from seewhy.explainers.learned.unet import DecoderKind
from seewhy.explainers.options import BaselineOption
from seewhy.maps import upsample
from seewhy.masking.baselines import baseline_images, blend
from seewhy.options import Above, AtLeast, Below, Doc
from seewhy.types import Attribution, Images

DecoderOption = Annotated[
    DecoderKind,
    Doc(
        '"published" is the papers\' decoder, of 9,013,377 parameters on a ResNet-50; "light" has 24 channels and masks of '
        "a quarter of the image's height, and costs a few hundredths of the network."
    ),
]
Neighborhood = Annotated[
    int,
    AtLeast(0),
    Doc(
        "Side of the neighborhood over which masks are averaged, in pixels of an image of 224; it scales with the image. 0 "
        "averages nothing. While training, each image draws its own weights; maps are made with their mean."
    ),
]
BorderOption = Annotated[
    FilterBorder,
    Doc(
        'What the average sees beyond the border: the mask "reflect"ed, its last row ("replicate"), or the opposite border '
        '("circular", as in the released code, where an object at the left border also marks the right one).'
    ),
]
GainOption = Annotated[
    float,
    Above(0),
    Doc("Factor of the decoder's outputs before the sigmoid. 1 is the papers'; more makes masks sharp in fewer steps."),
]
FirstMask = Annotated[
    float,
    Above(0),
    Below(1),
    Doc(
        "The masks of an untrained decoder, about. 0.5 is the papers'; masks that grow from less find objects sooner. A "
        "network that hardly reacts to a small change, as many transformers do, needs more, such as 0.8: else masks vanish."
    ),
]


class ExplanationMask(LearnedExplainer):
    """A method whose masks a decoder makes of the features of the explained network, which are there with its prediction.

    A subclass has three holes: ``new_network``, ``loss`` and ``masks``.
    """

    decoder: DecoderOption = "light"
    neighborhood: Neighborhood = 21
    border: BorderOption = "reflect"
    baseline: BaselineOption = "mean_color"
    gain: GainOption = 4.0
    start: FirstMask = 0.2

    def finished(
        self,
        logits: Float[Tensor, "n m gh gw"],
        images: Images,
        generator: torch.Generator | None = None,
        kernels: int | None = None,
    ) -> Float[Tensor, "n m h w"]:
        """The masks in [0, 1] of the decoder's logits: averaged over neighborhoods, enlarged to the images.

        With a ``generator`` the weights of the average are random, with one kernel for each image, or ``kernels`` in all.
        """
        logits = logits if logits.dtype == torch.float64 else logits.float()
        masks = (self.gain * logits + log(self.start / (1 - self.start))).sigmoid()
        if side := side_of(self.neighborhood, masks.shape[-2:]):
            drawn = None if generator is None else random_kernels(kernels or len(masks), side, generator)
            masks = averaged(masks, side, drawn, self.border)
        if masks.shape[-2:] != images.shape[-2:]:
            masks = upsample(masks, images.shape[-2:])
        return masks.clamp(0, 1)  # sums of weights round

    def masked(self, images: Images, masks: Attribution) -> Images:
        """Each image where its mask is 1, and the baseline where it is 0."""
        removed = baseline_images(self.baseline, self.classifier, images)
        return self.classifier.fast_layout(blend(images, masks.to(images.dtype), removed))
