"""Why did the classifier decide so? Explain any image classifier, and see whether the explanation can be believed.

A public name is imported when it is first used: ``import seewhy`` loads neither torch nor anything else that is slow.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for type checkers and editors; _NAMES says the same while Python runs
    from seewhy.classifier.classifier import Classifier as Classifier
    from seewhy.classifier.load import load as load
    from seewhy.classifier.similarity import similarity_classifier as similarity_classifier
    from seewhy.classifier.sources import MODELS as MODELS
    from seewhy.data import DATASETS as DATASETS
    from seewhy.data.named import dataset as dataset
    from seewhy.errors import SeewhyError as SeewhyError
    from seewhy.errors import SeewhyWarning as SeewhyWarning
    from seewhy.evaluation.evaluate import Evaluation as Evaluation
    from seewhy.evaluation.evaluate import evaluate as evaluate
    from seewhy.evaluation.run import Run as Run
    from seewhy.evaluation.run import open_run as open_run
    from seewhy.explainers import EXPLAINERS as EXPLAINERS
    from seewhy.explainers import Explainer as Explainer
    from seewhy.explainers import explainer as explainer
    from seewhy.explainers.learned.folder import load_explainer as load_explainer
    from seewhy.explainers.learned.folder import save_explainer as save_explainer
    from seewhy.explanation.expected import ClassContrast as ClassContrast
    from seewhy.explanation.expected import ClassContrasts as ClassContrasts
    from seewhy.explanation.explain import explain as explain
    from seewhy.explanation.explanation import Explanation as Explanation
    from seewhy.explanation.explanation import Explanations as Explanations
    from seewhy.explanation.export import export as export
    from seewhy.explanation.similar import similar_to as similar_to
    from seewhy.explanation.watch import watch as watch
    from seewhy.masking.surrogate import Surrogate as Surrogate
    from seewhy.masking.surrogate import load_surrogate as load_surrogate
    from seewhy.metrics import METRICS as METRICS
    from seewhy.metrics import Case as Case
    from seewhy.metrics import Metric as Metric
    from seewhy.metrics import metric as metric
    from seewhy.report import write_report as write_report
    from seewhy.training.fit import fit as fit

    __version__: str

_NAMES = {
    "classifier.classifier": ["Classifier"],
    "classifier.load": ["load"],
    "classifier.similarity": ["similarity_classifier"],
    "classifier.sources": ["MODELS"],
    "data": ["DATASETS"],
    "data.named": ["dataset"],
    "errors": ["SeewhyError", "SeewhyWarning"],
    "evaluation.evaluate": ["Evaluation", "evaluate"],
    "evaluation.run": ["Run", "open_run"],
    "explainers": ["EXPLAINERS", "Explainer", "explainer"],
    "explainers.learned.folder": ["load_explainer", "save_explainer"],
    "explanation.expected": ["ClassContrast", "ClassContrasts"],
    "explanation.explain": ["explain"],
    "explanation.explanation": ["Explanation", "Explanations"],
    "explanation.export": ["export"],
    "explanation.similar": ["similar_to"],
    "explanation.watch": ["watch"],
    "masking.surrogate": ["Surrogate", "load_surrogate"],
    "metrics": ["METRICS", "Case", "Metric", "metric"],
    "report": ["write_report"],
    "training.fit": ["fit"],
}
"""The public names of each module."""
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["__version__", *_MODULES]  # noqa: PLE0604 (the names are those of the table)


def __getattr__(name: str) -> object:
    """A public name, the version, or a module of the package."""
    if name in _MODULES:
        value = getattr(import_module(f"seewhy.{_MODULES[name]}"), name)
    elif name == "__version__":
        value = import_module("importlib.metadata").version("seewhy")
    elif not name.startswith("_") and find_spec(f"seewhy.{name}"):
        value = import_module(f"seewhy.{name}")
    else:
        from seewhy.registry import did_you_mean

        raise AttributeError(f"seewhy has no {name!r}.{did_you_mean(name, list(_MODULES))}", name=name)
    globals()[name] = value  # the next use finds the name here and does not ask again
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
