"""Salvage (Naouar et al., 2025)."""

from math import log
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from seewhy.explainers.learned.learned_explainer import Seen, ValuedSets
from seewhy.explainers.learned.learned_shapley import LearnedShapley, PlayerTerms
from seewhy.masking.coalitions import guided_sets, uniform_sets
from seewhy.options import Above, AtLeast, Doc


class Salvage(LearnedShapley, name="salvage", family="learned", paper="salvage2025"):
    """What each player gives where it is seen, less what it gives where it is hidden, in log-odds. Signed.

    The network makes two terms for each player and class. The prediction for a set S is modeled by the Shapley distribution
    u(S) = softmax(sum_{i in S} phi+_i + sum_{i not in S} phi-_i), or the sigmoid of a network of several labels (eq. 4). It
    learns by the Jensen-Shannon divergence between u(S) and the surrogate's v(S) (eq. 5). The map is phi+ - phi-.

    Args:
        sampling: "guided" by the present attributions of the predicted class: half of the sets reveal players of high
            attribution, half hide them (section 4.2). "uniform": the size is uniform, and the set among those of its size.
        focus: exponent of the weights of guided sets. 1 is the paper's; more draws the best players more often.
        temperature: of the softmax or the sigmoid: u(S) = softmax(sum / temperature). "learned" learns it; the authors name
            it as future work.
        apart: phi+ and phi- are each a mean, made of the whole image, and deviations that sum to 0 over the players. The
            same functions, but a stiff sum becomes well conditioned. Without it the maps are often upside down.
        centered: the mean over the classes is subtracted from each term: a softmax leaves it free.

    Source: sections 3.2 and 4. The target class of the guidance is the predicted one, as no labels are read.
    """

    terms_of_player: ClassVar[int] = 2

    sampling: Annotated[Literal["guided", "uniform"], Doc("How sets are drawn.")] = "guided"
    focus: Annotated[float, AtLeast(0), Doc("Exponent of the weights of guided sets.")] = 1.0
    temperature: Annotated[float | Literal["learned"], Above(0), Doc("Temperature of the Shapley distribution.")] = 1.0
    apart: Annotated[bool, Doc("Make the mean over the players and the deviations from it apart.")] = True
    centered: Annotated[bool, Doc("Subtract the mean over the classes.")] = True

    @property
    def level(self) -> bool:
        return self.apart

    @property
    def scalars(self) -> dict[str, float]:
        return {"log_temperature": 0.0} if self.temperature == "learned" else {}

    def draw(
        self, scores: Float[Tensor, "n p k"] | None, seen: Seen, p: int, generator: torch.Generator
    ) -> Bool[Tensor, "n m p"]:
        n = len(seen.images)
        if scores is None or self.sampling == "uniform":
            return torch.stack([uniform_sets(self.sets, p, generator) for _ in range(n)])
        own = scores.gather(2, seen.logits.argmax(1)[:, None, None].expand(-1, p, 1))[:, :, 0]
        return guided_sets(own, self.sets, generator, self.focus)

    def terms(self, made: PlayerTerms, level: Float[Tensor, "n t k"] | None, seen: Seen) -> PlayerTerms:
        if level is not None:
            made = made - made.mean(1, keepdim=True) + level[:, None]
        if self.centered and not self.classifier.multilabel:
            made = made - made.mean(3, keepdim=True)
        return made

    def signed(self, terms: PlayerTerms) -> Float[Tensor, "n p k"]:
        return terms[:, :, 0] - terms[:, :, 1]

    def logits_of_sets(self, terms: PlayerTerms, kept: Bool[Tensor, "n m p"]) -> Float[Tensor, "n m k"]:
        """The logits of u(S): sums over the players of a set and over the others, divided by the temperature (eq. 4)."""
        seen = kept.to(terms)
        sums = seen @ terms[:, :, 0] + (1 - seen) @ terms[:, :, 1]
        temperature = self.net.scalars["log_temperature"].exp() if self.temperature == "learned" else self.temperature
        return sums / temperature

    def errors(self, terms: PlayerTerms, sets: ValuedSets) -> Float[Tensor, "n m"]:
        u = self.logits_of_sets(terms, sets.kept)
        return jensen_shannon(u, sets.logits.to(u), self.classifier.multilabel)


def jensen_shannon(a: Float[Tensor, "*n k"], b: Float[Tensor, "*n k"], multilabel: bool = False) -> Float[Tensor, "*n"]:
    """The Jensen-Shannon divergence of two softmax distributions, in nats: from 0 to log 2. Symmetric.

    Of several labels each class has a distribution of its own: the mean over the classes.

    Args:
        a, b: logits.
    """
    if multilabel:
        each = jensen_shannon_of_logs(*(torch.stack([logsigmoid(x), logsigmoid(-x)], -1) for x in (a, b)))
        return each.mean(-1)
    return jensen_shannon_of_logs(a.log_softmax(-1), b.log_softmax(-1))


def jensen_shannon_of_logs(p: Float[Tensor, "*n k"], q: Float[Tensor, "*n k"]) -> Float[Tensor, "*n"]:
    """The same of logarithms of probabilities."""
    middle = torch.logaddexp(p, q) - log(2)
    return ((p.exp() * (p - middle)).sum(-1) + (q.exp() * (q - middle)).sum(-1)) / 2
