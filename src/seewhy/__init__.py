"""Why did the classifier decide so? Explain any image classifier, and see whether the explanation can be believed.

A public name is imported when it is first used: ``import seewhy`` loads neither torch nor anything else that is slow.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for type checkers and editors; _MODULES says the same while Python runs
    from seewhy.classifier.classifier import Classifier as Classifier
    from seewhy.classifier.load import load as load
    from seewhy.classifier.sources import MODELS as MODELS
    from seewhy.data import DATASETS as DATASETS
    from seewhy.data.named import dataset as dataset
    from seewhy.errors import SeewhyError as SeewhyError
    from seewhy.evaluation.evaluate import Evaluation as Evaluation
    from seewhy.evaluation.evaluate import evaluate as evaluate
    from seewhy.evaluation.run import Run as Run
    from seewhy.evaluation.run import open_run as open_run
    from seewhy.explainers import EXPLAINERS as EXPLAINERS
    from seewhy.explainers import Explainer as Explainer
    from seewhy.explainers import explainer as explainer
    from seewhy.explanation.explain import Explanation as Explanation
    from seewhy.explanation.explain import explain as explain
    from seewhy.metrics import METRICS as METRICS
    from seewhy.metrics import Case as Case
    from seewhy.metrics import Metric as Metric
    from seewhy.metrics import metric as metric
    from seewhy.report import write_report as write_report

    __version__: str

_MODULES = {
    "Classifier": "classifier.classifier",
    "load": "classifier.load",
    "MODELS": "classifier.sources",
    "DATASETS": "data",
    "dataset": "data.named",
    "SeewhyError": "errors",
    "Evaluation": "evaluation.evaluate",
    "evaluate": "evaluation.evaluate",
    "Run": "evaluation.run",
    "open_run": "evaluation.run",
    "EXPLAINERS": "explainers",
    "Explainer": "explainers",
    "explainer": "explainers",
    "Explanation": "explanation.explain",
    "explain": "explanation.explain",
    "METRICS": "metrics",
    "Case": "metrics",
    "Metric": "metrics",
    "metric": "metrics",
    "write_report": "report",
}
"""The module of each public name."""

__all__ = ["__version__", *_MODULES]  # noqa: PLE0604 (the names are those of the table)


def __getattr__(name: str) -> object:
    """A public name, the version, or a module of the package."""
    if name in _MODULES:
        value = getattr(import_module(f"seewhy.{_MODULES[name]}"), name)
    elif name == "__version__":
        value = import_module("importlib.metadata").version("seewhy")
    else:
        value = _module(name)
    globals()[name] = value  # the next use finds the name here and does not ask again
    return value


def _module(name: str) -> object:
    from importlib.util import find_spec

    if not name.startswith("_") and find_spec(f"seewhy.{name}"):
        return import_module(f"seewhy.{name}")
    from seewhy.registry import did_you_mean

    raise AttributeError(f"seewhy has no {name!r}.{did_you_mean(name, list(_MODULES))}", name=name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
