"""What holds of every metric for maps of any kind: found by search, not by example."""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.metric_cases import SIZE, SMALL, case_of
from torch import Tensor

from seewhy.metrics import METRICS, Case, Metric, metric

MAPS_ALONE = sorted(
    name for name in METRICS if name not in ("label_randomization", "seconds", "forward_equivalents", "peak_memory")
)
CASES: dict[str, Case] = {}
SEARCH = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@st.composite
def maps(draw: st.DrawFn) -> Tensor:
    """(3, h, w): few values with many ties or all different, of any sign, offset and scale, constant in parts or whole."""
    kinds = []
    for _ in range(3):
        generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
        values = torch.rand(SIZE, SIZE, generator=generator)
        levels = draw(st.sampled_from([1, 2, 5, 0]))
        values = values if levels == 0 else (values * levels).floor()
        if draw(st.booleans()):
            values[draw(st.integers(0, SIZE - 1)) :, :] = 0
        kinds.append(
            (values - draw(st.sampled_from([0.0, 0.5, 3.0]))) * draw(st.sampled_from([1.0, -1.0, 2.0**-12, 2.0**12]))
        )
    return torch.stack(kinds)


def measured(name: str, attributions: Tensor, rows: list[int] | None = None, batch_size: int = 4) -> Tensor:
    """The metric on these maps and the images of a tiny network, or some rows of both."""
    case = CASES.setdefault("cnn", case_of("cnn"))
    chosen = list(range(3)) if rows is None else rows

    def pick(value: Tensor | tuple[Tensor, ...] | None) -> Tensor | tuple[Tensor, ...] | None:
        return tuple(value[i] for i in chosen) if isinstance(value, tuple) else None if value is None else value[chosen]

    names = ("images", "explained", "scored", "labels", "regions", "boxes", "class_maps", "parts")
    parts = {n: pick(getattr(case, n)) for n in names}
    parts["class_maps"] = attributions[chosen][:, None].expand(-1, 3, -1, -1) * torch.tensor([1.0, 2.0, -1.0]).view(3, 1, 1)
    return built(name).score(replace(case, attributions=attributions[chosen], batch_size=batch_size, **parts))


def built(name: str) -> Metric:
    return metric(name, **SMALL.get(name, {}))


@pytest.mark.parametrize("name", MAPS_ALONE)
@given(maps=maps(), order=st.permutations([0, 1, 2]))
@SEARCH
def test_alone_in_a_batch_and_in_another_order(name: str, maps: Tensor, order: list[int]) -> None:
    together = measured(name, maps)
    torch.testing.assert_close(measured(name, maps, order, batch_size=2), together[order], atol=1e-4, rtol=1e-3)
    alone = torch.cat([measured(name, maps, [i], batch_size=1) for i in range(3)])
    torch.testing.assert_close(alone, together, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", MAPS_ALONE)
@given(maps=maps())
@SEARCH
def test_defined_and_in_range(name: str, maps: Tensor) -> None:
    scores = measured(name, maps)
    low, high = METRICS[name].range
    assert torch.isfinite(scores).all()
    assert float(scores.min()) >= low - 1e-5
    assert float(scores.max()) <= high + 1e-5


SCALED = [
    n
    for n in MAPS_ALONE
    if not (built(n).reads == "clipped" or (built(n).reads == "raw" and "explainer" in METRICS[n].needs))
]


@pytest.mark.parametrize("name", SCALED)
@given(maps=maps(), power=st.integers(-6, 6))
@SEARCH
def test_the_scale_of_a_map_says_nothing(name: str, maps: Tensor, power: int) -> None:
    """Powers of two: what is rounded stays so."""
    torch.testing.assert_close(measured(name, maps * 2.0**power), measured(name, maps), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", MAPS_ALONE)
def test_no_score_is_minus_zero(name: str) -> None:
    """A table would show the sign. On black images nothing changes what is removed."""
    base = CASES.setdefault("black", replace(case_of("cnn"), images=torch.zeros(3, 3, SIZE, SIZE)))
    shape = base.attributions.shape
    ramp = torch.linspace(-1, 1, SIZE * SIZE).view(1, SIZE, SIZE).expand(shape)
    for attributions in (torch.zeros(shape), -torch.ones(shape), torch.ones(shape), ramp, -ramp):
        case = replace(base, attributions=attributions, class_maps=torch.stack([attributions] * 3, 1))
        scores = metric(name, **SMALL.get(name, {})).score(case)
        assert not (torch.signbit(scores) & (scores == 0)).any()
