"""Choosing methods by name, for networks on which not every method is defined."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.learned_methods import register_two
from support.tiny_models import LEARNED, TINY, is_defined, tiny
from torch import nn

from seewhy.app.choose import UNTRAINED, choose, choose_metrics
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.explainers import EXPLAINERS, explainer
from seewhy.explainers.describe import about_explainers
from seewhy.explainers.learned.folder import save_explainer
from seewhy.masking.surrogate import Surrogate


def two_layer_head() -> nn.Module:
    """As VGG: what the last linear layer reads is no pooled feature."""
    pooled = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return nn.Sequential(pooled, nn.Linear(32, 7), nn.ReLU(), nn.Linear(7, 5))


NEED_TRANSFORMER = {name for name in EXPLAINERS if not is_defined(name, "cnn")}


def test_all_means_every_method_where_every_method_is_defined() -> None:
    methods, left_out = choose(["all"], TINY["vit"](), {})
    assert list(methods) == [name for name in EXPLAINERS if name not in LEARNED]
    assert left_out == ([f"{', '.join(sorted(LEARNED))}: {UNTRAINED}"] if LEARNED else [])


def test_all_leaves_out_what_is_not_defined_and_says_why() -> None:
    methods, left_out = choose(["all"], tiny(two_layer_head()), {})
    assert set(EXPLAINERS) - set(methods) == {"cam", *NEED_TRANSFORMER, *LEARNED}
    assert sum("linear layer reads after pooling" in reason for reason in left_out) == 1
    read_attention = [e for e in EXPLAINERS if e in NEED_TRANSFORMER and EXPLAINERS[e].family == "attention"]
    together = f"{', '.join(read_attention)}: Sequential has no attention over tokens"
    assert sum(reason.startswith(together) for reason in left_out) == 1
    assert sum("transformer_input_sampling is not defined for it" in reason for reason in left_out) == 1


def test_all_leaves_out_what_reads_probabilities_where_a_network_returns_values() -> None:
    methods, left_out = choose(["all"], replace(TINY["cnn"](), classes=(), outputs="values"), {})
    assert set(EXPLAINERS) - set(methods) == {"smooth_pixel_mask", *NEED_TRANSFORMER, *LEARNED}
    assert sum("returns values, which have no probabilities" in reason for reason in left_out) == 1


def test_a_method_asked_for_by_name_is_refused_and_not_left_out() -> None:
    with pytest.raises(UnsuitedError, match="Use grad_cam"):
        choose(["cam", "grad_cam"], tiny(two_layer_head()), {})


def test_an_option_goes_to_the_methods_that_have_it() -> None:
    methods, _ = choose(["integrated_gradients", "saliency"], TINY["cnn"](), {"steps": "7"})
    assert methods["integrated_gradients"].steps == 7
    with pytest.raises(SeewhyError, match="no option 'steps' in saliency"):
        choose(["saliency"], TINY["cnn"](), {"steps": "7"})


def test_a_method_may_have_options_of_its_own_and_keeps_them_as_its_name() -> None:
    names = ['opti_cam:steps=3,layer=["2","6"]', "opti_cam", "opti_cam:steps=4"]
    methods, _ = choose(names, TINY["cnn"](), {"steps": "7", "batch_size": "5"})
    assert list(methods) == names
    assert [m.steps for m in methods.values()] == [3, 7, 4]  # type: ignore[attr-defined]
    assert [m.batch_size for m in methods.values()] == [5, 5, 5]  # type: ignore[attr-defined]
    assert methods[names[0]].layer == ("2", "6")  # type: ignore[attr-defined]
    with pytest.raises(SeewhyError, match=r"opti_cam has no option 'step'.*'steps'"):
        choose(["opti_cam:step=3"], TINY["cnn"](), {})


def test_numbers_of_another_removal_have_another_name() -> None:
    metrics, _ = choose_metrics(["srg", "lif:steps=3", "average_drop", "mif:removal=pixels"], {"removal": "mask_tokens"}, ())
    assert list(metrics) == [
        "srg:removal=mask_tokens",
        "lif:steps=3,removal=mask_tokens",
        "average_drop",
        "mif:removal=pixels",
    ]
    same, _ = choose_metrics(["srg"], {"removal": "pixels"}, ())
    assert list(same) == ["srg"]


def test_a_network_without_tokens_leaves_the_metrics_out() -> None:
    metrics, left_out = choose_metrics(["all"], {"removal": "tokens"}, (), TINY["cnn"]())
    assert "srg:removal=tokens" not in metrics
    assert "average_drop" in metrics
    assert any("srg" in line and "the patches of Sequential cannot be dropped" in line for line in left_out)
    with pytest.raises(UnsuitedError, match=r"^srg: the patches of Sequential cannot be dropped.*removal=pixels$"):
        choose_metrics(["srg"], {"removal": "tokens"}, (), TINY["cnn"]())


# -- folders of learned explainers ----------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three trained explainers; two of the folders have the same name."""
    monkeypatch.setattr(EXPLAINERS, "_entries", dict(EXPLAINERS._entries))
    register_two()
    for place, name in (("a/masks", "weighed"), ("b/masks", "painted"), ("own", "painted")):
        method: Any = explainer(name, TINY["cnn"]())
        save_explainer(method.untrained(), tmp_path / place)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_is_called_by_its_own_name(folders: Path) -> None:
    methods, _ = choose(["a/masks", "own:power=2.0", "grad_cam"], TINY["cnn"](), {"batch_size": "5"})
    assert list(methods) == ["masks", "own:power=2.0", "grad_cam"]
    assert [type(m).__name__ for m in methods.values()] == ["Weighed", "Painted", "GradCAM"]
    assert methods["own:power=2.0"].power == 2.0  # type: ignore[attr-defined]
    assert [m.batch_size for m in methods.values()] == [5, 5, 5]  # type: ignore[attr-defined]
    methods, _ = choose([str(folders / "a" / "masks") + "/", "b/masks"], TINY["cnn"](), {})
    assert list(methods) == ["a-masks", "b-masks"]


def test_what_does_not_go_together_is_one_line(folders: Path) -> None:
    for names, said in {
        ("nothing/here",): "there is no folder nothing/here",
        ("a",): "a holds no explainer",
        ("own:channels=3",): "takes no option 'channels', which belongs to the training",
        ("painted",): "painted is learned, and not trained for this network: seewhy fit painted trains it",
    }.items():
        with pytest.raises(SeewhyError, match=said) as error:
            choose(names, TINY["cnn"](), {})
        assert "\n" not in str(error.value)
    with pytest.raises(SeewhyError, match=r"no option 'channels' in own. Options: batch_size, power"):
        choose(["own"], TINY["cnn"](), {"channels": "3"})
    with pytest.raises(SeewhyError, match="other weights; give any_weights=true"):
        choose(["own"], tiny(two_layer_head()), {})
    methods, _ = choose(["own:any_weights=true"], tiny(two_layer_head()), {})
    assert list(methods) == ["own:any_weights=true"]


def test_all_leaves_out_what_is_not_trained_in_one_line(folders: Path) -> None:
    methods, left_out = choose(["all", "own"], TINY["cnn"](), {})
    assert not {"weighed", "painted"} & set(methods)
    assert "own" in methods
    (line,) = [line for line in left_out if "learned" in line]
    assert line == f"{', '.join(sorted({'weighed', 'painted', *LEARNED}))}: {UNTRAINED}"


# -- a surrogate --------------------------------------------------------------------------------------------------------


def test_methods_that_remove_players_ask_the_surrogate_and_others_the_network() -> None:
    classifier = TINY["vit"]()
    surrogate = Surrogate.of(TINY["vit"](), "tokens")
    names = ["kernel_shap:samples=9", "occlusion", "grad_cam"]
    methods, _ = choose(names, classifier, {}, surrogate)
    assert list(methods) == ["kernel_shap:samples=9,surrogate", "occlusion:surrogate", "grad_cam"]
    shap, occlusion, cam = methods.values()
    assert [m.classifier is surrogate.classifier for m in (shap, occlusion, cam)] == [True, True, False]
    assert (shap.removal, shap.players, shap.size, shap.samples) == ("tokens", "patches", 4, 9)
    assert (occlusion.window, occlusion.stride) == (4, 4)
    own, _ = choose(["kernel_shap"], classifier, {"size": "8"}, surrogate)
    assert own["kernel_shap:surrogate"].size == 8
    with pytest.raises(SeewhyError, match="grad_cam removes no parts of an image, so --surrogate has no effect"):
        choose(["grad_cam"], classifier, {}, surrogate)


def test_maps_of_a_surrogate_are_not_those_of_the_network_or_of_another_surrogate() -> None:
    """A killed command finds its maps by these words."""
    classifier = TINY["vit"]()
    several = [Surrogate.of(TINY["vit"](), "tokens") for _ in range(2)]
    with torch.no_grad():
        for i, one in enumerate(several, 1):
            next(one.classifier.module.parameters()).add_(0.1 * i)
    found = [choose(["kernel_shap"], classifier, {"removal": "tokens"}, s)[0] for s in (None, *several)]
    about = [next(iter(about_explainers(methods, classifier).values()))["options"] for methods in found]
    assert "network" not in about[0]
    assert about[1]["network"] != about[2]["network"]
