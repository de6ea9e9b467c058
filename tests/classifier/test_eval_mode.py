"""A network in training mode is explained in eval mode by every call, and comes back as it was, buffers included."""

from collections.abc import Callable

import pytest
import torch
from support.tiny_models import tiny
from torch import Tensor, nn
from torch.nn.functional import batch_norm, dropout, linear

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import explainer
from seewhy.testing.explainers import expect_same, snapshot

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
TARGETS = torch.tensor([0, 3])


def with_batch_norm() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(8, 5),
    )


def _captured(classifier: Classifier) -> Tensor:
    with classifier.capture("2") as outputs:
        classifier.logits(IMAGES)
    return outputs["2"]


CALLS: dict[str, Callable[[Classifier], object]] = {
    "logits": lambda c: c.logits(IMAGES),
    "probabilities": lambda c: c.probabilities(IMAGES),
    "scores": lambda c: c.scores(IMAGES, TARGETS),
    "embed": lambda c: c.embed(IMAGES),
    "n_classes": lambda c: c.n_classes,
    "layer": lambda c: c.layer,
    "record": lambda c: c.record(IMAGES, "2")[1],
    "run_from": lambda c: c.run_from(recorded := c.record(IMAGES, "2")[0], recorded.features, IMAGES),
    "fast_layout": lambda c: c.fast_layout(IMAGES),
    "capture": _captured,
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_answers_in_eval_mode_and_leaves_training_mode_and_buffers(name: str) -> None:
    trained, evaluated = tiny(with_batch_norm()), tiny(with_batch_norm())
    trained.module.train()
    trained.module[0].eval()  # type: ignore[index]
    evaluated.module.eval()
    before = snapshot(trained.module)
    found, expected = CALLS[name](trained), CALLS[name](evaluated)
    expect_same(before, snapshot(trained.module))
    assert torch.equal(found, expected) if isinstance(found, Tensor) else found == expected


def test_logits_keep_the_gradients_of_the_weights() -> None:
    classifier = tiny(with_batch_norm())
    classifier.module.train()
    classifier.logits(IMAGES).sum().backward()
    assert all(p.grad is not None for p in classifier.module.parameters())


class Counts(nn.Module):
    """Changes its buffers in eval mode too, in place and by new ones, and reads one of them."""

    passes: Tensor
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5)
        self.register_buffer("passes", torch.zeros(1))
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        z = self.conv(x).relu()
        self.passes.add_(1)
        self.mean = 0.9 * self.mean + 0.1 * z.detach().mean((0, 2, 3))
        return self.head((z - self.mean[:, None, None]).mean((2, 3)))


@pytest.mark.parametrize("name", ["grad_cam", "saliency", "occlusion", "rise"])
def test_a_pass_that_writes_buffers_leaves_no_trace(name: str) -> None:
    classifier = tiny(Counts())
    before = snapshot(classifier.module)
    classifier.probabilities(IMAGES)
    method = explainer(name, classifier, **({"samples": 8} if name == "rise" else {}))
    method.explain(IMAGES, TARGETS)
    expect_same(before, snapshot(classifier.module))


class Merges(nn.Module):
    """A linear layer with a low-rank part, which its eval mode adds to the weight, as LoRA layers do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randint(-8, 9, (5, 8)).float())
        self.low = nn.Parameter(torch.randint(-8, 9, (5, 8)).float())  # sums of whole numbers are exact
        self.merged = False

    def train(self, mode: bool = True) -> "Merges":
        super().train(mode)
        if mode == self.merged:
            self.weight.data += self.low.data * (-1 if mode else 1)
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight if self.merged else self.weight + self.low)


class Tabled(nn.Module):
    """Keeps a table made of its weight while it is in eval mode, as timm's LeViT does; training throws the table away."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.table = nn.Parameter(torch.rand(5, 8)), dict[str, Tensor]()

    def train(self, mode: bool = True) -> "Tabled":
        super().train(mode)
        if mode:
            self.table = {}
        return self

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.training else self.table.setdefault("weight", self.weight.detach() * 2)
        return linear(x, weight)


@pytest.mark.parametrize("head", [Merges, Tabled])
def test_what_a_layer_does_in_eval_mode_is_undone(head: type[nn.Module]) -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head())
    classifier = tiny(module)
    module.train()
    before = snapshot(module)
    classifier.probabilities(IMAGES)
    explainer("saliency", classifier).explain(IMAGES, TARGETS)
    expect_same(before, snapshot(module))
    assert not getattr(module[3], "merged", False)
    assert not getattr(module[3], "table", {})


class ReturnsNothing(nn.Sequential):
    """A network whose own ``train`` forgets to return the network."""

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)


def test_a_train_method_that_returns_nothing() -> None:
    module = ReturnsNothing(*with_batch_norm())
    module.train()
    maps = explainer("grad_cam", Classifier(module, input_size=(16, 16))).explain(IMAGES, TARGETS)
    assert maps.shape == (2, 16, 16)
    assert all(m.training for m in module.modules())


# -- images that change each other's logits ----------------------------------------------------------------------------


class ByHand(nn.Module):
    """Batch statistics in a function: no module shows them."""

    def forward(self, x: Tensor) -> Tensor:
        return batch_norm(x, None, None, training=True)


class Deviation(nn.Module):
    """The standard deviation over the batch as one more channel, as discriminators have it."""

    def forward(self, x: Tensor) -> Tensor:
        spread = x.std(0, correction=0).mean().expand(len(x), 1, *x.shape[2:])
        return torch.cat([x[:, 1:], 5 * spread], 1)


MIXERS: dict[str, Callable[[], nn.Module]] = {
    "no running statistics": lambda: nn.BatchNorm2d(8, track_running_stats=False),
    "by hand": ByHand,
    "deviation": Deviation,
}
ALONE: dict[str, Callable[[], nn.Module]] = {
    "batch norm": lambda: nn.BatchNorm2d(8),
    "instance norm": lambda: nn.InstanceNorm2d(8),
    "group norm": lambda: nn.GroupNorm(2, 8),
}


def network_with(middle: nn.Module) -> Classifier:
    torch.manual_seed(1)
    body = [nn.Conv2d(3, 8, 3, padding=1), middle, nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    return tiny(nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)))


METHODS: dict[str, dict[str, object]] = {
    "grad_cam": {},
    "score_cam": {},
    "ablation_cam": {"closed_form": False},
    "saliency": {},
    "active_saliency": {},
    "integrated_gradients": {"steps": 5},
    "rise": {"samples": 12},
    "occlusion": {"window": 8, "stride": 8},
    "relax": {"samples": 12},
    "lime": {"samples": 12, "players": "patches", "size": 8},
    "opti_cam": {"steps": 3},
}


@pytest.mark.parametrize(
    ("mixer", "name"),
    [("no running statistics", name) for name in METHODS] + [(m, n) for m in MIXERS for n in ("grad_cam", "saliency")],
)
def test_map_1_does_not_depend_on_image_2(mixer: str, name: str) -> None:
    classifier = network_with(MIXERS[mixer]())
    assert classifier.mixes_images(IMAGES) if hasattr(classifier, "mixes_images") else True
    method = explainer(name, classifier, **METHODS[name])
    together = method.explain(IMAGES, TARGETS)
    for i in range(2):
        torch.testing.assert_close(method.explain(IMAGES[i : i + 1], TARGETS[i : i + 1])[0], together[i])
    small = explainer(name, classifier, **METHODS[name], batch_size=1)
    torch.testing.assert_close(small.explain(IMAGES, TARGETS), together, rtol=1e-3, atol=1e-5)
    if hasattr(method, "explain_classes"):
        classes = torch.tensor([1, 3, 4])
        several = method.explain_classes(IMAGES, classes)
        assert several.shape == (2, 3, 16, 16)
        torch.testing.assert_close(several[1, 1], together[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("mixer", MIXERS)
def test_logits_and_embeddings_are_those_of_each_image_alone(mixer: str) -> None:
    classifier = network_with(MIXERS[mixer]())
    for call in (classifier.logits, classifier.embed, classifier.probabilities):
        torch.testing.assert_close(call(IMAGES), torch.cat([call(image) for image in IMAGES.split(1)]))


@pytest.mark.parametrize("kind", ALONE)
def test_normalization_that_keeps_images_apart_still_runs_them_together(kind: str) -> None:
    classifier, sizes = network_with(ALONE[kind]()), list[int]()
    classifier.logits(IMAGES)
    handle = classifier.module[0].register_forward_hook(lambda _m, given, _o: sizes.append(len(given[0])))  # type: ignore[index]
    classifier.logits(IMAGES)
    handle.remove()
    assert sizes == [2]


def test_noise_is_no_dependence() -> None:
    assert not network_with(Noisy()).mixes_images(IMAGES)
    assert network_with(ByHand()).mixes_images(IMAGES)
    assert not network_with(ByHand()).mixes_images(IMAGES[:1])


class Noisy(nn.Module):
    """Dropout that forgot to ask for the mode."""

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, 0.5)


class WantsNumbers(nn.Module):
    """Refuses NaN, in its own way."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        if x.isnan().any():
            raise KeyError("a pixel is no number")
        return self.inner(x)


@pytest.mark.parametrize(("inner", "mixes"), [(ByHand, True), (nn.Identity, False)])
def test_a_network_that_refuses_nan_is_tried_with_numbers(inner: type[nn.Module], mixes: bool) -> None:
    assert network_with(WantsNumbers(inner())).mixes_images(IMAGES) == mixes


def test_what_could_not_be_tried_is_tried_again() -> None:
    """The first passes fail, as for want of memory: nothing is concluded from it."""
    classifier, left = network_with(ByHand()), [2]

    def fail(*_: object) -> None:
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("out of memory")

    classifier.module.register_forward_pre_hook(fail)
    classifier.mixes_images(IMAGES)
    assert classifier.mixes_images(IMAGES)


def test_images_that_have_no_logits_alone_are_refused_in_one_line() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 5))
    with pytest.raises(SeewhyError, match=r"refuses an image alone.*give its normalization running statistics") as refused:
        explainer("saliency", tiny(module)).explain(IMAGES, TARGETS)
    assert "\n" not in str(refused.value)
