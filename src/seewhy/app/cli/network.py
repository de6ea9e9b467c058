"""The network that a command line names: a classifier, a classifier over texts, or the similarity to pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seewhy.errors import SeewhyError

if TYPE_CHECKING:
    from seewhy.classifier.classifier import Classifier

OF_DATASET = "dataset"
"""What ``--texts`` says for the class names of the dataset."""


def load_network(
    model: str,
    weights: Path | None,
    classes: str | None,
    model_option: Sequence[str] | None,
    device: str,
    *,
    texts: Sequence[str] | None = None,
    template: Sequence[str] | None = None,
    similar_to: Sequence[Path] | None = None,
) -> "Classifier":
    """The network, on its device. SeewhyError where the options do not go together."""
    from seewhy.classifier.load import load, on_device, parse_options

    options = parse_options(model_option or [])
    if not similar_to:
        several = texts[0] if texts and len(texts) == 1 else texts
        found = load(model, weights=weights, classes=classes, options=options, texts=several, template=template or None)
        return on_device(found, device)
    if texts or template or classes:
        raise SeewhyError("--similar-to compares with pictures: give it without --texts, --template and --classes")
    from seewhy.explanation.similar import similar_to as similar

    tower = on_device(load(model, weights=weights, options={**options, "outputs": "embedding"}), device)
    return similar(tower, list(similar_to))


def texts_of_dataset(data: str, options: Mapping[str, str]) -> list[str]:
    """The class names of a dataset as texts, before there is a network. SeewhyError for names that are no words."""
    import torch

    from seewhy.classifier.classifier import Classifier
    from seewhy.data.named import dataset

    unnamed = Classifier(torch.nn.Identity())  # pictures are listed, and not read
    names = [name.replace("_", " ") for name in dataset(data, unnamed, None, options).classes]
    if not names or all(name[1:].isdigit() for name in names):
        raise SeewhyError(
            f"the classes of {data} are called by numbers, which are no texts: give --texts with a text for each"
        )
    return names
