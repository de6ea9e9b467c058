"""The classifier that is explained."""

import warnings
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from operator import index
from typing import Annotated, Literal, SupportsIndex

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seewhy.classifier import attention, blocks, borrow, checks, probe, replay, stages
from seewhy.classifier.borrow import Captured, frozen
from seewhy.classifier.dropping_trials import Trials
from seewhy.classifier.ending import FoundEnding, answer_in, find_ending, must_have_gradients, must_work
from seewhy.classifier.levels import Level, find_levels
from seewhy.classifier.libra import balance, must_end_in_logits
from seewhy.classifier.outputs import (
    IN_WORDS,
    NO_SCORES,
    Ending,
    Outputs,
    OutputsWarning,
    Watch,
    as_logits,
    logits_behind,
    must_suit,
)
from seewhy.classifier.patch_embedding import PatchEmbedding, find_patch_embedding
from seewhy.classifier.precision import Precision, computing, is_out_of_memory
from seewhy.classifier.relevance import RelevancePass
from seewhy.classifier.replay import Recording
from seewhy.classifier.token_dropping import TokenDropping
from seewhy.classifier.turns import FoundOnce, turn
from seewhy.data.class_names import find_class
from seewhy.data.pictures import CropMode, Interpolation, Recipe, View
from seewhy.errors import SeewhyError, SeewhyWarning, UnsuitedError, cause
from seewhy.options import AtLeast
from seewhy.types import Embeddings, FeatureMap, Images, Logits, Probabilities, Scores, Targets

__all__ = ["Classifier", "Recording", "frozen"]


@dataclass(frozen=True, eq=False)
class Classifier:
    """An image classifier in pixel space: it takes RGB images in [0, 1] and returns logits.

    The classifier normalizes the images itself, with ``mean`` and ``std``. So masks, baselines and metrics work on pixels.
    A network with one logit z has two classes: p = sigmoid(z), their probabilities are 1 - p and p, and their logits are
    -z/2 and z/2. The module is never changed: hooks, eval mode and frozen parameters are set for a moment and then undone.
    Of modules that ``torch.compile`` made, here or further inside, the classifier takes the modules inside, which have the
    same weights.

    Args:
        module: any network that takes (n, c, h, w). Its output may be a tensor (n, k), or a tuple, a mapping or a
            dataclass. These hold the tensor under ``logits``, or as their only two-dimensional tensor.
        mean, std: mean and standard deviation of the network's normalization, one number per channel, in units of [0, 1].
        input_size: (height, width) in pixels that the network was made for; one number is both.
        classes: names of the classes, in the order of the logits; empty if unknown.
        multilabel: probabilities are sigmoids, not a softmax.
        feature_layer: the layer that CAM methods read, named as in ``module.named_modules()``; None finds it by a probe.
        n_prefix_tokens: number of tokens before the patches (class, distillation, registers), the same for every layer;
            None finds it for each layer by a probe.
        crop: part of the shorter side that the network saw when it was evaluated; a picture is resized to input_size /
            crop and cropped in the middle. 1 means no crop.
        crop_mode: "center" as above; "squash" resizes both sides to input_size / crop, so that nothing is lost at crop 1;
            "border" and "corner" resize the longer side and put pixels of the mean color around the picture, or at its
            right and bottom; "first" cuts the middle out before it resizes.
        interpolation: how a picture is resized.
        channel_order: the order in which the network takes the channels. Images stay RGB, and so do ``mean`` and ``std``:
            the classifier reverses the channels after it has normalized them.
        resize: (height, width) to which a picture is resized before the crop, where it is not input_size / crop.
        recipe: whose arithmetic resizes and crops a picture (see ``View``).
        outputs: what the network's numbers are: "logits"; "probabilities", of which the logits are found; "values" of a
            regression, or an "embedding", which are no classes and have no probabilities. None finds it by a probe.
        origins: where the value of a field came from, in a few words, by the name of the field.
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

    # -- from images to logits, probabilities and embeddings -------------------------------------------------------

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

    def embed(self, images: Images) -> Embeddings:
        """(n, d) the input of the last linear layer; the mean of the feature layer where the network has no such layer.

        Of a network that returns an embedding it is what the network returns.
        """
        if self.ending == "embedding":
            return self.logits(images)
        if self.mixes_images(images):
            return torch.cat([self.embed(image) for image in images.split(1)])
        if len(self.heads) != 1:
            with self.capture(self.layer) as outputs:
                self.logits(images)
            return self.as_grid(outputs[self.layer], images, self.layer).mean((2, 3))
        with borrow.capture_input(self.module, self.heads[0]) as inputs:
            self.logits(images)
        return inputs[self.heads[0]].flatten(1)

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

    # -- inside the network ---------------------------------------------------------------------------------------

    def capture(self, *layers: str, leaf: bool = False) -> AbstractContextManager[Captured]:
        """Inside ``with``, each forward pass fills a dict with the outputs of ``layers`` (see ``borrow.capture``)."""
        return borrow.capture(self.module, *layers, leaf=leaf)

    def record(self, images: Images, layer: str) -> tuple[Recording, Logits]:
        """One forward pass: its recording up to ``layer``, for ``run_from``, and its logits."""
        if self._mixes_rows(images[:1]) and len(images) > 1:
            kind = type(self.module).__name__
            raise SeewhyError(f"images of a batch change each other's logits in {kind}: record one image at a time")
        with self._watched() as watch, frozen(self.module):
            recorded, output = replay.record(self.module, layer, self.normalize(images), self._image_axes)
        return recorded, self._logits_in(output, len(images), watch, images)

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
        with self._watched() as watch, frozen(self.module):
            output = replay.replay(self.module, recorded, features, self.normalize(images))
        return self._logits_in(output, repeat * recorded.n, watch, features, images)

    def as_grid(self, features: Tensor, images: Images | None = None, layer: str | None = None) -> FeatureMap:
        """(n, d, gh, gw): CNN maps pass, channels-last maps are permuted, tokens lose their prefix and become a grid.

        Args:
            features: what ``layer`` returned, one row for each image.
            images: they give the aspect ratio if it differs from that of ``input_size``.
            layer: the layer that returned the features. Each layer has its own number of prefix tokens. None is the
                feature layer.

        Raises:
            SeewhyError: the features have another number of rows than there are images, or no grid.
        """
        size = self.input_size if images is None else (images.shape[-2], images.shape[-1])
        if images is not None and len(features) != len(images):
            which = "the layer" if layer is None else f"layer {layer!r}"
            raise SeewhyError(f"{which} has {len(features)} rows for {len(images)} images: name one that has a row for each")
        if (reading := self._reading(features, size, layer)) is None:
            raise stages.no_grid(features, size, self.n_prefix_tokens, layer)
        return reading(features, size, layer)

    def _reading(self, features: Tensor, size: tuple[int, int], layer: str | None) -> stages.GridReading | None:
        """How the output of a layer is read as a grid for images of ``size``; None where it forms no grid."""
        reading = stages.by_shape(features, size, self.n_prefix_tokens)
        if reading is None and features.ndim in (3, 4):
            stage = self._survey.stage(self.layer if layer is None else layer)
            reading = stage.reading if stage else stages.channels_first(features, size)
        return None if features.ndim == 3 and reading and self.n_prefix_tokens not in (None, reading.prefix) else reading

    @FoundOnce
    def layer(self) -> str:
        """``feature_layer``, or the layer that the probe finds."""
        if self.feature_layer is not None:
            return self.feature_layer
        if (found := self._survey.layer()) is None:
            kind = type(self.module).__name__
            raise SeewhyError(f"no layer of {kind} has a grid that its output depends on; name one with feature_layer=")
        return found

    def live_layer(self, name: str | None) -> str:
        """``name``, or the feature layer if None; SeewhyError for a layer on whose grid the output does not depend.

        A class-token transformer reads the class token alone after its last attention: a map made there is black. A layer
        whose cells do not follow the places of the picture (a sequence, a matrix of attention) has no grid at all.
        """
        if name is None or name == self.feature_layer:
            return self.layer
        borrow.find_layer(self.module, name)
        stage = self._survey.stage(name)
        if stage is None and self.n_prefix_tokens is None:
            raise SeewhyError(
                f"layer {name!r} has no grid that follows the places of the image: try {self.layer!r}, or say what you know "
                f"with feature_layer={name}"
            )
        if stage is not None and not stage.living:
            raise SeewhyError(
                f"the output does not depend on the grid of layer {name!r}, whose map is black: try {self.layer!r}"
            )
        return name

    @FoundOnce
    def heads(self) -> tuple[str, ...]:
        """Names of the linear layers that make the logits: one, or several that are averaged, or none."""
        return () if self._ends_in_function else probe.find_heads(self.module, self._probe_image)

    @FoundOnce
    def _ends_in_function(self) -> bool:
        """Is a softmax or a sigmoid at the network's end a part of what is explained, by the word of ``outputs``?"""
        if self.outputs != "logits" and not self.returns_values:
            return False
        with frozen(self.module), torch.no_grad(), Watch() as watch:
            answer = answer_in(self.module, borrow.run(self.module, self._probe_image), 1)
        return logits_behind(answer, watch.calls) is not None

    @property
    def head(self) -> nn.Linear | None:
        """The one linear layer that makes the logits from the embedding; None if there is none."""
        module = self.module.get_submodule(self.heads[0]) if len(self.heads) == 1 else None
        return module if isinstance(module, nn.Linear) else None

    # -- patches that leave the sequence of a transformer ----------------------------------------------------------

    @property
    def token_dropping(self) -> TokenDropping:
        """How patches leave the network's sequence (see ``kept_logits``); UnsuitedError where they cannot, exactly."""
        if isinstance(found := self._token_dropping, TokenDropping):
            return found
        kind = type(self.module).__name__
        raise UnsuitedError(f"the patches of {kind} cannot be dropped, since {found}: use removal=pixels")

    @FoundOnce
    def _token_dropping(self) -> TokenDropping | str:
        """How patches leave the network's sequence, found by about twenty passes of a picture, once; or why they cannot."""
        image = self._probe_image
        return Trials(self.module, image, lambda layer, tokens: self._reading(tokens, self.input_size, layer)).find()

    def patch_grid(self, images: Images) -> tuple[int, int]:
        """Rows and columns of the patches that ``kept_logits`` takes for images of this size."""
        dropping, size = self.token_dropping, (images.shape[-2], images.shape[-1])
        if size == dropping.reading.size:
            return dropping.reading.grid
        with frozen(self.module), torch.no_grad():
            tokens = dropping.stem(self.module, self.normalize(images[:1]))[0].tokens
        if (grid := dropping.reading.cells(tokens.shape[1] - dropping.reading.prefix, size)) is None:
            raise stages.no_grid(tokens, size, dropping.reading.prefix, dropping.blocks[0])
        return grid

    def kept_logits(
        self, images: Images, kept: Bool[Tensor, "r g"], rows: Int[Tensor, "r"] | None = None, training: bool = False
    ) -> Float[Tensor, "r k"]:
        """Logits (r, k) of sets of patches: the other patches leave the sequence of the transformer.

        They are those of the network in which the keys of the removed patches get minus infinity in every block, up to
        rounding. Gradients reach the images and the parameters if grad is on.

        Args:
            images: (n, c, h, w) in [0, 1].
            kept: the patches of each set that are kept, row by row of ``patch_grid``.
            rows: the image of each set; None where set i is of image i.
            training: leave the network's modes as they are, with their dropout, instead of evaluating.

        Raises:
            UnsuitedError: the network cannot drop patches, see ``token_dropping``.
        """
        dropping, one = self.token_dropping, self.normalize(images[:1])
        rows = torch.arange(len(images), device=images.device) if rows is None else rows
        if not dropping.head_reads_prefix and not bool(kept.any(1).all()):
            kind = type(self.module).__name__
            raise UnsuitedError(
                f"{kind} reads its patches, and none is left of some images: take a metric that keeps one, such as srg, or "
                "removal=mask_tokens"
            )
        which: list[Tensor] = []
        logits: list[Tensor] = []
        with turn(self.module) if training else borrow.evaluating(self.module):
            for some, tokens in dropping.last_tokens(self.module, self.normalize(images), kept, rows):
                with self._watched() as watch:
                    output = dropping.head(self.module, one, tokens)
                which.append(some)
                logits.append(self._logits_in(output, len(some), watch))
        return torch.cat(logits)[torch.cat(which).argsort()].to(images.dtype)

    @property
    def patch_embedding(self) -> PatchEmbedding:
        """The layer that makes a vector of each patch; UnsuitedError where there is none whose patches are apart."""
        if (found := self._patch_embedding) is None:
            kind = type(self.module).__name__
            raise UnsuitedError(f"{kind} has no layer of patches, which mask tokens could stand for: use removal=pixels")
        return found

    def embedding_grid(self, images: Images) -> tuple[int, int]:
        """Rows and columns of the patches that ``masked_logits`` takes for images of this size."""
        reading, size = self.patch_embedding.reading, (images.shape[-2], images.shape[-1])
        if size == reading.size:
            return reading.grid
        with frozen(self.module), torch.no_grad(), self.capture(self.patch_embedding.layer) as outputs:
            borrow.run(self.module, self.normalize(images[:1]))
        grid = reading(outputs[self.patch_embedding.layer], size, self.patch_embedding.layer).shape[2:]
        return grid[0], grid[1]

    @FoundOnce
    def _patch_embedding(self) -> PatchEmbedding | None:
        """The layer of patches, found by a few passes, once."""
        return find_patch_embedding(
            self.module, self._probe_image, lambda layer, output: self._reading(output, self.input_size, layer)
        )

    def masked_logits(
        self, images: Images, kept: Bool[Tensor, "r g"], rows: Int[Tensor, "r"] | None = None
    ) -> Float[Tensor, "r k"]:
        """Logits (r, k) of sets of patches: the vectors of the other patches are the network's mask token, or zero.

        Arguments and gradients are those of ``kept_logits``; the patches are those of ``patch_embedding``.
        """
        shown, size = images if rows is None else images[rows], (images.shape[-2], images.shape[-1])
        parts = [slice(i, i + 1) for i in range(len(shown))] if self.mixes_images(shown) else [slice(None)]
        logits = []
        with borrow.evaluating(self.module):
            for part in parts:
                with self.patch_embedding.masked(self.module, kept[part], size):
                    logits.append(self._logits_of_pass(shown[part]))
        return torch.cat(logits).to(images.dtype)

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
        return None if self._ends_in_function else probe.find_class_maps(self.module, self._probe_image)

    @property
    def spatial_layers(self) -> list[tuple[str, int, bool]]:
        """Feature stages in the order of the pass: name, channels, does the output depend on the grid?"""
        return [(stage.name, stage.channels, stage.living > 0) for stage in self._survey.stages]

    @FoundOnce
    def levels(self) -> tuple[Level, ...]:
        """The layers that a decoder reads, from fine to coarse: see ``find_levels``."""
        return find_levels(self._survey, type(self.module).__name__)

    @FoundOnce
    def _survey(self) -> stages.Survey:
        """The stages of the network: eight forward passes of a picture and one backward pass, once."""
        must_have_gradients(self.module, self._probe_image)
        return stages.survey(self.module, self._probe_image, self.n_prefix_tokens)

    def reading_of(self, tokens: int) -> stages.GridReading | None:
        """How so many tokens, with their prefix, are read as a grid; None if no stage has them."""
        readings = [stage.reading for stage in self._survey.stages]
        return next((r for r in reversed(readings) if r.prefix + r.grid[0] * r.grid[1] == tokens), None)

    @FoundOnce
    def transformer(self) -> attention.Transformer:
        """The blocks of a transformer, and how to read their attention.

        UnsuitedError for a network without attention, and where attention is not all that mixes the tokens.
        """
        image = self._random_image
        return attention.find_transformer(self, torch.cat([image, image / 2]))

    @FoundOnce
    def relevance_by_image(self) -> bool:
        """Can the relevance of several images come back in one pass: does the first axis of all sums count the images?

        UnsuitedError where relevance would meet a function without a rule on its way to the attentions.
        """
        transformer, image = self.transformer, self._random_image.clone().requires_grad_()
        with self.running(gradients=True):
            with RelevancePass(image) as seen:
                logits, attentions = transformer.read(image)
            torch.autograd.grad(logits.sum(), [a.weights for a in attentions])
        return seen.separate

    @FoundOnce
    def blocks(self) -> tuple[str, ...]:
        """Names of the modules that are the blocks of a transformer (see ``find_blocks``)."""
        image = self._random_image
        return blocks.find_blocks(self, torch.cat([image, image / 2]))

    @FoundOnce
    def _image_axes(self) -> replay.Axes:
        """Where the images are in what each module returns, found with one picture and with two."""
        return replay.image_axes(self.module, self._probe_image)

    @FoundOnce
    def n_classes(self) -> int:
        """Number of classes k."""
        if self.classes:
            return len(self.classes)
        image = self._probe_image
        with frozen(self.module), torch.no_grad(), self._watched() as watch:
            return self._logits_in(borrow.run(self.module, image), 1, watch).shape[1]

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

    # -- names ----------------------------------------------------------------------------------------------------

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


def must_be_classifier(given: object) -> None:
    """SeewhyError for a bare network: it has neither a mean and standard deviation nor an input size."""
    if not isinstance(given, Classifier):
        kind = type(given).__name__
        raise SeewhyError(
            f"{kind} is no Classifier: give seewhy.Classifier(network, mean=..., std=...), or seewhy.load(...)"
        )
