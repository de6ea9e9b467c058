"""Settings that a paper has published, or that were found to work: files in ``presets/``.

A preset is a TOML file. ``about`` says in one line what it is, and ``method`` for which method. The table ``[explainer]``
has options of the method, the table ``[training]`` fields of ``Settings``.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from seewhy.errors import SeewhyError
from seewhy.explainers.learned.settings import Settings
from seewhy.options import checked, described
from seewhy.registry import did_you_mean
from seewhy.training.methods import registry_of

PRESETS = Path(__file__).parent / "presets"
KEYS = {"about": str, "method": str, "explainer": dict, "training": dict}
"""What a preset may have, and of which type."""


class Preset(NamedTuple):
    """A preset, whose keys and values have been checked."""

    name: str
    about: str
    method: str
    explainer: dict[str, Any]
    training: dict[str, Any]


def preset_names() -> list[str]:
    """In alphabetical order."""
    return sorted(file.stem for file in PRESETS.glob("*.toml"))


def preset(name: str, method: str = "") -> Preset:
    """The preset ``name``; SeewhyError names those that there are, and what in a file cannot be.

    Args:
        name: as of its file; or the path of a TOML file of your own.
        method: for which it is wanted; "" for any.
    """
    file = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    known = preset_names()
    if not file.is_file():
        hint = did_you_mean(name, known)
        raise SeewhyError(f"unknown preset {name!r}.{hint} Known: {', '.join(known)}; or give a TOML file")
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # a TOMLDecodeError is a ValueError
        raise SeewhyError(f"preset {name} cannot be read ({error})") from None
    _must_be_known(f"preset {name}", found, list(KEYS))
    for key, kind in KEYS.items():
        if not isinstance(found.get(key, kind()), kind):
            raise SeewhyError(f"preset {name}: {key} is no {'table' if kind is dict else 'text'}")
    of = found.get("method", "")
    if method and of and of != method:
        fitting = [one for one in known if preset(one).method == method]
        raise SeewhyError(f"preset {name} is for {of}, not for {method}. Presets for it: {', '.join(fitting) or 'none'}")
    explainer, training = found.get("explainer", {}), found.get("training", {})
    settings_with(Settings(), training, f"preset {name}")
    if of or method:
        kind = registry_of(of or method)[of or method]
        _must_be_known(f"preset {name}, [explainer]", explainer, [option.name for option in described(kind)])
        explainer = checked(kind, f"preset {name}", explainer)
    return Preset(name, found.get("about", ""), of, explainer, dict(training))


def settings_with(settings: Settings, changes: Mapping[str, object], name: str = "a training") -> Settings:
    """The settings with ``changes``, by the names of the fields; SeewhyError names what does not fit.

    An optimizer that finds its step size by itself has another learning rate: where the changes name the optimizer
    "prodigy" and no learning rate, it is 1.
    """
    _must_be_known(name, changes, [f.name for f in fields(Settings)])
    taken = checked(Settings, name, changes)
    if taken.get("optimizer") == "prodigy" and settings.optimizer != "prodigy":
        taken = {"learning_rate": 1.0, **taken}
    return replace(settings, **taken)


def _must_be_known(where: str, given: Mapping[str, object], known: list[str]) -> None:
    for key in given:
        if key not in known:
            raise SeewhyError(f"{where} has no setting {key!r}.{did_you_mean(key, known)} Known: {', '.join(known)}")
