"""How a metric declares itself: by its class head, or as a dataclass of its own that keeps the protocol."""

import ast
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass, replace
from inspect import isabstract, isfunction
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import torch
from support.command import as_users_run_it
from support.metric_cases import case_of
from torch import Tensor

import seewhy
from seewhy.errors import SeewhyError
from seewhy.metrics import METRICS, Case, Metric, metric
from seewhy.metrics.base import HasCurve, Measure, reduced, score
from seewhy.metrics.insertion_deletion import AreaUnderCurve, Deletion
from seewhy.options import AtLeast, Doc, described
from seewhy.testing import check_metric

SOURCE = Path(seewhy.__file__).parent / "metrics"


@pytest.fixture(autouse=True)
def registry_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))


def bright_share(**head: Any) -> type[Any]:
    """A metric that is declared here and now, with some of its head in another way; None leaves a word out."""
    words = {
        "name": "bright_share",
        "family": "complexity",
        "better": "lower",
        "range": (0.0, 1.0),
        "reads": "min_max",
        "explains": "any",
        "paper": "arras2022clevr",
        **head,
    }

    class BrightShare(Measure, **{key: value for key, value in words.items() if value is not None}):  # type: ignore[misc]
        """Share of the map above a threshold."""

        threshold: Annotated[int, AtLeast(1), Doc("A pixel above it is bright.")] = 1

        def score(self, case: Case) -> Tensor:
            return (case.attributions > self.threshold).float().mean((1, 2))

    return BrightShare


def test_a_class_head_declares_what_the_protocol_promises() -> None:
    kind = bright_share()
    assert METRICS["bright_share"] is kind
    measure = metric("bright_share", threshold=2)
    assert isinstance(measure, Metric)
    assert not isinstance(measure, HasCurve)
    assert (measure.family, measure.higher_is_better, measure.range, measure.needs) == ("complexity", False, (0, 1), ())
    assert (measure.reads, measure.target, measure.paper) == ("min_max", "any", "arras2022clevr")
    assert described(kind)[0][:4] == ("threshold", "a whole number of at least 1", 1, "A pixel above it is bright.")
    assert bright_share(name="neither", better="neither").higher_is_better is None


def test_a_class_head_makes_a_frozen_dataclass_whose_options_are_checked() -> None:
    kind, name = bright_share(), "bright_share"
    assert is_dataclass(kind)
    assert kind(2) == replace(kind(), threshold=2) != kind()
    assert len({kind(), kind(1), kind(2)}) == 2
    with pytest.raises(FrozenInstanceError):
        kind().threshold = 3
    with as_users_run_it():
        for make in (
            lambda: kind(threshold=0),
            lambda: replace(kind(), threshold=0),
            lambda: metric("bright_share", threshold=0),
        ):
            with pytest.raises(SeewhyError, match="bright_share cannot take threshold=0: give a whole number of at least 1"):
                make()
    with pytest.raises(SeewhyError, match=r"no option 'treshold'. Did you mean 'threshold'\? Options: threshold"):
        metric(name, treshold=2)


@pytest.mark.parametrize("word", ["family", "better", "range", "reads", "explains"])
def test_a_head_that_lacks_a_word_is_refused(word: str) -> None:
    with pytest.raises(TypeError, match=f"the head of the metric 'bright_share' lacks {word}"):
        bright_share(**{word: None})


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="metric 'deletion' is already registered"):
        bright_share(name="deletion")


def test_a_base_is_no_metric() -> None:
    assert AreaUnderCurve not in {METRICS[name] for name in METRICS}
    assert isabstract(AreaUnderCurve)
    with pytest.raises(TypeError, match="abstract"):
        AreaUnderCurve()  # type: ignore[abstract]


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_can_be_pickled_compared_and_changed(name: str) -> None:
    measure = metric(name)
    assert pickle.loads(pickle.dumps(measure)) == measure == replace(measure)  # type: ignore[type-var]
    assert hash(measure) == hash(METRICS[name]())
    for f in fields(measure):  # type: ignore[arg-type]
        with pytest.raises(FrozenInstanceError):
            setattr(measure, f.name, getattr(measure, f.name))


@pytest.mark.parametrize("name", METRICS)
def test_no_metric_overrides_a_method(name: str) -> None:
    """Who reads a call of a metric knows what runs: a method is written once, and a metric has no subclasses."""
    kind: Any = METRICS[name]
    lines = [c for c in kind.__mro__ if issubclass(c, Measure) and c is not Measure]
    written = [
        key
        for c in lines
        for key, value in vars(c).items()
        if isfunction(value) and not key.startswith("__") and not getattr(value, "__isabstractmethod__", False)
    ]
    assert sorted(written) == sorted(set(written))
    assert not kind.__subclasses__()
    assert not isabstract(kind)


def test_a_dataclass_that_keeps_the_protocol_is_a_metric_too() -> None:
    @METRICS.register("own")
    @dataclass(frozen=True)
    class Own:
        family: ClassVar[str] = "complexity"
        higher_is_better: ClassVar[bool] = False
        range: ClassVar[tuple[float, float]] = (0.0, 1.0)
        needs: ClassVar[tuple[str, ...]] = ()
        reads: ClassVar[str] = "positive"
        target: ClassVar[str] = "any"
        paper: ClassVar[str] = ""

        threshold: float = 0.5

        def score(self, case: Case) -> Tensor:
            highest = case.attributions.amax((1, 2), keepdim=True).clamp_min(1e-30)
            return (case.attributions > self.threshold * highest).float().mean((1, 2))

    own = metric("own", threshold=0.25)
    assert own == Own(0.25)
    assert isinstance(own, Metric)
    assert [(option.name, option.default) for option in described(Own)] == [("threshold", 0.5)]
    check_metric(own, case_of("cnn"))
    with as_users_run_it(), pytest.raises(SeewhyError, match="own cannot take threshold='high'"):
        Own("high")  # type: ignore[arg-type]


def test_what_a_case_lacks_is_said_once_for_all_metrics() -> None:
    case = case_of("cnn", regions=None, data_name="the shelf")
    for name, kind in ((n, METRICS[n]) for n in METRICS if "regions" in METRICS[n].needs):
        with pytest.raises(SeewhyError, match=rf"^{name} needs the region of the object, which the shelf does not have$"):
            score(name, kind(), case)
        with pytest.raises(SeewhyError, match=r"^the metric needs the region of the object, which the shelf does not have$"):
            kind().score(case)
    with pytest.raises(SeewhyError, match=r"^use='region' needs the region of the object, which the shelf does not have$"):
        metric("average_drop", use="region").score(case)


def test_the_figure_of_a_dataset_is_the_mean() -> None:
    assert reduced(Deletion(), torch.tensor([0.25, 0.75])) == 0.5


# -- how much a metric says of itself -------------------------------------------------------------------------------------


def lines_of_classes() -> dict[str, tuple[int, int]]:
    """Of each class with a head: lines of the head, and lines of the methods."""
    found = {}
    for file in SOURCE.glob("*.py"):
        for kind in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(kind, ast.ClassDef) and kind.keywords:
                methods = [m for m in kind.body if isinstance(m, ast.FunctionDef)]
                head = kind.body[0].lineno - kind.lineno
                found[kind.name] = head, sum((m.end_lineno or 0) - m.lineno + 1 for m in methods)
    return found


def test_declarations_are_shorter_than_code() -> None:
    """A head is a line, or a line for each word; all heads together are shorter than the methods."""
    found = lines_of_classes()
    assert len(found) > len(METRICS)  # and the bases
    assert max(head for head, _ in found.values()) <= 11
    assert sum(head for head, _ in found.values()) < 0.75 * sum(code for _, code in found.values())


def test_importing_the_metrics_loads_no_hub() -> None:
    """One metric loads a network by name; the others, and the report, must not pay for that."""
    code = """
import sys, types
package = types.ModuleType("seewhy")  # without the names that the package itself offers
package.__path__ = [sys.argv[1]]
sys.modules["seewhy"] = package
import seewhy.metrics
print([m for m in ("timm", "huggingface_hub", "seewhy.classifier.load", "seewhy.classifier.sources") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code, str(SOURCE.parent)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
