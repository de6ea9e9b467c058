"""TEMPORARY, not committed."""
from dataclasses import dataclass

from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.masking.baselines import Baseline
from seewhy.masking.players import Players, divide
from seewhy.masking.tokens import Removal, network_patches, value_of
from seewhy.masking.values import Game
from seewhy.types import Images


@dataclass(frozen=True)
class Surrogate:
    classifier: Classifier
    removal: Removal
    baseline: Baseline | float | Tensor = "mean_color"
    size: int = 16
    def players(self, images: Images) -> Players:
        if self.removal == "pixels":
            return divide(images, "patches", self.size)
        return network_patches(self.removal, self.classifier, images)
    def __call__(self, images: Images, players: Players) -> Game:
        return value_of(self.removal, self.classifier, self.baseline)(images, players)

def load_surrogate(spec: str, classifier: Classifier) -> Surrogate:
    raise NotImplementedError
