"""Two tiny learned methods: one reads a layer of the explained network, the other one has a network of its own."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seewhy.explainers.learned.learned_explainer import LearnedExplainer, Seen, Step
from seewhy.explainers.options import BaselineOption
from seewhy.maps import upsample


class OneLayer(nn.Module):
    """A 1 x 1 convolution of a layer's features: a mask for each class."""

    def __init__(self, layer: str, channels: int, k: int) -> None:
        super().__init__()
        self.layers = (layer,)
        self.weigh, self.drop = nn.Conv2d(channels, k, 1), nn.Dropout(0.5)

    def forward(self, features: Tensor) -> Float[Tensor, "n k gh gw"]:
        return self.drop(self.weigh(features)).sigmoid()


class OwnNetwork(nn.Module):
    """Two convolutions of the picture: a mask for each class."""

    layers: tuple[str, ...] = ()

    def __init__(self, channels: int, k: int) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.last = nn.Conv2d(channels, k, 1)

    def forward(self, images: Tensor) -> Float[Tensor, "n k h w"]:
        return self.last(self.norm(self.first(images)).relu()).sigmoid()


def register_two() -> tuple[type[LearnedExplainer], type[LearnedExplainer]]:
    """Registers "weighed" and "painted", and returns them. Call it where the registry is restored afterwards."""

    class Weighed(LearnedExplainer, name="weighed", family="learned"):
        """Masks of the classes, from one layer."""

        def new_network(self) -> nn.Module:
            classifier = self.classifier
            image = torch.full((1, 3, *classifier.input_size), 0.5)
            with classifier.running(), classifier.capture(classifier.layer) as outputs:
                classifier.logits(classifier.to_device(image))
            channels = classifier.as_grid(outputs[classifier.layer], layer=classifier.layer).shape[1]
            return OneLayer(classifier.layer, channels, classifier.n_classes)

        def loss(self, seen: Seen, generator: torch.Generator) -> Step:
            masks = self.ready(seen.features[0])
            wanted = masks[torch.arange(len(masks)), seen.logits.argmax(1)]
            drawn = torch.rand(len(masks), 1, 1, generator=generator).to(masks)
            return Step({"area": masks.mean(), "predicted": ((1 - wanted) * drawn).mean()}, masks)

        def masks(self, seen: Seen, classes: Tensor) -> Float[Tensor, "n j h w"]:
            masks = upsample(self.ready(seen.features[0]), seen.images.shape[-2:])
            return masks.gather(1, classes[:, :, None, None].expand(-1, -1, *masks.shape[-2:]))

    class Painted(LearnedExplainer, name="painted", family="learned"):
        """Masks of the classes, from the picture alone."""

        when_explaining: ClassVar[tuple[str, ...]] = ("batch_size", "power")

        channels: int = 4
        power: float = 1.0
        baseline: BaselineOption = "mean_color"

        def new_network(self) -> nn.Module:
            return OwnNetwork(self.channels, self.classifier.n_classes)

        def loss(self, seen: Seen, generator: torch.Generator) -> Step:
            masks = self.ready(self.classifier.normalize(seen.images))
            return Step({"area": masks.mean(), "sharp": (masks * (1 - masks)).mean()}, masks)

        def masks(self, seen: Seen, classes: Tensor) -> Float[Tensor, "n j h w"]:
            masks = self.ready(self.classifier.normalize(seen.images).to(seen.images)) ** self.power
            return masks.gather(1, classes[:, :, None, None].expand(-1, -1, *masks.shape[-2:]))

    return Weighed, Painted
