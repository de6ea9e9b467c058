"""Networks that return probabilities are explained by their logits, or refused; and values are no probabilities."""

import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from support.networks import Wrapped
from support.tiny_models import TINY, cnn, tiny
from torch import Tensor, nn
from torch.nn import functional as F

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import explainer
from seewhy.explainers.cam.ablation_cam import AblationCAM

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
