"""A learned explainer as a folder: ``config.json``, ``model.safetensors`` and ``README.md``, its card.

The folder says for which network the explainer was trained. It is read without pickle, and nothing in it is executed.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as as_safetensors
from torch import Tensor, nn

from seewhy.classifier.absent import AbsentClassifier, NoNetwork
from seewhy.classifier.checkpoint import Found, put_weights
from seewhy.classifier.classifier import Classifier, must_be_classifier
from seewhy.classifier.identity import explained_network
from seewhy.describe import as_json, state_digest
from seewhy.errors import SeewhyError, SeewhyWarning, cause
from seewhy.explainers.base import EXPLAINERS, Explainer
from seewhy.explainers.learned.card import model_card
from seewhy.explainers.learned.config import (
    CONFIG,
    FOLDER_SCHEMA,
    ExplainerConfig,
    method_of,
    must_be_the_network,
    read_explainer_config,
)
from seewhy.explainers.learned.learned_explainer import LearnedExplainer
from seewhy.files import is_directory, staged, write_atomically, write_json, write_text
from seewhy.options import NETWORKS, build, described

WEIGHTS, CARD = "model.safetensors", "README.md"
OPTION = "options."
"""How the names of tensors of options begin in ``model.safetensors``."""
HUB = "hf/"
"""How the name of an explainer on the hub begins: hf/OWNER/NAME."""
MAX_LABEL = 36
"""Letters of a label, which may have four bytes each."""
SHIPPED = "shipped"
"""The folder, beside this file, of the explainers that come with the package."""


# -- out --------------------------------------------------------------------------------------------------------------


def save_explainer(
    explainer: Explainer | LearnedExplainer, folder: str | Path, card: Mapping[str, object] | None = None, half: bool = False
) -> Path:
    """Write a trained explainer into a folder, which ``load_explainer`` reads. Returns the folder.

    Other files in the folder stay. The three files are written whole, or the folder stays as it was.

    Args:
        explainer: a learned explainer, trained.
        folder: is made where it does not exist.
        card: what a reader should know, as JSON: ``data``, ``settings``, ``seconds`` of the training, ``scores`` on held-out
            images, ``license``, and anything else.
        half: keep the weights in half precision, which makes the file half as large.

    Raises:
        SeewhyError: the explainer is not learned or not trained, or the folder cannot be written.
    """
    if not isinstance(explainer, LearnedExplainer):
        raise SeewhyError(f"{EXPLAINERS.name_of(type(explainer))} is not learned: it has no weights to save, only options")
    folder, network = Path(folder), explainer.ready
    values = {f.name: getattr(explainer, f.name) for f in fields(explainer) if f.name not in NETWORKS}
    state = {name: _stored(tensor, half) for name, tensor in network.state_dict().items()}
    state |= {OPTION + name: _stored(value, False) for name, value in values.items() if isinstance(value, Tensor)}
    config = ExplainerConfig(
        schema=FOLDER_SCHEMA,
        method=EXPLAINERS.name_of(type(explainer)),
        options={name: as_json(value) for name, value in values.items() if not isinstance(value, Tensor)},
        explained=explained_network(explainer.classifier, explainer.layers),
        network=type(network).__name__,
        weights=state_digest(state),
        parameters=sum(p.numel() for p in network.parameters()),
        card=cast(dict[str, Any], as_json(dict(card or {}))),
        versions={package: version(package) for package in ("seewhy", "torch")},
    )
    with staged(folder) as staging:
        write_atomically(staging / WEIGHTS, lambda content: content.write(as_safetensors(state)))
        write_text(staging / CARD, model_card(config, type(explainer), folder.resolve().name))
        write_json(staging / CONFIG, asdict(config))
    return folder


def _stored(tensor: Tensor, half: bool) -> Tensor:
    """A copy that shares no memory with another tensor, as the file needs it."""
    kept = tensor.detach().cpu().contiguous().clone()
    return kept.half() if half and kept.is_floating_point() else kept


# -- in ---------------------------------------------------------------------------------------------------------------


def load_explainer(
    folder: str | Path, classifier: Classifier | None = None, *, any_weights: bool = False, **options: object
) -> LearnedExplainer:
    """The trained explainer that a folder holds, for the classifier that it was trained for.

    Args:
        folder: that ``save_explainer`` or ``seewhy fit`` has written, or "hf/OWNER/NAME" on the hub.
        classifier: the network that was explained in the training. None where it is not at hand: an explainer with a network
            of its own needs only the pictures.
        any_weights: take a classifier with other weights or another preprocessing than that of the training.
        options: that matter when explaining, such as ``batch_size``; all others are those of the training.

    Raises:
        SeewhyError: there is no such folder, it is damaged, of a later version, or of an unknown method; the classifier is
            another one; an option belongs to the training.
    """
    if classifier is not None:
        must_be_classifier(classifier)
    folder = folder_of(folder)
    config = read_explainer_config(folder)
    kind = method_of(config, folder)
    _must_be_free(config, kind, options, folder)
    if classifier is None:
        classifier = _stand_in(config, folder)
    else:
        must_be_the_network(config, classifier, folder, any_weights)
        if list(classifier.input_size) != config.explained.input_size:
            there, here = (" x ".join(map(str, size)) for size in (config.explained.input_size, classifier.input_size))
            warnings.warn(f"{folder} was trained on images of {there} pixels, not {here}", SeewhyWarning, stacklevel=2)
    state = _read_weights(config, folder)
    tensors = {name.removeprefix(OPTION): tensor for name, tensor in state.items() if name.startswith(OPTION)}
    known = {option.name for option in described(kind)}
    if unknown := sorted({*config.options, *tensors} - known):
        raise SeewhyError(f"{folder} has an option {unknown[0]!r}, which {config.method} does not have: update seewhy")
    try:
        made = build(EXPLAINERS, config.method, classifier, **{**config.options, **tensors, **options})
    except SeewhyError as error:
        raise SeewhyError(f"{folder / CONFIG} does not go together with this seewhy: {error}") from None
    weights = {name: tensor for name, tensor in state.items() if not name.startswith(OPTION)}
    return cast(LearnedExplainer, replace(made, network=_with_weights(made, weights, config, folder)))


def _must_be_free(config: ExplainerConfig, kind: type[LearnedExplainer], options: Iterable[str], folder: Path) -> None:
    """SeewhyError for an option that only the training reads: it cannot be changed any more."""
    free = when_explaining(kind)
    for name in options:
        if name not in free:
            raise SeewhyError(
                f"{folder.name} is trained: it takes no option {name!r}, which belongs to the training; it takes "
                f"{', '.join(free)}; seewhy fit {config.method} trains another one"
            )


def when_explaining(kind: type[LearnedExplainer]) -> list[str]:
    """The options of a trained explainer that may still be chosen, in the order of its fields."""
    return [option.name for option in described(kind) if option.name in kind.when_explaining]


def _stand_in(config: ExplainerConfig, folder: Path) -> AbsentClassifier:
    """The classifier of the training without its network; SeewhyError where the explainer reads features of it."""
    there = config.explained
    if there.layers:
        raise SeewhyError(
            f"{folder} reads the features of {there.module} ({', '.join(there.layers)}): give the classifier (--model)"
        )
    return AbsentClassifier(
        NoNetwork(there.module),
        mean=tuple(there.mean),
        std=tuple(there.std),
        input_size=(there.input_size[0], there.input_size[1]),
        classes=tuple(there.classes) or tuple(f"class {i}" for i in range(there.n_classes)),
        multilabel=there.multilabel,
        outputs="logits",
    )


def _read_weights(config: ExplainerConfig, folder: Path) -> dict[str, Tensor]:
    """The tensors of ``model.safetensors``; SeewhyError where they are damaged, or not those of ``config.json``."""
    file = folder / WEIGHTS
    try:
        state: dict[str, Tensor] = load_file(file)
    except FileNotFoundError:
        raise SeewhyError(f"{folder} has no {WEIGHTS}: it is not complete, give another folder") from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, MemoryError) as error:  # of broken bytes
        raise SeewhyError(f"{file} is no safetensors file, or is cut off ({cause(error)}): give another folder") from None
    if state_digest(state) != config.weights:
        raise SeewhyError(f"{file} is not that of {CONFIG} beside it: one of them is damaged or of another training")
    return state


def _with_weights(made: LearnedExplainer, state: dict[str, Tensor], config: ExplainerConfig, folder: Path) -> nn.Module:
    """The network of the method with the weights of the file, in eval mode."""
    try:
        network = replace(made, **cast(dict[str, Any], made.without_download)).untrained().ready
    except SeewhyError:
        raise
    except Exception as error:  # the options come from a file, and may ask for a network that cannot be
        raise SeewhyError(f"the network of {folder} cannot be made ({cause(error)}): give another folder") from None
    if list(network.layers) != config.explained.layers:  # type: ignore[arg-type]
        raise SeewhyError(f"{folder} reads other layers than {config.method} with these options: it is damaged")
    put_weights(network, Found(folder / WEIGHTS, state, "", False))
    device = next((t.device for t in made.classifier.module.parameters()), torch.device("cpu"))
    return network.to(device).eval()


# -- by name ----------------------------------------------------------------------------------------------------------


def is_folder(name: str) -> bool:
    """Does ``name`` speak of a folder, or of an explainer on the hub, and not of a method? A path need not exist."""
    return name not in EXPLAINERS and ("/" in name or "\\" in name or is_directory(name))


def folder_of(name: str | Path) -> Path:
    """The folder itself; of "hf/OWNER/NAME" that into which its files are downloaded, unless there is such a folder."""
    if not str(name).startswith(HUB) or is_directory(name):
        return Path(name)
    from seewhy.explainers.learned.hub import pulled

    return pulled(str(name).removeprefix(HUB))


def folder_labels(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """A label for each folder of an explainer: its own name, which can stand in tables and as the name of files.

    Of several folders with the same name, and where the name is ``taken``, the label begins with the folder above.
    """
    places = {name: Path(name).resolve() for name in names}
    used = Counter([place.name for place in places.values()] + list(taken))
    labels: dict[str, str] = {}
    for name, place in places.items():
        wanted = place.name if used[place.name] == 1 else f"{place.parent.name}-{place.name}"
        clean = (
            "".join(letter if letter.isprintable() and letter != "\\" else "_" for letter in wanted)[:MAX_LABEL]
            or "explainer"
        )
        several = (clean, *(f"{clean}-{i}" for i in range(2, len(places) + 2)))
        labels[name] = next(label for label in several if label not in (*labels.values(), *taken))
    return labels


def kind_in(folder: str | Path) -> type[LearnedExplainer]:
    """The method of the explainer that a folder holds, or a repository on the hub. SeewhyError as ``load_explainer`` has."""
    return method_of(read_explainer_config(folder_of(folder)), folder)


def shipped(method: str, classifier: Classifier, options: Mapping[str, object]) -> Path | None:
    """The folder of an explainer that comes with the package and was trained for this classifier.

    None where there is none, or where ``options`` asks for another training.
    """
    kind = type(classifier.module).__name__
    for folder, config in _all_shipped():
        if config.method == method and config.explained.module == kind:
            asked = {key: as_json(v) for key, v in options.items() if key not in when_explaining(method_of(config, folder))}
            same = all(key in config.options and config.options[key] == value for key, value in asked.items())
            if same and not config.explained.difference(explained_network(classifier, config.explained.layers)):
                return folder
    return None


@cache
def _all_shipped() -> list[tuple[Path, ExplainerConfig]]:
    folder = Path(str(files("seewhy.explainers.learned"))) / SHIPPED
    return [(path, read_explainer_config(path)) for path in sorted(folder.glob("*")) if (path / CONFIG).is_file()]
