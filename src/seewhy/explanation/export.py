"""One ONNX file that answers with probabilities and maps, for explainers whose maps come out of one pass."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier, frozen
from seewhy.classifier.graph import graph_pass, grids_of, must_be_one_graph
from seewhy.classifier.grid_reading import GridReading
from seewhy.classifier.turns import networks_in, on_cpu_by_default, turn
from seewhy.data.class_names import find_classes
from seewhy.data.pictures import box_of
from seewhy.describe import fields_as_json, weights_digest
from seewhy.errors import SeewhyError, UnsuitedError, cause
from seewhy.explainers import EXPLAINERS, Explainer
from seewhy.explainers.base import InOnePass, maps_of_classes
from seewhy.files import check_writable, write_atomically
from seewhy.process import without_warnings

BATCHES = (1, 2, 5)
"""Numbers of images at which the file is compared with torch."""
MOST_APART = 1e-4
"""The largest difference to torch, as a share of the largest number of the output."""


class Exported(NamedTuple):
    """What was written, and how far its answers are from those of torch.

    file         the file
    megabytes    its size
    maps         (m, h, w) of an image
    batches      the numbers of images at which it was compared with torch
    differences  the largest difference to torch of each output, as a share of the output's largest number
    """

    file: Path
    megabytes: float
    maps: tuple[int, int, int]
    batches: tuple[int, ...]
    differences: dict[str, float]

    def __str__(self) -> str:
        apart = ", ".join(f"{name} {difference:.1e}" for name, difference in self.differences.items())
        shape, n = " x ".join(map(str, self.maps)), ", ".join(map(str, self.batches))
        size = f"{self.megabytes:.1f} MB, maps of {shape} for an image"
        return f"{self.file}: {size}; onnxruntime differs from torch, for {n} images, by {apart} of the largest number"


@on_cpu_by_default()
def export(
    explainer: Explainer, file: str | Path, target: str = "all", *, any_size: bool = False, batch: int | None = None
) -> Exported:
    """Write one ONNX file that answers with probabilities and maps, and needs no torch.

    Its input is ``images`` (n, c, h, w), float32 in [0, 1]; the normalization is inside. Its outputs are ``probabilities``
    (n, k) and ``maps`` (n, m, h, w), which are raw, as those of ``explain``. Where the network returns values, the first
    output is called ``values``. What a service has to know besides is in the file's metadata (see ``about``).

    Before the file is written, onnxruntime runs it on 1, 2 and 5 random images, and the answers are compared with torch.

    Args:
        explainer: ``cam`` of a network that ends in pooling and a linear layer, or a learned explainer.
        file: its name ends in .onnx.
        target: the classes of the maps: "all" (m = k), "predicted" (m = 1), or classes by name or index, with commas
            between them. A method whose map depends on no class has one map, whatever the target is.
        any_size: the file takes images of any height and width, and not of ``classifier.input_size`` alone.
        batch: the file takes so many images; None is any number.

    Raises:
        UnsuitedError: the maps are not made in one pass, or the network is no function of one image.
        SeewhyError: onnx is not installed, an operation has no ONNX, or the answers differ. Then no file is written.
    """
    file = Path(file)
    if file.suffix != ".onnx":
        raise SeewhyError(f"cannot write {file}: name it .onnx")
    check_writable(file.parent)
    must_have_onnx()
    if not isinstance(explainer, InOnePass):
        known = ", ".join(name for name, kind in EXPLAINERS.items() if hasattr(kind, "maps_of_pass"))
        raise UnsuitedError(f"the maps of {EXPLAINERS.name_of(type(explainer))} take more than one pass: export {known}")
    with turn(*networks_in(explainer)):
        one = in_one_graph(explainer, target)
        free = {**({0: "n"} if batch is None else {}), **({2: "h", 3: "w"} if any_size else {})}
        content = _as_onnx(one, free, batch or 2)
        batches = BATCHES if batch is None else (batch,)
        differences = _compared(one, content, batches, any_size)
    write_atomically(file, lambda opened: opened.write(content))
    m = 1 if one.classes is None else len(one.classes)
    return Exported(file, len(content) / 1e6, (m, *explainer.classifier.input_size), batches, differences)


def must_have_onnx() -> None:
    """SeewhyError where a package of the extra ``onnx`` is missing."""
    try:
        for name in ("onnx", "onnxruntime", "onnxscript"):
            import_module(name)
    except ImportError:
        raise SeewhyError("export needs onnx, onnxscript and onnxruntime: pip install 'seewhy[onnx]'") from None


# -- one network of the two -------------------------------------------------------------------------------------------


class OneGraph(nn.Module):
    """The classifier and the explainer as one network: images in [0, 1] in, probabilities and maps out."""

    def __init__(self, explainer: InOnePass, grids: Mapping[str, GridReading], classes: Sequence[int] | None = None) -> None:
        """``classes``: those of the maps; None is the predicted class of each image."""
        super().__init__()
        self.networks = nn.ModuleList(networks_in(explainer))  # so that an exporter finds their weights
        self.explainer, self.grids, self.classes = explainer, grids, classes

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        classifier = self.explainer.classifier
        logits, features = graph_pass(classifier, images, self.grids)
        if self.classes is None:
            classes = logits.argmax(1, keepdim=True)
        else:
            classes = torch.tensor(self.classes).expand(images.shape[0], -1)
        maps = self.explainer.maps_of_pass(images, logits, features, classes)
        return logits if classifier.returns_values else classifier.to_probabilities(logits), maps


def in_one_graph(explainer: InOnePass, target: str = "all") -> OneGraph:
    """The classifier and the explainer as one network. UnsuitedError where the network is no function of one image."""
    classifier = explainer.classifier
    images = _random_images(classifier, 2)
    if images.device.type != "cpu":
        raise SeewhyError(f"the network is on {images.device}: export it from the CPU")
    must_be_one_graph(classifier, images)
    classes: list[int] | None = None
    if explainer.class_specific and target != "predicted":
        every = list(range(classifier.n_classes))
        classes = every if target == "all" else find_classes(target, classifier.classes, classifier.n_classes)
    return OneGraph(explainer, grids_of(classifier, images, explainer.layers), classes)


def about(one: OneGraph) -> dict[str, object]:
    """What the file's metadata say, as JSON under "seewhy": all that a service needs, and what the file was made of.

    classes    names of the k classes
    maps       the classes of the maps, by index; "predicted", or "one" for a method that knows no class
    input      how a picture becomes the input: see ``View``. ``box`` is what it is resized to, or so that it covers it
    mean, std  of the normalization, which is inside the file
    """
    explainer, classifier = one.explainer, one.explainer.classifier
    view = classifier.view._asdict()
    return {
        "seewhy": version("seewhy"),
        "torch": torch.__version__,
        "classes": [classifier.class_name(i) for i in range(classifier.n_classes)],
        "maps": one.classes or ("predicted" if explainer.class_specific else "one"),
        "input": {**view, "box": box_of(classifier.view), "channels": len(classifier.mean)},
        "mean": classifier.mean,
        "std": classifier.std,
        "multilabel": classifier.multilabel,
        "network": type(classifier.module).__name__,
        "weights": weights_digest(classifier.module),
        "explainer": EXPLAINERS.name_of(type(explainer)),
        "options": fields_as_json(explainer, ("classifier",)),
    }


# -- the file ---------------------------------------------------------------------------------------------------------


def _as_onnx(one: OneGraph, free: dict[int, str], n: int) -> bytes:
    """The content of the file, for images of which the axes ``free`` are of any length.

    SeewhyError where the network is no one graph, or an operation has no ONNX.
    """
    from onnx.helper import set_model_props

    classifier = one.explainer.classifier
    shapes = dict.fromkeys(free, torch.export.Dim.DYNAMIC)
    try:
        with frozen(one), torch.no_grad(), _quietly():
            graph = torch.export.export(one, (_random_images(classifier, n),), dynamic_shapes=(shapes,), strict=False)
            program = torch.onnx.export(
                graph,
                input_names=["images"],
                output_names=[name_of_scores(classifier), "maps"],
                dynamic_shapes={"images": free},
                dynamo=True,
                verbose=False,
            )
            model: Any = program and program.model_proto
            set_model_props(model, {"seewhy": json.dumps(about(one))})
            return model.SerializeToString()
    except Exception as error:  # the network is the user's own, and an exporter fails in many ways
        raise SeewhyError(_why_not(one, error)) from error


def _why_not(one: OneGraph, error: BaseException) -> str:
    """Why a network has no ONNX, in one line."""
    kind, name = type(one.explainer.classifier.module).__name__, EXPLAINERS.name_of(type(one.explainer))
    if "specialized it to be a constant" in str(error):
        return (
            f"{kind} with {name} makes a constant of the number of images, or of their size: write x.shape[0] where len(x) "
            "is, and -1 for the number of images in reshape; or give batch=1, and leave any_size away"
        )
    if "data-dependent" in str(error):
        return f"{kind} with {name} asks for numbers of the images, as an if or .item() does: a graph has none"
    while error.__cause__ is not None:  # the exporter's own words are on top, and what has happened is at the bottom
        error = error.__cause__
    if isinstance(error, SeewhyError):  # a line of our own says what to do
        return str(error)
    return f"{kind} with {name} cannot become ONNX ({cause(error)}): another network or another layer may do without this"


def _compared(one: OneGraph, content: bytes, batches: Sequence[int], any_size: bool) -> dict[str, float]:
    """The largest difference between onnxruntime and torch in each output; SeewhyError if it is too large."""
    kind, (h, w) = type(one.explainer.classifier.module).__name__, one.explainer.classifier.input_size
    session = session_of(content)
    names = [output.name for output in session.get_outputs()]
    found = dict.fromkeys(names, 0.0)
    for n in batches:
        for size in [(h, w), (h + 32, w + 64)] if any_size else [(h, w)]:
            images = _random_images(one.explainer.classifier, n, size)
            try:
                answers = session.run(names, {"images": images.numpy()})
            except Exception as error:  # onnxruntime has its own kinds of errors, and no base of them
                where = f"{n} images of {size[0]} x {size[1]}"
                raise SeewhyError(f"onnxruntime fails on {where} ({cause(error)}): no file is written") from error
            for name, answer, expected in zip(names, answers, _in_torch(one, images), strict=True):
                apart = float((torch.from_numpy(answer) - expected).abs().max() / expected.abs().max().clamp_min(1e-30))
                found[name] = max(found[name], apart)
                if not apart <= MOST_APART:  # also where it is NaN
                    raise SeewhyError(
                        f"for {n} images of {size[0]} x {size[1]} the {name} of onnxruntime differ from those of torch by "
                        f"{apart:.1e} of the largest: {kind} does something that its graph does not (does it draw random "
                        "numbers, or look at how many images there are?); no file is written"
                    )
    return found


def _in_torch(one: OneGraph, images: Tensor) -> tuple[Tensor, Tensor]:
    """The probabilities or values, and the maps, as the library gives them without ONNX."""
    explainer, classifier = one.explainer, one.explainer.classifier
    with torch.no_grad():
        logits = classifier.logits(images)
        if one.classes is None:
            maps = explainer.explain(images, logits.argmax(1))[:, None]
        else:
            maps = maps_of_classes(explainer, images, torch.tensor(one.classes))
        return logits if classifier.returns_values else classifier.to_probabilities(logits), maps


def session_of(content: bytes) -> Any:
    """An onnxruntime session on the CPU, with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3  # errors alone
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def name_of_scores(classifier: Classifier) -> str:
    """What the first output is called."""
    return "values" if classifier.returns_values else "probabilities"


def _random_images(classifier: Classifier, n: int, size: tuple[int, int] | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    shape = (n, len(classifier.mean), *(size or classifier.input_size))
    return classifier.to_device(torch.rand(shape, generator=generator, dtype=torch.float32)).float()


@contextmanager
def _quietly() -> Iterator[None]:
    """Inside the block the exporters' own lines are kept back: what matters is said in one line afterwards."""
    before = logging.root.manager.disable
    with without_warnings(Warning), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
