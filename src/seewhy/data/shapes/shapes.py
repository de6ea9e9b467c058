"""The built-in dataset: pictures of simple shapes with an exact region for every object, drawn when they are asked for.

The outline alone tells the class; color, texture and place do not. An explanation that points anywhere else is therefore
wrong, which can be seen and measured. With ``shortcut`` a small tag gives the class away: a network that was trained on
tagged pictures looks at the tag, and an honest explanation shows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seewhy.data.base import DATASETS, Batch, Parts
from seewhy.data.shapes.drawing import OUTLINES
from seewhy.data.shapes.scene import Scene, add_tag, draw_scene
from seewhy.describe import digest_of
from seewhy.errors import SeewhyError
from seewhy.options import AtLeast, AtMost, checking

Shortcut = Literal["none", "correlated", "random"]
Split = Literal["train", "test"]
MIN_SIZE = 32
"""The smallest side, in pixels, at which the shapes can still be told apart."""
MAX_OBJECTS = 4
"""Of a multi-label picture."""


class ShapesSample(NamedTuple):
    """One picture, and all that is known of it.

    image     (3, h, w) in [0, 1]
    label     () int64 the class, or (k,) float32 zeros and ones of a multi-label picture
    regions   (k, h, w) the visible pixels of each class's object; empty for a class that is absent
    tag       (h, w) the visible pixels of the tag; empty without a shortcut
    """

    image: Float[Tensor, "3 h w"]
    label: Tensor
    regions: Bool[Tensor, "k h w"]
    tag: Bool[Tensor, "h w"]


@DATASETS.register("shapes")
@partial(checking, "shapes")
@dataclass(frozen=True)
class Shapes:
    """``n`` pictures of ``size`` x ``size`` pixels. A picture depends on its index and the options alone.

    Args:
        n: how many pictures, fewer than a million.
        size: their side in pixels, at least 32; the same picture at every size.
        multilabel: one to four objects of different classes, instead of exactly one object.
        shortcut: a tag near the border: none, the tag of the (or a) true class, or that of a class drawn at random.
        split: train and test never share a picture.
        seed: another seed, another set of pictures.
    """

    takes: ClassVar[tuple[str, ...]] = ("n", "size", "multilabel")
    nested: ClassVar[bool] = True
    """The first pictures of a larger ``n`` are those of a smaller one, so that an evaluation can grow."""
    classes: ClassVar[tuple[str, ...]] = tuple(OUTLINES)

    n: Annotated[int, AtLeast(1), AtMost(10_000_000)] = 200
    size: Annotated[int, AtLeast(MIN_SIZE), AtMost(4_096)] = 96
    multilabel: bool = False
    shortcut: Shortcut = "none"
    split: Split = "test"
    seed: Annotated[int, AtLeast(0)] = 0

    def __len__(self) -> int:
        return self.n

    def sample(self, index: int) -> ShapesSample:
        """The picture number ``index``, counted from 0."""
        scene = self.scene(index)
        image, parts = scene.render(self.size)
        objects = {layer.label: part for layer, part in zip(scene.layers, parts, strict=True) if layer.label is not None}
        regions = np.zeros((len(self.classes), self.size, self.size), np.bool_)
        regions[list(objects)] = list(objects.values())
        tag = parts[-1] if self.shortcut != "none" else np.zeros_like(parts[-1])
        label = torch.zeros(len(self.classes)).index_fill(0, torch.tensor(list(objects)), 1.0)
        return ShapesSample(
            image=torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            label=label if self.multilabel else label.argmax(),
            regions=torch.from_numpy(regions),
            tag=torch.from_numpy(tag),
        )

    def parts(self, index: int) -> Parts:
        """The layers that can be seen, from the lowest to the highest, and the picture without each of them.

        A layer is called as its class, or "distractor", "occluder" or "tag".
        """
        scene = self.scene(index)
        regions = scene.render(self.size)[1]
        first = next(place for place, layer in enumerate(scene.layers) if layer.label is not None)

        def name(place: int) -> str:
            label = scene.layers[place].label
            if label is not None:
                return self.classes[label]
            if self.shortcut != "none" and place == len(scene.layers) - 1:
                return "tag"
            return "distractor" if place < first else "occluder"

        seen = [place for place, region in enumerate(regions) if region.any()]
        pictures = [scene.render(self.size, without=scene.layers[place])[0].transpose(2, 0, 1) for place in seen]
        return Parts(
            tuple(name(place) for place in seen),
            torch.from_numpy(np.stack([regions[place] for place in seen])),
            torch.from_numpy(np.stack(pictures)),
        )

    def scene(self, index: int) -> Scene:
        """The picture before it is rendered. `Scene.render(size, without=layer)` leaves one layer out."""
        if not 0 <= index < self.n:
            raise SeewhyError(f"shapes: no picture {index} among {self.n}; the first is 0, the last {self.n - 1}")
        key = [self.seed, get_args(Split).index(self.split), int(self.multilabel), index]
        rng = np.random.default_rng(np.random.SeedSequence(key))
        count = int(rng.integers(1, MAX_OBJECTS + 1)) if self.multilabel else 1
        labels = rng.permutation(len(self.classes))[:count]
        scene = draw_scene(rng, [int(label) for label in labels], self.classes)
        if self.shortcut == "none":
            return scene
        # the tag has a random stream of its own, so the picture is the same with every tag and without a tag
        rng = np.random.default_rng(np.random.SeedSequence([*key, 1]))
        anything = int(rng.integers(len(self.classes)))
        return add_tag(scene, rng, int(labels[0]) if self.shortcut == "correlated" else anything)

    @property
    def ids(self) -> list[str]:
        """shapes-SPLIT-NUMBER."""
        return [self._id(index) for index in range(self.n)]

    def _id(self, index: int) -> str:
        return f"shapes-{self.split}-{index:05d}"

    def digest(self, indices: Sequence[int]) -> str:
        """The options on which a picture depends, and the indices, as a digest. No picture depends on ``n``."""
        options = (self.size, self.multilabel, self.shortcut, self.split, self.seed)
        return digest_of(f"{options} {sorted(indices)}".encode())

    def batch(self, indices: Sequence[int]) -> Batch:
        """The pictures at these places, with the regions of their labels, or of every class."""
        samples = [self.sample(index) for index in indices]
        regions = [s.regions if self.multilabel else s.regions[int(s.label)] for s in samples]
        return Batch(
            ids=[self._id(index) for index in indices],
            images=torch.stack([s.image for s in samples]),
            labels=torch.stack([s.label for s in samples]),
            regions=torch.stack(regions),
        )
