"""What a classifier does to an image, for the manifest."""

from seewhy.classifier.classifier import Classifier
from seewhy.describe import digest_of


def described_classifier(classifier: Classifier) -> dict[str, object]:
    """What a classifier does to an image, but for its weights."""
    return {
        "module": type(classifier.module).__name__,
        "input_size": list(classifier.input_size),
        "mean": list(classifier.mean),
        "std": list(classifier.std),
        "crop": classifier.crop,
        "classes": f"{classifier.n_classes} with the names {digest_of(chr(10).join(classifier.classes).encode())}",
        "multilabel": classifier.multilabel,
    }
