"""Why did the classifier decide so? Explain any image classifier, and see whether the explanation can be believed."""

from importlib.metadata import version

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

__version__ = version("seewhy")
