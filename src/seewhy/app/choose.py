"""Explainers and metrics as the command line names them: NAME, NAME:key=value,... or "all"."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.options import described, from_text, pairs
from seewhy.registry import Registry, did_you_mean

if TYPE_CHECKING:
    from seewhy.classifier.classifier import Classifier
    from seewhy.explainers import Explainer
    from seewhy.metrics import Metric
    from seewhy.metrics.base import Need

T = TypeVar("T")
Chosen = tuple[dict[str, T], list[str]]


def choose(names: Sequence[str], classifier: "Classifier", options: Mapping[str, str]) -> "Chosen[Explainer]":
    """The named explainers, each with those of the ``options`` that it has, and why others were left out.

    "all" stands for every explainer that is defined for the network.
    """
    from seewhy.explainers import EXPLAINERS, explainer

    for name in (text.partition(":")[0] for text in names):
        if name not in EXPLAINERS and "," in name:
            raise SeewhyError(f"{name!r} is no explainer: give --explainer again for each of several")
    return _choose(EXPLAINERS, names, options, lambda name, own: explainer(name, classifier, **own))


def choose_metrics(
    names: Sequence[str], options: Mapping[str, str], given: "Iterable[Need]", classifier: "Classifier | None" = None
) -> "Chosen[Metric]":
    """The named metrics, each with those of the ``options`` that it has, and why others were left out.

    "all" stands for every metric that needs no more than what is ``given`` and suits the classifier.
    """
    from seewhy.metrics import METRICS, metric
    from seewhy.metrics.base import NEEDS

    def make(name: str, own: Mapping[str, object]) -> "Metric":
        made = metric(name, **own)
        try:
            if classifier is not None and hasattr(made, "suits"):
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
) -> Chosen[T]:
    """What ``names`` name, made with options of their own and with those of ``options``, as text, that they have.

    A name with options of its own, "opti_cam:steps=50,learning_rate=0.3", keeps them as its name, and so does one with a
    removal of other things than pixels. Of "all" is left out
    what lacks something, what cannot be imported and what does not suit the network.

    Raises:
        SeewhyError: an unknown name, an option that nothing named has, or a value that an option does not take.
    """
    wanted: dict[str, tuple[str, dict[str, str]]] = {}
    left_out = registry.problems() if "all" in names else []
    for text in names:
        name, _, own = text.partition(":")
        if name != "all":
            registry[name]  # an unknown name is said before anything else
            wanted[text] = (name, pairs(_parts(own)))
            continue
        for one, kind in registry.items():
            if missing := lack(kind):
                left_out.append(f"{one} {missing}")
            else:
                wanted.setdefault(one, (one, {}))
    known = {name: {option.name for option in described(registry[name])} for name, _ in wanted.values()}
    every = sorted(set().union(*known.values()))
    if unknown := [option for option in options if option not in every]:
        listed, hint = ", ".join(every) or "none", did_you_mean(unknown[0], every)
        raise SeewhyError(f"no option {unknown[0]!r} in {', '.join(known)}.{hint} Options: {listed}")
    chosen: dict[str, T] = {}
    unsuited: dict[str, list[str]] = {}
    for asked, (name, own_options) in wanted.items():
        label = asked
        shared = {key: text for key, text in options.items() if key in known[name]}
        values = from_text(registry[name], {**shared, **own_options})
        removal = shared.get("removal", "pixels")
        if removal != "pixels" and "removal" not in own_options:  # numbers that differ in it have other names
            label += f"{':' if label == name else ','}removal={removal}"
        try:
            chosen[label] = make(name, values)
        except UnsuitedError as error:
            if asked in names:
                raise
            unsuited.setdefault(str(error), []).append(label)
    for reason, labels in unsuited.items():  # a line for each reason; many already begin with the name
        named = reason.startswith((f"{labels[0]} ", f"{labels[0]}: "))
        left_out.append(reason if named else f"{', '.join(labels)}: {reason}")
    return chosen, left_out


def _parts(text: str) -> list[str]:
    """Options as they are written, "a=1,b=[2,3]": a comma that no option follows belongs to the value before it."""
    parts: list[str] = []
    for part in text.split(",") if text else []:
        if "=" in part or not parts:
            parts.append(part)
        else:
            parts[-1] += "," + part
    return parts
