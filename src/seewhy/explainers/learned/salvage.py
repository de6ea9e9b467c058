"""Salvage (Naouar et al., 2025)."""

from collections.abc import Callable
from math import log
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from seewhy.classifier.borrow import evaluating
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.explainers.classes import for_each
from seewhy.explainers.learned.learned_explainer import Seen, ValuedSets
from seewhy.explainers.learned.learned_shapley import Corrector, LearnedShapley, PlayerTerms
from seewhy.explainers.options import Seed
from seewhy.masking.coalitions import KeptPlayers, guided_sets, uniform_sets
from seewhy.masking.shapley import SETS_AT_A_TIME, SetScores, corrected_values, set_function
from seewhy.options import Above, AtLeast, Doc
from seewhy.types import ClassAttribution, Classes, Images, Logits

LEAST_CORRECTIONS = 4
"""Two pairs of sets: fewer tell no standard error."""


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
        corrections: sets that are asked of the network, or of the surrogate, for each image that is explained. Above 0 the
            map has the Shapley values of the probability: those of u(S), corrected by what the sets say of v(S) - u(S). They
            are right on average, however wrong u(S) is; ``explain_classes_with_errors`` also gives their standard errors.
            Few sets make noise: with 144 players, the map of 64 sets is farther from the true values than the map without
            corrections. 512 to 1,024 sets are a fair number there.
        seed: of the sets of the corrections.

    Source: sections 3.2 and 4. The target class of the guidance is the predicted one, as no labels are read.
    """

    when_explaining: ClassVar[tuple[str, ...]] = (*LearnedShapley.when_explaining, "corrections", "seed")
    terms_of_player: ClassVar[int] = 2

    sampling: Annotated[Literal["guided", "uniform"], Doc("How sets are drawn.")] = "guided"
    focus: Annotated[float, AtLeast(0), Doc("Exponent of the weights of guided sets.")] = 1.0
    temperature: Annotated[float | Literal["learned"], Above(0), Doc("Temperature of the Shapley distribution.")] = 1.0
    apart: Annotated[bool, Doc("Make the mean over the players and the deviations from it apart.")] = True
    centered: Annotated[bool, Doc("Subtract the mean over the classes.")] = True
    corrections: Annotated[
        int,
        AtLeast(0),
        Doc(
            "Sets of each explained image that correct its values; 0 shows what was learned. At least 4 for an error bar; "
            "about 512 to 1,024 for a good map of 144 patches."
        ),
    ] = 0
    seed: Seed = 0

    def __post_init__(self) -> None:
        if 0 < self.corrections < LEAST_CORRECTIONS:
            raise SeewhyError(f"corrections is 0, or at least {LEAST_CORRECTIONS} sets, got {self.corrections}")

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

    def contributions(self, seen: Seen) -> Float[Tensor, "n p k"]:
        """phi+ of each player, divided by the temperature: their sum is the logit of u(N) (eq. 6)."""
        return self.found(seen)[:, :, 0] / self.degree

    def logits_of_sums(self, sums: Float[Tensor, "n k"]) -> Logits:
        return sums

    @property
    def degree(self) -> Tensor | float:
        """The temperature: as it is given, or as it was learned."""
        return self.net.scalars["log_temperature"].exp() if self.temperature == "learned" else self.temperature

    def logits_of_sets(self, terms: PlayerTerms, kept: Bool[Tensor, "n m p"]) -> Float[Tensor, "n m k"]:
        """The logits of u(S): sums over the players of a set and over the others, divided by the temperature (eq. 4)."""
        seen = kept.to(terms)
        sums = seen @ terms[:, :, 0] + (1 - seen) @ terms[:, :, 1]
        return sums / self.degree

    # -- corrected explanations -----------------------------------------------------------------------------------------

    @property
    def corrector(self) -> Corrector | None:
        return self.corrected if self.corrections else None

    def explain_classes_with_errors(
        self, images: Images, classes: Classes
    ) -> tuple[ClassAttribution, ClassAttribution | None]:
        """The maps of the classes of every image, and the standard error of each pixel's value; None without corrections."""
        if not self.corrections:
            return self.explain_classes(images, classes), None
        wanted = for_each(images, classes)
        self.classifier.check_classes(images, wanted)
        found = []
        for some, own in zip(images.split(self.batch_size), wanted.split(self.batch_size), strict=True):
            seen = self.see(some)
            with evaluating(self.ready), torch.no_grad():
                found.append(tuple(self.spread(part, some) for part in self.corrected(seen, own)))
        maps, errors = map(torch.cat, zip(*found, strict=True))
        return maps, errors

    def corrected(self, seen: Seen, classes: Int[Tensor, "n m"]) -> tuple[Float[Tensor, "n m p"], Float[Tensor, "n m p"]]:
        """Shapley values of the probabilities of each image's own classes, and their standard errors.

        Source: phi(v) = phi(u) + phi(v - u), see ``corrected_values``.
        """
        if torch.compiler.is_compiling():
            raise UnsuitedError(
                "salvage with corrections asks the network again for parts of each picture, and one graph has one pass: "
                "give corrections=0"
            )
        images, terms, players = seen.images, self.found(seen).double(), self.players(seen.images)
        game, found = self.value(images, players), []
        for i, own in enumerate(classes.to(images.device)):

            def read(logits: Logits, own: Tensor = own) -> Float[Tensor, "r m"]:
                return self.classifier.to_probabilities(logits.double())[:, own]

            def u(kept: KeptPlayers, of: Tensor = terms[i : i + 1], read: Callable[[Logits], Tensor] = read) -> SetScores:
                return read(self.logits_of_sets(of, kept.to(of.device)[None])[0]).cpu()

            v = set_function(game, i, read, SETS_AT_A_TIME, images.device)
            generator = torch.Generator().manual_seed(self.seed)
            found.append(corrected_values(u, v, players.p, self.corrections, generator))
        values, errors = (torch.stack([getattr(one, name).T for one in found]) for name in ("values", "errors"))
        return values.to(images), errors.to(images)

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
