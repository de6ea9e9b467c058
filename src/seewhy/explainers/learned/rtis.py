"""Real-time image saliency (Dabkowski and Gal 2017): its loss on the network of NN-Explainer."""

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from seewhy.explainers.learned.learned_explainer import Seen, Step
from seewhy.explainers.learned.mask_per_class import OnMaskNetwork
from seewhy.explainers.learned.mask_terms import Weight, log_probabilities, merged, variation
from seewhy.explainers.learned.settings import Settings
from seewhy.masking.baselines import blend
from seewhy.options import AtLeast, AtMost, Doc
from seewhy.types import Images, Scores


class RTIS(OnMaskNetwork, name="rtis", family="learned", paper="dabkowski2017real"):
    """A mask for each class, by the loss of real-time image saliency. In [0, 1].

    The mask m is the maximum over the masks of the classes that are present, as NN-Explainer's authors adapt the loss to
    several classes. The background A of an image is drawn at each step: blur, or a color with noise. So no mask can hide
    behind one of them. Nothing in the loss keeps the mask of an absent class small.

    Args:
        area: weight of the mean of m. 1 is the value that the adapted method uses, 0.001 the original's.
        smoothness: weight of the total variation of m, of squared differences, over the number of pixels.
        preservation: weight of the mean of -log p over the present classes, for the image under m.
        destruction: weight of p^power for the image under 1 - m, p being the mean over the present classes.
        background: "random" draws blur or noise for each image; or one of the two.

    Source: Dabkowski and Gal 2017, eq. 3, on the network of Stalder et al. (2022), section 4.1. p is a sigmoid for a
    multi-label network and a softmax for others.
    """

    settings: ClassVar[Settings] = Settings(epochs=10, batch_size=16, learning_rate=3e-3, schedule="one_cycle")

    area: Annotated[Weight, Doc("Weight of the area.")] = 1.0
    smoothness: Annotated[Weight, Doc("Weight of the total variation.")] = 10.0
    preservation: Annotated[Weight, Doc("Weight of the prediction under the mask.")] = 1.0
    destruction: Annotated[Weight, Doc("Weight of the prediction under the complement.")] = 5.0
    power: Annotated[float, AtLeast(0.01), AtMost(1), Doc("Exponent of the probability under the complement.")] = 0.3
    background: Annotated[Literal["random", "blur", "noise"], Doc("What hidden pixels become.")] = "random"

    def loss(self, seen: Seen, generator: torch.Generator) -> Step:
        classifier, present = self.classifier, self.present(seen)
        masks = self.mask_logits(seen).sigmoid()
        m, removed = merged(masks, present), self._backgrounds(seen.images, generator)
        shown, hidden = blend(seen.images, m, removed), blend(seen.images, 1 - m, removed)
        with classifier.running(gradients=True):
            through, around = classifier.logits(torch.cat([shown, hidden])).chunk(2)
        kept, lost = (log_probabilities(logits, classifier.multilabel) for logits in (through, around))
        count = present.sum(1)
        terms = {
            "preservation": -self.preservation * (kept * present).sum(1) / count.clamp_min(1),
            "destruction": self.destruction * self._destruction(lost, present),
            "area": self.area * m.mean((1, 2)),
            "smoothness": self.smoothness * variation(m, power=2),
        }
        return Step({name: term.mean() for name, term in terms.items()}, masks)

    def _destruction(self, logs: Tensor, present: Tensor) -> Scores:
        """(n,) the mean probability of the present classes, to the power; 0 for an image without any."""
        some = present.any(1)
        logs = logs.masked_fill(~present, -torch.inf)[some].logsumexp(1) - present[some].sum(1).log()
        # the power of a logarithm: p ** 0.3 has an infinite slope where p underflows to 0
        return logs.new_zeros(len(present)).masked_scatter(some, (self.power * logs).exp())

    def _backgrounds(self, images: Images, generator: torch.Generator) -> Images:
        """A blur of each image, of sigma 10 in 224 pixels; or a color, with noise of deviation 0.11 in each pixel."""
        n, c, h, w = images.shape
        blurred = torch.rand(n, 1, 1, 1, generator=generator) < {"random": 0.5, "blur": 1.0, "noise": 0.0}[self.background]
        noise = torch.rand(n, c, 1, 1, generator=generator) + 0.11 * torch.randn(n, c, h, w, generator=generator)
        sigma = 10 * min(h, w) / 224
        reach = min(max(int(3 * sigma), 1), min(h, w) - 1)
        blur = gaussian_blur(images, [2 * reach + 1] * 2, [sigma] * 2)
        return torch.where(blurred.to(images.device), blur, noise.clamp(0, 1).to(images))
