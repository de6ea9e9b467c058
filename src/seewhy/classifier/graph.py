"""A pass that an exporter keeps as a graph: the logits and the features of layers, without a look at any number.

An exporter runs Python once, with tensors that have shapes and no values, and whose number of images is a symbol. So such a
pass must not compare values, and must not ask for ``len(images)``, which would make the symbol a number.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from seewhy.classifier.borrow import logits_in, run
from seewhy.classifier.classifier import Classifier, frozen
from seewhy.classifier.grid_reading import GridReading
from seewhy.classifier.outputs import UNDONE, Watch
from seewhy.errors import UnsuitedError
from seewhy.types import FeatureMap, Images, Logits


def must_be_one_graph(classifier: Classifier, images: Images) -> None:
    """UnsuitedError for a network that is no function of one image, or that ends in a way which no probe could tell."""
    kind = type(classifier.module).__name__
    if classifier.mixes_images(images):
        raise UnsuitedError(f"images of a batch change each other's logits in {kind}: give its normalization statistics")
    if classifier.ending is None:
        raise UnsuitedError(f'no probe could tell how {kind} ends: say outputs="logits", if it returns logits')


def grids_of(classifier: Classifier, images: Images, layers: Sequence[str]) -> dict[str, GridReading]:
    """How the output of each layer becomes the grid of ``Classifier.as_grid``, found by a pass of the ``images``."""
    with frozen(classifier.module), torch.no_grad(), classifier.capture(*layers) as outputs:
        run(classifier.module, classifier.normalize(images))
    return {layer: _reading(outputs[layer], classifier.as_grid(outputs[layer], images, layer), images) for layer in layers}


def _reading(features: Tensor, grid: FeatureMap, images: Images) -> GridReading:
    """The reading that makes ``grid`` of the ``features`` of ``images``."""
    cells, size = (grid.shape[2], grid.shape[3]), (images.shape[-2], images.shape[-1])
    if features.ndim == 4:
        return GridReading(cells, size, channels_last=grid.shape != features.shape or not torch.equal(grid, features))
    return GridReading(cells, size, prefix=features.shape[1] - cells[0] * cells[1])


def graph_pass(
    classifier: Classifier, images: Images, grids: Mapping[str, GridReading]
) -> tuple[Logits, tuple[FeatureMap, ...]]:  # fmt: skip
    """The logits of the images, and the features of the layers of ``grids``: those of the classifier, from one pass."""
    ending = classifier.ending
    with classifier.capture(*grids) as outputs, Watch() if ending in UNDONE else nullcontext() as watch:
        answer = logits_in(run(classifier.module, classifier.normalize(images)))
    if watch is not None:  # the network ends in the last call of this function, whose input is the logits
        answer = [call.given for call in watch.calls if call.name == ending][-1].reshape(answer.shape)
    elif ending == "distribution":
        answer = answer.log()
    elif ending == "part":
        answer = answer.logit()
    logits = answer.to(images.dtype)
    if logits.shape[1] == 1 and not classifier.returns_values:
        logits = torch.cat([-logits / 2, logits / 2], 1)
    return logits, tuple(reading(outputs[layer], reading.size, layer) for layer, reading in grids.items())
