"""One classifier in any number of threads: the maps are those of one thread, and the network comes back as it was."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any, ClassVar

import pytest
import torch
from support.threads import PATIENCE, in_threads
from support.tiny_models import TINY, cnn, tiny
from torch import Tensor, nn

from seewhy.classifier.borrow import capture, frozen
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, explainer
from seewhy.metrics import Case, metric
from seewhy.testing.explainers import expect_same, snapshot

FEW: dict[str, dict[str, object]] = {
    "grad_cam": {},
    "hires_cam": {},
    "eigen_cam": {},
    "score_cam": {"channels": 4},
    "ablation_cam": {"closed_form": False},
    "saliency": {},
    "integrated_gradients": {"steps": 4},
    "active_saliency": {},
    "occlusion": {"window": 8, "stride": 8},
    "rise": {"samples": 16},
    "opti_cam": {"steps": 3},
    "relax": {"samples": 16, "precision": "bf16"},
}
"""Methods that hook, freeze, replay, convert and optimize, with few steps."""


@pytest.mark.parametrize("network", ["cnn_inplace", "vit"])
def test_eight_threads_make_the_maps_of_one(network: str, batch: tuple[Tensor, Tensor]) -> None:
    classifier, (images, targets) = TINY[network](), batch
    methods = [explainer(name, classifier, **options) for name, options in FEW.items() if network == "vit" or name != "cam"]
    before = snapshot(classifier.module)
    expected = [method.explain(images, targets) for method in methods]
    orders = [methods[i:] + methods[:i] for i in range(8)]

    def work(mine: list[Any]) -> Callable[[], list[Tensor]]:
        return lambda: [method.explain(images, targets) for method in mine]

    for i, maps in enumerate(in_threads(*map(work, orders))):
        assert isinstance(maps, list), maps
        for j, found in enumerate(maps):
            torch.testing.assert_close(found, expected[(i + j) % len(methods)], rtol=1e-4, atol=1e-6)
    expect_same(before, snapshot(classifier.module))


def test_probabilities_beside_grad_cam(batch: tuple[Tensor, Tensor]) -> None:
    """A pass of one thread once fell into the hooks of another, and gave it the features of other images."""
    classifier, (images, targets) = TINY["cnn"](), batch
    method, others = explainer("grad_cam", classifier), images.flip(0, 2)
    expected, seen = method.explain(images, targets), classifier.probabilities(others).detach()
    stop = Event()

    def classify() -> bool:
        same = True
        while not stop.is_set():
            same = same and torch.allclose(classifier.probabilities(others), seen)
        return same

    def explain() -> bool:
        same = True
        for _ in range(60):
            same = same and torch.allclose(method.explain(images, targets), expected, atol=1e-6)
        stop.set()
        return same

    assert in_threads(classify, explain, classify) == [True, True, True]


def test_a_failure_in_one_thread_leaves_the_others_and_the_network(batch: tuple[Tensor, Tensor]) -> None:
    classifier, (images, targets) = TINY["cnn"](), batch
    good = explainer("grad_cam", classifier)
    expected, before = good.explain(images, targets), snapshot(classifier.module)

    def fail() -> str:
        said = set()
        for _ in range(20):
            try:
                good.explain(images, torch.full_like(targets, 99))
            except SeewhyError as error:
                said.add(str(error))
        return " ".join(said)

    def work() -> bool:
        return all(torch.allclose(good.explain(images, targets), expected, atol=1e-6) for _ in range(20))

    found = in_threads(fail, work, work, fail)
    assert found[1:3] == [True, True]
    assert "99" in found[0]
    expect_same(before, snapshot(classifier.module))


def test_a_map_that_fails_between_two_classes_gives_the_network_back(batch: tuple[Tensor, Tensor]) -> None:
    """The exception keeps the frames that it passed, and with them a generator in the middle of its block."""
    classifier, (images, targets) = tiny(cnn()), batch
    classifier.module.train()
    method = explainer("grad_cam", classifier)
    before = snapshot(classifier.module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(method), "combine", lambda *_: torch.zeros(3) / "no map")  # type: ignore[operator]
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(method.explain_classes, images, targets)  # type: ignore[attr-defined]
            assert isinstance(future.exception(PATIENCE), TypeError)
    expect_same(before, snapshot(classifier.module))
    (found,) = in_threads(lambda: method.explain(images, targets))
    assert found.shape == (3, 16, 16)


def test_a_property_that_is_FoundOnce_in_two_threads(batch: tuple[Tensor, Tensor]) -> None:
    """``functools.cached_property`` has a lock too, up to Python 3.11: each thread would wait for that of the other."""
    images, targets = batch
    for _ in range(5):
        classifier = tiny(cnn())
        works = [lambda c=classifier: c.layer, lambda c=classifier: explainer("grad_cam", c).explain(images, targets)]  # type: ignore[misc]
        layer, maps, again = in_threads(*works, works[0])
        assert layer == again == classifier.layer
        assert maps.shape == (3, 16, 16)

    classifier, started = tiny(cnn()), Event()

    def holds() -> str:
        with frozen(classifier.module):
            started.set()
            waiting.wait(0.3)
            return classifier.layer

    waiting = Event()

    def asks() -> str:
        started.wait(PATIENCE)
        return classifier.layer

    found = in_threads(holds, asks)
    assert found[0] == found[1] == classifier.layer


def test_a_network_inside_another_is_the_same_network(batch: tuple[Tensor, Tensor]) -> None:
    images, targets = batch
    inner = cnn()
    part, whole = tiny(inner), tiny(nn.Sequential(inner, nn.Identity()))
    methods = [explainer("grad_cam", part), explainer("grad_cam", whole, layer="0.6"), explainer("saliency", whole)]
    expected, before = [m.explain(images, targets) for m in methods], snapshot(whole.module)
    works = [lambda m=m: [m.explain(images, targets) for _ in range(15)] for m in methods]  # type: ignore[misc]
    for maps, right in zip(in_threads(*works), expected, strict=True):
        for found in maps:
            torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-6)
    expect_same(before, snapshot(whole.module))


def test_another_thread_may_close_a_generator(batch: tuple[Tensor, Tensor]) -> None:
    classifier, (images, targets) = TINY["cnn"](), batch
    before = snapshot(classifier.module)

    def features() -> Iterator[Tensor]:
        with capture(classifier.module, "6") as outputs, frozen(classifier.module):
            for image in images.split(1):
                classifier.logits(image)
                yield outputs["6"]

    suspended = features()
    (first,) = in_threads(lambda: next(suspended))
    assert first.shape[0] == 1
    suspended.close()
    maps, here = in_threads(lambda: explainer("grad_cam", classifier).explain(images, targets))[0], classifier.logits(images)
    assert maps.shape == (3, 16, 16)
    assert here.shape == (3, 5)
    expect_same(before, snapshot(classifier.module))


@dataclass(frozen=True)
class HooksItself:
    """A method of another package that puts a hook of its own into the network."""

    family: ClassVar[str] = "gradient"
    class_specific: ClassVar[bool] = False
    paper: ClassVar[str] = ""

    classifier: Classifier

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        seen: list[Tensor] = []
        handle = self.classifier.module[6].register_forward_hook(lambda _m, _i, output: seen.append(output))  # type: ignore[index]
        try:
            self.classifier.module(self.classifier.normalize(images))
        finally:
            handle.remove()
        assert len(seen) == 1
        return seen[0].detach().mean(1)


def test_a_method_of_another_package_has_the_network_to_itself(batch: tuple[Tensor, Tensor]) -> None:
    classifier, (images, targets) = TINY["cnn"](), batch
    name = "hooks_itself"
    EXPLAINERS.register(name)(HooksItself)  # type: ignore[arg-type]
    try:
        mine, other = explainer(name, classifier), explainer("grad_cam", classifier)
        expected = mine.explain(images, targets), other.explain(images, targets)
        works = [lambda m=m: [m.explain(images, targets) for _ in range(40)] for m in (mine, other, mine)]  # type: ignore[misc]
        for maps, right in zip(in_threads(*works), (*expected, expected[0]), strict=True):
            assert isinstance(maps, list), maps
            for found in maps:
                torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-6)
    finally:
        EXPLAINERS._entries.pop(name)


@pytest.mark.parametrize("name", ["deletion", "max_sensitivity", "parameter_randomization", "adcc"])
def test_metrics_in_threads_are_those_of_one(name: str, batch: tuple[Tensor, Tensor]) -> None:
    classifier, (images, targets) = TINY["cnn_dropout" if "cnn_dropout" in TINY else "cnn"](), batch
    method = explainer("grad_cam", classifier)
    maps = method.explain(images, targets)
    measure = metric(name, **({"steps": 4} if name == "deletion" else {}))

    def score() -> Tensor:
        return measure.score(Case(classifier, images, targets, targets, maps, explainer=method))

    expected, before = score(), snapshot(classifier.module)
    rest = [lambda: [method.explain(images, targets) for _ in range(10)]] * 2
    for found in in_threads(score, score, score, *rest)[:3]:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    expect_same(before, snapshot(classifier.module))
