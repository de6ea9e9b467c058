"""What the metrics can have of a dataset."""

from seewhy.classifier.classifier import Classifier
from seewhy.data import Batch, Dataset
from seewhy.errors import SeewhyError
from seewhy.evaluation.question import MOST_CLASSES
from seewhy.metrics.base import Need


def offers(dataset: Dataset, classifier: Classifier, map_classes: bool = False, target: str = "predicted") -> set[Need]:
    """What metrics can have of a dataset, going by its first readable image; merged maps have no explainer and no cost."""
    first = _first(dataset)
    found: set[Need] = set() if target == "present" else {"explainer", "cost", "forward_passes"}
    if first.labels is not None:
        found.add("labels")
    if first.regions is not None:
        found |= {"regions", "boxes"}
    if map_classes or classifier.n_classes <= MOST_CLASSES:
        found.add("class_maps")
    return found


def _first(dataset: Dataset) -> Batch:
    """The first image that can be read; SeewhyError, of the first one, if none can."""
    broken: SeewhyError | None = None
    for index in range(len(dataset)):
        try:
            return dataset.batch([index])
        except SeewhyError as error:
            broken = broken or error
    raise broken or SeewhyError("the dataset is empty")
