"""What is inside the network that is explained: its layers, their grids, and the passes that begin at them."""

from contextlib import AbstractContextManager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seewhy.classifier import borrow, grid_reading, probe, replay, stages
from seewhy.classifier.answers import Answers
from seewhy.classifier.borrow import Captured, frozen
from seewhy.classifier.ending import answer_in, must_have_gradients
from seewhy.classifier.levels import Level, find_levels
from seewhy.classifier.outputs import Watch, logits_behind
from seewhy.classifier.replay import Recording
from seewhy.classifier.turns import FoundOnce
from seewhy.errors import SeewhyError
from seewhy.process import PASSES
from seewhy.types import Embeddings, FeatureMap, Images, Logits


class Layers(Answers):
    """The half of a ``Classifier`` that looks inside the network."""

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
        PASSES.images += len(features)
        with self._watched() as watch, frozen(self.module):
            output = replay.replay(self.module, recorded, features, self.normalize(images))
        return self._logits_in(output, repeat * recorded.n, watch, features, images)

    @FoundOnce
    def _image_axes(self) -> replay.Axes:
        """Where the images are in what each module returns, found with one picture and with two."""
        return replay.image_axes(self.module, self._probe_image)

    # -- the grid of a layer -------------------------------------------------------------------------------------------

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
            raise grid_reading.no_grid(features, size, self.n_prefix_tokens, layer)
        return reading(features, size, layer)

    def _reading(self, features: Tensor, size: tuple[int, int], layer: str | None) -> grid_reading.GridReading | None:
        """How the output of a layer is read as a grid for images of ``size``; None where it forms no grid."""
        reading = grid_reading.by_shape(features, size, self.n_prefix_tokens)
        if reading is None and features.ndim in (3, 4):
            stage = self._survey.stage(self.layer if layer is None else layer)
            reading = stage.reading if stage else grid_reading.channels_first(features, size)
        return None if features.ndim == 3 and reading and self.n_prefix_tokens not in (None, reading.prefix) else reading

    def reading_of(self, tokens: int) -> grid_reading.GridReading | None:
        """How so many tokens, with their prefix, are read as a grid; None if no stage has them."""
        readings = [stage.reading for stage in self._survey.stages]
        return next((r for r in reversed(readings) if r.prefix + r.grid[0] * r.grid[1] == tokens), None)

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

    # -- the layers that make the logits -------------------------------------------------------------------------------

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

    def mixes_after(self, layer: str) -> bool:
        """Does a linear layer or a convolution mix the channels of ``layer`` before the heads read them?"""
        return probe.are_mixed(self.module, self._probe_image, layer, self.heads)

    @FoundOnce
    def class_map_layer(self) -> str | None:
        """The convolution that makes one map per class, if the logits are the means of these maps (SqueezeNet)."""
        return None if self._ends_in_function else probe.find_class_maps(self.module, self._probe_image)
