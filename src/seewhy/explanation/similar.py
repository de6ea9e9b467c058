"""A classifier whose scores are the similarities of a picture to other pictures."""

from collections.abc import Sequence

import torch

from seewhy.classifier.classifier import Classifier, frozen
from seewhy.classifier.similarity import embedding_of, similarity_classifier
from seewhy.classifier.turns import on_cpu_by_default
from seewhy.describe import digest_of, tensor_bytes
from seewhy.errors import SeewhyError
from seewhy.explanation.prepare import Picture, prepare


@on_cpu_by_default()
def similar_to(
    classifier: Classifier, pictures: Picture | Sequence[Picture], names: Sequence[str] | None = None
) -> Classifier:
    """The network whose outputs are the cosines of an image's embedding to those of ``pictures``; any method explains them.

    The embedding is what the network returns, if it returns one. Otherwise it is the input of its last linear layer.

    Args:
        classifier: a classifier, or a network that returns an embedding (outputs="embedding").
        pictures: one picture or several: files, Pillow images, arrays, or tensors (c, h, w) in [0, 1].
        names: what the pictures are called; by default the names of their files.

    Raises:
        SeewhyError: a picture is broken or given twice, or the network has no embedding.
    """
    several = pictures if isinstance(pictures, Sequence) and not isinstance(pictures, str) else [pictures]
    if not several:
        raise SeewhyError("there is no picture to compare with: give one")
    tower = embedding_of(classifier)
    prepared = [prepare(picture, tower) for picture in several]
    with frozen(tower.module), torch.no_grad():
        embeddings = torch.cat([tower.embed(image[None]) for image, _ in prepared])
    called = [name for _, name in prepared] if names is None else list(names)
    if len(called) != len(several):
        raise SeewhyError(f"{len(several)} pictures and {len(called)} names: give a name for each picture")
    digests = [digest_of(tensor_bytes(image)) for image, _ in prepared]
    if (again := next((i for i, digest in enumerate(digests) if digest in digests[:i]), None)) is not None:
        raise SeewhyError(f"the picture {called[again]!r} is given twice: give each picture once")
    said = [f"similar to {name}" for name in called]
    said = [f"{text} ({i + 1})" if said.count(text) > 1 else text for i, text in enumerate(said)]
    return similarity_classifier(tower, embeddings, said, about={"pictures": dict(zip(said, digests, strict=True))})
