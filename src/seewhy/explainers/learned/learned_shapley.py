"""Learned Shapley explanations: a network says in one pass what each player gives to every class."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, cast, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seewhy.errors import SeewhyError
from seewhy.explainers.learned.learned_explainer import LearnedExplainer, Seen, Step, ValuedSets
from seewhy.explainers.learned.settings import Settings
from seewhy.explainers.learned.shapley_heads import HeadKind, ShapleyNetwork
from seewhy.explainers.learned.side_ladder import SideLadder
from seewhy.maps import min_max
from seewhy.masking.baselines import Baseline
from seewhy.masking.players import Players, divide
from seewhy.masking.shapley import SETS_AT_A_TIME
from seewhy.masking.surrogate import AnyRemoval, Surrogate, load_surrogate
from seewhy.masking.tokens import network_grid, network_patches
from seewhy.options import AtLeast, AtMost, Doc
from seewhy.types import ClassAttribution, Images, Logits

if TYPE_CHECKING:
    from seewhy.explainers.learned.explaining_classifier import ExplainingClassifier

ShapleyBackbone = Literal["shared", "copy", "side"]
GAIN = 4.0
"""Of the deviations of the players, where their mean is made apart: a sum over players hardly feels a step of theirs."""
PlayerTerms = Float[Tensor, "n p t k"]
"""What the network says of each player: t numbers for each class."""
Corrector = Callable[[Seen, Tensor], tuple[Tensor, Tensor]]
"""Of m classes of each image: values (n, m, p), and their standard errors."""


class LearnedShapley(LearnedExplainer):
    """A method whose network makes scores of all players for all classes, trained on values of sets of players.

    A step asks the value function for the values of new sets, and learns from them and from those that are remembered. A
    subclass has six holes: ``draw``, ``terms``, ``signed`` and ``errors`` to learn and to explain, ``contributions`` and
    ``logits_of_sums`` to classify (see ``as_classifier``).
    """

    settings: ClassVar[Settings] = Settings(
        epochs=10, batch_size=32, learning_rate=1e-3, weight_decay=1e-5, schedule="cosine", warmup_steps=50, clip=1.0
    )
    without_download: ClassVar[Mapping[str, object]] = {"surrogate": ""}
    terms_of_player: ClassVar[int] = 1
    """Numbers of the network for each player and class."""

    surrogate: Annotated[
        str,
        Doc(
            'Whose values are learned: the run folder of "seewhy fit surrogate", or the name of a built-in one. "" is the '
            "explained network itself, which has not learned to see parts."
        ),
    ] = ""
    removal: Annotated[
        AnyRemoval,
        Doc(
            'How players are removed. "auto": as in the training of the surrogate; without one, tokens where the network '
            "can drop them, else pixels."
        ),
    ] = "auto"
    size: Annotated[
        int,
        AtLeast(0),
        Doc("Side of a patch in pixels. 0: as in the training of the surrogate; else the network's patches, or about 1/14."),
    ] = 0
    baseline: Annotated[
        Baseline | float | None,
        AtLeast(0),
        AtMost(1),
        Doc("What removed pixels become: a name or a gray. None: as in the training of the surrogate, or mean_color."),
    ] = None
    backbone: Annotated[
        ShapleyBackbone,
        Doc(
            '"shared": the frozen explained network\'s own features; one pass gives prediction and maps. "copy": a copy of '
            'the surrogate\'s network is trained whole, as the papers do. "side": a narrow network beside the frozen one '
            "reads each of its blocks, as in AutoGnothi."
        ),
    ] = "shared"
    head: Annotated[
        HeadKind,
        Doc(
            '"block": one more transformer block and two hidden layers, as ViT-Shapley has it. "transformer": Segmenter\'s '
            'mask transformer. "linear": one layer. "cnn": a U-Net decoder, as FastSHAP has it. "auto": block for '
            "transformers, cnn for others."
        ),
    ] = "auto"
    sets: Annotated[int, AtLeast(1), Doc("New sets of players that are asked of an image each time it is seen.")] = 8
    remember: Annotated[
        int, AtLeast(0), Doc("Megabytes in which values that were asked are kept for later epochs. 0 forgets them.")
    ] = 256
    monitor: Annotated[
        int,
        AtLeast(0),
        Doc(
            "Held-out images whose maps are compared with sampled Shapley values at every validation, in log.csv and on the "
            "sheet. They are asked for 8 sets for each player, once. 0 compares none."
        ),
    ] = 8
    small: Annotated[bool, Doc("Outputs start at 0, and are scaled by 1 / sqrt(players).")] = True

    @abstractmethod
    def draw(
        self, scores: Float[Tensor, "n p k"] | None, seen: Seen, p: int, generator: torch.Generator
    ) -> Bool[Tensor, "n m p"]:
        """New sets of each image. ``scores`` are the present attributions; None on held-out images."""

    @abstractmethod
    def terms(self, made: PlayerTerms, level: Float[Tensor, "n t k"] | None, seen: Seen) -> PlayerTerms:
        """The terms of the players, of what the head made of each player, and of the whole image."""

    @abstractmethod
    def signed(self, terms: PlayerTerms) -> Float[Tensor, "n p k"]:
        """The attribution of each player for each class."""

    @abstractmethod
    def errors(self, terms: PlayerTerms, sets: ValuedSets) -> Float[Tensor, "n m"]:
        """What the loss of each set is."""

    @abstractmethod
    def contributions(self, seen: Seen) -> Float[Tensor, "n p k"]:
        """What each player adds to the number of each class when all players are shown."""

    @abstractmethod
    def logits_of_sums(self, sums: Float[Tensor, "n k"]) -> Logits:
        """The logits of the prediction, of the sum of all contributions."""

    @property
    def level(self) -> bool:
        """Does the network make numbers of the whole image?"""
        return False

    @property
    def scalars(self) -> dict[str, float]:
        """Other numbers that are learned, with their first values."""
        return {}

    # -- the network ------------------------------------------------------------------------------------------------------

    @final
    def new_network(self) -> nn.Module:
        classifier, value = self.classifier, self.value
        classifier.must_have_probabilities()
        image = classifier.to_device(torch.full((1, len(classifier.mean), *classifier.input_size), 0.5))
        side = value.size or (-1 if value.removal == "mask_tokens" else 0)
        players = self._players(image, side)
        empty = self.ask(image, players, torch.zeros(1, 1, players.p, dtype=torch.bool, device=image.device))[0, 0]
        encoder = None
        if self.backbone == "copy":
            encoder = replace(value.classifier, module=deepcopy(value.classifier.module).cpu().float().requires_grad_())
        return ShapleyNetwork(
            classifier,
            self.head_kind,
            self.terms_of_player,
            self.level,
            self.small,
            self.scalars,
            side,
            empty,
            encoder,
            SideLadder(classifier) if self.backbone == "side" else None,
        )

    @property
    def head_kind(self) -> HeadKind:
        if self.head != "auto":
            if self.backbone == "side" and self.head == "cnn":
                raise SeewhyError("backbone=side makes tokens, which head=cnn does not read: take head=block")
            return self.head
        return "block" if self.backbone == "side" or self.value.removal == "tokens" else "cnn"

    @cached_property
    def value(self) -> Surrogate:
        """The value function: that of the surrogate, or of the explained network without one."""
        return load_surrogate(self.surrogate, self.classifier, self.removal, self.size, self.baseline)

    @property
    def net(self) -> ShapleyNetwork:
        """The trained network. UntrainedError before the training."""
        return cast(ShapleyNetwork, self.ready)

    # -- players ----------------------------------------------------------------------------------------------------------

    def players(self, images: Images) -> Players:
        """The players of the images: those of the training."""
        return self._players(images, self.net.side)

    def grid(self, images: Images) -> tuple[int, int]:
        """Rows and columns of the players."""
        side = self.net.side
        if side > 0:
            return -(-images.shape[-2] // side), -(-images.shape[-1] // side)
        return network_grid("tokens" if side == 0 else "mask_tokens", self.classifier, images)

    def _players(self, images: Images, side: int) -> Players:
        if side > 0:
            return divide(images, "patches", side)
        return network_patches("tokens" if side == 0 else "mask_tokens", self.classifier, images)

    def ask(self, images: Images, players: Players, kept: Bool[Tensor, "n m p"]) -> Float[Tensor, "n m k"]:
        """The logits of sets of players of each image; no graph."""
        game, (n, m, _) = self.value(images, players), kept.shape
        rows = torch.arange(n, device=images.device).repeat_interleave(m)
        flat = kept.to(images.device).flatten(0, 1)
        at_a_time = max(1, SETS_AT_A_TIME // m) * m
        parts = zip(rows.split(at_a_time), flat.split(at_a_time), strict=True)
        with torch.no_grad():
            return torch.cat([game(some, sets) for some, sets in parts]).float().unflatten(0, (n, m))

    # -- the maps ---------------------------------------------------------------------------------------------------------

    def raw(self, seen: Seen) -> tuple[PlayerTerms, Float[Tensor, "n t k"] | None]:
        """What the network makes of each player, and of the whole image; scaled."""
        made, level = self.net(seen.images, seen.features, seen.logits, self.grid(seen.images))
        scale = made.shape[1] ** -0.5 if self.small else 1.0
        gain = GAIN if self.small and level is not None else 1.0
        return made.float() * (gain * scale), None if level is None else level.float() * scale

    def found(self, seen: Seen) -> PlayerTerms:
        """The terms of all players, as the network makes them now: with a graph if grad is on."""
        return self.terms(*self.raw(seen), seen)

    def scores(self, seen: Seen) -> Float[Tensor, "n p k"]:
        """The attribution of each player for every class."""
        return self.signed(self.found(seen))

    @final
    def masks(self, seen: Seen, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        return self.spread(self.of_classes(seen, classes), seen.images)

    @property
    def corrector(self) -> Corrector | None:
        """What makes the values of an explanation instead, by asking the network again; None where nothing does."""
        return None

    @final
    def of_classes(self, seen: Seen, classes: Int[Tensor, "n m"]) -> Float[Tensor, "n m p"]:
        """The attribution of each player for m classes of each image."""
        if (corrector := self.corrector) is not None:
            return corrector(seen, classes)[0]
        scores = self.scores(seen).transpose(1, 2)
        return scores.gather(1, classes[:, :, None].expand(-1, -1, scores.shape[2]))

    @final
    def spread(self, own: Float[Tensor, "n m p"], images: Images) -> ClassAttribution:
        """Numbers of players on the pixels of the players. It asks tensors for no values, so that it can be exported."""
        side, (_, across) = self.net.side, self.grid(images)
        if side <= 0:
            return own[:, :, self.players(images[:1]).ids[0]]
        down, along = (torch.arange(pixels, device=images.device) // side for pixels in images.shape[-2:])
        return own[:, :, down[:, None] * across + along]

    @final
    def as_classifier(self) -> "ExplainingClassifier":
        """A classifier whose prediction is the sum of what each player contributes. UntrainedError before the training."""
        from seewhy.explainers.learned.explaining_classifier import classifier_of  # it imports this module

        return classifier_of(self)

    # -- the training -----------------------------------------------------------------------------------------------------

    @final
    def loss(self, seen: Seen, generator: torch.Generator) -> Step:
        """The mean error of new sets and of those that are remembered. On held-out images the sets stay the same."""
        terms = self.found(seen)
        scores, players = self.signed(terms), self.players(seen.images)
        held_out, known, asked = not self.ready.training, seen.sets, None
        if not (held_out and known is not None and bool(known.there.any(1).all())):
            kept = self.draw(None if held_out else scores.detach(), seen, players.p, generator)
            kept = kept.to(seen.images.device)
            asked = ValuedSets(kept, self.ask(seen.images, players, kept), kept.new_ones(kept.shape[:2]))
        sets = put_together([s for s in (known, asked) if s is not None])
        each = self.errors(terms, sets)
        loss = ((each * sets.there).sum(1) / sets.there.sum(1)).mean()
        classes = seen.logits.argmax(1)[:, None]
        own = scores.detach().gather(2, classes[:, None].expand(-1, scores.shape[1], 1))[:, :, 0]
        shown = min_max(own[:, None])[:, :, players.ids[0]]
        return Step({"error": loss}, shown, asked)


def put_together(parts: list[ValuedSets]) -> ValuedSets:
    """All sets of each image."""
    return parts[0] if len(parts) == 1 else ValuedSets(*(torch.cat(same, 1) for same in zip(*parts, strict=True)))
