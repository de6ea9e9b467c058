"""A surrogate: a copy of the classifier that was trained to say the same of partly removed images. It is a value function.

Its folder has ``surrogate.json`` and ``model.safetensors``. It is read without pickle, and nothing in it is executed.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import torch
from jaxtyping import Bool
from safetensors import SafetensorError
from safetensors.torch import load as safetensors_in
from safetensors.torch import save as in_safetensors
from torch import Tensor

from seewhy.classifier.checkpoint import Found, put_weights
from seewhy.classifier.classifier import Classifier, must_be_classifier
from seewhy.classifier.identity import ExplainedNetwork, explained_network
from seewhy.classifier.patch_embedding import patch_sides
from seewhy.describe import as_json, state_digest
from seewhy.errors import SeewhyError, UnsuitedError, cause
from seewhy.files import did_you_mean_file, is_directory, staged, write_atomically, write_json
from seewhy.json_files import read_json, typed
from seewhy.masking.baselines import Baseline, baseline_images
from seewhy.masking.players import Players, divide
from seewhy.masking.tokens import Removal, must_remove, network_grid, network_patches, owners, value_of
from seewhy.masking.values import Game
from seewhy.options import AtLeast
from seewhy.types import Images, Logits

AnyRemoval = Literal["auto", "pixels", "tokens", "mask_tokens"]
"""As ``Removal``; "auto" is tokens where the network can drop all of its patches, and pixels in any other network."""

SURROGATE, SURROGATE_WEIGHTS = "surrogate.json", "model.safetensors"
SURROGATE_SCHEMA = 1
"""Version of the folder. A folder of another version is not read."""
LEAST_PATCH, PATCHES_ALONG = 8, 14
"""Of blanked pixels, where no size is given: the side of a patch is a 14th of the shorter side, and at least 8 pixels."""


@dataclass(frozen=True)
class Surrogate:
    """A network, and how players are removed from its images: v(S) is the network on the players of S.

    Args:
        classifier: the network that is run: the surrogate's own, or the explained network itself.
        removal: see ``Removal``.
        baseline: what removed pixels become.
        size: side of a patch in pixels; 0 for the patches of the network, where these are removed.
    """

    classifier: Classifier
    removal: Removal = "pixels"
    baseline: Baseline | float = "mean_color"
    size: int = 16

    @classmethod
    def of(
        cls,
        classifier: Classifier,
        removal: AnyRemoval = "auto",
        size: int = 0,
        baseline: Baseline | float = "mean_color",
    ) -> "Surrogate":
        """The surrogate with a removal and players that suit the network, where they are not given.

        SeewhyError where players of this size cannot be removed; UnsuitedError where the network is the reason.
        """
        chosen = _removal_of(classifier) if removal == "auto" else removal
        if chosen == "pixels":
            size = size or max(LEAST_PATCH, min(classifier.input_size) // PATCHES_ALONG)
        must_remove(classifier, chosen, size=size or None)
        return cls(classifier, chosen, baseline, size)

    def __call__(self, images: Images, players: Players) -> Game:
        """The game of these images, without a graph."""
        return value_of(self.removal, self.classifier, self.baseline)(images, players)

    def options(self) -> dict[str, object]:
        """The options with which a method that removes patches removes them as the surrogate does, on its ``classifier``.

        Windows of occlusion are of one patch.
        """
        classifier, side = self.classifier, self.size
        if not side:
            image = classifier.to_device(torch.zeros(1, len(classifier.mean), *classifier.input_size))
            side = patch_sides(network_grid(self.removal, classifier, image), classifier.input_size)[0]
        players = {"players": "patches", "size": side, "window": side, "stride": side}
        return {"removal": self.removal, "baseline": self.baseline, **players}

    def players(self, images: Images) -> Players:
        """The players of the training: the patches of the network, or patches of ``size`` pixels."""
        if self.size == 0 and self.removal != "pixels":
            return network_patches(self.removal, self.classifier, images)
        return divide(images, "patches", self.size)

    def logits(self, images: Images, kept: Bool[Tensor, "n p"]) -> Logits:
        """Logits (n, k) of one set of ``players`` for each image, with gradients to the network's weights if grad is on.

        The network is in eval mode: it has no dropout, and batch normalization keeps its statistics. So the images of a
        batch do not change each other's logits. With dropped tokens, two sets share a row where their sizes add up to no
        more than all players (see ``classifier.token_dropping``).
        """
        players, classifier = self.players(images), self.classifier
        if self.removal == "pixels":
            removed = baseline_images(self.baseline, classifier, images)
            mask = players.pixels(torch.arange(len(images), device=images.device), kept)[:, None]
            return classifier.logits(classifier.fast_layout(torch.where(mask, images, removed)))
        if self.removal == "tokens":
            return classifier.kept_logits(images, kept.gather(1, owners(players, classifier.patch_grid(images))))
        return classifier.masked_logits(images, kept.gather(1, owners(players, classifier.embedding_grid(images))))


def _removal_of(classifier: Classifier) -> Removal:
    """Tokens where the network can drop all of its patches; a head that reads patches has no answer without any."""
    try:
        return "tokens" if classifier.token_dropping.head_reads_prefix else "pixels"
    except UnsuitedError:
        return "pixels"


# -- the folder -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SurrogateConfig:
    """The content of ``surrogate.json``.

    schema     version of the folder
    removal    what "removed" means
    size       side of a patch in pixels; 0 for the patches of the network
    baseline   what removed pixels become
    explained  the network whose predictions the surrogate has learned
    weights    digest of what is in ``model.safetensors``
    card       data, settings, seconds of the training, held-out scores, and what else was said
    versions   of the packages that have written the folder
    """

    schema: int
    removal: str
    size: Annotated[int, AtLeast(0)]
    baseline: Any
    explained: ExplainedNetwork
    weights: str
    card: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def save_surrogate(
    surrogate: Surrogate, explained: Classifier, folder: str | Path, card: Mapping[str, object] | None = None
) -> Path:
    """Write a surrogate into a folder, which ``load_surrogate`` reads. Returns the folder; other files in it stay.

    Args:
        surrogate: its network has the form of the explained network.
        explained: the classifier whose predictions it has learned.
        folder: is made where it does not exist.
        card: what a reader should know, as JSON.
    """
    state = {name: t.detach().cpu().contiguous().clone() for name, t in surrogate.classifier.module.state_dict().items()}
    config = SurrogateConfig(
        schema=SURROGATE_SCHEMA,
        removal=surrogate.removal,
        size=surrogate.size,
        baseline=surrogate.baseline,
        explained=explained_network(explained, ()),
        weights=state_digest(state),
        card=cast(dict[str, Any], as_json(dict(card or {}))),
        versions={package: version(package) for package in ("seewhy", "torch")},
    )
    folder = Path(folder)
    with staged(folder) as staging:
        write_atomically(staging / SURROGATE_WEIGHTS, lambda content: content.write(in_safetensors(state)))
        write_json(staging / SURROGATE, asdict(config))
    return folder


def load_surrogate(
    spec: str | Path,
    classifier: Classifier,
    removal: AnyRemoval = "auto",
    size: int = 0,
    baseline: Baseline | float | None = None,
) -> Surrogate:
    """The surrogate of a classifier: a value function, and in ``.classifier`` a classifier of its own.

    Args:
        spec: a run folder of ``seewhy fit surrogate``; or the name of a network with the same classes, such as
            "shapes/vit_surrogate"; or "" for the classifier itself, which was not trained on partly removed images.
        classifier: the network that is explained.
        removal, size, baseline: as of ``Surrogate.of``. A folder has them of its training, and takes no others.

    Raises:
        SeewhyError: there is no such folder or network, the folder is damaged, or it belongs to another network.
        UnsuitedError: the network cannot remove players in this way.
    """
    must_be_classifier(classifier)
    usual: Baseline | float = "mean_color" if baseline is None else baseline
    if not str(spec):
        return Surrogate.of(classifier, removal, size, usual)
    if is_directory(spec):
        found = _read(Path(spec), classifier)
        wanted = {
            "removal": found.removal if removal == "auto" else removal,
            "size": size or found.size,
            "baseline": found.baseline if baseline is None else baseline,
        }
        for name, value in wanted.items():
            if value != (own := getattr(found, name)):
                raise SeewhyError(f"the surrogate {spec} was trained with {name}={own}, so it takes no {name}={value}")
        return found
    from seewhy.classifier.load import load  # the sources of networks: they are many, and seldom needed here
    from seewhy.classifier.sources import MODELS

    if str(spec).partition("/")[0] not in MODELS:
        raise SeewhyError(f"there is no folder {spec}: seewhy fit surrogate --out writes one{did_you_mean_file(spec)}")
    network = load(str(spec))
    if network.n_classes != classifier.n_classes or (network.classes and network.classes != classifier.classes):
        raise SeewhyError(f"{spec} has other classes than the network that is explained, so it is no surrogate of it")
    network.module.to(next((t.device for t in classifier.module.parameters()), torch.device("cpu")))
    return Surrogate.of(network, removal, size, usual)


def is_surrogate(folder: str | Path) -> bool:
    """Does the folder hold a surrogate?"""
    return is_directory(folder) and (Path(folder) / SURROGATE).is_file()


def _read(folder: Path, classifier: Classifier) -> Surrogate:
    """The surrogate in a folder, for the classifier whose predictions it has learned."""
    config = _read_config(folder)
    if different := config.explained.difference(explained_network(classifier, ())):
        kind = config.explained.module
        raise SeewhyError(
            f"the surrogate {folder} was trained for another network, a {kind}: this {type(classifier.module).__name__} "
            f"has {different}"
        )
    file = folder / SURROGATE_WEIGHTS
    try:
        state = safetensors_in(file.read_bytes())
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:  # of a missing file, or of broken bytes
        raise SeewhyError(f"{file} cannot be read ({cause(error)}): give another folder") from None
    if state_digest(state) != config.weights:
        raise SeewhyError(f"{file} is not that of {SURROGATE} beside it: one of them is damaged or of another training")
    module = deepcopy(classifier.module)
    put_weights(module, Found(file, state, "", False))
    own = replace(classifier, module=module.eval())
    return Surrogate(own, cast(Removal, config.removal), config.baseline, config.size)


def _read_config(folder: Path) -> SurrogateConfig:
    """``surrogate.json``; SeewhyError where it is missing, damaged or of another version."""
    file = folder / SURROGATE
    try:
        found = read_json(file)
    except FileNotFoundError:
        raise SeewhyError(f"{folder} holds no surrogate, it has no {SURROGATE}: seewhy fit surrogate writes one") from None
    except (OSError, ValueError) as error:
        raise SeewhyError(f"{file} cannot be read ({cause(error)}): give another folder") from None
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SURROGATE_SCHEMA:
        raise SeewhyError(f"{folder} is of another version (schema {schema}, this one reads {SURROGATE_SCHEMA})")
    try:
        config: SurrogateConfig = typed(SurrogateConfig, found, SURROGATE)
        gray = isinstance(config.baseline, int | float) and 0 <= config.baseline <= 1
        if config.removal not in get_args(Removal) or not (gray or config.baseline in get_args(Baseline)):
            raise ValueError(f"removal is {config.removal!r}, and baseline {config.baseline!r}")
        if config.removal == "pixels" and config.size < 1:
            raise ValueError("size is 0")
    except ValueError as error:
        raise SeewhyError(f"{file} is damaged ({error}): give another folder") from None
    return config
