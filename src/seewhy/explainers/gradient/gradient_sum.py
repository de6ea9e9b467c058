"""Gradient methods: gradients of the target's logit at some points, each times a factor, summed, color channels merged."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import field
from functools import partial
from typing import Any, ClassVar, final

from seewhy.explainers.base import Method, points_of_rows
from seewhy.explainers.gradients import Merge, Point, class_maps, input_gradients
from seewhy.explainers.options import BatchSize, LibraOption
from seewhy.types import Attribution, ClassAttribution, Classes, Images, Targets


class GradientSum(Method):
    """A sum of gradients. A subclass yields its points and factors in ``points``.

    Head:
        merge: how the color channels of a pixel become one number.
    """

    merge: ClassVar[Merge]

    libra: LibraOption = field(default=False, kw_only=True)  # the last parameters, behind those of the subclass
    batch_size: BatchSize = field(default=32, kw_only=True)

    def __init_subclass__(cls, *, merge: Merge, **head: Any) -> None:
        cls.merge = staticmethod(merge)
        super().__init_subclass__(**head)

    @abstractmethod
    def points(self, images: Images) -> Iterator[Point]:
        """The points for a batch of images. Those of image i depend on image i alone."""

    @final
    def explain(self, images: Images, targets: Targets) -> Attribution:
        points = partial(points_of_rows, self, images)
        with self.classifier.balanced(repairs(self)):
            return type(self).merge(input_gradients(self.classifier, images, targets, points, self.batch_size))

    @final
    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        points = partial(points_of_rows, self, images)
        with self.classifier.balanced(repairs(self)):
            return class_maps(self.classifier, images, classes, points, type(self).merge, self.batch_size)


def repairs(method: object) -> bool:
    """Has the method the option ``libra``, or the method that it reads?"""
    return method is not None and (getattr(method, "libra", False) or repairs(getattr(method, "of", None)))
