"""Two classifiers have one identity if, and only if, they treat an image in the same way."""

import json
from dataclasses import replace
from typing import Any

import pytest
from support.tiny_models import TINY

from seewhy.classifier.identity import classifier_identity


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
        {"multilabel": True},
        {"classes": ("ant", "bee", "cat", "dog", "emu")},
        {"module": TINY["vit"]().module},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_treatment_is_another_identity(change: dict[str, Any]) -> None:
    one = TINY["cnn"]()
    assert classifier_identity(replace(one, **change)) != classifier_identity(one)
