"""Two classifiers have one identity if, and only if, they treat an image in the same way."""

import json
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from support.tiny_models import TINY, cnn, tiny
from torch import nn

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.identity import about_classifier, classifier_identity, in_lines


def test_the_identity_is_json_and_has_no_weights() -> None:
    one, other = TINY["cnn"](), TINY["cnn"]()
    other.module[0].weight.data += 1  # type: ignore[index, union-attr, operator]
    assert json.loads(json.dumps(classifier_identity(one))) == classifier_identity(one)
    assert classifier_identity(one) == classifier_identity(other)


@pytest.mark.parametrize(
    "change",
    [
        {"mean": (0.5, 0.5, 0.5)},
        {"std": (0.5, 0.5, 0.5)},
        {"input_size": (16, 20)},
        {"crop": 0.5},
        {"crop_mode": "squash"},
        {"interpolation": "bicubic"},
        {"resize": (20, 20)},
        {"recipe": "transformers"},
        {"channel_order": "bgr"},
        {"feature_layer": "4"},
        {"n_prefix_tokens": 2},
        {"outputs": "values"},
        {"multilabel": True},
        {"classes": ("ant", "bee", "cat", "dog", "emu")},
        {"module": TINY["vit"]().module},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_treatment_is_another_identity(change: dict[str, Any]) -> None:
    one = TINY["cnn"]()
    assert classifier_identity(replace(one, **change)) != classifier_identity(one)


# -- where the preprocessing came from ---------------------------------------------------------------------------------


def lines(classifier: Classifier) -> list[str]:
    return in_lines(about_classifier(classifier, classifier.layer))


def test_the_defaults_of_a_bare_module_are_said_to_be_defaults() -> None:
    assert lines(seewhy.load("factories:bare", options={"size": 32})) == [
        "input: 32 x 32 (given as an option); center crop 0.875, bilinear (default); mean 0.485,0.456,0.406, "
        "std 0.229,0.224,0.225 (default, ImageNet's)",
        "network: 5 classes (without names); logits, feature layer 6 (found by a probe)",
    ]


def test_each_source_says_where_its_preprocessing_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **options: create(name, **{**options, "pretrained": False}))
    options = {"mean": 0.25, "feature_layer": "layer3"}
    assert lines(seewhy.load("test_resnet", options=options, classes=[str(i) for i in range(1000)])) == [
        "input: 160 x 160, center crop 0.95, bilinear (timm's configuration of test_resnet.r160_in1k); mean 0.25 (given as "
        "an option); std 0.5 (timm's configuration of test_resnet.r160_in1k)",
        "network: 1000 classes (given); logits (found by a probe); feature layer layer3 (given as an option)",
    ]
    assert (
        lines(seewhy.load("shapes"))[0]
        == "input: 96 x 96, center crop 1, bilinear, mean 0.5, std 0.25 (the built-in network shapes)"
    )
    own = lines(seewhy.load("factories:small"))
    assert own[0].startswith("input: 16 x 16 (given by factories:small); center crop 0.875, bilinear (default); mean 0.485")
    assert own[1].startswith("network: 5 classes (given by factories:small); logits")


def test_what_a_network_returns_is_said() -> None:
    softmax = replace(tiny(nn.Sequential(*cnn(), nn.Softmax(1))), classes=())  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="returns probabilities by a softmax, whose input is explained"):
        assert (
            "probabilities by a softmax, whose input is explained (found by a probe)"
            in in_lines(about_classifier(softmax))[1]
        )
    values = replace(TINY["cnn"](), classes=(), outputs="values")
    assert in_lines(about_classifier(values))[1] == "network: 5 outputs (without names); values, no class scores (given)"
    assert "classes" not in about_classifier(values)


def test_a_manifest_has_each_value_and_its_origin() -> None:
    about = about_classifier(replace(TINY["cnn"](), crop=0.5, origins={"crop": "a guess"}))
    assert about["crop"] == {"value": 0.5, "from": "a guess"}
    assert about["input_size"] == {"value": [16, 16], "from": "given"}
    assert about["interpolation"] == {"value": "bilinear", "from": "default"}
    assert json.loads(json.dumps(about)) == about


def test_which_weights_of_a_file_were_taken_is_said(tmp_path: Path) -> None:
    last = cnn(k=7).state_dict()
    torch.save({"state_dict": last, "state_dict_ema": last | {"10.bias": last["10.bias"] + 1}}, tmp_path / "a.pth")
    (tmp_path / "own_seven.py").write_text(
        "from support.tiny_models import cnn\n\n\ndef make(num_classes=5):\n    return cnn(k=num_classes)\n"
    )
    with chdir(tmp_path):
        classifier = seewhy.load("own_seven:make", weights=tmp_path / "a.pth", options={"size": 16, "channel_order": "bgr"})
    said = lines(classifier)
    assert said[0].endswith("(default, ImageNet's); channels in the order BGR (given as an option)")
    assert said[1].startswith("network: 7 classes (without names, as in the head of a.pth)")
    assert said[2] == "weights: a.pth, under state_dict_ema; an average of the weights, preferred to the last ones"
