"""Number out: one file per kind of metric. Importing a module registers its metrics."""

from seewhy.metrics.base import METRICS as METRICS
from seewhy.metrics.base import Case as Case
from seewhy.metrics.base import Cost as Cost
from seewhy.metrics.base import Metric as Metric
from seewhy.metrics.base import metric as metric
