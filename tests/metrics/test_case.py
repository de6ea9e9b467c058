"""The case: what does not belong to the images, and maps of another precision."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from support.command import as_users_run_it
from support.metric_cases import SIZE, case_of

from seewhy.errors import SeewhyError
from seewhy.metrics import metric


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_maps_of_another_precision_than_the_images(dtype: torch.dtype) -> None:
    case = case_of("cnn")
    other = replace(case, attributions=case.attributions.to(dtype))
    exact = replace(case, attributions=case.attributions.to(dtype).float())
    for name in ("average_drop", "relevance_rank", "localization_error", "srg", "sparseness"):
        own = {"size": 4} if name == "srg" else {}
        torch.testing.assert_close(metric(name, **own).score(other).float(), metric(name, **own).score(exact))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"regions": torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)}, "give masks > 0"),
        ({"labels": torch.zeros(2, dtype=torch.long)}, "2 labels do not belong to 3 images"),
        ({"boxes": ()}, "0 boxes do not belong to 3 images"),
        ({"attributions": torch.zeros(3, 4, 4)}, "do not belong to images"),
        ({"attributions": torch.full((3, SIZE, SIZE), torch.nan)}, "NaN"),
    ],
)
def test_what_does_not_belong_to_the_images(changes: dict[str, Any], says: str) -> None:
    with as_users_run_it(), pytest.raises(SeewhyError, match=says):
        case_of("cnn", **changes)


def test_the_classes_of_a_case_are_checked() -> None:
    case = case_of("cnn")
    wrong = {
        "3 classes explained and 2 scored: give one of each for each image": torch.zeros(2, dtype=torch.long),
        "class 7 does not exist: the classifier has classes 0 to 4": torch.tensor([0, 7, 1]),
        "targets must be class indices, of type int64": torch.zeros(3),
        "targets must be a tensor of one class index for each image": torch.zeros(3, 1, dtype=torch.long),
    }
    for says, classes in wrong.items():
        with as_users_run_it(), pytest.raises(SeewhyError, match=says):
            replace(case, scored=classes)
