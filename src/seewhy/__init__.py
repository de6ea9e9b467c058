"""Why did the classifier decide so? Explain any image classifier, and see whether the explanation can be believed."""

from importlib.metadata import version

from seewhy.data import DATASETS as DATASETS
from seewhy.datasets import dataset as dataset
from seewhy.errors import SeewhyError as SeewhyError
from seewhy.evaluation import Evaluation as Evaluation
from seewhy.evaluation import evaluate as evaluate
from seewhy.explainers import EXPLAINERS as EXPLAINERS
from seewhy.explainers import Explainer as Explainer
from seewhy.explainers import explainer as explainer
from seewhy.explanation import Explanation as Explanation
from seewhy.explanation import explain as explain
from seewhy.metrics import METRICS as METRICS
from seewhy.metrics import Case as Case
from seewhy.metrics import Metric as Metric
from seewhy.metrics import metric as metric
from seewhy.model import Classifier as Classifier
from seewhy.report import write_report as write_report
from seewhy.results import Run as Run
from seewhy.results import open_run as open_run
from seewhy.sources import MODELS as MODELS
from seewhy.zoo import load as load

__version__ = version("seewhy")
