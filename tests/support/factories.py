"""Networks that work and networks that do not, as ``--model factories:NAME`` names them."""

from dataclasses import replace

import torch
from support.tiny_models import TINY, cnn, tiny
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier


class Answers(nn.Module):
    """A small network whose last word is exchanged for another one."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.network, self.answer = cnn().eval(), answer

    def forward(self, x: Tensor) -> object:
        logits = self.network(x)
        return self.answer(logits) if callable(self.answer) else self.answer


class Dark(nn.Module):
    """Logits divided by whether there was light: 0 / 0 without."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits / (logits != 0).to(logits)


def small(k: int = 5) -> Classifier:
    """A convolutional network with five named classes."""
    if k != 5:
        return Classifier(cnn(k=k).eval(), input_size=(16, 16))
    return TINY["cnn"]()


def softmax() -> Classifier:
    """The network of ``small``, which ends in a softmax."""
    made = TINY["cnn"]()
    return replace(made, module=nn.Sequential(made.module, nn.Softmax(1)))


def one() -> Classifier:
    """One number: a logit, or the value of a regression."""
    return replace(tiny(cnn(k=1)), classes=())


def attentive() -> Classifier:
    """A transformer, which takes pictures of its own size alone."""
    return TINY["vit"]()


def bare() -> nn.Module:
    """A module, not a Classifier."""
    return cnn().eval()


def flat() -> Classifier:
    """No convolution: a network without a layer that has a grid."""
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(768, 5)).eval(), input_size=(16, 16))


def returns_nothing() -> None:
    return None


def raises_type_error() -> nn.Module:
    raise TypeError("unsupported operand")


def raises_os_error() -> nn.Module:
    raise FileNotFoundError("no weights here")


def _classifier(answer: object) -> Classifier:
    return Classifier(Answers(answer).eval(), input_size=(16, 16))


def nan() -> Classifier:
    return _classifier(lambda logits: logits * torch.nan)


def nan_in_the_dark() -> Classifier:
    """NaN for a black picture alone."""
    layers = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5, bias=False)]
    module = nn.Sequential(*layers, Dark())
    return Classifier(module.eval(), mean=(0.0,) * 3, std=(1.0,) * 3, input_size=(16, 16))


def infinite() -> Classifier:
    return _classifier(lambda logits: logits + torch.inf)


def vector() -> Classifier:
    return _classifier(lambda logits: logits[:, 0])


def volume() -> Classifier:
    return _classifier(lambda logits: logits[:, :, None, None])


def ambiguous() -> Classifier:
    return _classifier(lambda logits: {"first": logits, "second": logits})


def words() -> Classifier:
    return _classifier("a dog")


def broken() -> Classifier:
    def fail(logits: Tensor) -> Tensor:
        raise ZeroDivisionError("division by zero\nin the second line")

    return _classifier(fail)


def misnamed() -> Classifier:
    return Classifier(cnn().eval(), input_size=(16, 16), classes=("one", "two"))
