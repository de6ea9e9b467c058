"""What the network that is explained answers: the logits of images, and what becomes of them."""

import warnings
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from operator import index
from typing import Annotated, Literal, SupportsIndex

import torch
from torch import Tensor, nn

from seewhy.classifier import borrow, checks, probe
from seewhy.classifier.borrow import frozen
from seewhy.classifier.ending import FoundEnding, answer_in, find_ending, must_work
from seewhy.classifier.libra import balance, must_end_in_logits
from seewhy.classifier.outputs import (
    IN_WORDS,
    NO_SCORES,
    Ending,
    Outputs,
    OutputsWarning,
    Watch,
    as_logits,
    must_suit,
)
from seewhy.classifier.precision import Precision, computing, is_out_of_memory
from seewhy.classifier.turns import FoundOnce, turn
from seewhy.data.class_names import find_class
from seewhy.data.pictures import CropMode, Interpolation, Recipe, View
from seewhy.errors import SeewhyError, SeewhyWarning, cause
from seewhy.options import AtLeast
from seewhy.process import PASSES
from seewhy.types import Images, Logits, Probabilities, Scores, Targets


@dataclass(frozen=True, eq=False)
class Answers:
    """The half of a ``Classifier`` that looks at the network from outside; its fields are described there."""

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
    channel_order: Literal["rgb", "bgr"] = "rgb"
    resize: tuple[int, int] | None = None
    recipe: Recipe = "timm"
    outputs: Outputs | None = None
    origins: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "module", borrow.without_compilation(self.module))
        object.__setattr__(self, "feature_layer", self.feature_layer and self.feature_layer.replace("_orig_mod.", ""))
        if isinstance(self.input_size, int) and not isinstance(self.input_size, bool):
            object.__setattr__(self, "input_size", (self.input_size, self.input_size))
        checks.must_be_network(self.module)
        checks.must_be_normalization(self.mean, self.std)
        checks.must_be_view(self.view)

    @property
    def view(self) -> View:
        """How a picture becomes the network's input."""
        fill = self.mean * (3 // len(self.mean)) if self.crop_mode in ("border", "corner") else ()
        return View(self.input_size, self.crop, self.crop_mode, self.interpolation, self.resize, self.recipe, fill)

    def check(self, images: Tensor, targets: Tensor) -> None:
        """SeewhyError unless ``images`` are images in [0, 1], and ``targets`` (n,) has one class for each."""
        checks.must_be_tensors(images=images, targets=targets)
        self.check_classes(images, targets[:, None])

    def check_classes(self, images: Tensor, classes: Tensor) -> None:
        """SeewhyError unless ``images`` are images in [0, 1], and ``classes`` (n, m) has several classes for each."""
        checks.must_be_images(images, len(self.mean))
        size = (images.shape[-2], images.shape[-1])
        if size not in self._sizes:
            with frozen(self.module), borrow.buffers_kept(self.module), torch.no_grad():
                must_work(self.module, self.normalize(images[:1]))
            self._sizes.add(size)
        checks.must_be_classes(classes, len(images), self.n_classes)

    def logits(self, images: Images) -> Logits:
        """(n, k) scores before softmax or sigmoid, in eval mode; gradients attached if grad is on.

        A network in which images of a batch change each other's logits (see ``mixes_images``) gets one image at a time.
        """
        with borrow.evaluating(self.module):
            parts = images.split(1) if self.mixes_images(images) else [images]
            logits = [self._logits_of_pass(part) for part in parts]
        found = torch.cat(logits).to(images.dtype) if len(logits) > 1 else logits[0].to(images.dtype)
        return found.detach() if self._is_quantized else found

    @FoundOnce
    def _is_quantized(self) -> bool:
        """Has the network layers without gradients, whose graph is an empty promise?"""
        return checks.is_quantized(self.module)

    def _logits_of_pass(self, images: Images) -> Logits:
        """The logits of one forward pass."""
        PASSES.images += len(images)
        try:
            with self._watched() as watch:
                output = borrow.run(self.module, self.normalize(images))
        except RuntimeError as error:
            if images.requires_grad and "requires grad" in str(error):  # a conversion to NumPy
                raise SeewhyError(f"{checks.NO_GRADIENTS} ({cause(error)})") from error
            raise
        return self._logits_in(output, len(images), watch, images)

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
        _ = self.ending  # is found before the block changes how the network computes
        exact = [self.module.get_submodule(name) for name in self._last_layers] if precision == "bf16" else []
        with ExitStack() as stack:
            stack.enter_context(frozen(self.module))
            stack.enter_context(computing(self.module, precision, exact, self._fastest_layout == torch.channels_last))
            stack.enter_context(torch.set_grad_enabled(gradients))
            yield

    @contextmanager
    def balanced(self, libra: bool = True) -> Generator[None]:
        """A block in which the gradients of logits and of embeddings are LibraGrad's; False leaves them as they are.

        The repair belongs to the graph of each pass in the block (see ``libra.balance``). So the numbers of the forward pass
        are the same, and a gradient may be asked for after the block.

        Raises:
            UnsuitedError: the network ends in probabilities whose logits are unknown. A pass raises it where every way from
                the pixels to the logits goes through a softmax, a sigmoid or the like.
        """
        if not libra:
            yield
            return
        must_end_in_logits(self.ending, type(self.module).__name__)
        with turn(self.module):
            before = self.__dict__.get("_balances", False)
            self.__dict__["_balances"] = True
            try:
                yield
            finally:
                self.__dict__["_balances"] = before

    def _balance(self, logits: Logits, *inputs: Tensor) -> None:
        """The graph of a pass is repaired; a warning says, once, which operation has no rule."""
        unknown = balance(logits, *inputs)
        if unknown and "_told" not in self.__dict__:
            self.__dict__["_told"] = True
            warnings.warn(
                f"libra: {type(self.module).__name__} uses {', '.join(unknown)}, for which LibraGrad has no rule: there the "
                "gradient is the usual one, and attributions need not sum to the logit",
                SeewhyWarning,
                stacklevel=2,
            )

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
        """(n, k) of logits that were computed before; SeewhyError for the values of a regression or an embedding."""
        self.must_have_probabilities()
        return logits.sigmoid() if self.multilabel else logits.softmax(1)

    def must_have_probabilities(self) -> None:
        """SeewhyError for a network that returns values of a regression or an embedding."""
        if self.returns_values:
            raise SeewhyError(
                f"{type(self.module).__name__} returns values, which have no probabilities: give the method selector=logit, "
                "and the metric value=logit"
            )

    def scores(self, images: Images, targets: Targets) -> Scores:
        """(n,) the logit of each image's own target."""
        return self.logits(images).gather(1, targets[:, None]).squeeze(1)

    def normalize(self, images: Images) -> Images:
        """(images - mean) / std, in the module's order of channels and the type of its weights: its input."""
        checks.must_have_channels(images, len(self.mean))
        mean, std = images.new_tensor(self.mean)[:, None, None], images.new_tensor(self.std)[:, None, None]
        normalized, dtype = (images - mean) / std, self._dtype
        normalized = normalized if dtype is None else normalized.to(dtype)
        return normalized.flip(1) if self.channel_order == "bgr" else normalized

    def to_pixels(self, normalized: Tensor) -> Tensor:
        """Images (n, c, h, w) of the module's input: the inverse of ``normalize``."""
        mean, std = (normalized.new_tensor(v)[:, None, None] for v in (self.mean, self.std))
        return (normalized.flip(1) if self.channel_order == "bgr" else normalized) * std + mean

    def to_device(self, images: Tensor) -> Tensor:
        """The images on the network's device, in its floating-point type."""
        with turn(self.module):  # another thread may compute in another type
            like = next((t for t in [*self.module.parameters(), *self.module.buffers()] if t.is_floating_point()), None)
        return images if like is None else images.to(like)

    @property
    def _dtype(self) -> torch.dtype | None:
        """The floating-point type of the network's weights; None where it has none."""
        tensors = chain(self.module.parameters(), self.module.buffers())
        return next((t.dtype for t in tensors if t.is_floating_point()), None)

    # -- how the network ends ------------------------------------------------------------------------------------------

    @property
    def returns_values(self) -> bool:
        """Does the network return values of a regression or an embedding, which are no classes?"""
        return self.ending in NO_SCORES

    @property
    def ending(self) -> Ending | None:
        """How the network ends, as two probe images show.

        None where the network fails on them: then each of its answers is looked at by itself.
        """
        return self._ending.kind

    @property
    def ending_in_words(self) -> str:
        """What the network returns, and what is explained."""
        return self._ending.said

    @FoundOnce
    def _ending(self) -> FoundEnding:
        """How the network ends; a warning says, once, where it does not return logits."""
        found = find_ending(self.module, self.normalize(self._random_image), self.outputs)
        if found.probed and found.said != IN_WORDS["logits"]:
            warnings.warn(f"{type(self.module).__name__} returns {found.said}", OutputsWarning, stacklevel=4)
        return found

    @FoundOnce
    def _sizes(self) -> set[tuple[int, int]]:
        """The sizes of images on which the network has worked."""
        return set() if self._ending.failure else {self.input_size}

    def _watched(self) -> AbstractContextManager["Watch | None"]:
        """Inside the block, the calls are noted that may make probabilities, if the network returns any."""
        return nullcontext() if self.ending in ("logits", *NO_SCORES) else Watch()

    def _logits_in(self, output: object, n: int, watch: Watch | None = None, *inputs: Tensor) -> Logits:
        """The logits (n, k) in what the module returned for n images; SeewhyError if they cannot be had.

        ``inputs`` are where the graph of the network begins.
        """
        logits, kind = answer_in(self.module, output, n), type(self.module).__name__
        if watch is not None:
            ending, logits = as_logits(logits, watch.calls, kind, self.outputs)
            must_suit(ending, logits.shape[1], self.multilabel, kind)
        if logits.shape[1] == 1 and not self.returns_values:
            if self.multilabel:
                raise SeewhyError("one logit makes two classes, no and yes, of which one is true: leave multilabel at False")
            logits = torch.cat([-logits / 2, logits / 2], 1)
        if self.classes and len(self.classes) != logits.shape[1]:
            raise SeewhyError(f"{kind} has {logits.shape[1]} classes, but {len(self.classes)} class names were given")
        if logits.requires_grad and self.__dict__.get("_balances", False):
            self._balance(logits, *inputs)
        return logits

    @FoundOnce
    def _last_layers(self) -> tuple[str, ...]:
        """The layers that make the logits, or what becomes the logits; they stay exact in bfloat16."""
        return probe.find_last_layers(self.module, self._probe_image)

    @FoundOnce
    def n_classes(self) -> int:
        """Number of classes k."""
        if self.classes:
            return len(self.classes)
        image = self._probe_image
        with frozen(self.module), torch.no_grad(), self._watched() as watch:
            return self._logits_in(borrow.run(self.module, image), 1, watch).shape[1]

    @property
    def _random_image(self) -> Images:
        """A random image on the network's device; always the same."""
        generator = torch.Generator("cpu").manual_seed(0)
        size = (1, len(self.mean), *self.input_size)
        return self.to_device(torch.rand(size, generator=generator, dtype=torch.float32, device="cpu"))

    @property
    def _probe_image(self) -> Tensor:
        """A random image, normalized, that shows how the network works. SeewhyError if the network fails on it."""
        if self._ending.failure:
            raise SeewhyError(self._ending.failure)
        return self.normalize(self._random_image)

    # -- names ---------------------------------------------------------------------------------------------------------

    def class_name(self, index: int) -> str:
        """The name of a class; of a network that returns values, the name of one of them."""
        if self.classes:
            return self.classes[index]
        if self.returns_values:
            return "output" if self.n_classes == 1 else f"output {index}"
        return f"class {index}"

    def class_index(self, name: SupportsIndex | str) -> int:
        """Index of a class: an integer is an index, a text is a name or, if it is no name, an index (see ``meant``).

        SeewhyError if there is no such class.
        """
        try:
            given = str(name) if isinstance(name, str | bool) else index(name)  # also an integer of NumPy or a tensor
        except TypeError:
            given = str(name)
        return find_class(given, self.classes, self.n_classes)
