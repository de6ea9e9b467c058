"""The contracts of explainers, learned explainers, metrics and datasets, as checks for your own."""

from seewhy.testing.datasets import check_dataset as check_dataset
from seewhy.testing.explainers import CHECKS as CHECKS
from seewhy.testing.explainers import check_explainer as check_explainer
from seewhy.testing.learned import check_learned as check_learned
from seewhy.testing.metrics import check_metric as check_metric
