"""The classifier that is explained."""

import re
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import isnan
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seewhy.classifier import borrow, probe, replay
from seewhy.classifier.borrow import Captured, frozen
from seewhy.classifier.checks import must_be_tensors
from seewhy.classifier.precision import Precision, computing
from seewhy.classifier.replay import Recording
from seewhy.data.pictures import View
from seewhy.errors import SeewhyError
from seewhy.registry import did_you_mean
from seewhy.types import Embeddings, FeatureMap, Images, Logits, Probabilities, Scores, Targets

__all__ = ["Classifier", "Recording", "frozen"]


@dataclass(frozen=True, eq=False)
class Classifier:
    """Any image classifier, seen from pixel space: RGB images in [0, 1] go in, logits come out.

    ``mean`` and ``std`` are applied inside, so that masks, baselines and metrics live in pixels. A network with one logit
    z has two classes, of probability 1 - p and p = sigmoid(z), and the logits (-z/2, z/2). The module is never changed:
    what needs hooks, eval mode or frozen parameters takes them for a moment and gives them back. Of what ``torch.compile``
    made, the module inside is taken, which has the same weights.

    Args:
        module: any network that takes (n, c, h, w). Its output may be a tensor (n, k), or a tuple, a mapping or a
            dataclass that holds one under ``logits`` or as its only two-dimensional tensor.
        mean, std: what the network's input is normalized with, one number per channel, in units of [0, 1].
        input_size: (height, width) in pixels that the network was made for.
        classes: names of the classes, in the order of the logits; empty if unknown.
        multilabel: probabilities are sigmoids, not a softmax.
        feature_layer: the layer that CAM methods read, as in ``module.named_modules()``; found by a probe if None.
        n_prefix_tokens: tokens before the patches (class, distillation, registers); read off the network if None.
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
    n_prefix_tokens: int | None = None
    crop: float = 0.875
    crop_mode: Literal["center", "squash"] = "center"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"

    def __post_init__(self) -> None:
        if isinstance(compiled := getattr(self.module, "_orig_mod", None), nn.Module):  # nobody sees inside a compiled one
            object.__setattr__(self, "module", compiled)
            object.__setattr__(self, "feature_layer", self.feature_layer and self.feature_layer.removeprefix("_orig_mod."))
        if isinstance(self.module, torch.jit.ScriptModule):
            raise SeewhyError("a TorchScript module hides its layers: give the module that it was made from")
        if any(t.is_inference() for t in [*self.module.parameters(), *self.module.buffers()]):
            raise SeewhyError("the network was made in torch.inference_mode, which leaves it no gradients: make it outside")
        if len(self.mean) != len(self.std):
            raise SeewhyError(f"mean has {len(self.mean)} numbers and std {len(self.std)}; give one per channel to both")
        if not all(s > 0 for s in self.std):
            raise SeewhyError(f"std must be positive, got {self.std}")
        if not all(-1 <= m <= 2 for m in self.mean):
            raise SeewhyError(f"mean {self.mean} is not that of pixels in [0, 1]: divide mean and std by 255")
        known = ("nearest", "bilinear", "bicubic", "lanczos")
        if self.interpolation not in known or self.crop_mode not in ("center", "squash"):
            raise SeewhyError(
                f"interpolation is one of {', '.join(known)} and crop_mode is center or squash; got "
                f"{self.interpolation!r} and {self.crop_mode!r}"
            )
        if len(self.input_size) != 2 or min(self.input_size) < 1 or not 0 < self.crop <= 1:
            raise SeewhyError(f"input_size {self.input_size} and crop {self.crop} describe no picture")

    @property
    def view(self) -> View:
        """How a picture becomes the network's input."""
        return View(self.input_size, self.crop, self.crop_mode, self.interpolation)

    def check(self, images: Tensor, targets: Tensor) -> None:
        """The door of every explainer: SeewhyError unless these are images in [0, 1], and a target (n,) for each."""
        must_be_tensors(images=images, targets=targets)
        self.check_classes(images, targets[:, None])

    def check_classes(self, images: Tensor, classes: Tensor) -> None:
        """The same door for several classes of each image, (n, m), as ``column`` and ``for_each`` make them."""
        must_be_tensors(images=images)
        if images.ndim != 4 or not images.is_floating_point():
            raise SeewhyError(f"images must be floats (n, c, h, w), got {images.dtype} {tuple(images.shape)}")
        if not len(images):
            raise SeewhyError(f"there are no images: the batch is {tuple(images.shape)}")
        if images.shape[1] != len(self.mean):
            raise SeewhyError(f"images have {images.shape[1]} channels, the classifier takes {len(self.mean)}")
        if len(images) != len(classes):
            raise SeewhyError(f"{len(images)} images and {len(classes)} targets: give one target for each image")
        if not (images.amin() >= -0.01 and images.amax() <= 1.01):  # also false for NaN
            low, high = float(images.amin()), float(images.amax())
            if isnan(low):
                raise SeewhyError("images must be in [0, 1], and these hold NaN")
            cure = "do not normalize them, the classifier does" if low < -0.01 and high <= 30 else "divide bytes by 255"
            raise SeewhyError(f"images must be in [0, 1], these are in [{low:.3g}, {high:.3g}]: {cure}")
        if classes.dtype not in (torch.int64, torch.int32):
            raise SeewhyError(f"targets must be class indices, of type int64, got {classes.dtype}")
        if classes.numel() and not 0 <= int(classes.min()) <= int(classes.max()) < self.n_classes:
            wrong = int(classes.min()) if classes.min() < 0 else int(classes.max())
            raise SeewhyError(f"class {wrong} does not exist: the classifier has classes 0 to {self.n_classes - 1}")

    # -- what the network says ------------------------------------------------------------------------------------

    def logits(self, images: Images) -> Logits:
        """(n, k) scores before softmax or sigmoid, gradients attached if grad is on."""
        return self._read(self.module(self.normalize(images)), len(images)).to(images.dtype)

    @contextmanager
    def running(self, precision: Precision = "fp32", gradients: bool = False) -> Generator[None]:
        """Where a method runs the network many times: frozen, in ``precision``, with or without a graph to the images."""
        exact = [self.module.get_submodule(name) for name in self._last] if precision == "bf16" else []
        last = self._fastest == torch.channels_last
        with ExitStack() as stack:
            stack.enter_context(frozen(self.module))
            stack.enter_context(computing(self.module, precision, exact, last))
            stack.enter_context(torch.set_grad_enabled(gradients))
            yield

    def fast_layout(self, images: Images) -> Images:
        """The images in the memory layout in which the network is fastest; the same numbers.

        Channels last: convolutions take up to half as long on a CPU. The gradient differs only where max-pooling meets ties,
        which it may break in either way.
        """
        return images.contiguous(memory_format=self._fastest)

    @cached_property
    def _fastest(self) -> torch.memory_format:
        """Channels last, unless the module needs the other, as one does that asks for a ``view`` or counts strides."""
        image = self._probe_image
        try:
            with frozen(self.module), torch.no_grad():
                expected = borrow.logits_in(self.module(image))
                with computing(self.module, "fp32", channels_last=True):
                    found = borrow.logits_in(self.module(image.contiguous(memory_format=torch.channels_last)))
        except RuntimeError:
            return torch.contiguous_format
        off = (found - expected).abs().max() > 1e3 * torch.finfo(found.dtype).eps * expected.abs().max()
        return torch.contiguous_format if off else torch.channels_last

    def probabilities(self, images: Images) -> Probabilities:
        """(n, k) in [0, 1]: softmax over the classes, or one sigmoid each if ``multilabel``."""
        return self.to_probabilities(self.logits(images))

    def to_probabilities(self, logits: Logits) -> Probabilities:
        return logits.sigmoid() if self.multilabel else logits.softmax(1)

    def scores(self, images: Images, targets: Targets) -> Scores:
        """(n,) the logit of each image's own target."""
        return self.logits(images).gather(1, targets[:, None]).squeeze(1)

    def embed(self, images: Images) -> Embeddings:
        """(n, d) what the last linear layer reads; the mean of the feature layer where there is no such layer."""
        if self.head is None:
            with self.capture(self.layer) as outputs:
                self.logits(images)
            return self.as_grid(outputs[self.layer], images).mean((2, 3))
        with borrow.capture_input(self.module, self.heads[0]) as inputs:
            self.logits(images)
        return inputs[self.heads[0]]

    def normalize(self, images: Images) -> Images:
        """What the module is given: (images - mean) / std."""
        if images.shape[1] != len(self.mean):
            raise SeewhyError(f"images have {images.shape[1]} channels, the classifier takes {len(self.mean)}")
        mean, std = images.new_tensor(self.mean)[:, None, None], images.new_tensor(self.std)[:, None, None]
        return (images - mean) / std

    def _read(self, output: object, n: int) -> Logits:
        logits = borrow.logits_in(output)
        if logits.ndim != 2 or logits.shape[0] != n:
            raise SeewhyError(
                f"{type(self.module).__name__} returned shape {tuple(logits.shape)} for {n} images; a classifier returns "
                f"({n}, number of classes)"
            )
        if logits.shape[1] == 1:
            if self.multilabel:
                raise SeewhyError("one logit makes two classes, no and yes, of which one is true: leave multilabel at False")
            logits = torch.cat([-logits / 2, logits / 2], 1)
        if self.classes and len(self.classes) != logits.shape[1]:
            raise SeewhyError(
                f"{type(self.module).__name__} has {logits.shape[1]} classes, but {len(self.classes)} class names were given"
            )
        return logits

    # -- inside the network ---------------------------------------------------------------------------------------

    def capture(self, *layers: str, leaf: bool = False) -> AbstractContextManager[Captured]:
        """Inside ``with``, each forward pass fills a dict with the outputs of ``layers`` (see ``network.capture``)."""
        return borrow.capture(self.module, *layers, leaf=leaf)

    def record(self, images: Images, layer: str) -> tuple[Recording, Logits]:
        """One forward pass, remembered up to ``layer``, for ``run_from``; and its logits."""
        with frozen(self.module):
            recorded, output = replay.record(self.module, layer, self.normalize(images))
        return recorded, self._read(output, len(images))

    def run_from(self, recorded: Recording, features: Tensor, images: Images) -> Float[Tensor, "rn k"]:
        """Logits (r*n, k) when the recorded layer returns ``features`` (r*n, ...): only what follows it is computed.

        Row i*r + j belongs to image i of the n ``images`` that were recorded. Exact, also with functional operations
        and skips around the layer; gradients reach ``features``.
        """
        repeat, rest = divmod(len(features), len(recorded.features))
        if rest or not repeat or len(images) != recorded.n:
            raise SeewhyError(f"{len(features)} rows of features do not belong to {recorded.n} recorded images")
        with frozen(self.module):
            output = replay.replay(self.module, recorded, features, self.normalize(images))
        return self._read(output, repeat * recorded.n)

    def as_grid(self, features: Tensor, images: Images | None = None) -> FeatureMap:
        """(n, d, gh, gw): CNN maps pass, channels-last maps are permuted, tokens lose their prefix and become a grid.

        ``images`` tells the aspect ratio if it is not that of ``input_size``.
        """
        size = self.input_size if images is None else (images.shape[-2], images.shape[-1])
        return probe.to_grid(features, size, self._prefix)

    @cached_property
    def layer(self) -> str:
        """``feature_layer``, or the one that the probe finds."""
        if self.feature_layer is not None:
            return self.feature_layer
        alive = [name for name, _, depends in self.spatial_layers if depends]
        if not alive:
            kind = type(self.module).__name__
            raise SeewhyError(f"no layer of {kind} has a grid that its output depends on; name one with feature_layer=")
        return alive[-1]

    def live_layer(self, name: str | None) -> str:
        """``name``, or the feature layer if None; SeewhyError for one on whose grid the output does not depend.

        A class-token transformer reads the class token alone after its last attention: a map made there is black.
        """
        if name is not None and (name, False) in [(stage, depends) for stage, _, depends in self.spatial_layers]:
            raise SeewhyError(
                f"the output does not depend on the grid of layer {name!r}, whose map is black: try {self.layer!r}"
            )
        return self.layer if name is None else name

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """Names of the linear layers that make the logits: one, or several that are averaged, or none."""
        return probe.find_heads(self.module, self._probe_image)

    @property
    def head(self) -> nn.Linear | None:
        """The one linear layer that makes the logits from the embedding; None if there is none."""
        module = self.module.get_submodule(self.heads[0]) if len(self.heads) == 1 else None
        return module if isinstance(module, nn.Linear) else None

    def mixes_after(self, layer: str) -> bool:
        """Are the channels of ``layer`` mixed, by a linear layer or a convolution, before the heads read them?"""
        return probe.are_mixed(self.module, self._probe_image, layer, self.heads)

    @cached_property
    def _last(self) -> tuple[str, ...]:
        """The layers that the logits come from, whatever is done to them afterwards; they stay exact in bfloat16."""
        return probe.find_last(self.module, self._probe_image)

    @cached_property
    def class_map_layer(self) -> str | None:
        """The convolution that makes a map a class, where the logits are the means of such maps (SqueezeNet)."""
        return probe.find_class_maps(self.module, self._probe_image)

    @cached_property
    def spatial_layers(self) -> list[tuple[str, int, bool]]:
        """Feature stages in the order of the pass: name, channels, does the output depend on the grid?"""
        return probe.spatial_layers(self.module, self._probe_image, self._prefix)

    @cached_property
    def n_classes(self) -> int:
        """Number of classes k."""
        if self.classes:
            return len(self.classes)
        with frozen(self.module), torch.no_grad():
            return self._read(self.module(self._probe_image), 1).shape[1]

    @property
    def _prefix(self) -> int | None:
        return self.n_prefix_tokens if self.n_prefix_tokens is not None else probe.prefix_tokens(self.module)

    def to_device(self, images: Tensor) -> Tensor:
        """The tensor where the network is: its device and its floating-point type."""
        like = next((t for t in [*self.module.parameters(), *self.module.buffers()] if t.is_floating_point()), None)
        return images if like is None else images.to(like)

    @property
    def _probe_image(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return self.normalize(
            self.to_device(torch.rand(1, len(self.mean), *self.input_size, generator=generator, dtype=torch.float32))
        )

    # -- names ----------------------------------------------------------------------------------------------------

    def class_name(self, index: int) -> str:
        return self.classes[index] if self.classes else f"class {index}"

    def class_index(self, name: int | str) -> int:
        """Index of a class given by index or name (case and underscores do not matter); SeewhyError if there is none."""
        text = str(name.item() if isinstance(name, Tensor) and name.numel() == 1 else name).strip()
        if re.fullmatch(r"-?[0-9]+", text):
            if not 0 <= int(text) < self.n_classes:
                raise SeewhyError(f"class {text} does not exist: the classifier has classes 0 to {self.n_classes - 1}")
            return int(text)
        folded = [_fold(c) for c in self.classes]
        found = [i for i, name in enumerate(folded) if name == _fold(text)]
        if len(found) > 1:  # ImageNet has two cranes
            raise SeewhyError(f"{len(found)} classes are called {text!r}; give the index: {', '.join(map(str, found))}")
        if found:
            return found[0]
        if not folded:
            raise SeewhyError(f"class {text!r} does not exist: this classifier has no class names, give an index")
        known = ", ".join(self.classes[:20]) + (f", ... ({len(folded)} in all)" if len(folded) > 20 else "")
        raise SeewhyError(f"class {text!r} does not exist.{did_you_mean(_fold(text), folded)} Known: {known}")


def must_be_classifier(given: object) -> None:
    """SeewhyError for a bare network, which knows neither its mean and standard deviation nor the size of its images."""
    if not isinstance(given, Classifier):
        kind = type(given).__name__
        raise SeewhyError(
            f"{kind} is no Classifier: give seewhy.Classifier(network, mean=..., std=...), or seewhy.load(...)"
        )


def _fold(name: str) -> str:
    return name.strip().lower().replace("_", " ")
