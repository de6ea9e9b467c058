"""The maps that an interrupted ``seewhy explain`` has made, kept beside its output until the command has finished."""

import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.identity import classifier_identity
from seewhy.describe import digest_of, environment, weights_digest
from seewhy.errors import SeewhyError
from seewhy.explainers import Explainer, ExplainsClasses
from seewhy.explainers.base import Family, HasErrors
from seewhy.explainers.describe import about_explainers
from seewhy.explanation.map_store import MapStore, map_keys
from seewhy.files import safely
from seewhy.types import Attribution, ClassAttribution, Classes, Images, Targets

FOLDER = ".unfinished"
NO_ERRORS = -1.0
"""Is kept in the place of the errors of a map that has none."""


@contextmanager
def resumable(out: Path, classifier: Classifier, methods: Mapping[str, Explainer]) -> Generator[dict[str, Explainer]]:
    """The methods, which inside the block keep their maps in ``out``, and find there what an earlier block has made.

    The maps are deleted when the block ends; if it fails, they stay for the next one. A map is found again only if the
    network, its weights, the method's options, the classes, the image and the versions are the same.
    """

    @cache
    def network() -> list[object]:  # computed with the first map: a network that fails should fail with its own message
        return [classifier_identity(classifier), weights_digest(classifier.module), environment()]

    maps = MapStore(out / FOLDER, network, about_explainers(methods, classifier))
    yield {
        name: _KeptWithErrors(method, name, maps) if isinstance(method, HasErrors) else _Kept(method, name, maps)
        for name, method in methods.items()
    }
    shutil.rmtree(out / FOLDER, ignore_errors=True)


@dataclass(frozen=True)
class _Kept:
    """An explainer that keeps its maps, and reads those that are there."""

    family: ClassVar[Family] = "reference"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = ""

    explainer: Explainer
    name: str
    maps: MapStore

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_specific", self.explainer.class_specific)

    def explain(self, images: Images, targets: Targets) -> Attribution:
        each = [["explain", c] for c in targets.tolist()]
        return self._once(images, each, (), lambda: self.explainer.explain(images, targets))

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        explainer = self.explainer
        if not isinstance(explainer, ExplainsClasses):
            return torch.stack([self.explain(images, c.expand(len(images))) for c in classes], 1)
        several = [["explain_classes", *classes.tolist()]] * len(images)
        return self._once(images, several, classes.shape, lambda: explainer.explain_classes(images, classes))

    def _once(self, images: Images, what: Sequence[object], several: Sequence[int], make: Callable[[], Tensor]) -> Tensor:
        """Maps (n, *several, h, w), made or found."""
        keys = map_keys(images, what)
        file = digest_of("".join(keys).encode())
        with suppress(SeewhyError):  # a damaged file is made again
            if (found := self.maps.find(self.name, file, keys, (*several, *images.shape[2:]))) is not None:
                return found.to(images)
        maps = make()
        with safely(self.maps.folder):
            self.maps.keep(self.name, file, keys, maps)
        return maps


@dataclass(frozen=True)
class _KeptWithErrors(_Kept):
    """The same of a method that says how sure it is: a map and its errors are kept together."""

    def explain_classes_with_errors(
        self, images: Images, classes: Classes
    ) -> tuple[ClassAttribution, ClassAttribution | None]:
        explainer = self.explainer
        assert isinstance(explainer, HasErrors)

        def make() -> Tensor:
            maps, errors = explainer.explain_classes_with_errors(images, classes)
            return torch.stack([maps, torch.full_like(maps, NO_ERRORS) if errors is None else errors], 1)

        both = self._once(images, [["with errors", *classes.tolist()]] * len(images), (2, *classes.shape), make)
        maps, errors = both.unbind(1)
        return maps, None if bool((errors < 0).any()) else errors
