"""Every option of every explainer does something: one that is dropped on its way changes no map."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from support.command import as_users_run_it
from support.tiny_models import CHEAP, LEARNED, TINY, model_for
from support.tiny_models import ready_explainer as explainer
from torch import Tensor

from seewhy import options
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, OptiCAM
from seewhy.metrics import METRICS
from seewhy.options import NETWORKS, described, from_text

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(5))
TARGETS = torch.tensor([1, 3])
LAYER = "4"
"""The last convolution of the tiny CNN."""
BASE: dict[str, dict[str, object]] = {
    **CHEAP,
    "opti_cam": {"steps": 12},
    "opti_cam_fast": {"steps": 8, "start": "random"},
    "extremal_perturbation": {"steps": 12, "areas": (0.2, 0.5), "levels": 4, "max_blur": 60.0},
    "smooth_pixel_mask": {"steps": 12},
    "meaningful_perturbation": {"steps": 8, "cells": 8, "jitter": 60.0, "max_blur": 60.0, "mask_blur": 20.0},
    "rise": {"samples": 40, "cells": 4},
}
OTHER: dict[str, object] = {
    "layer": LAYER,
    "baseline": "white",
    "baselines": ("white", "noise"),
    "areas": (0.3, 0.6),
    "channels": 2,
    "masks": torch.rand(5, 16, 16, generator=torch.Generator().manual_seed(0)),
    "keep_probability": 0.8,
    "size": 3,
    "start_block": 1,
    "window": 4,
    "stride": 2,
    "levels": 3,
    "permutation_shapley.samples": 200,
    "permutation_shapley.width": 1e-6,
    "step": 60.0,
    "tolerance": 0.5,
    "of": "smooth_grad",
    "selector": ("finer", 0.9, 2),
    "corrections": 8,
    "blocks": 1,
    "removal": "tokens",
    "baseline_shown": "black",
    "transformer_input_sampling.masks": 2,
    "vit_cx.threshold": 0.9,
    "candidates": 2,
    "sufficient": 0.0,
}
"""Values that no rule finds, of an option or of METHOD.option."""
NO_EFFECT = {"batch_size", "closed_form", "max_tokens"}
"""Options that must not change a map but by rounding."""
NEED: dict[tuple[str, str], dict[str, object]] = {
    ("opti_cam", "seed"): {"start": "random"},
    ("rise", "tolerance"): {"samples": 1024},
    ("extremal_perturbation", "combine"): {"areas": (0.05, 0.9)},
    ("opti_cam", "negative"): {"layer": LAYER},
    ("opti_cam_fast", "negative"): {"layer": LAYER},
    ("occlusion", "window"): {"stride": 3},
    ("igos_pp", "edge"): {"iterations": 3, "edge": 5.0},
    ("grad_eclip", "blocks"): {"blocks": 2},
    ("metric_driven", "sufficient"): {"objective": "both"},
    ("metric_driven", "baseline_shown"): {"objective": "both"},
    ("lime", "removal"): {"players": "patches", "size": 4},
    ("kernel_shap", "removal"): {"players": "patches", "size": 4},
    ("exact_shapley", "removal"): {"players": "patches", "size": 8},
    ("permutation_shapley", "removal"): {"players": "patches", "size": 4},
    ("permutation_shapley", "samples"): {"players": "patches", "size": 4},
    ("permutation_shapley", "width"): {"players": "patches", "size": 4, "width": 5.0, "samples": 600},
    ("salvage", "seed"): {"corrections": 8},
    ("occlusion", "removal"): {"window": 8, "stride": 4},
}
"""What else must be set for an option to matter."""
REFUSED = {("opti_cam_fast", "normalization")}


def another(name: str, option: str, hint: Any, default: object) -> object:
    for key in (f"{name}.{option}", option):
        if key in OTHER:
            return OTHER[key]
    if get_origin(hint) is Literal:
        return next(word for word in reversed(get_args(hint)) if word != default)
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 3
    if isinstance(default, float):
        return 0.6 * default if default else 0.5
    raise AssertionError(f"say in OTHER what {name} may have as {option}")


def cases() -> Iterator[Any]:
    for name in EXPLAINERS:
        hints = get_type_hints(EXPLAINERS[name])
        for f in fields(EXPLAINERS[name]):  # type: ignore[arg-type]
            of_training = name in LEARNED and f.name not in EXPLAINERS[name].when_explaining  # type: ignore[attr-defined]
            if f.name not in NETWORKS and (name, f.name) not in REFUSED and not of_training:
                yield pytest.param(name, f.name, hints[f.name], id=f"{name}-{f.name}")


def made(name: str, options: dict[str, object], model: str = "") -> Tensor:
    return explainer(name, TINY[model or model_for(name)](), **options).explain(IMAGES, TARGETS)


@pytest.mark.parametrize(("name", "option", "hint"), cases())
def test_every_option_changes_the_map(name: str, option: str, hint: Any) -> None:
    base = {**BASE.get(name, {}), **NEED.get((name, option), {})}
    default = base.get(option, {f.name: f.default for f in fields(EXPLAINERS[name])}[option])  # type: ignore[arg-type]
    model = "vit" if option in ("libra", "removal") else ""  # a CNN of ReLUs has nothing to repair, and no tokens
    expected, found = made(name, base, model), made(name, {**base, option: another(name, option, hint, default)}, model)
    if option in NO_EFFECT:
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    else:
        assert not torch.equal(found, expected)


def test_the_name_of_a_network_is_an_option_and_a_network_is_none() -> None:
    assert "network" in {option.name for option in described(METRICS["label_randomization"])}
    assert not {"network", "classifier"} & {option.name for option in described(EXPLAINERS["nemt"])}


def test_an_option_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(SeewhyError, match="give"):
        made("opti_cam", {"precision": "fp16"})


@pytest.mark.parametrize("kind", [EXPLAINERS[name] for name in EXPLAINERS] + [METRICS[name] for name in METRICS])
def test_options_are_checked_however_a_method_is_made(kind: Any) -> None:
    """By its class too: a misspelled word ran as another option, without a word."""
    wrong = object()
    own = next((name for name in EXPLAINERS if EXPLAINERS[name] is kind), "")
    model = model_for(own) if own else "cnn"
    given = {"classifier": TINY[model]()} if "classifier" in {f.name for f in fields(kind)} else {}
    with as_users_run_it():
        made = kind(**given)
        for option in {f.name for f in fields(kind)} - {"classifier"}:
            with pytest.raises(SeewhyError, match=f"cannot take {option}="):
                kind(**given, **{option: wrong})
            with pytest.raises(SeewhyError, match=f"cannot take {option}="):
                replace(made, **{option: wrong})
        with pytest.raises(TypeError, match="nonsense"):
            kind(**given, nonsense=1)


def test_a_word_that_no_option_has_is_refused_by_the_class() -> None:
    with as_users_run_it():
        with pytest.raises(SeewhyError, match="opti_cam cannot take negative='drop': give keep or cut"):
            OptiCAM(TINY["cnn"](), negative="drop")  # type: ignore[arg-type]
        assert OptiCAM(TINY["cnn"](), layer=["4"]).layer == ("4",)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "9" * 5_000,
        "-" + "9" * 5_000,
        "9" * 400,
        "1e999",
        "[" * 5_000,
        "{" * 5_000,
        "[" * 5_000 + "]" * 5_000,
        "1." + "9" * 5_000,
    ],
    ids=lambda text: f"{text[:5]}{len(text)}",
)
@pytest.mark.parametrize("option", ["samples", "noise_level", "seed"])
def test_a_text_beyond_reason_is_no_value(text: str, option: str) -> None:
    """Python reads no number of 5,000 digits and no brackets of 5,000 levels."""
    given = from_text(EXPLAINERS["smooth_grad"], {option: text})
    if text.startswith("1.") and option == "noise_level":
        assert given[option] == 2.0
        return
    with as_users_run_it(), pytest.raises(SeewhyError, match=f"smooth_grad cannot take {option}=.*: give a"):
        explainer("smooth_grad", TINY["cnn"](), **given)


@pytest.mark.parametrize("value", [10**5_000, -(10**5_000), 10**400, 2**63, [10**5_000], [[]]], ids=list("abcdef"))
def test_a_value_beyond_reason_is_refused_in_python_too(value: object) -> None:
    for option in ("samples", "noise_level", "seed", "batch_size"):
        with as_users_run_it(), pytest.raises(SeewhyError, match=f"smooth_grad cannot take {option}="):
            explainer("smooth_grad", TINY["cnn"](), **{option: value})


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7), ("0", 0), ("", None), ("-1", None), ("²", None), ("1_0", None), ("9" * 5_000, None)]
)
def test_a_whole_number_as_people_write_it(text: str, number: int | None) -> None:
    assert options.whole_number(text) == number
