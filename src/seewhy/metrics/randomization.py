"""Sanity checks (Adebayo et al., 2018): does the map change when what the network learned is destroyed?"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise
from typing import Annotated, Any, Literal, cast
from zlib import crc32

import torch
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.probe import layers_top_down
from seewhy.classifier.turns import turn
from seewhy.errors import ImageError, SeewhyError, cause
from seewhy.explainers import Explainer
from seewhy.maps import Reading, read
from seewhy.metrics.base import Measure
from seewhy.metrics.case import Case
from seewhy.metrics.map_similarity import SIMILARITIES, Similarity
from seewhy.options import AtLeast, Doc
from seewhy.process import PROCESS_STATE
from seewhy.types import Images, Scores

Cascade = Literal["cascading", "independent"]


class AgainstAnotherNetwork(
    Measure,
    family="randomization",
    better="lower",
    range=(-1.0, 1.0),
    needs=("explainer",),
    explains="predicted",
    paper="adebayo2018sanity",
):
    """Base of metrics that compare the map with that of a network which knows nothing: their common options."""

    similarity: Annotated[
        Similarity,
        Doc(
            'How maps are compared: "rank" (Spearman\'s correlation), "absolute_rank" (of absolute values), "hog" '
            '(histograms of oriented gradients) or "ssim".'
        ),
    ] = "rank"
    reads: Annotated[Reading, Doc("How both maps are read before they are compared.")] = "raw"

    def compared(self, case: Case, other: Classifier, what: str) -> Scores:
        """(n,) similarity of the case's maps and those that the same method makes of the ``other`` network."""
        explainer = with_classifier(case.require("explainer"), other)
        maps = explainer.explain(case.images, case.explained)
        if not torch.isfinite(maps).all():
            raise ImageError(f"{type(explainer).__name__} gives NaN or infinite maps for {what}")
        return SIMILARITIES[self.similarity](read(case.attributions, self.reads), read(maps, self.reads))


class ParameterRandomization(AgainstAnotherNetwork, name="parameter_randomization"):
    r"""How alike the map stays when the network's layers are replaced by untrained ones.

    $$s_i = \mathrm{sim}\bigl(\phi(x; f), \phi(x; f_i)\bigr), \qquad i = 1, \dots, m$$

    with $f_i$ a copy of the network whose upper $i$ stages (cascading) or whose stage $i$ alone (independent) have been
    initialized again, and $\phi(x; f)$ the map that the method makes of $f$, always of the same class. The stages are made
    of the layers that own parameters, in the order in which the network runs them, from the logits down to the image, cut
    into $m$ runs of equally many layers; the last cascading network is wholly random. The figure of a dataset is the mean
    over images and stages.

    Rewards: maps that depend on what the network has learned.

    Fooled by: noise. A map that is different each time passes; `random`, which depends on the image alone, fails with 1
    as `center` does. Edges and smooth blobs that every map of an image has keep the similarity above 0, so compare methods
    with each other and not with 0.

    Defined: two constant maps are alike (1), a constant and another are not (0). A method that needs other fields than
    `classifier` changed (a trained explainer keeps its own weights) is measured as it is.

    A layer is initialized by its own `reset_parameters`, batch-norm statistics included; parameters whose layer has no such
    method are drawn from a normal distribution with their own mean and standard deviation. All draws depend on the
    seed and the layer alone. The network itself is never touched.

    Args:
        order: "cascading" destroys all stages from the top down to stage i, "independent" one at a time.
        n_layers: how many stages, m; null (None) for as many as there are layers with parameters.

    Source: Adebayo et al. (2018), section 3 (cascading and independent randomization).
    """

    order: Annotated[Cascade, Doc("Which stages are destroyed.")] = "cascading"
    n_layers: Annotated[int | None, AtLeast(1), Doc("Number of stages, m.")] = 5

    def score(self, case: Case) -> Tensor:
        """(n, m)."""
        with_classifier(case.require("explainer"), case.classifier)  # an error before any work is done
        others = randomized(case.classifier, self.order, self.n_layers, case.seed, case.images[:1])
        return torch.stack([self.compared(case, other, "a randomized network") for other in others], 1)

    def reduce(self, scores: Tensor) -> float:
        return float(scores.double().mean())


class LabelRandomization(AgainstAnotherNetwork, name="label_randomization"):
    r"""How alike the map is to that of the same architecture trained on permuted labels.

    $$s = \mathrm{sim}\bigl(\phi(x; f), \phi(x; f')\bigr)$$

    $f'$ has learned its training pictures by heart, each with a label drawn by lot: it knows nothing about the classes.

    Rewards: maps that depend on the relation between pictures and labels.

    Fooled by: noise, as `parameter_randomization` is; and maps that show the edges of the image, which both networks have
    learned to see, score high whatever the method knows.

    Defined: two constant maps are alike (1), a constant and another are not (0).

    Args:
        network: the network that was trained on permuted labels, as for `seewhy.load`. "shapes/cnn_permuted" belongs to
            the built-in "shapes/cnn"; `tools/train_shapes.py` shows how such a network is trained.

    Source: Adebayo et al. (2018), section 4 (data randomization).
    """

    network: Annotated[str, Doc("The network that was trained on permuted labels.")] = "shapes/cnn_permuted"

    def suits(self, classifier: Classifier) -> None:
        """SeewhyError unless ``network`` can be compared with the classifier."""
        same_kind(classifier, self.network)

    def score(self, case: Case) -> Tensor:
        return self.compared(case, same_kind(case.classifier, self.network), self.network)


def with_classifier(explainer: Explainer, classifier: Classifier) -> Explainer:
    """The same method for another network; the explainers in its fields (such as ``of``) are exchanged too."""
    kind = type(explainer).__name__
    if not is_dataclass(explainer) or "classifier" not in {f.name for f in fields(explainer)}:
        raise SeewhyError(f"{kind} has no field 'classifier' that could be exchanged for a randomized network")
    given = {f.name: getattr(explainer, f.name) for f in fields(explainer) if f.init}
    inner = {key: v for key, v in given.items() if isinstance(v, Explainer) and not isinstance(v, type)}
    changes = {key: with_classifier(method, classifier) for key, method in inner.items()}
    return cast(Explainer, replace(cast(Any, explainer), **changes, classifier=classifier))


def randomized(
    classifier: Classifier, order: Cascade, n_layers: int | None, seed: int, images: Images
) -> Iterator[Classifier]:
    """Copies of the classifier with ever more (or other) layers initialized again, from the logits down.

    A cascading copy changes when the next copy is asked for.
    """
    copy = _copy(classifier)
    names = layers_top_down(copy.module, copy.normalize(images))
    if not names:
        raise SeewhyError(f"{type(classifier.module).__name__} has no parameters that could be randomized")
    for start, end in stages(len(names), n_layers):
        if order == "independent" and start:
            copy = _copy(classifier)
        modules = dict(copy.module.named_modules())
        for i in range(start, end):
            reinitialize(modules[names[i]], names[i], seed)
        yield replace(copy)  # a new Classifier, which probes the changed network anew


def stages(n: int, n_layers: int | None) -> list[tuple[int, int]]:
    """``n`` layers in ``n_layers`` runs of nearly equal length, or one each: first and past-last index of each run."""
    m = min(n_layers or n, n)
    return list(pairwise(round(i * n / m) for i in range(m + 1)))


def reinitialize(module: nn.Module, name: str, seed: int) -> None:
    """New values for what ``module`` itself owns, in place; drawn on the CPU, so that they are the same on any device."""
    fresh = deepcopy(module).cpu()
    reset = getattr(fresh, "reset_parameters", None) or getattr(fresh, "_reset_parameters", None)
    with PROCESS_STATE, torch.no_grad(), torch.random.fork_rng(devices=[]):
        # not the seed itself: with a seed of 0 a network that was made after manual_seed(0) would get its own values again
        torch.default_generator.manual_seed(crc32(f"{name} {seed}".encode()))
        if callable(reset):
            try:
                reset()
            except Exception as error:  # the layer may be the user's own
                raise SeewhyError(f"layer {name!r} cannot be initialized again ({cause(error)})") from error
        else:
            for p in fresh.parameters(recurse=False):
                spread = float(p.double().std(correction=0)) or float(p.double().abs().mean())
                p.copy_(float(p.double().mean()) + spread * torch.randn(p.shape, dtype=torch.float32))
        owned = [(*m.parameters(recurse=False), *m.buffers(recurse=False)) for m in (module, fresh)]
        for own, new in zip(*owned, strict=True):
            own.copy_(new)


def same_kind(classifier: Classifier, name: str) -> Classifier:
    """The classifier called ``name``, on the device of ``classifier``; SeewhyError unless images, classes, layers agree."""
    from seewhy.classifier.load import load  # loads timm and the hub, which no other metric needs

    other = load(name)
    if other.n_classes != classifier.n_classes:
        raise SeewhyError(
            f"{name} has {other.n_classes} classes, the classifier explained has {classifier.n_classes}: "
            "give label_randomization network=, the same architecture trained on permuted labels"
        )
    if (len(other.mean), other.input_size) != (len(classifier.mean), classifier.input_size):
        mine, its = ("x".join(map(str, (len(c.mean), *c.input_size))) for c in (classifier, other))
        raise SeewhyError(f"{name} takes images of {its}, the classifier explained takes {mine}")
    if _shapes(other) != _shapes(classifier):
        mine, its = type(classifier.module).__name__, type(other.module).__name__
        raise SeewhyError(f"{name} is a {its} with other layers than the {mine} explained; compare the same architecture")
    like = next((p for p in classifier.module.parameters() if p.is_floating_point()), None)
    if like is not None:
        other.module.to(like)
    return replace(other, feature_layer=_layer(classifier))


def _shapes(classifier: Classifier) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in classifier.module.state_dict().items()}


def _layer(classifier: Classifier) -> str | None:
    """The layer that CAM methods read in the explained network: in another network they must read the same layer."""
    try:
        return classifier.layer
    except SeewhyError:
        return None


def _copy(classifier: Classifier) -> Classifier:
    try:
        with turn(classifier.module):  # hooks of another thread would be copied too
            module = deepcopy(classifier.module)
    except Exception as error:  # a network may hold what cannot be copied
        raise SeewhyError(f"{type(classifier.module).__name__} cannot be copied ({cause(error)})") from error
    return replace(classifier, module=module, feature_layer=_layer(classifier))
