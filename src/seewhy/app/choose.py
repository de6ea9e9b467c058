"""Explainers and metrics as the command line names them: NAME, NAME:key=value,... or "all".

An explainer may also be named by the folder of a learned one, FOLDER or FOLDER:key=value,...
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from seewhy.errors import SeewhyError, UnsuitedError, UntrainedError
from seewhy.files import is_directory
from seewhy.options import described, from_text, pairs
from seewhy.registry import Registry, did_you_mean

if TYPE_CHECKING:
    from seewhy.classifier.classifier import Classifier
    from seewhy.explainers import Explainer
    from seewhy.masking.surrogate import Surrogate
    from seewhy.metrics import Metric
    from seewhy.metrics.base import Need

T = TypeVar("T")
Chosen = tuple[dict[str, T], list[str]]


UNTRAINED = "learned, and not trained for this network: seewhy fit METHOD trains one, and --explainer takes its folder"
"""Why "all" leaves learned methods out."""


def choose(
    names: Sequence[str],
    classifier: "Classifier | None",
    options: Mapping[str, str],
    surrogate: "Surrogate | None" = None,
) -> "Chosen[Explainer]":
    """The named explainers, each with those of the ``options`` that it has, and why others were left out.

    "all" stands for every explainer that is defined for the network, and trained for it if it is learned. The folder of a
    learned explainer gets its own name as label. Without a ``classifier`` only folders can be chosen, of explainers with a
    network of their own. Methods that remove players ask the ``surrogate``, where there is one, and "surrogate" is in their
    label.
    """
    from seewhy.explainers import EXPLAINERS, explainer
    from seewhy.explainers.learned.folder import folder_labels, is_folder, kind_in, load_explainer, shipped
    from seewhy.explainers.learned.learned_explainer import LearnedExplainer

    split = {text: _name_and_options(text) for text in names}
    folders = {name for name, _ in split.values() if name != "all" and is_folder(name)}
    if classifier is None and (others := [name for name, _ in split.values() if name not in folders]):
        raise SeewhyError(f"{others[0]} explains a network: give --model")

    def make(name: str, own: Mapping[str, Any]) -> "Explainer":
        if classifier is None:
            return load_explainer(name, **own)
        learned = name not in folders and issubclass(kind := cast(Any, EXPLAINERS[name]), LearnedExplainer)
        if learned and shipped(name, classifier, own) is None:
            _ = kind(classifier, **own).ready  # raises: it is not trained, whatever else may not suit the network
        if (
            surrogate is not None
            and name not in folders
            and "removal" in (known := _free_options(cast(Any, EXPLAINERS[name])))
        ):
            usual = {key: value for key, value in surrogate.options().items() if key in known}
            return explainer(name, surrogate.classifier, **{**usual, **own})
        return explainer(name, classifier, **own)

    kinds = {name: kind_in(name) for name in sorted(folders)}
    labels = folder_labels(kinds, [name for name, _ in split.values() if name not in folders])
    chosen, left_out = _choose(
        EXPLAINERS, names, options, make, folders={name: (kinds[name], labels[name]) for name in kinds}
    )
    if surrogate is None:
        return chosen, left_out
    asks = {label for label, method in chosen.items() if getattr(method, "classifier", None) is surrogate.classifier}
    if not asks:
        raise SeewhyError(f"{', '.join(chosen)} removes no parts of an image, so --surrogate has no effect: leave it out")
    marked = {label: f"{label}{',' if ':' in label else ':'}surrogate" if label in asks else label for label in chosen}
    return {marked[label]: method for label, method in chosen.items()}, left_out


def without_network(names: Sequence[str], options: Mapping[str, str]) -> "tuple[dict[str, Explainer], Classifier]":
    """Explainers with a network of their own, and the classes and the preprocessing of the classifier that is not there.

    SeewhyError unless all of them were trained for the same classes and the same images.
    """
    if not names:
        raise SeewhyError("give --model NAME; or --explainer FOLDER, of an explainer with a network of its own")
    chosen, _ = choose(names, None, options)
    classifiers: list[Any] = [getattr(method, "classifier", None) for method in chosen.values()]
    if len({(c.classes, c.input_size, c.mean) for c in classifiers}) > 1:
        raise SeewhyError(f"{' and '.join(chosen)} were trained for different classes or images: give one at a time")
    return chosen, classifiers[0]


def _name_and_options(text: str) -> tuple[str, str]:
    """The name in "NAME:key=value,...", and the options. The path of a folder may hold a colon itself."""
    if is_directory(text):
        return text, ""
    with_options = re.match(r"(.*?):(\w+=.*)", text, flags=re.DOTALL)
    name, own = with_options.groups() if with_options else text.partition(":")[::2]
    return name, own


def choose_metrics(
    names: Sequence[str],
    options: Mapping[str, str],
    given: "Iterable[Need]",
    classifier: "Classifier | None" = None,
    surrogate: "Surrogate | None" = None,
) -> "Chosen[Metric]":
    """The named metrics, each with those of the ``options`` that it has, and why others were left out.

    "all" stands for every metric that needs no more than what is ``given`` and suits the classifier, or the surrogate that
    takes its place where players are removed.
    """
    from seewhy.masking.tokens import must_remove
    from seewhy.metrics import METRICS, metric
    from seewhy.metrics.base import NEEDS

    def make(name: str, own: Mapping[str, object]) -> "Metric":
        made = metric(name, **own)
        try:
            players = getattr(made, "players", None) if hasattr(made, "removal") else None
            if surrogate is not None and players is not None:  # it removes them in its own way, and has players for pixels
                if players != "pixels":
                    must_remove(surrogate.classifier, surrogate.removal, players, getattr(made, "size", 0) or None)
            elif classifier is not None and hasattr(made, "suits"):
                made.suits(classifier)
        except SeewhyError as error:
            raise UnsuitedError(f"{name}: {error}") from None
        return made

    def lack(kind: "type[Metric]") -> str:
        missing = [NEEDS[need] for need in kind.needs if need not in given]
        return f"needs {' and '.join(missing)}" if missing else ""

    return _choose(METRICS, names, options, make, lack)


def _choose(
    registry: Registry[Any],
    names: Sequence[str],
    options: Mapping[str, str],
    make: Callable[[str, Mapping[str, object]], T],
    lack: Callable[[Any], str] = lambda _: "",
    folders: Mapping[str, tuple[Any, str]] | None = None,
) -> Chosen[T]:
    """What ``names`` name, made with options of their own and with those of ``options``, as text, that they have.

    A name with options of its own, "opti_cam:steps=50,learning_rate=0.3", keeps them as its name, and so does one with a
    removal of other things than pixels. Of "all" is left out
    what lacks something, what cannot be imported and what does not suit the network. ``folders`` has the kind and the label
    of names that are folders.

    Raises:
        SeewhyError: an unknown name, an option that nothing named has, or a value that an option does not take.
    """
    wanted: dict[str, tuple[str, dict[str, str]]] = {}
    left_out = registry.problems() if "all" in names else []
    labels = {name: label for name, (_, label) in (folders or {}).items()}
    kinds = {name: kind for name, (kind, _) in (folders or {}).items()}
    for text in names:
        name, own = _name_and_options(text)
        if name != "all":
            if name not in kinds:
                if name not in registry and "," in name:
                    raise SeewhyError(
                        f"{name!r} is no {registry.kind}: give --{registry.kind} again for each of several, "
                        + " ".join(f"--{registry.kind} {part.strip()}" for part in name.split(","))
                    )
                kinds[name] = registry[name]  # an unknown name is said before anything else
            wanted[text] = (name, pairs(_parts(own)))
            continue
        for one, kind in registry.items():
            if missing := lack(kind):
                left_out.append(f"{one} {missing}")
            else:
                wanted.setdefault(one, (one, {}))
                kinds[one] = kind
    known = {name: _free_options(kinds[name]) for name, _ in wanted.values()}
    every = sorted(set().union(*known.values()))
    if unknown := [option for option in options if option not in every]:
        listed, hint = ", ".join(every) or "none", did_you_mean(unknown[0], every)
        raise SeewhyError(f"no option {unknown[0]!r} in {', '.join(known)}.{hint} Options: {listed}")
    chosen: dict[str, T] = {}
    unsuited: dict[str, list[str]] = {}
    for asked, (name, own_options) in wanted.items():
        label = labels.get(name, name) + asked.removeprefix(name)
        shared = {key: text for key, text in options.items() if key in known[name]}
        values = from_text(kinds[name], {**shared, **own_options})
        removal = shared.get("removal", "pixels")
        if removal != "pixels" and "removal" not in own_options:  # numbers that differ in it have other names
            label += f"{':' if label == name else ','}removal={removal}"
        try:
            chosen[label] = make(name, values)
        except UnsuitedError as error:
            if asked in names:
                raise
            reason = UNTRAINED if isinstance(error, UntrainedError) else str(error)
            unsuited.setdefault(reason, []).append(label)
    for reason, of in unsuited.items():  # a line for each reason; many already begin with the name
        named = reason.startswith((f"{of[0]} ", f"{of[0]}: "))
        left_out.append(reason if named else f"{', '.join(of)}: {reason}")
    return chosen, left_out


def _free_options(kind: type[Any]) -> set[str]:
    """The options of a method that may be chosen for all methods at once: of a trained one not those of its training."""
    if getattr(kind, "family", "") == "learned" and hasattr(kind, "when_explaining"):
        return {*kind.when_explaining}
    return {option.name for option in described(kind)}


def _parts(text: str) -> list[str]:
    """Options as they are written, "a=1,b=[2,3]": a comma that no option follows belongs to the value before it."""
    parts: list[str] = []
    for part in text.split(",") if text else []:
        if "=" in part or not parts:
            parts.append(part)
        else:
            parts[-1] += "," + part
    return parts
