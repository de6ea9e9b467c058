"""The small networks that were trained on `shapes`: a residual CNN and a vision transformer.

Neither network normalizes its input: the Classifier around it applies ``MEAN`` and ``STD``. Both have a grid of one cell for
every eight pixels, for sharp maps: 12 x 12 at the 96 pixels of their training.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from seewhy.types import FeatureMap, Images, Logits

MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)
INPUT_SIZE = 96


OneOrMore = Float[Tensor, "_ c h w"]
"""Images, of which one may stand for all rows of the logits, where patches are dropped (``TokenDropping.head``)."""


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; none of its operations works in place."""

    def __init__(self, d_in: int, d_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(d_in, d_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(d_out)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(d_out, d_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(d_out)
        self.act2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or d_in != d_out:
            self.shortcut = nn.Sequential(nn.Conv2d(d_in, d_out, 1, stride, bias=False), nn.BatchNorm2d(d_out))

    def forward(self, features: Float[Tensor, "n d_in h w"]) -> FeatureMap:
        inner = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(features)))))
        return self.act2(inner + self.shortcut(features))


class Stem(nn.Module):
    """The beginning of both networks: one cell of 32 channels for every four pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 5, 2, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.act1 = nn.ReLU()
        self.layer1 = ResidualBlock(16, 32, 2)

    def stem(self, images: Images) -> FeatureMap:
        return self.layer1(self.act1(self.bn1(self.conv1(images))))


class ShapesCNN(Stem):
    """A residual CNN of 0.22 M parameters: stem, three stages, global average pooling, one linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.layer2 = nn.Sequential(ResidualBlock(32, 64, 2), ResidualBlock(64, 64, 1))
        self.layer3 = ResidualBlock(64, 64, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, 6)

    def forward(self, images: Images) -> Logits:
        """Logits of normalized images."""
        features = self.layer3(self.layer2(self.stem(images)))
        return self.fc(self.pool(features).flatten(1))


class Attention(nn.Module):
    """Multi-head self-attention with one joint projection for queries, keys and values."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Float[Tensor, "n t d"], attn_mask: Tensor | None = None) -> Float[Tensor, "n t d"]:
        n, t, d = tokens.shape
        q, k, v = self.qkv(tokens).reshape(n, t, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask)
        return self.proj(mixed.transpose(1, 2).reshape(n, t, d))


class Block(nn.Module):
    """A pre-norm transformer block: attention, then two linear layers that process each token alone.

    ``attn_mask`` is added to the scores of the attention, so that two sets of patches can share a row.
    """

    def __init__(self, dim: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(OrderedDict(fc1=nn.Linear(dim, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, dim)))

    def forward(self, tokens: Float[Tensor, "n t d"], attn_mask: Tensor | None = None) -> Float[Tensor, "n t d"]:
        tokens = tokens + self.attn(self.norm1(tokens), attn_mask)
        return tokens + self.mlp(self.norm2(tokens))


class PatchStem(Stem):
    """The first half of `ShapesCNN`: convolutions that make one token of each 8 x 8 patch and its surroundings."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layer2 = ResidualBlock(32, 64, 2)
        self.proj = nn.Conv2d(64, dim, 1)

    def forward(self, images: Images) -> FeatureMap:
        return self.proj(self.layer2(self.stem(images)))


class ShapesViT(nn.Module):
    """A vision transformer of 0.43 M parameters with a class token; its modules have the names of timm's."""

    num_prefix_tokens = 1
    grid = INPUT_SIZE // 8

    def __init__(self) -> None:
        super().__init__()
        dim = 96
        self.patch_embed = PatchStem(dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + self.grid**2, dim) * 0.02)
        self.blocks = nn.Sequential(*[Block(dim, num_heads=3, hidden=240) for _ in range(4)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 6)

    def forward_features(self, images: OneOrMore) -> Float[Tensor, "n t d"]:
        """All tokens after the final norm, the class token first."""
        patches = self.patch_embed(images)
        tokens = torch.cat([self.cls_token.expand(images.shape[0], -1, -1), patches.flatten(2).transpose(1, 2)], 1)
        return self.norm(self.blocks(tokens + self._positions(*patches.shape[-2:])))

    def forward(self, images: OneOrMore) -> Logits:
        """Logits of normalized images."""
        return self.head(self.forward_features(images)[:, 0])

    def _positions(self, rows: int, columns: int) -> Float[Tensor, "1 t d"]:
        """The learned positions, interpolated to the grid of pictures of another size."""
        if (rows, columns) == (self.grid, self.grid):
            return self.pos_embed
        prefix, patches = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        square = patches.transpose(1, 2).reshape(1, -1, self.grid, self.grid)
        stretched = F.interpolate(square, (rows, columns), mode="bicubic", align_corners=False)
        return torch.cat([prefix, stretched.flatten(2).transpose(1, 2)], 1)
