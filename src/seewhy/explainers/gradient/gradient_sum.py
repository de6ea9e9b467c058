"""Gradient methods: gradients of the target's logit at some points, each times a factor, summed, color channels merged."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import field
from functools import partial
from typing import Any, ClassVar, final

from seewhy.explainers.base import Method, points_of_rows
from seewhy.explainers.gradients import Merge, Point, class_maps, input_gradients
from seewhy.explainers.options import BatchSize
from seewhy.types import Attribution, ClassAttribution, Classes, Images, Targets


class GradientSum(Method):
    """A sum of gradients. A subclass yields its points and factors in ``points``.

    Head:
        merge: how the color channels of a pixel become one number.
    """

    merge: ClassVar[Merge]

    batch_size: BatchSize = field(default=32, kw_only=True)  # the last parameter, behind those of the subclass

    def __init_subclass__(cls, *, merge: Merge, **head: Any) -> None:
        cls.merge = staticmethod(merge)
        super().__init_subclass__(**head)

    @abstractmethod
    def points(self, images: Images) -> Iterator[Point]:
        """The points for a batch of images. Those of image i depend on image i alone."""

    @final
    def explain(self, images: Images, targets: Targets) -> Attribution:
        points = partial(points_of_rows, self, images)
        return type(self).merge(input_gradients(self.classifier, images, targets, points, self.batch_size))

    @final
    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        points = partial(points_of_rows, self, images)
        return class_maps(self.classifier, images, classes, points, type(self).merge, self.batch_size)
