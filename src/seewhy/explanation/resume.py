"""What an interrupted ``seewhy explain`` has done, kept beside its output until the same command has finished."""

import json
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.identity import classifier_identity
from seewhy.describe import environment, tensor_bytes, weights_digest
from seewhy.errors import SeewhyError
from seewhy.explainers import Explainer, ExplainsClasses
from seewhy.explainers.base import Family
from seewhy.explainers.describe import about_explainers
from seewhy.files import write_atomically
from seewhy.types import Attribution, ClassAttribution, Classes, Images, Targets

FOLDER = ".unfinished"


@contextmanager
def resumable(out: Path, classifier: Classifier, methods: Mapping[str, Explainer]) -> Generator[dict[str, Explainer]]:
    """The methods, which inside the block keep their maps in ``out`` and do not make again what is there.

    The maps are deleted when the block ends; if it fails, they stay for the next one. A map is found again only if the
    network, its weights, the method's options, the classes, the image and the versions are the same.
    """

    @cache
    def network() -> list[object]:  # asked when a first map is, for what is told of a network that fails is told before
        return [classifier_identity(classifier), weights_digest(classifier.module), environment()]

    about = about_explainers(methods)
    yield {name: _Kept(method, out / FOLDER, network, about[name]) for name, method in methods.items()}
    shutil.rmtree(out / FOLDER, ignore_errors=True)


@dataclass(frozen=True)
class _Kept:
    """An explainer whose maps are read from ``folder`` where they are."""

    family: ClassVar[Family] = "reference"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = ""

    explainer: Explainer
    folder: Path
    network: Callable[[], list[object]]
    about: dict[str, object]

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return self._once("explain", images, targets, self.explainer.explain)

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        if isinstance(self.explainer, ExplainsClasses):
            return self._once("explain_classes", images, classes, self.explainer.explain_classes)
        return torch.stack([self.explain(images, c.expand(len(images))) for c in classes], 1)

    def _once(self, call: str, images: Images, classes: Tensor, make: Callable[[Images, Tensor], Tensor]) -> Tensor:
        what = [call, classes.tolist(), list(images.shape), str(images.dtype), str(images.device)]
        key = sha256(json.dumps([*self.network(), self.about, *what], default=str).encode())
        key.update(tensor_bytes(images))
        file = self.folder / f"{key.hexdigest()[:32]}.npy"
        with suppress(OSError, ValueError, EOFError):  # none yet, or a damaged one
            return torch.from_numpy(np.load(file)).to(images)
        maps = make(images, classes)
        wide = maps.cpu().to(torch.promote_types(maps.dtype, torch.float32)).numpy()  # NumPy knows no bfloat16
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(file, lambda part: _save(part, wide))
        except OSError as error:
            raise SeewhyError(f"cannot write to {self.folder}: {error.strerror or error}") from None
        return maps


def _save(file: Path, values: "np.ndarray[tuple[int, ...], np.dtype[np.floating]]") -> None:
    with file.open("wb") as opened:  # np.save adds .npy to a name
        np.save(opened, values)
