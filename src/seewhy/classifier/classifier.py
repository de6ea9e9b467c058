"""The classifier that is explained."""

import warnings

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seewhy.classifier import attention, blocks, borrow
from seewhy.classifier.borrow import frozen
from seewhy.classifier.dropping_trials import Trials
from seewhy.classifier.grid_reading import no_grid
from seewhy.classifier.layers import Layers
from seewhy.classifier.patch_embedding import PatchEmbedding, find_patch_embedding
from seewhy.classifier.relevance import RelevancePass
from seewhy.classifier.replay import Recording
from seewhy.classifier.token_dropping import TokenDropping
from seewhy.classifier.turns import FoundOnce, turn
from seewhy.errors import SeewhyError, SeewhyWarning, UnsuitedError
from seewhy.types import Images

__all__ = ["Classifier", "Recording", "frozen"]


class Classifier(Layers):
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
        found = Trials(self.module, image, lambda layer, tokens: self._reading(tokens, self.input_size, layer)).find()
        if isinstance(found, TokenDropping) and found.reach:
            warnings.warn(
                f"dropped tokens: the stem of {type(self.module).__name__} overlaps its patches. A removed patch leaves the "
                f"sequence, and tokens within about {found.reach} pixels have still seen it",
                SeewhyWarning,
                stacklevel=4,
            )
        return found

    def patch_grid(self, images: Images) -> tuple[int, int]:
        """Rows and columns of the patches that ``kept_logits`` takes for images of this size."""
        dropping, size = self.token_dropping, (images.shape[-2], images.shape[-1])
        if size == dropping.reading.size:
            return dropping.reading.grid
        with frozen(self.module), torch.no_grad():
            tokens = dropping.stem(self.module, self.normalize(images[:1]))[0].tokens
        if (grid := dropping.reading.cells(tokens.shape[1] - dropping.reading.prefix, size)) is None:
            raise no_grid(tokens, size, dropping.reading.prefix, dropping.blocks[0])
        return grid

    def kept_logits(
        self, images: Images, kept: Bool[Tensor, "r g"], rows: Int[Tensor, "r"] | None = None, training: bool = False
    ) -> Float[Tensor, "r k"]:
        """Logits (r, k) of sets of patches: the other patches leave the sequence of the transformer.

        They are those of the network in which the keys of the removed patches get minus infinity in every block, up to
        rounding. Gradients reach the images and the parameters if grad is on. Where the stem overlaps the patches, the kept
        tokens have seen pixels of removed patches, up to ``token_dropping.reach`` pixels away.

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

    @FoundOnce
    def _patch_embedding(self) -> PatchEmbedding | None:
        """The layer of patches, found by a few passes, once."""
        return find_patch_embedding(
            self.module, self._probe_image, lambda layer, output: self._reading(output, self.input_size, layer)
        )

    def embedding_grid(self, images: Images) -> tuple[int, int]:
        """Rows and columns of the patches that ``masked_logits`` takes for images of this size."""
        reading, size = self.patch_embedding.reading, (images.shape[-2], images.shape[-1])
        if size == reading.size:
            return reading.grid
        with frozen(self.module), torch.no_grad(), self.capture(self.patch_embedding.layer) as outputs:
            borrow.run(self.module, self.normalize(images[:1]))
        grid = reading(outputs[self.patch_embedding.layer], size, self.patch_embedding.layer).shape[2:]
        return grid[0], grid[1]

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

    # -- the attention of a transformer --------------------------------------------------------------------------------

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


def must_be_classifier(given: object) -> None:
    """SeewhyError for a bare network: it has neither a mean and standard deviation nor an input size."""
    if not isinstance(given, Classifier):
        kind = type(given).__name__
        raise SeewhyError(
            f"{kind} is no Classifier: give seewhy.Classifier(network, mean=..., std=...), or seewhy.load(...)"
        )
