"""A narrow network beside the frozen one: it reads every block, and no gradient enters the explained network."""

from torch import Tensor, nn
from torch.nn.functional import gelu

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.shapes_models import Block
from seewhy.errors import UnsuitedError
from seewhy.explainers.learned.shapley_heads import on_grid
from seewhy.types import FeatureMap

REDUCTION = 8
"""The ladder is so many times narrower than the explained network."""
NARROWEST_LADDER = 48
CHANNELS_OF_A_HEAD = 24


class SideLadder(nn.Module):
    """From features of each block of the explained network to tokens on the grid of the players.

    For each block h of the explained network, s becomes block(s + gelu(W h)), with s = 0 at first. A block of a CNN is one
    of its levels. The features come without prefix tokens, so the ladder has none either.

    Source: the side network of AutoGnothi (Wang et al., 2025), whose code has it so; ladder side tuning without its gates.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        rungs = ladder_of(classifier)
        self.layers = tuple(name for name, _ in rungs)
        heads = max(max(d for _, d in rungs) // REDUCTION, NARROWEST_LADDER) // CHANNELS_OF_A_HEAD
        self.width = heads * CHANNELS_OF_A_HEAD
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _, d in rungs)
        self.maps = nn.ModuleList(nn.Linear(d, self.width) for _, d in rungs)
        self.blocks = nn.ModuleList(Block(self.width, heads, 4 * self.width) for _ in rungs)
        self.last_norm = nn.LayerNorm(self.width)

    def forward(self, features: tuple[Tensor, ...], grid: tuple[int, int]) -> FeatureMap:
        """Features (n, width, gh, gw), of features (n, d, h, w) of each layer."""
        side: Tensor | float = 0.0
        for norm, into, block, found in zip(self.norms, self.maps, self.blocks, features, strict=True):
            side = block(side + gelu(into(norm(on_grid(found, grid).flatten(2).transpose(1, 2)))))
        return self.last_norm(side).transpose(1, 2).unflatten(2, grid)


def ladder_of(classifier: Classifier) -> list[tuple[str, int]]:
    """The layers that a ladder reads, and their channels: the blocks of a transformer, or the levels of a CNN.

    The last layer is the feature layer. Blocks after it are left out: their patch tokens reach no output.
    """
    channels = {name: d for name, d, _ in classifier.spatial_layers}
    levels = [(level.name, level.channels) for level in classifier.levels]
    try:
        blocks = [(name, channels[name]) for name in classifier.blocks if name in channels]
    except UnsuitedError:
        return levels
    names = list(channels)  # in the order of the pass
    last = names.index(levels[-1][0])
    return [(name, d) for name, d in blocks if names.index(name) < last] + levels[-1:]
