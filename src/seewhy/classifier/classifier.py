"""The classifier that is explained."""

from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seewhy.classifier import borrow, checks, probe, replay
from seewhy.classifier.borrow import Captured, frozen
from seewhy.classifier.precision import Precision, computing, is_out_of_memory
from seewhy.classifier.replay import Recording
from seewhy.classifier.turns import FoundOnce, turn
from seewhy.data.class_names import find_class
from seewhy.data.pictures import CropMode, Interpolation, View
from seewhy.errors import SeewhyError
from seewhy.options import AtLeast
from seewhy.types import Embeddings, FeatureMap, Images, Logits, Probabilities, Scores, Targets

__all__ = ["Classifier", "Recording", "frozen"]


@dataclass(frozen=True, eq=False)
class Classifier:
    """An image classifier in pixel space: it takes RGB images in [0, 1] and returns logits.

    The classifier normalizes the images itself, with ``mean`` and ``std``. So masks, baselines and metrics work on pixels.
    A network with one logit z has two classes: p = sigmoid(z), their probabilities are 1 - p and p, and their logits are
    -z/2 and z/2. The module is never changed: hooks, eval mode and frozen parameters are set for a moment and then undone.
    From a module that ``torch.compile`` made, the classifier takes the module inside, which has the same weights.

    Args:
        module: any network that takes (n, c, h, w). Its output may be a tensor (n, k), or a tuple, a mapping or a
            dataclass. These hold the tensor under ``logits``, or as their only two-dimensional tensor.
        mean, std: mean and standard deviation of the network's normalization, one number per channel, in units of [0, 1].
        input_size: (height, width) in pixels that the network was made for.
        classes: names of the classes, in the order of the logits; empty if unknown.
        multilabel: probabilities are sigmoids, not a softmax.
        feature_layer: the layer that CAM methods read, named as in ``module.named_modules()``; None finds it by a probe.
        n_prefix_tokens: number of tokens before the patches (class, distillation, registers); None reads it off the network.
        crop: part of the shorter side that the network saw when it was evaluated; a picture is resized to input_size /
            crop and cropped in the middle. 1 means no crop.
        crop_mode: "center" as above; "squash" resizes both sides to input_size / crop, so that nothing is lost at crop 1.
        interpolation: how a picture is resized.
    """

    module: nn.Module = field(repr=False)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    input_size: tuple[int, int] = (224, 224)
    classes: tuple[str, ...] = field(default=(), repr=False)
    multilabel: bool = False
    feature_layer: str | None = None
    n_prefix_tokens: Annotated[int, AtLeast(0)] | None = None
    crop: float = 0.875
    crop_mode: CropMode = "center"
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        compiled = getattr(self.module, "_orig_mod", None)
        if isinstance(compiled, nn.Module):  # the layers of a compiled module cannot be reached
            object.__setattr__(self, "module", compiled)
            object.__setattr__(self, "feature_layer", self.feature_layer and self.feature_layer.removeprefix("_orig_mod."))
        checks.must_be_network(self.module)
        checks.must_be_normalization(self.mean, self.std)
        checks.must_be_view(self.input_size, self.crop, self.crop_mode, self.interpolation)

    @property
    def view(self) -> View:
        """How a picture becomes the network's input."""
        return View(self.input_size, self.crop, self.crop_mode, self.interpolation)

    def check(self, images: Tensor, targets: Tensor) -> None:
        """SeewhyError unless ``images`` are images in [0, 1], and ``targets`` (n,) has one class for each."""
        checks.must_be_tensors(images=images, targets=targets)
        self.check_classes(images, targets[:, None])

    def check_classes(self, images: Tensor, classes: Tensor) -> None:
        """SeewhyError unless ``images`` are images in [0, 1], and ``classes`` (n, m) has several classes for each."""
        checks.must_be_images(images, len(self.mean))
        checks.must_be_classes(classes, len(images), self.n_classes)

    # -- from images to logits, probabilities and embeddings -------------------------------------------------------

    def logits(self, images: Images) -> Logits:
        """(n, k) scores before softmax or sigmoid, in eval mode; gradients attached if grad is on.

        A network in which images of a batch change each other's logits (see ``mixes_images``) gets one image at a time.
        """
        with borrow.evaluating(self.module):
            parts = images.split(1) if self.mixes_images(images) else [images]
            logits = [self._logits_in(borrow.run(self.module, self.normalize(part)), len(part)) for part in parts]
        return torch.cat(logits).to(images.dtype) if len(logits) > 1 else logits[0].to(images.dtype)

    def mixes_images(self, images: Images) -> bool:
        """Do the logits of an image depend on the other images of its batch?

        They do where a network uses statistics of the batch in eval mode, as batch normalization without running statistics
        does. It is tried once for each classifier, as soon as there are several images. SeewhyError where such a network
        refuses an image alone, so that no image has logits of its own.
        """
        return len(images) > 1 and self._mixes_rows(images[:1])

    def _mixes_rows(self, image: Images) -> bool:
        """Would the logits of the image depend on another one beside it?"""
        kept = self.__dict__
        if "_mixes" not in kept:
            with frozen(self.module), torch.no_grad():
                mixes = probe.mixes_rows(self.module, self.normalize(image.detach()))
            if mixes is None:  # it could not be tried: the next time it may
                return False
            kept["_mixes"] = mixes
        return bool(kept["_mixes"])

    @contextmanager
    def running(self, precision: Precision = "fp32", gradients: bool = False) -> Generator[None]:
        """A block in which a method runs the network many times: frozen, and in ``precision``.

        ``gradients`` says whether a graph to the images is recorded.
        """
        exact = [self.module.get_submodule(name) for name in self._last_layers] if precision == "bf16" else []
        with ExitStack() as stack:
            stack.enter_context(frozen(self.module))
            stack.enter_context(computing(self.module, precision, exact, self._fastest_layout == torch.channels_last))
            stack.enter_context(torch.set_grad_enabled(gradients))
            yield

    def fast_layout(self, images: Images) -> Images:
        """The images in the memory layout in which the network is fastest; their numbers stay the same.

        With channels last, convolutions take up to half as long on a CPU. The gradient differs only where max-pooling meets
        ties, which it may break in either way.
        """
        return images.contiguous(memory_format=self._fastest_layout)

    @FoundOnce
    def _fastest_layout(self) -> torch.memory_format:
        """Channels last, unless the module needs contiguous tensors, because it calls ``view`` or counts strides."""
        image = self._probe_image
        with frozen(self.module), torch.no_grad():
            expected = borrow.logits_in(borrow.run(self.module, image))  # what fails here has nothing to do with the layout
            try:
                with computing(self.module, "fp32", channels_last=True):
                    found = borrow.logits_in(borrow.run(self.module, image.contiguous(memory_format=torch.channels_last)))
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise  # there may be enough the next time: nothing was found that may be kept
                return torch.contiguous_format
        differ = (found - expected).abs().max() > 1e3 * torch.finfo(found.dtype).eps * expected.abs().max()
        return torch.contiguous_format if differ else torch.channels_last

    def probabilities(self, images: Images) -> Probabilities:
        """(n, k) in [0, 1]: softmax over the classes, or one sigmoid each if ``multilabel``."""
        return self.to_probabilities(self.logits(images))

    def to_probabilities(self, logits: Logits) -> Probabilities:
        return logits.sigmoid() if self.multilabel else logits.softmax(1)

    def scores(self, images: Images, targets: Targets) -> Scores:
        """(n,) the logit of each image's own target."""
        return self.logits(images).gather(1, targets[:, None]).squeeze(1)

    def embed(self, images: Images) -> Embeddings:
        """(n, d) the input of the last linear layer; the mean of the feature layer where the network has no such layer."""
        if self.mixes_images(images):
            return torch.cat([self.embed(image) for image in images.split(1)])
        if self.head is None:
            with self.capture(self.layer) as outputs:
                self.logits(images)
            return self.as_grid(outputs[self.layer], images).mean((2, 3))
        with borrow.capture_input(self.module, self.heads[0]) as inputs:
            self.logits(images)
        return inputs[self.heads[0]]

    def normalize(self, images: Images) -> Images:
        """(images - mean) / std, the input of the module."""
        checks.must_have_channels(images, len(self.mean))
        mean, std = images.new_tensor(self.mean)[:, None, None], images.new_tensor(self.std)[:, None, None]
        return (images - mean) / std

    def _logits_in(self, output: object, n: int) -> Logits:
        """The logits (n, k) in what the module returned for n images; SeewhyError if there are none such."""
        logits, kind = borrow.logits_in(output), type(self.module).__name__
        if logits.ndim != 2 or logits.shape[0] != n:
            raise SeewhyError(
                f"{kind} returned shape {tuple(logits.shape)} for {n} images; a classifier returns ({n}, number of classes)"
            )
        if logits.shape[1] == 1:
            if self.multilabel:
                raise SeewhyError("one logit makes two classes, no and yes, of which one is true: leave multilabel at False")
            logits = torch.cat([-logits / 2, logits / 2], 1)
        if self.classes and len(self.classes) != logits.shape[1]:
            raise SeewhyError(f"{kind} has {logits.shape[1]} classes, but {len(self.classes)} class names were given")
        return logits

    # -- inside the network ---------------------------------------------------------------------------------------

    def capture(self, *layers: str, leaf: bool = False) -> AbstractContextManager[Captured]:
        """Inside ``with``, each forward pass fills a dict with the outputs of ``layers`` (see ``borrow.capture``)."""
        return borrow.capture(self.module, *layers, leaf=leaf)

    def record(self, images: Images, layer: str) -> tuple[Recording, Logits]:
        """One forward pass: its recording up to ``layer``, for ``run_from``, and its logits."""
        if self._mixes_rows(images[:1]) and len(images) > 1:
            kind = type(self.module).__name__
            raise SeewhyError(f"images of a batch change each other's logits in {kind}: record one image at a time")
        with frozen(self.module):
            recorded, output = replay.record(self.module, layer, self.normalize(images))
        return recorded, self._logits_in(output, len(images))

    def run_from(self, recorded: Recording, features: Tensor, images: Images) -> Float[Tensor, "rn k"]:
        """Logits (r*n, k) when the recorded layer returns ``features`` (r*n, ...): only what follows it is computed.

        Row i*r + j belongs to image i of the n ``images`` that were recorded. The logits are exact, also with functional
        operations and skips around the layer. Gradients reach ``features``.
        """
        repeat, rest = divmod(len(features), len(recorded.features))
        if rest or not repeat or len(images) != recorded.n:
            raise SeewhyError(f"{len(features)} rows of features do not belong to {recorded.n} recorded images")
        if repeat > 1 and self._mixes_rows(images[:1]):
            return torch.cat([self.run_from(recorded, row, images) for row in features.split(len(recorded.features))])
        with frozen(self.module):
            output = replay.replay(self.module, recorded, features, self.normalize(images))
        return self._logits_in(output, repeat * recorded.n)

    def as_grid(self, features: Tensor, images: Images | None = None) -> FeatureMap:
        """(n, d, gh, gw): CNN maps pass, channels-last maps are permuted, tokens lose their prefix and become a grid.

        ``images`` gives the aspect ratio if it differs from that of ``input_size``.
        """
        size = self.input_size if images is None else (images.shape[-2], images.shape[-1])
        return probe.to_grid(features, size, self._n_prefix_tokens)

    @FoundOnce
    def layer(self) -> str:
        """``feature_layer``, or the layer that the probe finds."""
        if self.feature_layer is not None:
            return self.feature_layer
        alive = [name for name, _, depends in self.spatial_layers if depends]
        if not alive:
            kind = type(self.module).__name__
            raise SeewhyError(f"no layer of {kind} has a grid that its output depends on; name one with feature_layer=")
        return alive[-1]

    def live_layer(self, name: str | None) -> str:
        """``name``, or the feature layer if None; SeewhyError for a layer on whose grid the output does not depend.

        A class-token transformer reads the class token alone after its last attention: a map made there is black.
        """
        if name is not None and (name, False) in [(stage, depends) for stage, _, depends in self.spatial_layers]:
            raise SeewhyError(
                f"the output does not depend on the grid of layer {name!r}, whose map is black: try {self.layer!r}"
            )
        return self.layer if name is None else name

    @FoundOnce
    def heads(self) -> tuple[str, ...]:
        """Names of the linear layers that make the logits: one, or several that are averaged, or none."""
        return probe.find_heads(self.module, self._probe_image)

    @property
    def head(self) -> nn.Linear | None:
        """The one linear layer that makes the logits from the embedding; None if there is none."""
        module = self.module.get_submodule(self.heads[0]) if len(self.heads) == 1 else None
        return module if isinstance(module, nn.Linear) else None

    def mixes_after(self, layer: str) -> bool:
        """Does a linear layer or a convolution mix the channels of ``layer`` before the heads read them?"""
        return probe.are_mixed(self.module, self._probe_image, layer, self.heads)

    @FoundOnce
    def _last_layers(self) -> tuple[str, ...]:
        """The layers that make the logits, or what becomes the logits; they stay exact in bfloat16."""
        return probe.find_last_layers(self.module, self._probe_image)

    @FoundOnce
    def class_map_layer(self) -> str | None:
        """The convolution that makes one map per class, if the logits are the means of these maps (SqueezeNet)."""
        return probe.find_class_maps(self.module, self._probe_image)

    @FoundOnce
    def spatial_layers(self) -> list[tuple[str, int, bool]]:
        """Feature stages in the order of the pass: name, channels, does the output depend on the grid?"""
        return probe.spatial_layers(self.module, self._probe_image, self._n_prefix_tokens)

    @FoundOnce
    def n_classes(self) -> int:
        """Number of classes k."""
        if self.classes:
            return len(self.classes)
        with frozen(self.module), torch.no_grad():
            return self._logits_in(borrow.run(self.module, self._probe_image), 1).shape[1]

    @property
    def _n_prefix_tokens(self) -> int | None:
        return self.n_prefix_tokens if self.n_prefix_tokens is not None else probe.prefix_tokens(self.module)

    def to_device(self, images: Tensor) -> Tensor:
        """The images on the network's device, in its floating-point type."""
        with turn(self.module):  # another thread may compute in another type
            like = next((t for t in [*self.module.parameters(), *self.module.buffers()] if t.is_floating_point()), None)
        return images if like is None else images.to(like)

    @property
    def _probe_image(self) -> Tensor:
        """A random image, normalized, that shows how the network works; always the same."""
        generator = torch.Generator().manual_seed(0)
        image = torch.rand(1, len(self.mean), *self.input_size, generator=generator, dtype=torch.float32)
        return self.normalize(self.to_device(image))

    # -- names ----------------------------------------------------------------------------------------------------

    def class_name(self, index: int) -> str:
        return self.classes[index] if self.classes else f"class {index}"

    def class_index(self, name: int | str) -> int:
        """Index of a class given by index or name (case and underscores do not matter); SeewhyError if there is none."""
        text = str(name.item() if isinstance(name, Tensor) and name.numel() == 1 else name)
        return find_class(text, self.classes, self.n_classes)


def must_be_classifier(given: object) -> None:
    """SeewhyError for a bare network: it has neither a mean and standard deviation nor an input size."""
    if not isinstance(given, Classifier):
        kind = type(given).__name__
        raise SeewhyError(
            f"{kind} is no Classifier: give seewhy.Classifier(network, mean=..., std=...), or seewhy.load(...)"
        )
