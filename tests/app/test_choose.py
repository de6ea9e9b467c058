"""Choosing methods by name, for networks on which not every method is defined."""

from dataclasses import replace

import pytest
from support.tiny_models import TINY, is_defined, tiny
from torch import nn

from seewhy.app.choose import choose, choose_metrics
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.explainers import EXPLAINERS


def two_layer_head() -> nn.Module:
    """As VGG: what the last linear layer reads is no pooled feature."""
    pooled = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return nn.Sequential(pooled, nn.Linear(32, 7), nn.ReLU(), nn.Linear(7, 5))


NEED_TRANSFORMER = {name for name in EXPLAINERS if not is_defined(name, "cnn")}


def test_all_means_every_method_where_every_method_is_defined() -> None:
    methods, left_out = choose(["all"], TINY["vit"](), {})
    assert list(methods) == list(EXPLAINERS)
    assert left_out == []


def test_all_leaves_out_what_is_not_defined_and_says_why() -> None:
    methods, left_out = choose(["all"], tiny(two_layer_head()), {})
    assert set(EXPLAINERS) - set(methods) == {"cam", *NEED_TRANSFORMER}
    assert sum("linear layer reads after pooling" in reason for reason in left_out) == 1
    read_attention = [e for e in EXPLAINERS if e in NEED_TRANSFORMER and EXPLAINERS[e].family == "attention"]
    together = f"{', '.join(read_attention)}: Sequential has no attention over tokens"
    assert sum(reason.startswith(together) for reason in left_out) == 1
    assert sum("transformer_input_sampling is not defined for it" in reason for reason in left_out) == 1


def test_all_leaves_out_what_reads_probabilities_where_a_network_returns_values() -> None:
    methods, left_out = choose(["all"], replace(TINY["cnn"](), classes=(), outputs="values"), {})
    assert set(EXPLAINERS) - set(methods) == {"smooth_pixel_mask", *NEED_TRANSFORMER}
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
