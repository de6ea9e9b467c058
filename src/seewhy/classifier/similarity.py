"""A network whose scores are similarities: the cosine of an image's embedding to the embeddings of texts, or of pictures.

Its last layer is linear, as that of a classifier is: the rows of its weights are the references, each of length 1, times the
scale. So all that is known of classifiers holds: the embedding is the input of the last layer, and every method works.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seewhy.classifier.borrow import frozen
from seewhy.classifier.classifier import Classifier, must_be_classifier
from seewhy.classifier.outputs import parts_of
from seewhy.describe import digest_of
from seewhy.errors import SeewhyError
from seewhy.types import Embeddings, Images, Logits


class UnitLength(nn.Module):
    """Divides each row by its length."""

    def forward(self, embeddings: Embeddings) -> Embeddings:
        return embeddings / embeddings.norm(dim=1, keepdim=True)


class SimilarityNetwork(nn.Module):
    """scale * cosine(embedding of the image, reference j) + bias, for each reference.

    Args:
        tower: returns the embedding of images: a tensor (n, d), or what holds one (see ``embedding_in``).
        references: (k, d) of any length above 0.
        scale, bias: those of the network's training; 1 and 0 for the cosine itself.
        about: what the references are, for manifests.
    """

    def __init__(
        self,
        tower: nn.Module,
        references: Float[Tensor, "k d"],
        scale: float = 1.0,
        bias: float = 0.0,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.tower, self.unit_length, self.about = tower, UnitLength(), dict(about or {})
        self.head = nn.Linear(references.shape[1], len(references), device=references.device, dtype=references.dtype)
        rows = references.detach().double()
        with torch.no_grad():
            self.head.weight.copy_(scale * rows / rows.norm(dim=1, keepdim=True))
            self.head.bias.fill_(bias)
        self.head.requires_grad_(False)
        self.train(tower.training)

    def forward(self, images: Images) -> Logits:
        return self.head(self.unit_length(embedding_in(self.tower(images))))


class ImageTower(nn.Module):
    """The embedding (n, d) of a network of Transformers: of the image tower where the network also has one for texts."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Images) -> Embeddings:
        if hasattr(self.network, "get_image_features"):
            return embedding_in(self.network.get_image_features(images))
        return embedding_in(self.network(images))


def embedding_in(output: object) -> Embeddings:
    """The embedding (n, d) in what a network returned: the tensor, ``image_embeds``, ``pooler_output`` or ``logits``.

    A pooled map of one cell, (n, d, 1, 1), is one too. SeewhyError if there is none.
    """
    named = parts_of(output)
    found = next((named[name] for name in ("image_embeds", "pooler_output", "logits") if named.get(name) is not None), None)
    tensor = found if named else output[0] if isinstance(output, tuple | list) and output else output
    if isinstance(tensor, Tensor) and tensor.ndim >= 2 and tensor.shape[:2].numel() == tensor.numel():
        return tensor.flatten(1)
    kind = f"{type(output).__name__} with {', '.join(map(str, named)) or 'no names'}"
    shape = f" of shape {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else ""
    raise SeewhyError(
        f"there is no embedding (n, d) in a {kind}{shape}: wrap the network in a module that returns one for each image"
    )


def embedding_of(classifier: Classifier) -> Classifier:
    """The same network without its last linear layers: it returns the embedding, the input of these layers.

    A network that returns an embedding is returned as it is. The weights are shared. SeewhyError for a network whose end is
    no linear layer.
    """
    must_be_classifier(classifier)
    if classifier.ending == "embedding":
        return classifier
    module, kind = classifier.module, type(classifier.module).__name__
    for name in classifier.heads:
        module = _with_part(module, name, nn.Flatten())
    found = replace(
        classifier, module=module, classes=(), multilabel=False, outputs="embedding",
        origins={**classifier.origins, "outputs": f"the input of {' and '.join(classifier.heads)}"},
    )  # fmt: skip
    with frozen(classifier.module), torch.no_grad():
        image = classifier.to_pixels(classifier._probe_image)
        one = len(classifier.heads) == 1
        if not classifier.heads or (one and not torch.allclose(found.embed(image), classifier.embed(image), 1e-3, 1e-5)):
            raise SeewhyError(
                f"{kind} does not end in a linear layer, whose input would be the embedding: give a network that returns "
                "its embedding, seewhy.Classifier(network, outputs='embedding')"
            )
    return found


def _with_part(module: nn.Module, name: str, part: nn.Module) -> nn.Module:
    """The module with another part in the place of the one called ``name``; what leads there is copied, without weights."""
    first, _, rest = name.partition(".")
    changed = copy(module)
    inner = _with_part(module.get_submodule(first), rest, part) if rest else part
    changed.__dict__["_modules"] = {**module._modules, first: inner}
    return changed


def similarity_classifier(
    tower: Classifier,
    embeddings: Float[Tensor, "k d"],
    classes: Sequence[str],
    *,
    scale: float = 1.0,
    bias: float = 0.0,
    multilabel: bool = False,
    about: Mapping[str, object] | None = None,
) -> Classifier:
    """A classifier over texts, or over pictures, whose logits are scale * cosine + bias.

    Where the scale is 1 and the bias 0, the outputs are the cosines themselves: values, which have no probabilities.

    Args:
        tower: its network returns the embedding of images, which lies in the same space as ``embeddings``. Of a classifier
            with a linear layer at its end the embedding is the input of this layer.
        embeddings: (k, d) of any length above 0: of the texts, or of pictures.
        classes: what each of them is called.
        scale: the factor of the network's training; exp(logit_scale) of CLIP, about 100.
        bias: the summand of its training; logit_bias of SigLIP.
        multilabel: probabilities are sigmoids, as those of SigLIP, and not a softmax.
        about: what the embeddings are of, for manifests; by default a digest of the names.

    Raises:
        SeewhyError: embeddings and classes do not go together, or not with the tower.
    """
    tower = embedding_of(tower)
    d, names = tower.n_classes, tuple(classes)
    if embeddings.ndim != 2 or not embeddings.is_floating_point() or embeddings.shape[1] != d:
        got = f"{embeddings.dtype} {tuple(embeddings.shape)}"
        raise SeewhyError(f"embeddings are floats (k, {d}), as the embedding of the image has {d} numbers; got {got}")
    if len(names) != len(embeddings) or not names:
        raise SeewhyError(f"{len(embeddings)} embeddings and {len(names)} names: give a name for each embedding")
    if not bool(torch.isfinite(embeddings).all()) or not bool((embeddings.norm(dim=1) > 0).all()):
        raise SeewhyError("the embeddings hold NaN, infinity or a row of zeros, which has no direction")
    if not scale > 0:
        raise SeewhyError(f"scale is {scale}; give a number above 0")
    layer, values = tower.feature_layer, scale == 1 and bias == 0
    if len(names) == 1 and not values:
        raise SeewhyError("one embedding alone has no other beside it: leave scale at 1 and bias at 0, for its cosine")
    about = about or {"references": f"{len(names)} {digest_of(chr(10).join(names).encode())}"}
    probe, kind = tower._probe_image, next(iter(about))
    return replace(
        tower,
        module=SimilarityNetwork(tower.module, embeddings.detach().to(probe), scale, bias, about),
        classes=names,
        multilabel=multilabel and not values,
        outputs="values" if values else "logits",
        feature_layer=layer and f"tower.{layer}",
        origins={**tower.origins, "classes": f"the {kind}", "outputs": "a cosine" if values else "a scaled cosine"},
    )
