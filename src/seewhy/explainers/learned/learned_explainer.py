"""What a learned explainer is: a network that makes the maps in one pass, and the loss that it was trained by."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import ClassVar, NamedTuple, TypeVar, cast, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seewhy.classifier.borrow import evaluating, find_layer
from seewhy.classifier.precision import Precision
from seewhy.classifier.turns import on_cpu_by_default
from seewhy.errors import UntrainedError
from seewhy.explainers.base import EXPLAINERS, ClassMaps
from seewhy.explainers.learned.settings import Settings
from seewhy.explainers.options import BatchSize
from seewhy.types import ClassAttribution, FeatureMap, Images, Logits

M = TypeVar("M", bound="LearnedExplainer")


class ValuedSets(NamedTuple):
    """Sets of players of n images whose values were asked: as many rows for each image as the image with most has.

    kept    (n, m, p) the players of each set
    logits  (n, m, k) of the network for the images with these players alone; no graph
    there   (n, m) is there such a set? What fills the rows up is no set.
    """

    kept: Bool[Tensor, "n m p"]
    logits: Float[Tensor, "n m k"]
    there: Bool[Tensor, "n m"]


class Seen(NamedTuple):
    """What is known of n images before a step of the training. Nothing in it depends on the network that is trained.

    images    (n, 3, h, w) in [0, 1]
    labels    (n,) class indices, or (n, k) zeros and ones; None where labels are not known
    logits    (n, k) of the explained network for the whole images; no graph; (n, 0) where it was not run
    features  (n, d, gh, gw) of each layer that the trained network reads; no graph
    progress  how far the training has come, from 0 at the first step to 1 at the last
    sets      the sets of these images that earlier steps have asked for, where the training remembers them
    """

    images: Images
    labels: Tensor | None
    logits: Logits
    features: tuple[Tensor, ...] = ()
    progress: float = 0.0
    sets: ValuedSets | None = None


class Step(NamedTuple):
    """What a step of the training has found.

    terms  the parts of the loss by name, weighted, each a mean over the images: their sum is the loss
    masks  (n, m, h, w) in [0, 1], the masks that this step trains, for checks and logs
    asked  the sets that this step has asked for: a training that remembers gives them to later steps (``Seen.sets``)
    """

    terms: dict[str, Tensor]
    masks: Float[Tensor, "n m h w"]
    asked: ValuedSets | None = None


class LearnedExplainer(ClassMaps):
    """A method whose maps a network makes in one pass. A loop elsewhere trains the network, with no knowledge of the method.

    Three holes: ``new_network``, ``loss`` and ``masks``. The explained network is frozen and in eval mode wherever it runs.
    The trained network reads layers of the explained network, named in its attribute ``layers``, or none.

    Args:
        network: the trained network; None before the training.
    """

    settings: ClassVar[Settings] = Settings()
    """How the network is trained where nothing else is asked for."""
    when_explaining: ClassVar[tuple[str, ...]] = ("batch_size",)
    """The options that matter when a trained explainer explains; all others are those of its training."""
    without_download: ClassVar[Mapping[str, object]] = {}
    """Options with which a new network of the same form needs no download: weights of a folder come into it."""

    batch_size: BatchSize = 32
    network: nn.Module | None = field(default=None, kw_only=True, repr=False)

    @abstractmethod
    def new_network(self) -> nn.Module:
        """The network before its training. Its attribute ``layers`` names the layers of the explained network it reads."""

    @abstractmethod
    def loss(self, seen: Seen, generator: torch.Generator) -> Step:
        """The loss of some images. All random draws come from ``generator``, which is on the CPU."""

    @abstractmethod
    def masks(self, seen: Seen, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        """The maps of each image for its own k classes. The network is in eval mode, and no graph is recorded."""

    @property
    def needs_labels(self) -> bool:
        """Does the loss read labels?"""
        return False

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers of the explained network that the trained network reads."""
        return tuple(cast(Sequence[str], self.ready.layers))

    @property
    def ready(self) -> nn.Module:
        """The trained network. UntrainedError before the training."""
        if self.network is None:
            name = EXPLAINERS.name_of(type(self))
            raise UntrainedError(f"{name} is learned, and not trained for this network: seewhy fit {name} trains it")
        return self.network

    @final
    def untrained(self: M, seed: int = 0) -> M:
        """The method with a new network. The same seed gives the same weights; the global generators are not touched."""
        with on_cpu_by_default(), torch.random.fork_rng(devices=[]), torch.inference_mode(False):
            torch.manual_seed(seed)
            network = self.new_network()
        return replace(self, network=network)

    @final
    def see(self, images: Images, labels: Tensor | None = None, precision: Precision = "fp32") -> Seen:
        """What the explained network says of the images, in one pass of it."""
        classifier, layers = self.classifier, self.layers
        for layer in layers:
            find_layer(classifier.module, layer)
        parts = images.split(1) if classifier.mixes_images(images) else [images]
        found = []
        with classifier.running(precision), classifier.capture(*layers) as outputs:
            for part in parts:
                logits = classifier.logits(part)
                found.append((logits, *(classifier.as_grid(outputs[layer], part, layer) for layer in layers)))
        logits, *features = (torch.cat(same) if len(found) > 1 else same[0] for same in zip(*found, strict=True))
        return Seen(images, labels, logits, tuple(features))

    @final
    def predict_and_explain(
        self, images: Images, classes: Int[Tensor, "n m"] | None = None
    ) -> tuple[Logits, Float[Tensor, "n m h w"]]:
        """The logits (n, k), and the maps (n, m, h, w) of m classes of each image, by one pass of the explained network.

        Without ``classes`` it is the predicted class alone.
        """
        logits, maps = [], []
        for start in range(0, len(images), self.batch_size):
            rows = slice(start, start + self.batch_size)
            seen = self.see(images[rows])
            wanted = seen.logits.argmax(1, keepdim=True) if classes is None else classes[rows]
            logits.append(seen.logits)
            maps.append(self._masks(seen, wanted).to(images.dtype))
        return torch.cat(logits), torch.cat(maps)

    @final
    def maps(self, images: Images, classes: Tensor) -> ClassAttribution:
        reads = self.layers  # an untrained method is refused before anything runs
        maps = []
        for some, wanted in zip(images.split(self.batch_size), classes.split(self.batch_size), strict=True):
            seen = self.see(some) if reads else Seen(some, None, some.new_zeros(len(some), 0))
            maps.append(self._masks(seen, wanted))
        return torch.cat(maps)

    @final
    def maps_of_pass(
        self, images: Images, logits: Float[Tensor, "n all"], features: tuple[FeatureMap, ...], classes: Int[Tensor, "n k"]
    ) -> ClassAttribution:
        """The maps of each image for its own classes, from one pass of the explained network (see ``InOnePass``)."""
        return self.masks(Seen(images, None, logits, features), classes)

    def _masks(self, seen: Seen, classes: Tensor) -> ClassAttribution:
        """``masks``, on the device and in the type of the trained network."""
        like = next(self.ready.parameters())
        images, *features = (x.to(like.device, like.dtype) for x in (seen.images, *seen.features))
        seen = seen._replace(images=images, logits=seen.logits.to(like.device), features=tuple(features))
        with evaluating(self.ready), torch.no_grad():
            return self.masks(seen, classes.to(like.device)).to(classes.device)
