"""Number out: one file per kind of metric. Importing a module registers its metrics."""

from seewhy.metrics.adcc import ADCC as ADCC
from seewhy.metrics.adcc import Coherency as Coherency
from seewhy.metrics.adcc import MapComplexity as MapComplexity
from seewhy.metrics.aopc import AOPC as AOPC
from seewhy.metrics.base import METRICS as METRICS
from seewhy.metrics.base import Case as Case
from seewhy.metrics.base import Cost as Cost
from seewhy.metrics.base import Metric as Metric
from seewhy.metrics.base import metric as metric
from seewhy.metrics.color_deletion import BlackDeletion as BlackDeletion
from seewhy.metrics.color_deletion import WhiteDeletion as WhiteDeletion
from seewhy.metrics.confidence import AverageDrop as AverageDrop
from seewhy.metrics.confidence import AverageGain as AverageGain
from seewhy.metrics.confidence import AverageIncrease as AverageIncrease
from seewhy.metrics.faithfulness import FaithfulnessCorrelation as FaithfulnessCorrelation
from seewhy.metrics.faithfulness import FaithfulnessEstimate as FaithfulnessEstimate
from seewhy.metrics.insertion_deletion import Deletion as Deletion
from seewhy.metrics.insertion_deletion import Insertion as Insertion
from seewhy.metrics.relevance_gain import LIF as LIF
from seewhy.metrics.relevance_gain import MIF as MIF
from seewhy.metrics.relevance_gain import SRG as SRG
from seewhy.metrics.relevance_gain import PixelFlipping as PixelFlipping
from seewhy.metrics.road import ROAD as ROAD
from seewhy.metrics.sampled_gain import RLIF as RLIF
from seewhy.metrics.sampled_gain import RMIF as RMIF
from seewhy.metrics.sampled_gain import RSRG as RSRG
