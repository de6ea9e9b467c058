"""Ablation-CAM (Desai & Ramaswamy, 2020)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seewhy.classifier.borrow import buffers_kept
from seewhy.classifier.classifier import Classifier, Recording
from seewhy.classifier.precision import Precision
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.classes import column, for_each
from seewhy.maps import upsample
from seewhy.types import Attribution, ClassAttribution, Classes, FeatureMap, Images, Logits, Targets


@EXPLAINERS.register("ablation_cam")
@dataclass(frozen=True)
class AblationCAM:
    """Features, each weighted by how much the target's logit falls without it. Not negative.

    A channel is removed by setting its grid to zero, as in the paper; prefix tokens (class, registers) keep theirs, since no
    map is made of them. (grad-cam writes a very low number unless the lowest feature is exactly zero, and into the class
    token too.) Only what follows the layer is run again. Where that is pooling and a linear layer, which is tried and not
    assumed, a fall is the channel's mean times its weight, and no pass is needed.

    Args:
        classifier: what is explained.
        layer: whose channels are removed; None is the classifier's feature layer.
        relative: divide the fall by the logit, as published; of a negative logit that turns the map's sign around. The
            default keeps it in units of the logit. A logit of exactly 0 divides nothing.
        closed_form: use it where it holds; the map is the same without, to rounding.
        precision: "bf16" runs the network in bfloat16. Falls are small differences, which rounding reaches first: on
            photographs their correlation with those of "fp32" was 0.999 at the end of a MobileNetV2, 0.994 in its middle.
        batch_size: images, or images without a channel, that are run at a time.
    """

    family: ClassVar[Family] = "cam"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "desai2020ablationcam"

    classifier: Classifier
    layer: str | None = None
    relative: bool = False
    closed_form: bool = True
    precision: Precision = "fp32"
    batch_size: int = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return self._maps(images, column(targets))[:, 0]

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return self._maps(images, for_each(images, classes))

    def _maps(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        """Maps of each image's own classes, from the same passes."""
        self.classifier.check_classes(images, classes)
        images, size = images.detach(), (images.shape[-2], images.shape[-1])
        maps = []
        for some, wanted in zip(images.split(self.batch_size), classes.split(self.batch_size), strict=True):
            weights, features = self.weights(some, wanted)
            coarse = torch.einsum("nkd,ndhw->nkhw", weights, features).relu()  # L = ReLU(sum_k w_k A_k)
            maps.append(upsample(coarse.flatten(0, 1), size).unflatten(0, wanted.shape))
        return torch.cat(maps)

    def weights(self, images: Images, classes: Int[Tensor, "n k"]) -> tuple[Float[Tensor, "n k d"], FeatureMap]:
        """The weight of each channel for each image's own classes, and the features; all images at a time."""
        with self.classifier.running(self.precision):
            layer = self.classifier.live_layer(self.layer)
            recorded, logits = self.classifier.record(self.classifier.fast_layout(images), layer)
            suffix = Suffix(self.classifier, recorded, images, logits.to(images.dtype))
            linear = suffix.linear(rough=self.precision == "bf16") if self.closed_form else None
            features = suffix.grid(recorded.features).to(images.dtype)
            if linear is None:
                falls = suffix.falls(classes, self.batch_size)
            else:
                falls = linear[classes] * features.mean((2, 3))[:, None]  # y_c - y_c^k = W_ck mean(A_k)
        logit = suffix.logits.gather(1, classes)[:, :, None]
        return falls / torch.where(logit == 0, 1, logit) if self.relative else falls, features


@dataclass(frozen=True)
class Suffix:
    """What follows the recorded layer, on the same images each time.

    logits  of the recorded pass
    """

    classifier: Classifier
    recorded: Recording
    images: Images
    logits: Logits

    def run(self, features: Tensor) -> Logits:
        return self.classifier.run_from(self.recorded, features, self.images).to(self.logits.dtype)

    def grid(self, features: Tensor) -> FeatureMap:
        """A view of the features: what is written into it is written into them."""
        return self.classifier.as_grid(features, self.images[:1].expand(len(features), -1, -1, -1))

    def falls(self, classes: Int[Tensor, "n k"], batch_size: int) -> Float[Tensor, "n k d"]:
        """y_c - y_c^k for every channel k, ``batch_size`` images without one at a time."""
        lean, whole = self.lean(), self.recorded.features
        n, d = self.grid(whole).shape[:2]
        falls = []
        for channels in torch.arange(d, device=whole.device).split(max(1, batch_size // n)):
            without = whole.repeat_interleave(len(channels), 0)  # row i * r + j: image i without channel j of r
            self.grid(without)[torch.arange(len(without)), channels.repeat(n)] = 0
            logits = lean.run(without)
            if lean is not self and not logits.isfinite().all():
                lean, logits = self, self.run(without)
            left = logits.unflatten(0, (n, -1)).gather(2, classes[:, None].expand(-1, len(channels), -1))
            falls.append(self.logits.gather(1, classes)[:, None] - left)
        return torch.cat(falls, 1).transpose(1, 2)

    def lean(self) -> "Suffix":
        """The same without those of the recorded outputs that nothing after the layer reads: they need not be repeated.

        All are put aside, the images too; or, if one of them is needed, each in turn. Where NaN in their place leaves the
        logits as they are, they are not read.
        """
        nothing = torch.full((), torch.nan, dtype=self.images.dtype, device=self.images.device)
        expected = self.run(self.recorded.features)

        def without(suffix: Suffix, modules: Iterable[nn.Module], images: Images) -> Suffix:
            finished = dict(suffix.recorded.finished)
            finished |= {m: [replace(call, output=nothing) for call in finished[m]] for m in modules}
            trial = replace(suffix, recorded=replace(suffix.recorded, finished=finished), images=images)
            return trial if trial._gives(expected) else suffix

        empty = nothing.expand(*self.images.shape[:2], 1, 1)
        found = without(self, self.recorded.finished, empty)
        if found is self:
            found = without(found, (), empty)
            for module in self.recorded.finished:
                found = without(found, (module,), found.images)
        return found

    def _gives(self, expected: Logits) -> bool:
        with buffers_kept(self.classifier.module):  # no NaN may stay in a network that takes notes
            try:
                return torch.allclose(self.run(self.recorded.features), expected)
            except Exception:  # the network is the user's own, and may refuse NaN, or a shape, in any way
                return False

    def linear(self, rough: bool = False) -> Float[Tensor, "k d"] | None:
        """The weight of each channel's mean in each logit; None unless the logits are such sums.

        That is tried on the features, and on the features without every other channel; up to rounding, or to 3 % of what
        those channels do where the network computes in half precision, or is ``rough`` for another reason.
        """
        readout = self._readout()
        if readout is None or readout[0].shape[1] != self.grid(self.recorded.features).shape[1]:
            return None
        weights, bias = readout
        part = max(1000 * torch.finfo(self.logits.dtype).eps, 3e-2 * rough)
        half = self.recorded.features.clone()
        self.grid(half)[:, ::2] = 0
        without = self.run(half)
        least = min(part, 3e-2) * (self.logits - without).abs().max()

        def holds(features: Tensor, logits: Logits) -> bool:
            with torch.autocast(features.device.type, enabled=False):
                sums = self.grid(features).to(weights.dtype).mean((2, 3)) @ weights.T + bias
            return bool((sums - logits).abs().max() <= least)

        return weights if holds(self.recorded.features, self.logits) and holds(half, without) else None

    def _readout(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k"]] | None:
        """Weights and bias of the linear layers that make the logits, of which several are averaged."""
        classifier, like = self.classifier, self.logits
        heads = [m for name in classifier.heads if isinstance(m := classifier.module.get_submodule(name), nn.Linear)]
        if not heads and self.recorded.layer == classifier.class_map_layer:  # each class has a channel of its own
            return torch.eye(like.shape[1]).to(like), like.new_zeros(like.shape[1])
        if len({head.in_features for head in heads}) != 1:  # none, or those of two towers
            return None
        weights = torch.stack([head.weight.detach().to(like) for head in heads]).mean(0)
        none = weights.new_zeros(len(weights))
        bias = torch.stack([none if head.bias is None else head.bias.detach().to(like) for head in heads]).mean(0)
        if len(weights) == 1:  # one logit is two classes
            return torch.cat([-weights / 2, weights / 2]), torch.cat([-bias / 2, bias / 2])
        return weights, bias
