"""Explainers and metrics as the command line names them."""

from collections.abc import Iterable, Mapping, Sequence

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.explainers import EXPLAINERS, Explainer, explainer
from seewhy.explainers.base import options_of
from seewhy.metrics import METRICS, Metric, metric
from seewhy.metrics.base import NEEDS, Need, metric_options
from seewhy.options import from_text, pairs
from seewhy.registry import did_you_mean


def choose(
    names: Sequence[str], classifier: Classifier, options: Mapping[str, str]
) -> tuple[dict[str, Explainer], list[str]]:
    """The named explainers, each with those of the ``options``, as text, that it has; and why others were left out.

    A name may have options of its own, "opti_cam:steps=50,learning_rate=0.3", and keeps them as its name. "all" stands for
    every one that is defined for the network. Raises SeewhyError for an unknown name, for an option that none of them has,
    and for a value that one cannot take.
    """
    split = {text: text.partition(":") for text in names if text != "all"}
    wanted = {label: (name, pairs(_parts(own))) for label, (name, _, own) in split.items()}
    every: dict[str, tuple[str, dict[str, str]]] = {name: (name, {}) for name in EXPLAINERS} if "all" in names else {}
    for name, _ in wanted.values():
        if name not in EXPLAINERS and "," in name:
            raise SeewhyError(f"{name!r} is no explainer: give --explainer again for each of several")
    known = {name: set(options_of(EXPLAINERS[name])) for name, _ in {**every, **wanted}.values()}
    _every_option_is_known(options, known)
    chosen: dict[str, Explainer] = {}
    left_out = []
    for label, (name, own) in {**every, **wanted}.items():
        shared = {key: text for key, text in options.items() if key in known[name]}
        try:
            chosen[label] = explainer(name, classifier, **from_text(EXPLAINERS[name], {**shared, **own}))
        except UnsuitedError as error:
            if label in wanted:
                raise
            left_out.append(str(error))
    return chosen, left_out


def choose_metrics(
    names: Sequence[str], options: Mapping[str, str], given: Iterable[Need], classifier: Classifier | None = None
) -> tuple[dict[str, Metric], list[str]]:
    """The named metrics, each with those of the ``options``, as text, that it has; and why others were left out.

    A name may have options of its own, "aopc:regions=20,size=8", and keeps them as its name. "all" stands for every metric
    that needs no more than what is ``given`` and suits the classifier. Raises SeewhyError for an unknown name, option or
    value.
    """
    wanted: dict[str, tuple[str, dict[str, str]]] = {}
    left_out = []
    for text in names:
        name, _, own = text.partition(":")
        if name != "all":
            wanted[text] = (name, pairs(_parts(own)))
            continue
        for one in METRICS:
            missing = [NEEDS[need] for need in METRICS[one].needs if need not in given]
            if missing:
                left_out.append(f"{one} needs {' and '.join(missing)}")
            else:
                wanted[one] = (one, {})
    known = {name: set(metric_options(METRICS[name])) for name, _ in wanted.values()}
    _every_option_is_known(options, known)
    chosen = {}
    for label, (name, own_options) in wanted.items():
        shared = {key: text for key, text in options.items() if key in known[name]}
        chosen[label] = metric(name, **from_text(METRICS[name], {**shared, **own_options}))
        suits = getattr(chosen[label], "suits", None)
        try:
            if suits is not None and classifier is not None:
                suits(classifier)
        except SeewhyError as error:
            if label in names:
                raise
            del chosen[label]
            left_out.append(f"{label}: {error}")
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


def _every_option_is_known(options: Mapping[str, str], known: Mapping[str, set[str]]) -> None:
    every = sorted(set().union(*known.values()))
    for option in options:
        if option not in every:
            listed = ", ".join(every) or "none"
            raise SeewhyError(f"no option {option!r} in {', '.join(known)}.{did_you_mean(option, every)} Options: {listed}")
