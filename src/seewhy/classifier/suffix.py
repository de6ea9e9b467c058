"""What follows a layer of a network: run again and again, without what nothing reads, or as one matrix."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seewhy.classifier.borrow import buffers_kept
from seewhy.classifier.classifier import Classifier, Recording
from seewhy.classifier.probe import linear_weights
from seewhy.types import FeatureMap, Images, Logits


@dataclass(frozen=True)
class Suffix:
    """What follows the recorded layer, for the same images each time. Use it within ``classifier.running``.

    logits  those of the recorded pass, in the type of the images
    """

    classifier: Classifier
    recorded: Recording
    images: Images
    logits: Logits

    def run(self, features: Tensor) -> Logits:
        """Logits (r*n, k) where the layer returns ``features`` (r*n, ...)."""
        return self.classifier.run_from(self.recorded, features, self.images).to(self.logits.dtype)

    def grid(self, features: Tensor) -> FeatureMap:
        """A view of the features on their grid: what is written into it is written into the features."""
        images = self.images[:1].expand(len(features), -1, -1, -1)
        return self.classifier.as_grid(features, images, self.recorded.layer)

    def without_unread(self) -> "Suffix":
        """The same without recorded outputs that nothing after the layer reads: they need not be repeated for every run.

        An output is unread if the logits stay as they are with NaN in its place. All outputs and the images are tried
        together; if one of them is read, each is tried by itself.
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
        with buffers_kept(self.classifier.module):  # no NaN may stay in the running statistics of a network
            try:
                return torch.allclose(self.run(self.recorded.features), expected)
            except Exception:  # the network is the user's own, and may refuse NaN, or a shape, in any way
                return False

    def linear(self, rough: bool = False) -> Float[Tensor, "k d"] | None:
        """The weight of each channel's mean in each logit; None unless the logits are such sums.

        Sums are compared with logits on the features, and on the features without every other channel. They may differ by
        rounding; by 3 % of what those channels do where the network computes in half precision, or is ``rough`` for
        another reason.
        """
        readout, k = linear_head(self.classifier), self.logits.shape[1]
        if readout is None and self.recorded.layer == self.classifier.class_map_layer:
            readout = torch.eye(k), torch.zeros(k)  # each class has a channel of its own
        if readout is None or readout[0].shape[1] != self.grid(self.recorded.features).shape[1]:
            return None
        weights, bias = (part.to(self.logits) for part in readout)
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


def suffix_of(classifier: Classifier, layer: str, images: Images) -> Suffix:
    """One forward pass up to the end, of which what follows ``layer`` can be run again."""
    recorded, logits = classifier.record(classifier.fast_layout(images), layer)
    return Suffix(classifier, recorded, images, logits.to(images.dtype))


def linear_head(classifier: Classifier) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k"]] | None:
    """Weights and bias of the linear layers that make the logits, of which several are averaged.

    A 1 x 1 convolution of pooled features is a linear layer. None where there is no such layer, and where two of them read
    different features.
    """
    heads = [classifier.module.get_submodule(name) for name in classifier.heads]
    all_weights = [w.detach() for head in heads if (w := linear_weights(head)) is not None]
    if len({w.shape[1] for w in all_weights}) != 1:
        return None
    weights = torch.stack(all_weights).mean(0)
    none = weights.new_zeros(len(weights))
    bias = torch.stack([none if not isinstance(head.bias, Tensor) else head.bias.detach() for head in heads]).mean(0)
    if len(weights) == 1 and not classifier.returns_values:  # one logit is two classes
        return torch.cat([-weights / 2, weights / 2]), torch.cat([-bias / 2, bias / 2])
    return weights, bias
