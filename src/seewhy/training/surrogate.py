"""How a surrogate is trained: a copy of the classifier learns to say of partly removed images what it says of whole ones."""

import warnings
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property, partial
from typing import Annotated, ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError, SeewhyWarning
from seewhy.explainers.learned.learned_explainer import Seen, Step
from seewhy.explainers.learned.settings import Settings
from seewhy.masking.baselines import Baseline
from seewhy.masking.coalitions import uniform_sets
from seewhy.masking.surrogate import AnyRemoval, Surrogate
from seewhy.masking.tokens import Removal
from seewhy.options import AtLeast, AtMost, Doc, checking
from seewhy.types import Images, Logits


@partial(checking, "surrogate")
@dataclass(frozen=True, eq=False)
class SurrogateTraining:
    r"""The training of a surrogate: the divergence of its predictions under a random set from the classifier's on the whole.

    $$\mathcal{L} = \frac{1}{n} \sum_i \mathrm{KL}\big(f(x_i) \,\|\, g(x_i, S_i)\big),$$

    $f$ being the frozen classifier and $g$ the surrogate, which begins with its weights. At each step an image has one set
    $S_i$, whose size is uniform from no player to all. Probabilities are a softmax; of a multi-label network the divergences
    of all its classes are summed.

    Source: ViT-Shapley (Covert, Kim and Lee, 2023), section 4.1 and its code; FastSHAP (Jethani et al., 2022) for CNNs.

    Deviations: the network is in eval mode, without dropout, and batch normalization keeps its statistics. The sets of an
    image and of another one in the batch have sizes that add up to all players: each set is distributed as before, and two
    sets share a row of tokens.

    Args:
        classifier: whose predictions are learned.
        removal: "tokens" that leave the sequence of a transformer, "mask_tokens", or "pixels" of the baseline. "auto" is
            tokens where the network can drop all of its patches, and pixels in any other network.
        size: side of a patch in pixels. 0 is the network's own patches, or with pixels a 14th of the image, at least 8.
        network: the surrogate's; None before the training.
    """

    settings: ClassVar[Settings] = Settings(
        batch_size=64, learning_rate=2e-4, weight_decay=1e-5, schedule="cosine", clip=1.0
    )

    classifier: Classifier
    removal: AnyRemoval = "auto"
    size: Annotated[int, AtLeast(0)] = 0
    baseline: Annotated[Baseline | float, AtLeast(0), AtMost(1), Doc("What removed pixels become: a name, or a gray.")] = (
        "mean_color"
    )
    _: KW_ONLY
    network: nn.Module | None = None

    def __post_init__(self) -> None:
        """What "auto" stands for is found once: the run folder says it, and not the word."""
        self.classifier.must_have_probabilities()
        found = Surrogate.of(self.classifier, self.removal, self.size, self.baseline)
        if found.removal == "tokens" and not self.classifier.token_dropping.head_reads_prefix:
            raise SeewhyError(
                f"the head of {type(self.classifier.module).__name__} reads its patches, and a surrogate also learns from "
                "images without any: give removal=mask_tokens or removal=pixels"
            )
        object.__setattr__(self, "removal", found.removal)
        object.__setattr__(self, "size", found.size)

    def untrained(self, seed: int = 0) -> "SurrogateTraining":
        """With a network of its own, which has the weights of the classifier."""
        network = deepcopy(self.classifier.module)
        network.requires_grad_(True)
        made = replace(self, network=network)
        images = self.classifier.to_device(torch.zeros(2, len(self.classifier.mean), *self.classifier.input_size))
        with torch.no_grad(), warnings.catch_warnings():  # the classifier has said all of it
            warnings.simplefilter("ignore", SeewhyWarning)
            none = torch.zeros(2, made.surrogate.players(images).p, dtype=torch.bool, device=images.device)
            made.surrogate.logits(images, none)  # finds how the network is run, before the loop changes how it computes
        return made

    @cached_property
    def surrogate(self) -> Surrogate:
        """What is trained, as a value function."""
        assert self.network is not None
        student = replace(self.classifier, module=self.network)
        return Surrogate(student, cast(Removal, self.removal), self.baseline, self.size)

    def see(self, images: Images, labels: Tensor | None = None) -> Seen:
        """What the classifier says of the whole images."""
        with self.classifier.running():
            return Seen(images, labels, self.classifier.logits(self.classifier.fast_layout(images)))

    def loss(self, seen: Seen, generator: torch.Generator) -> Step:
        """The divergence, for one set of each image; the masks are the pixels of the sets."""
        players = self.surrogate.players(seen.images)
        kept = uniform_sets(len(seen.images), players.p, generator).to(seen.images.device)
        logits = self.surrogate.logits(seen.images, kept)
        masks = players.pixels(torch.arange(len(kept), device=kept.device), kept)[:, None].float()
        return Step({"divergence": divergence(seen.logits, logits, self.classifier.multilabel)}, masks)


def divergence(target: Logits, found: Logits, multilabel: bool = False) -> Float[Tensor, ""]:
    """KL(p || q), a mean over the images, of the probabilities p and q of two tensors of logits (n, k).

    With ``multilabel`` each class is a sigmoid of its own, and the divergences of its two outcomes are summed over classes.
    """
    p, q = (logits if logits.dtype == torch.float64 else logits.float() for logits in (target, found))
    if multilabel:
        yes = p.sigmoid() * (logsigmoid(p) - logsigmoid(q))
        no = (-p).sigmoid() * (logsigmoid(-p) - logsigmoid(-q))
        return (yes + no).sum(1).mean()
    return (p.softmax(1) * (p.log_softmax(1) - q.log_softmax(1))).sum(1).mean()
