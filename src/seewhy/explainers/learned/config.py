"""``config.json`` of the folder of a learned explainer: what was learned, how, and for which network."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from seewhy.classifier.borrow import find_layer
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.identity import ExplainedNetwork, explained_network
from seewhy.errors import SeewhyError, cause
from seewhy.explainers.base import EXPLAINERS
from seewhy.explainers.learned.learned_explainer import LearnedExplainer
from seewhy.files import did_you_mean_file
from seewhy.json_files import read_json, typed
from seewhy.options import AtLeast
from seewhy.registry import did_you_mean

FOLDER_SCHEMA = 1
"""Version of the folder. A folder of a later version is not read."""
CONFIG = "config.json"


@dataclass(frozen=True)
class ExplainerConfig:
    """The content of ``config.json``.

    schema      version of the folder
    method      name in the registry
    options     of the method
    explained   the network that the explainer was trained for
    network     kind of the trained network
    weights     digest of what is in ``model.safetensors``
    parameters  number of the trained weights
    card        data, settings, seconds of the training, held-out scores, license, and what else was said
    versions    of the packages that have written the folder
    """

    schema: int
    method: str
    options: dict[str, Any]
    explained: ExplainedNetwork
    network: str
    weights: str
    parameters: Annotated[int, AtLeast(0)] = 0
    card: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def read_explainer_config(folder: str | Path) -> ExplainerConfig:
    """The ``config.json`` of a folder; SeewhyError where it is missing, damaged, of a later version or no explainer's."""
    folder = Path(folder)
    file = folder / CONFIG
    try:
        found = read_json(file)
    except (FileNotFoundError, NotADirectoryError):
        what = f"{folder} holds no explainer, it has no {CONFIG}" if folder.is_dir() else f"there is no folder {folder}"
        raise SeewhyError(f"{what}: seewhy fit --out writes one{did_you_mean_file(folder)}") from None
    except (OSError, ValueError) as error:
        raise SeewhyError(f"{file} cannot be read ({cause(error)}): give another folder") from None
    schema = found.get("schema") if isinstance(found, dict) else None
    if isinstance(schema, int) and schema > FOLDER_SCHEMA:
        raise SeewhyError(
            f"{folder} is of a later version (schema {schema}, this version reads {FOLDER_SCHEMA}): update seewhy"
        )
    if schema != FOLDER_SCHEMA or "explained" not in found:
        raise SeewhyError(f"{folder} holds no learned explainer of seewhy: give a folder that seewhy fit has written")
    try:
        config: ExplainerConfig = typed(ExplainerConfig, found, CONFIG)
        if len(config.explained.input_size) != 2 or len(config.explained.mean) != len(config.explained.std):
            raise ValueError("explained has an input_size, mean or std of another length")
        if len(config.explained.classes) not in (0, config.explained.n_classes):
            raise ValueError(f"explained has {len(config.explained.classes)} names for {config.explained.n_classes} classes")
    except ValueError as error:
        raise SeewhyError(f"{file} is damaged ({error}): give another folder") from None
    return config


def method_of(config: ExplainerConfig, folder: str | Path) -> type[LearnedExplainer]:
    """The class of the method; SeewhyError for a method that is unknown here, or that is not learned."""
    name = config.method
    if name not in EXPLAINERS:
        hint = did_you_mean(name, EXPLAINERS)
        raise SeewhyError(f"{folder} holds an explainer of the method {name!r}, which is unknown here.{hint}")
    kind = EXPLAINERS[name]
    if not (isinstance(kind, type) and issubclass(kind, LearnedExplainer)):
        raise SeewhyError(f"{folder} holds an explainer of the method {name!r}, which is not learned")
    return kind


def must_be_the_network(config: ExplainerConfig, classifier: Classifier, folder: str | Path, any_weights: bool) -> None:
    """SeewhyError for a classifier for which the explainer was not trained. ``any_weights``: other weights will do."""
    there = config.explained
    if classifier.n_classes != there.n_classes:
        raise SeewhyError(
            f"{folder} explains {there.n_classes} classes of {there.module}, and this network has {classifier.n_classes}"
        )
    for layer in there.layers:
        try:
            find_layer(classifier.module, layer)
        except SeewhyError as error:
            raise SeewhyError(f"{folder} was trained for {there.module} and reads its layers: {error}") from None
    if any_weights:
        return
    if different := there.difference(explained_network(classifier, there.layers)):
        raise SeewhyError(
            f"{folder} was trained for another network: this {type(classifier.module).__name__} has {different}; give "
            "any_weights=true where that is meant so"
        )
