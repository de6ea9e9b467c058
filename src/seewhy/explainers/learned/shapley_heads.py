"""The network of a learned Shapley explainer: a head on features of the explained network, or of a copy, and what it reads.

Heads: the one of ViT-Shapley, Segmenter's mask transformer and its linear layer, and a U-Net decoder.
"""

from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, normalize

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.shapes_models import Block
from seewhy.explainers.learned.unet import LightDecoder
from seewhy.types import FeatureMap, Images, Logits

if TYPE_CHECKING:
    from seewhy.explainers.learned.side_ladder import SideLadder

HeadKind = Literal["auto", "block", "transformer", "linear", "cnn"]
PlayerTokens = Float[Tensor, "n p d"]
HEAD_WIDTH, HEAD_CHANNELS = 192, 48
"""Most channels of a token in a head, which stays light where the explained network is wide; and those of one attention."""
LEVEL_WIDTH = 64


class LinearHead(nn.Module):
    """One linear layer for each token: Segmenter's linear decoder."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.norm, self.last = nn.LayerNorm(channels), nn.Linear(channels, outputs)

    def forward(self, tokens: PlayerTokens) -> Float[Tensor, "n p o"]:
        return self.last(self.norm(tokens))


class BlockHead(nn.Module):
    """The head of ViT-Shapley: one more block of a transformer, then two hidden layers for each token."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        width, heads = head_width(channels)
        self.norm, self.proj = nn.LayerNorm(channels), nn.Linear(channels, width)
        self.block = Block(width, heads, 4 * width)
        self.hidden = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, 4 * width), nn.GELU()
        )
        self.last = nn.Linear(4 * width, outputs)

    def forward(self, tokens: PlayerTokens) -> Float[Tensor, "n p o"]:
        return self.last(self.hidden(self.block(self.proj(self.norm(tokens)))))


class MaskTransformer(nn.Module):
    """Segmenter's mask transformer (Strudel et al., 2021): a learned token for each output joins those of the patches.

    Two blocks mix all of them. A score is the product of a patch's vector and of an output's vector, both of length 1.
    Segmenter then normalizes the scores of each patch over the classes. A learned factor of each output takes the place of
    that, since a normalized background would count as much as the object.
    """

    def __init__(self, channels: int, outputs: int, blocks: int = 2) -> None:
        super().__init__()
        width, heads = head_width(channels)
        self.norm, self.proj = nn.LayerNorm(channels), nn.Linear(channels, width)
        self.tokens = nn.Parameter(torch.randn(1, outputs, width) * 0.02)
        self.blocks = nn.Sequential(*[Block(width, heads, 4 * width) for _ in range(blocks)])
        self.last_norm = nn.LayerNorm(width)
        self.of_patches, self.of_outputs = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.last = nn.Linear(1, outputs, bias=False)  # its weight is the factors

    def forward(self, tokens: PlayerTokens) -> Float[Tensor, "n p o"]:
        p = tokens.shape[1]
        own = self.tokens.expand(tokens.shape[0], -1, -1)
        mixed = self.last_norm(self.blocks(torch.cat([self.proj(self.norm(tokens)), own], 1)))
        patches, outputs = self.of_patches(mixed[:, :p]), self.of_outputs(mixed[:, p:])
        return normalize(patches, dim=-1) @ normalize(outputs, dim=-1).transpose(1, 2) * self.last.weight[:, 0]


SHAPLEY_HEADS: dict[str, type[nn.Module]] = {"linear": LinearHead, "block": BlockHead, "transformer": MaskTransformer}


class ShapleyNetwork(nn.Module):
    """From images, features and logits to numbers of each player, and of the whole image.

    Args:
        classifier: the explained network, whose features are read.
        kind: of the head.
        terms: numbers of each player for each class, and of the image for each class.
        level: are there numbers of the whole image? They are made of the mean features and of the logits.
        small: do all numbers start at 0?
        scalars: other numbers that are learned, by name.
        side: of the players: a patch in pixels; 0 is the network's patches, and -1 those of its first layer (mask tokens).
        empty: the logits of an image without any player.
        encoder: a classifier whose network is trained too, and whose features are read in place of the explained one's.
        ladder: makes the features that the head reads, of several layers of the explained network.
    """

    empty: Tensor
    players: Tensor

    def __init__(
        self,
        classifier: Classifier,
        kind: HeadKind,
        terms: int,
        level: bool,
        small: bool,
        scalars: dict[str, float],
        side: int,
        empty: Float[Tensor, "k"],
        encoder: Classifier | None = None,
        ladder: "SideLadder | None" = None,
    ) -> None:
        super().__init__()
        k, channels = classifier.n_classes, classifier.levels[-1].channels
        self.shape, self.reads_grid, self.ladder = (terms, k), kind == "cnn", ladder
        read = channels if ladder is None else ladder.width
        self.head = LightDecoder(classifier, terms * k) if kind == "cnn" else SHAPLEY_HEADS[kind](read, terms * k)
        reader = self.head if isinstance(self.head, LightDecoder) else ladder
        self.layers: tuple[str, ...] = (classifier.layer,) if reader is None else reader.layers
        self.level_norm = nn.LayerNorm(channels) if level else None
        hidden, made = nn.Linear(channels + k, LEVEL_WIDTH), nn.Linear(LEVEL_WIDTH, terms * k)
        self.level = nn.Sequential(hidden, nn.GELU(), made) if level else None
        self.scalars = nn.ParameterDict({name: nn.Parameter(torch.tensor(value)) for name, value in scalars.items()})
        self.encoder_view, self.encoder = encoder, None if encoder is None else encoder.module
        self.side = side
        self.register_buffer("players", torch.tensor(side))
        self.register_buffer("empty", empty.detach().float().cpu().clone())
        if encoder is not None:
            self._freeze_what_is_not_read(encoder)
        if small:
            last = self.head.head if isinstance(self.head, LightDecoder) else self.head.last
            for weight in (*cast(nn.Module, last).parameters(), *(made.parameters() if level else ())):
                nn.init.zeros_(weight)

    def forward(
        self, images: Images, features: tuple[Tensor, ...], logits: Logits, grid: tuple[int, int]
    ) -> tuple[Float[Tensor, "n p t k"], Float[Tensor, "n t k"] | None]:
        if self.encoder_view is not None:
            features, logits = self.read(self.encoder_view, images)
        if self.reads_grid:
            made = on_grid(self.head(images, *features), grid).flatten(2).transpose(1, 2)
        else:
            read = features[-1] if self.ladder is None else self.ladder(features, grid)
            made = self.head(on_grid(read, grid).flatten(2).transpose(1, 2))
        level = None
        if self.level is not None and self.level_norm is not None:
            pooled = self.level_norm(features[-1].mean((2, 3)))
            centered = logits - logits.mean(1, keepdim=True)
            level = self.level(torch.cat([pooled, centered.to(pooled)], 1)).unflatten(1, self.shape)
        return made.unflatten(2, self.shape), level

    def _freeze_what_is_not_read(self, encoder: Classifier) -> None:
        """Weights of the encoder behind what is read, such as those of its last blocks, can learn nothing."""
        image = torch.rand(2, len(encoder.mean), *encoder.input_size)
        with torch.enable_grad():
            features, logits = self.read(encoder, image)
            total = sum(f.sum() for f in features) + (logits.sum() if self.level is not None else 0)
            weights = list(encoder.module.parameters())
            found = torch.autograd.grad(cast(Tensor, total), weights, allow_unused=True)
        for weight, gradient in zip(weights, found, strict=True):
            weight.requires_grad_(gradient is not None)

    def read(self, encoder: Classifier, images: Images) -> tuple[tuple[FeatureMap, ...], Logits]:
        """The features and logits of the encoder, with a graph."""
        with encoder.capture(*self.layers) as outputs:
            logits = encoder.logits(images)
        return tuple(encoder.as_grid(outputs[layer], images, layer) for layer in self.layers), logits

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """What is loaded also says which players there are: a number, since an exporter reads no buffer."""
        super()._load_from_state_dict(state, prefix, *rest)
        self.side = int(self.players)


def head_width(channels: int) -> tuple[int, int]:
    """Channels of the tokens in a head, and how many attentions share them."""
    heads = max(1, min(channels, HEAD_WIDTH) // HEAD_CHANNELS)
    return heads * HEAD_CHANNELS, heads


def on_grid(features: Float[Tensor, "n d h w"], grid: tuple[int, int]) -> Float[Tensor, "n d gh gw"]:
    """The features on the grid of the players: means of cells where it is coarser, interpolated where it is finer."""
    size = (features.shape[-2], features.shape[-1])
    if size == grid:
        return features
    coarser = grid[0] <= size[0] and grid[1] <= size[1]
    return adaptive_avg_pool2d(features, grid) if coarser else interpolate(features, grid, mode="bilinear")
