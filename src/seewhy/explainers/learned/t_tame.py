"""T-TAME (Ntrougkas et al. 2024): masks of all classes, by an attention of feature maps of several layers."""

from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, logsigmoid

from seewhy.classifier.levels import Level
from seewhy.errors import SeewhyError
from seewhy.explainers.learned.learned_explainer import Seen, Step
from seewhy.explainers.learned.mask_per_class import MaskPerClass
from seewhy.explainers.learned.mask_terms import Weight, classes_in, classes_predicted, log_probabilities, variation
from seewhy.explainers.learned.settings import Settings
from seewhy.explainers.options import BaselineOption
from seewhy.masking.baselines import baseline_images, blend
from seewhy.options import AtLeast, AtMost, Doc
from seewhy.types import Images


class FeatureAttention(nn.Module):
    """A branch for each layer, and a fusion: the parameters of T-TAME.

    A branch is a 1 x 1 convolution with batch normalization, added to its input, and a ReLU. All branches are brought to the
    finest grid and concatenated. A 1 x 1 convolution makes one logit for each class of each cell.
    """

    def __init__(self, levels: tuple[Level, ...], k: int) -> None:
        super().__init__()
        self.layers = tuple(level.name for level in levels)
        widths = [level.channels for level in levels]
        self.branches = nn.ModuleList(nn.Sequential(nn.Conv2d(d, d, 1, bias=False), nn.BatchNorm2d(d)) for d in widths)
        self.fusion = nn.Conv2d(sum(widths), k, 1)

    def forward(self, images: Images, *features: Tensor) -> Float[Tensor, "n k gh gw"]:
        """The logits of the masks, on the finest grid."""
        finest = max((f.shape[-2:] for f in features), key=lambda size: size[0] * size[1])
        read = [(branch(f) + f).relu() for branch, f in zip(self.branches, features, strict=True)]
        joined = torch.cat([interpolate(x, finest, mode="bilinear", align_corners=False) for x in read], 1)
        return self.fusion(joined)


class TTAME(MaskPerClass, name="t_tame", family="learned", paper="ntrougkas2024ttame"):
    """A mask for each class, by an attention of the frozen network's feature maps. In [0, 1].

    At each step the mask of one class of each image is trained: the image under the mask is to be of that class. A
    transformer's tokens are read as a grid, without the class token. The parameters are those of ``FeatureAttention``.

    Args:
        target: the class whose mask is trained: the one that the network "predicted"; one of the "label"; or a "random"
            one of all classes. Of several classes of an image one is drawn at each step.
        cross_entropy: weight of -log p for the image under the mask.
        area: weight of the mean of mask^power.
        smoothness: weight of the total variation, of squared differences, over the number of pixels.

    Source: Ntrougkas, Gkalelis and Mezaris 2024: the attention and the three terms. The weights are this library's.
    """

    settings: ClassVar[Settings] = Settings(epochs=10, batch_size=16, learning_rate=1e-2, schedule="one_cycle")

    target: Annotated[Literal["predicted", "label", "random"], Doc("The class whose mask is trained.")] = "predicted"
    cross_entropy: Annotated[Weight, Doc("Weight of the cross entropy.")] = 1.5
    area: Annotated[Weight, Doc("Weight of the area.")] = 2.0
    power: Annotated[float, AtLeast(0.01), AtMost(1), Doc("Exponent of the mask in the area.")] = 0.3
    smoothness: Annotated[Weight, Doc("Weight of the total variation.")] = 0.01
    baseline: BaselineOption = "mean_color"

    @property
    def needs_labels(self) -> bool:
        return self.target == "label"

    def new_network(self) -> nn.Module:
        return FeatureAttention(self.classifier.levels, self.classifier.n_classes)

    def loss(self, seen: Seen, generator: torch.Generator) -> Step:
        classifier = self.classifier
        chosen = self._choices(seen).float()
        some = chosen.any(1)  # an image without a class trains nothing
        drawn = torch.rand(chosen.shape, generator=generator).to(chosen) + 2 * chosen
        classes = drawn.argmax(1, keepdim=True)  # one of the chosen, each with the same probability
        z = self.mask_logits(seen, classes)[:, 0]
        masks = z.sigmoid()
        shown = blend(seen.images, masks, baseline_images(self.baseline, classifier, seen.images))
        with classifier.running(gradients=True):
            logs = log_probabilities(classifier.logits(shown), classifier.multilabel)
        terms = {
            "cross_entropy": -self.cross_entropy * logs.gather(1, classes).squeeze(1),
            "area": self.area * (self.power * logsigmoid(z)).exp().mean((1, 2)),
            "smoothness": self.smoothness * variation(masks, power=2),
        }
        return Step({name: (term * some).mean() for name, term in terms.items()}, masks[:, None])

    def _choices(self, seen: Seen) -> Bool[Tensor, "n k"]:
        """The classes of which one is drawn for each image."""
        match self.target:
            case "predicted":
                return classes_predicted(seen.logits, self.classifier.multilabel)
            case "random":
                return torch.ones_like(seen.logits, dtype=torch.bool)
            case "label":
                if seen.labels is None:
                    raise SeewhyError("the loss reads labels, and the dataset has none: give target=predicted")
                return classes_in(seen.labels, seen.logits.shape[1])
