"""The identity of a classifier: what makes the results of two classifiers comparable."""

from seewhy.classifier.classifier import Classifier
from seewhy.describe import digest_of


def classifier_identity(classifier: Classifier) -> dict[str, object]:
    """The classifier's kind, its preprocessing and its classes as JSON; not its weights (see ``weights_digest``)."""
    return {
        "module": type(classifier.module).__name__,
        "input_size": list(classifier.input_size),
        "mean": list(classifier.mean),
        "std": list(classifier.std),
        "crop": classifier.crop,
        "classes": f"{classifier.n_classes} with the names {digest_of(chr(10).join(classifier.classes).encode())}",
        "multilabel": classifier.multilabel,
    }
