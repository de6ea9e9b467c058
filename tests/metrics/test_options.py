"""Options of metrics: what is out of range is refused."""

from typing import Any

import pytest

from seewhy.errors import SeewhyError
from seewhy.metrics import metric


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("road", {"shares": (1.0,)}, "at least 0 and below 1"),
        ("road", {"shares": ()}, "at least 0 and below 1"),
        ("road_least", {"shares": (-0.1, 0.5)}, "at least 0 and below 1"),
        ("black_deletion", {"fractions": (0.5, 0.1)}, "two or more from 0 to 1 that grow"),
        ("white_deletion", {"fractions": (0.0, 1.5)}, "two or more from 0 to 1 that grow"),
        ("white_deletion", {"amount": 3.0}, "a number above 0 and of at most 1"),
        ("pixel_flipping", {"points": 1}, "at least 2"),
    ],
)
def test_options_out_of_range(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(SeewhyError, match=says):
        metric(name, **options)
