"""Networks that return probabilities are explained by their logits, or refused; and values are no probabilities."""

import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import timm
import torch
from support.networks import Wrapped, from_hugging_face, from_torchvision
from support.tiny_models import CHEAP, TINY, cnn, tiny
from torch import Tensor, nn
from torch.nn import functional as F

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.explainers import explainer
from seewhy.explainers.cam.ablation_cam import AblationCAM
from seewhy.explanation.explain import explain
from seewhy.metrics import Case
from seewhy.metrics.base import metric

IMAGES, TWO = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 3])
End = Callable[[Tensor], object]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def with_end(end: End, multilabel: bool = False, k: int = 5) -> Classifier:
    """The tiny network and what follows its logits. Names of classes are left away, since an end may drop some."""
    wrapped = Wrapped(end)
    wrapped.body = cnn(k=k)
    return replace(tiny(wrapped), classes=(), multilabel=multilabel)


def logits_of(classifier: Classifier) -> Tensor:
    """What the network inside says before its end."""
    body = classifier.module.get_submodule("body")
    return body(classifier.normalize(IMAGES)).detach()


class Softmax2d(nn.Module):
    """Class maps of one cell, as an exported Keras network ends."""

    def forward(self, z: Tensor) -> Tensor:
        return F.softmax(z[:, :, None, None], 1).flatten(1)


SEEN: dict[str, End] = {
    "module": nn.Softmax(1),
    "functional": lambda z: F.softmax(z, -1),
    "method": lambda z: z.softmax(1),
    "log module": nn.LogSoftmax(1),
    "log functional": lambda z: F.log_softmax(z, dim=1),
    "maps": Softmax2d(),
    "mapping": lambda z: {"probabilities": z.softmax(1)},
    "tuple with the logits": lambda z: (z.softmax(1), z),
    "in double": lambda z: z.double().softmax(1),
    "half": lambda z: z.softmax(1).half(),
    "rounded at the ends": lambda z: z.softmax(1).clamp(1e-7, 1 - 1e-7),
}
"""Ends whose input are the logits."""
COMPUTED: dict[str, End] = {
    "by hand": lambda z: z.exp() / z.exp().sum(1, keepdim=True),
    "in percent": lambda z: 100 * z.softmax(1),
    "of squares": lambda z: z**2 / (z**2).sum(1, keepdim=True),
    "mixed with chance": lambda z: 0.9 * z.softmax(1) + 0.02,
    "yes and no": lambda z: torch.cat([1 - z[:, :1].sigmoid(), z[:, :1].sigmoid()], 1),
    "mean of two": lambda z: (z.softmax(1) + (2 * z).softmax(1)) / 2,
    "log of a mean": lambda z: (z.softmax(1) / 2 + 0.1).log(),
}
"""Ends of which the logarithm is taken."""


@pytest.mark.parametrize("end", SEEN)
def test_the_input_of_a_softmax_is_explained_as_if_the_softmax_were_not_there(end: str) -> None:
    """Numbers, maps, heads and what follows a layer are those of the network without its last function."""
    classifier, plain = with_end(SEEN[end]), with_end(lambda z: z)
    torch.testing.assert_close(classifier.logits(IMAGES), plain.logits(IMAGES))
    torch.testing.assert_close(classifier.probabilities(IMAGES).detach(), logits_of(plain).softmax(1))
    assert classifier.heads == plain.heads == ("body.10",)
    assert classifier.layer == plain.layer
    for name in ("saliency", "grad_cam", "cam", "ablation_cam", "active_saliency"):
        torch.testing.assert_close(
            explainer(name, classifier).explain(IMAGES, TWO), explainer(name, plain).explain(IMAGES, TWO)
        )
    recorded, logits = classifier.record(IMAGES, "body.4")
    torch.testing.assert_close(classifier.run_from(recorded, recorded.features, IMAGES), logits)
    torch.testing.assert_close(logits.float(), plain.logits(IMAGES).detach())


@pytest.mark.parametrize("end", COMPUTED)
def test_the_logarithm_of_probabilities_gives_the_network_s_own_probabilities(end: str) -> None:
    classifier = with_end(COMPUTED[end])
    given = COMPUTED[end](logits_of(classifier))
    assert isinstance(given, Tensor)
    own = given.exp() if (given < 0).any() else given / given.sum(1, keepdim=True)
    torch.testing.assert_close(
        classifier.probabilities(IMAGES).detach(), own / own.sum(1, keepdim=True), rtol=1e-4, atol=1e-6
    )
    recorded, logits = classifier.record(IMAGES, "body.4")
    torch.testing.assert_close(logits, classifier.logits(IMAGES).detach())
    torch.testing.assert_close(classifier.run_from(recorded, recorded.features, IMAGES), logits)
    for name in ("saliency", "grad_cam"):
        assert explainer(name, classifier).explain(IMAGES, torch.tensor([1, 0])).abs().sum() > 0


def test_of_a_softmax_in_half_precision_and_in_bfloat16_the_logits_are_explained() -> None:
    classifier, plain = with_end(nn.Softmax(1)), with_end(lambda z: z)
    with classifier.running("bf16"):
        p, rough = classifier.probabilities(IMAGES), classifier.logits(IMAGES)
    torch.testing.assert_close(p, logits_of(plain).softmax(1), rtol=0.05, atol=0.02)
    torch.testing.assert_close(rough, logits_of(plain), rtol=0.05, atol=0.05)
    half = replace(classifier, module=classifier.module.half())
    torch.testing.assert_close(
        half.probabilities(IMAGES.half()).float().detach(), logits_of(plain).softmax(1), rtol=0.02, atol=0.01
    )


SIGMOIDS: dict[str, End] = {
    "module": nn.Sigmoid(),
    "functional": torch.sigmoid,
    "in place": lambda z: z.clone().sigmoid_(),
    "logarithm": F.logsigmoid,
    "several heads": lambda z: torch.cat([z[:, :2].sigmoid(), z[:, 2:].sigmoid()], 1),
}


@pytest.mark.parametrize("end", SIGMOIDS)
def test_sigmoids_are_the_probabilities_of_several_labels(end: str) -> None:
    classifier = with_end(SIGMOIDS[end], multilabel=True)
    torch.testing.assert_close(classifier.logits(IMAGES).detach(), logits_of(classifier), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(classifier.probabilities(IMAGES).detach(), logits_of(classifier).sigmoid())
    with pytest.raises(
        SeewhyError, match=r"^Wrapped has a probability of its own for each of 5 classes .* multilabel=True$"
    ):
        replace(classifier, multilabel=False).logits(IMAGES)


def test_hard_sigmoids_are_explained_where_they_are_not_cut_off() -> None:
    classifier = with_end(nn.Hardsigmoid(), multilabel=True)
    torch.testing.assert_close(classifier.probabilities(IMAGES).detach(), F.hardsigmoid(logits_of(classifier)))
    wide = with_end(lambda z: F.hardsigmoid(20 * z), multilabel=True)
    with pytest.raises(SeewhyError, match=r"^Wrapped returns probabilities of exactly 0 or 1"):
        wide.logits(IMAGES)


@pytest.mark.parametrize(
    "end",
    [lambda z: z[:, :1].sigmoid(), lambda z: torch.stack([torch.zeros_like(z[:, 0]), z[:, 0]], 1).softmax(1)[:, 1:]],
    ids=["sigmoid", "the second of two"],
)
def test_one_probability_is_two_classes(end: End) -> None:
    classifier = with_end(end)
    p = logits_of(classifier)[:, 0].sigmoid()
    torch.testing.assert_close(classifier.probabilities(IMAGES).detach(), torch.stack([1 - p, p], 1))
    with pytest.raises(SeewhyError, match=r"^one logit makes two classes"):
        replace(classifier, multilabel=True).logits(IMAGES)


def best_two(z: Tensor) -> Tensor:
    p = z.softmax(1)
    return p * (p >= p.topk(2, 1).values[:, 1:])


@pytest.mark.parametrize(
    ("end", "line"),
    [
        (lambda z: z.relu() / z.relu().sum(1, keepdim=True), "probabilities of exactly 0"),
        (lambda z: F.one_hot(z.argmax(1), 5).float(), "probabilities of exactly 0"),
        (
            lambda z: (
                (z - z.amax(1, keepdim=True)).mul(200).exp()
                * 1.0
                / (z - z.amax(1, keepdim=True)).mul(200).exp().sum(1, keepdim=True)
            ),
            "probabilities of exactly 0",
        ),
        (best_two, "a part of a softmax"),
        (lambda z: z.softmax(1)[:, :4], "a part of a softmax"),
        (lambda z: z.softmax(0), "over another axis"),
        (lambda z: z[:, :1].softmax(1), "a softmax over one output, which is always 1"),
        (lambda z: z.clamp(0, 1), "probabilities of exactly 0 or 1"),
    ],
    ids=["relu", "one hot", "saturated", "top two", "without background", "wrong axis", "one output", "clamped"],
)
def test_what_has_no_exact_logits_is_refused(end: End, line: str) -> None:
    classifier = with_end(end)
    for name in ("saliency", "rise"):
        with pytest.raises(SeewhyError, match=rf"^Wrapped (returns|has) .*{line}"):
            explainer(name, classifier).explain(IMAGES, torch.tensor([0, 0]))


def test_a_softmax_that_rounds_to_0_is_explained_by_its_input() -> None:
    """log p would be minus infinity, and 1 - p has no digit left."""
    for end, multilabel in ((lambda z: (500 * z).softmax(1), False), (lambda z: (500 * z).sigmoid(), True)):
        classifier = with_end(end, multilabel)
        torch.testing.assert_close(classifier.logits(IMAGES).detach(), 500 * logits_of(classifier))
        assert explainer("saliency", classifier).explain(IMAGES, TWO).isfinite().all()


def test_probabilities_and_multilabel_that_contradict_each_other_are_refused() -> None:
    for end in (nn.Softmax(1), nn.LogSoftmax(1), COMPUTED["by hand"]):
        with pytest.raises(SeewhyError, match=r"^the probabilities of Wrapped sum to 1, .* leave multilabel at False$"):
            with_end(end, multilabel=True).logits(IMAGES)


def test_it_is_said_once_what_is_explained() -> None:
    for end, said in (
        (nn.Softmax(1), "by a softmax, whose input"),
        (COMPUTED["by hand"], "whose logarithm"),
        (lambda z: z, ""),
    ):
        classifier = with_end(end)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                classifier.logits(IMAGES)
        assert [said in str(w.message) for w in caught] == [True] * bool(said)


def test_numbers_that_stay_in_0_and_1_for_an_unknown_reason_are_said_and_can_be_declared() -> None:
    classifier = with_end(lambda z: (z.tanh() + 1) / 2)
    with pytest.warns(UserWarning, match=r"in \[0, 1\] alone, which are taken for logits: say outputs="):
        classifier.logits(IMAGES)
    p = (logits_of(classifier).tanh() + 1) / 2
    declared = replace(classifier, outputs="probabilities", multilabel=True)
    torch.testing.assert_close(declared.probabilities(IMAGES).detach(), p)
    taken = replace(classifier, outputs="logits")
    torch.testing.assert_close(taken.logits(IMAGES).detach(), p)
    with pytest.raises(SeewhyError, match="which are no probabilities"):
        replace(with_end(lambda z: z), outputs="probabilities").logits(IMAGES)


def test_ordinary_logits_are_left_alone() -> None:
    """Also those of a network with gates and attentions inside, of one logit, and near 0."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.gate, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 8), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x).relu()
            x = x * self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None]
            return self.head((x.flatten(2).softmax(2) * x.flatten(2)).sum(2))

    for classifier in (tiny(Gated()), TINY["vit"](), with_end(lambda z: z), with_end(lambda z: z / 100)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = classifier.logits(IMAGES)
        assert torch.equal(found, classifier.module(classifier.normalize(IMAGES)))


def test_a_network_that_has_a_softmax_in_eval_mode_alone() -> None:
    """As YOLO's classifiers have it."""

    class Switching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = cnn()

        def forward(self, x: Tensor) -> Tensor:
            z = self.body(x)
            return z if self.training else z.softmax(1)

    classifier = tiny(Switching())
    expected = logits_of(classifier)
    torch.testing.assert_close(classifier.logits(IMAGES).detach(), expected)
    assert AblationCAM(classifier).explain(IMAGES, TWO).isfinite().all()


def test_the_probe_leaves_the_network_and_its_buffers_as_they_were() -> None:
    class Notes(nn.Module):
        seen: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.body = cnn()
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            return self.body(x).softmax(1)

    classifier = tiny(Notes())
    classifier.module.train()
    before = {key: value.clone() for key, value in classifier.module.state_dict().items()}
    assert classifier.ending == "softmax"
    assert classifier.module.training
    assert all(torch.equal(value, before[key]) for key, value in classifier.module.state_dict().items())


# -- values that are no class scores -----------------------------------------------------------------------------------


def regression(k: int = 1, end: End = lambda z: z) -> Classifier:
    return replace(with_end(end, k=k), outputs="values")


def test_values_are_neither_doubled_nor_turned_into_probabilities() -> None:
    """Also where a sigmoid at the end brings them to [0, 1]: the numbers explained are the network's own."""
    for classifier in (
        regression(),
        regression(7),
        regression(1, lambda z: z.sigmoid()),
        regression(5, lambda z: z.softmax(1)),
    ):
        own = classifier.module(classifier.normalize(IMAGES)).detach()
        assert torch.equal(classifier.logits(IMAGES).detach(), own)
        assert classifier.n_classes == own.shape[1]
        with pytest.raises(SeewhyError, match=r"^Wrapped returns values, which have no probabilities: .* selector=logit"):
            classifier.probabilities(IMAGES)
    assert [regression().class_name(0), regression(7).class_name(3)] == ["output", "output 3"]


def test_the_map_of_a_regression_is_that_of_its_own_number() -> None:
    """The map of one logit is that of half of it; and a head before a sigmoid does not make the value."""
    one, two = regression(), with_end(lambda z: z, k=1)
    for name in ("grad_cam", "cam", "ablation_cam", "saliency", "integrated_gradients"):
        found = explainer(name, one).explain(IMAGES, torch.tensor([0, 0]))
        torch.testing.assert_close(found, 2 * explainer(name, two).explain(IMAGES, torch.tensor([1, 1])))
    squashed = regression(7, torch.sigmoid)
    assert squashed.heads == ()
    one_by_one = explainer("saliency", squashed).explain(IMAGES, TWO)
    together = explainer("saliency", squashed).explain_classes(IMAGES, torch.arange(7))  # type: ignore[attr-defined]
    torch.testing.assert_close(together[[0, 1], TWO], one_by_one)


@pytest.mark.parametrize("name", ["rise", "lime", "opti_cam_fast"])
def test_a_method_with_a_selector_reads_values_by_itself(name: str) -> None:
    by_itself = explainer(name, regression(7), **CHEAP[name])
    assert by_itself.selector == "logit"  # type: ignore[attr-defined]
    asked = explainer(name, regression(7), selector="logit", **CHEAP[name])
    assert torch.equal(by_itself.explain(IMAGES, TWO), asked.explain(IMAGES, TWO))
    with pytest.raises(
        UnsuitedError, match=rf"^{name}: Wrapped returns values, which have no probabilities: .* selector=logit"
    ):
        explainer(name, regression(7), selector="probability")


def test_a_method_that_reads_probabilities_alone_does_not_suit_values() -> None:
    with pytest.raises(UnsuitedError, match=r"^smooth_pixel_mask: Wrapped returns values, .*: choose another method"):
        explainer("smooth_pixel_mask", regression(7))


@pytest.mark.parametrize("name", ["average_drop", "deletion", "average_gain", "saliency_metric"])
def test_a_metric_that_reads_probabilities_says_that_values_have_none(name: str) -> None:
    zeros = torch.zeros(2, dtype=torch.int64)
    case = Case(regression(7), IMAGES, zeros, zeros, torch.rand(2, 16, 16))
    with pytest.raises(SeewhyError, match=r"^Wrapped returns values, which have no probabilities"):
        metric(name).score(case)


class Pooled(nn.Module):
    """What a backbone of Hugging Face returns."""

    def __init__(self) -> None:
        super().__init__()
        self.body = cnn(k=7)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        pooled = self.body(x)
        return {"last_hidden_state": pooled[:, None], "pooler_output": pooled}


def backbone_of_hugging_face() -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: this test needs its models")
    config = transformers.Dinov2Config(
        hidden_size=12, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=4
    )
    return transformers.Dinov2Model(config)


def regression_of_hugging_face() -> nn.Module:
    options = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    module = from_hugging_face("ResNet", **options)()
    module.config.problem_type = "regression"  # type: ignore[union-attr]
    return module


def without_head() -> nn.Module:
    module = from_torchvision("shufflenet_v2_x0_5")()
    module.fc = nn.Identity()
    return module


BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "pooled": Pooled,
    "Dinov2Model": backbone_of_hugging_face,
    "regression": regression_of_hugging_face,
    "Identity": without_head,
    "num_classes=0": lambda: timm.create_model("test_resnet", num_classes=0),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_networks_that_say_that_they_return_values(name: str) -> None:
    classifier = Classifier(BACKBONES[name]().eval(), input_size=(32, 32))
    images = torch.rand(2, 3, 32, 32)
    assert classifier.class_name(1) == "output 1"
    with pytest.raises(SeewhyError, match="returns values, which have no probabilities"):
        classifier.probabilities(images)
    explanation = explain(images[0], classifier, "saliency")
    assert explanation.caption == f"output {explanation.target}  {explanation.value:.4g}"
    assert explanation.probability is None


def test_a_network_that_says_nothing_has_classes() -> None:
    assert from_torchvision("shufflenet_v2_x0_5")().fc.out_features == 5
    classifier = Classifier(from_torchvision("shufflenet_v2_x0_5")().eval(), input_size=(32, 32))
    assert not classifier.returns_values
    assert classifier.class_name(1) == "class 1"
