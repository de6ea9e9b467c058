"""The feature layer is found by trials: on networks whose names, shapes and blocks would mislead any other rule."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import cast

import pytest
import torch
from support.networks import from_hugging_face, from_timm
from support.tiny_models import TINY, TinyViT, cnn, tiny
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import explainer

IMAGES, TWO = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 3])


def plain(module: nn.Module) -> Classifier:
    return replace(tiny(module), classes=())


def grid_of(classifier: Classifier, layer: str, images: Tensor) -> Tensor:
    with classifier.capture(layer) as outputs, torch.no_grad():
        classifier.logits(images)
    return classifier.as_grid(outputs[layer], images, layer)


# -- names decide nothing ---------------------------------------------------------------------------------------------


class PoolResBlock(nn.Module):
    """Pools nothing, whatever it is called."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(d, d, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x).relu()


class DropBlock(PoolResBlock):
    pass


class IdentityMapping(PoolResBlock):
    pass


class FlattenedSoftmax(PoolResBlock):
    pass


class Shrink(nn.Module):
    """A pooling that is not called so."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(x, 2)


class Regularize(nn.Module):
    """Does nothing, on a tensor of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()


@pytest.mark.parametrize("block", [PoolResBlock, DropBlock, IdentityMapping, FlattenedSoftmax])
def test_a_block_is_a_stage_whatever_its_class_is_called(block: Callable[[int], nn.Module]) -> None:
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    classifier = plain(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), block(8), block(8), *head))
    assert classifier.layer == "2"


def test_pooling_and_dropout_are_known_by_what_they_do() -> None:
    """The layer is the activation before the pooling, at its finer grid."""
    features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), Shrink(), Regularize())
    classifier = plain(nn.Sequential(features, nn.Flatten(), nn.Linear(512, 5)))
    assert classifier.layer in ("0.1", "0")
    assert plain(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Shrink(), nn.Flatten(), nn.Linear(392, 5))).layer == "1"
    assert plain(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Regularize(), nn.Flatten(), nn.Linear(1568, 5))).layer == "1"


def test_pool_former_has_stages() -> None:
    """Hugging Face's: every module counted as pooling because of its name."""
    build = from_hugging_face("PoolFormer", depths=[1, 1, 1, 1], hidden_sizes=[4, 8, 8, 8], mlp_ratio=2.0)
    classifier = Classifier(build().eval(), input_size=(64, 64))
    assert classifier.layer == "norm"
    grid = grid_of(classifier, classifier.layer, torch.rand(2, 3, 64, 64))
    assert grid.shape == (2, 8, 2, 2)


# -- one row for each image -------------------------------------------------------------------------------------------


class HeadsAsRows(nn.Module):
    """A class-token transformer whose keys are normalized as images x heads, and live: they were the last living layer."""

    def __init__(self, d: int = 12, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.patch, self.token = heads, nn.Conv2d(3, d, 4, 4), nn.Parameter(torch.randn(1, 1, d))
        self.norm, self.qkv = nn.LayerNorm(d), nn.Linear(d, 3 * d)
        self.keys, self.values = nn.LayerNorm(d // heads), nn.LayerNorm(d // heads)
        self.head = nn.Linear(d, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        n, t, d = tokens.shape
        q, k, v = self.qkv(self.norm(tokens)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4).flatten(1, 2)
        mixed = nn.functional.scaled_dot_product_attention(q, self.keys(k), self.values(v))
        mixed = mixed.view(n, self.heads, t, -1).transpose(1, 2).reshape(n, t, d)
        return cast(Tensor, self.head((tokens + mixed)[:, 0]))


class SequenceFirst(nn.Module):
    """Tokens come before images, as in CLIP's own code, in the attention."""

    def __init__(self, d: int = 12) -> None:
        super().__init__()
        self.patch, self.block = nn.Conv2d(3, d, 4, 4), nn.TransformerEncoderLayer(d, 2, 24)
        self.head = nn.Linear(d, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).relu().flatten(2).permute(2, 0, 1)
        return cast(Tensor, self.head(self.block(tokens).mean(0)))


@pytest.mark.parametrize(("network", "layer"), [(HeadsAsRows, "norm"), (SequenceFirst, "patch")])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_layer_has_one_row_for_each_image(network: Callable[[], nn.Module], layer: str, n: int) -> None:
    classifier, images = plain(network()), torch.rand(n, 3, 16, 16)
    assert classifier.layer == layer
    assert grid_of(classifier, layer, images).shape == (n, 12, 4, 4)
    maps = explainer("grad_cam", classifier).explain(images, torch.zeros(n, dtype=torch.long))
    assert maps.shape == (n, 16, 16)


def test_a_layer_of_more_rows_that_a_user_names_is_one_clear_line() -> None:
    classifier = plain(HeadsAsRows())
    for method in ("grad_cam", "layer_cam"):
        with pytest.raises(SeewhyError, match=r"^layer 'keys' has no grid that follows the places of the image: try 'norm'"):
            explainer(method, classifier, layer="keys").explain(IMAGES, TWO)
    with pytest.raises(SeewhyError, match=r"^layer 'keys' has 4 rows for 2 images: name one that has a row for each$"):
        explainer("eigen_cam", classifier, layer="keys").explain(IMAGES, TWO)


def test_the_class_token_multiscale_transformer_of_timm_has_one_map_for_each_image() -> None:
    """A layer within an attention was found, whose rows are images x heads: two images got sixteen maps."""
    from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg

    torch.manual_seed(0)
    cfg = MultiScaleVitCfg(depths=(1, 1, 1, 2), embed_dim=16, use_cls_token=True)
    classifier = Classifier(MultiScaleVit(cfg, img_size=(64, 64), num_classes=5).eval(), input_size=(64, 64))
    maps = explainer("grad_cam", classifier).explain(torch.rand(2, 3, 64, 64), TWO)
    assert maps.shape == (2, 64, 64)
    assert "attn" not in classifier.layer


# -- most cells reach the output --------------------------------------------------------------------------------------


class LastMaximum(nn.Module):
    """The logits read one cell in sixteen of the last layer: that of the largest sum."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.norm = nn.Conv2d(3, 8, 4, 4), nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        before = self.block(x)
        cells = self.norm(before).flatten(2)
        best = cells.sum(1).argmax(1)
        chosen = cells.gather(2, best[:, None, None].expand(-1, 8, 1))[:, :, 0]
        return cast(Tensor, self.head(chosen + before.mean((2, 3))))


def test_a_layer_of_which_one_cell_in_sixteen_is_alive_is_not_taken() -> None:
    assert plain(LastMaximum()).layer == "block"


def test_a_maximum_over_the_places_still_has_a_layer() -> None:
    """Few cells of any layer reach such an output: the layer with the most is taken."""
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    classifier = plain(module)
    assert classifier.layer in ("0", "1")
    assert explainer("grad_cam", classifier).explain(IMAGES, TWO).abs().max() > 0


def test_the_outlook_transformer_of_timm_is_not_read_at_a_norm_whose_maximum_is_taken() -> None:
    from timm.models.volo import VOLO

    torch.manual_seed(0)
    module = VOLO(
        layers=(1, 1, 1, 1), img_size=96, num_classes=2, embed_dims=(24, 48, 48, 48), num_heads=(2, 4, 4, 4),
        downsamples=(True, False, False, False), outlook_attention=(True, False, False, False),
        post_layers=("ca",), use_aux_head=True,
    )  # fmt: skip
    classifier = Classifier(module.eval(), input_size=(96, 96))
    recorded, _ = classifier.record(torch.rand(1, 3, 96, 96), classifier.layer)
    features = recorded.features.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(classifier.run_from(recorded, features, torch.rand(1, 3, 96, 96)).sum(), features)
    assert classifier.as_grid(gradient, layer=classifier.layer).ne(0).any(1).float().mean() > 0.5


# -- each cell depends on its own place -------------------------------------------------------------------------------


class Columns(nn.Module):
    """A CNN of twelve columns, which an LSTM reads from left to right, as for text."""

    def __init__(self, squeeze: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, (4, 4), (4, 4))
        self.lstm = nn.LSTM(6 if squeeze else 72, 7, batch_first=True, bidirectional=True)
        self.norm, self.head, self.squeeze = nn.LayerNorm(14), nn.Linear(14, 5), squeeze

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x).relu()
        columns = maps.mean(2) if self.squeeze else maps.flatten(1, 2)
        return cast(Tensor, self.head(self.norm(self.lstm(columns.transpose(1, 2))[0]).mean(1)))


@pytest.mark.parametrize("squeeze", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_twelve_columns_are_no_grid_of_three_rows(seed: int, squeeze: bool) -> None:
    torch.manual_seed(seed)
    classifier = Classifier(Columns(squeeze).eval(), input_size=(48, 48))
    images = torch.rand(2, 3, 48, 48)
    assert classifier.layer == "conv"
    assert grid_of(classifier, "conv", images).shape == (2, 6, 12, 12)
    for layer in ("norm", "lstm"):
        with pytest.raises(
            SeewhyError, match=rf"^layer '{layer}' has no grid that follows the places of the image: try 'conv'"
        ):
            explainer("grad_cam", classifier, layer=layer).explain(images, TWO)
        with pytest.raises(SeewhyError, match=rf"^layer '{layer}' has 12 tokens, which form no grid"):
            explainer("eigen_cam", classifier, layer=layer).explain(images, TWO)


class Latents(nn.Module):
    """Sixteen learned questions, whose answers belong to no place."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.latents = nn.Conv2d(3, 12, 4, 4), nn.Parameter(torch.randn(16, 12))
        self.read, self.norm = nn.MultiheadAttention(12, 1, batch_first=True), nn.LayerNorm(12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        asked = self.latents.expand(len(x), -1, -1)
        return cast(Tensor, self.head(self.norm(self.read(asked, tokens, tokens)[0]).mean(1)))


def test_latent_tokens_are_no_grid() -> None:
    assert plain(Latents()).layer == "patch"


class ColumnMajor(nn.Module):
    """Tokens column after column: the grid of any other rule is its mirror at the diagonal."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm, self.head = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.norm(self.patch(x).transpose(2, 3).flatten(2).transpose(1, 2)).mean(1)))


def test_tokens_in_another_order_are_no_grid() -> None:
    classifier = plain(ColumnMajor())
    assert classifier.layer == "patch"
    with pytest.raises(SeewhyError, match="form no grid"):
        grid_of(classifier, "norm", IMAGES)


class WideCells(nn.Module):
    """Patches that are not square."""

    def __init__(self, tokens: bool) -> None:
        super().__init__()
        self.patch, self.norm, self.head, self.tokens = (
            nn.Conv2d(3, 8, (2, 8), (2, 8)),
            nn.LayerNorm(8),
            nn.Linear(8, 5),
            tokens,
        )

    def forward(self, x: Tensor) -> Tensor:
        maps = self.patch(x).relu()
        tokens = maps.flatten(2).transpose(1, 2) if self.tokens else maps.permute(0, 2, 3, 1)
        return cast(Tensor, self.head(self.norm(tokens).flatten(1, -2).mean(1)))


@pytest.mark.parametrize("tokens", [True, False])
def test_cells_need_not_be_square(tokens: bool) -> None:
    classifier = Classifier(tiny(WideCells(tokens)).module, input_size=(32, 32))
    assert classifier.layer == "norm"
    images = torch.rand(2, 3, 32, 32)
    expected = classifier.module.norm(classifier.module.patch(classifier.normalize(images)).relu().permute(0, 2, 3, 1))  # type: ignore[operator]
    torch.testing.assert_close(grid_of(classifier, "norm", images), expected.permute(0, 3, 1, 2))


# -- prefix tokens belong to the layer --------------------------------------------------------------------------------


def test_the_class_attention_transformer_of_timm_has_a_class_token_only_in_its_last_blocks() -> None:
    torch.manual_seed(0)
    options = {"img_size": 64, "depth": 2, "embed_dim": 24, "num_heads": 2}
    classifier = Classifier(from_timm("cait_xxs24_224", **options)().eval(), input_size=(64, 64))
    images = torch.rand(2, 3, 64, 64)
    for layer, prefix in (("blocks.0", 0), ("blocks.1.norm1", 0), ("blocks_token_only.0.norm1", 1)):
        with classifier.capture(layer) as outputs, torch.no_grad():
            classifier.logits(images)
        tokens = outputs[layer]
        expected = tokens[:, prefix:].transpose(1, 2).unflatten(2, (4, 4))
        assert torch.equal(classifier.as_grid(tokens, images, layer), expected)


class Late(nn.Module):
    """Two registers that join after the first norm and leave before the last."""

    def __init__(self, registers: int = 2) -> None:
        super().__init__()
        self.patch, self.registers = nn.Conv2d(3, 12, 4, 4), nn.Parameter(torch.randn(1, registers, 12))
        self.first, self.middle, self.last = nn.LayerNorm(12), nn.LayerNorm(12), nn.LayerNorm(12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.first(self.patch(x).flatten(2).transpose(1, 2))
        tokens = self.middle(torch.cat([self.registers.expand(len(x), -1, -1), tokens], 1))
        return cast(Tensor, self.head(self.last(tokens[:, self.registers.shape[1] :]).mean(1)))


@pytest.mark.parametrize("registers", [1, 2, 5])
def test_the_number_of_prefix_tokens_is_found_for_each_layer(registers: int) -> None:
    """No attribute of the network says it. Three cells a side would fit, too, after as many more."""
    classifier = plain(Late(registers))
    for layer, prefix in (("first", 0), ("middle", registers), ("last", 0)):
        with classifier.capture(layer) as outputs, torch.no_grad():
            classifier.logits(IMAGES)
        expected = outputs[layer][:, prefix:].transpose(1, 2).unflatten(2, (4, 4))
        assert torch.equal(classifier.as_grid(outputs[layer], IMAGES, layer), expected)


class LastTokens(nn.Module):
    """Sixteen tokens of which twelve are other numbers, and the last four follow the picture: LeViT with fresh weights."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.mix, self.head = nn.Conv2d(3, 12, 4, 4), nn.LayerNorm(12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        cells = self.patch(x)
        four = nn.functional.adaptive_avg_pool2d(cells, 2).flatten(2).transpose(1, 2)
        tokens = self.mix(torch.cat([cells.mean((2, 3))[:, None].expand(-1, 12, -1), four], 1))
        return cast(Tensor, self.head(tokens.flatten(1)[:, :12]))


def test_most_tokens_are_no_prefix() -> None:
    assert plain(LastTokens()).layer == "patch"
    with pytest.raises(SeewhyError, match="layer 'mix' has no grid that follows the places of the image: try 'patch'"):
        plain(LastTokens()).live_layer("mix")


def test_what_the_network_declares_is_not_believed() -> None:
    """``num_prefix_tokens`` is timm's, and another network may mean another thing by it."""
    module = TinyViT(extra=1)
    module.num_prefix_tokens = 8
    classifier = plain(module)
    assert grid_of(classifier, classifier.layer, IMAGES).shape == (2, 12, 4, 4)


def test_what_the_user_says_is_believed() -> None:
    """Seventeen tokens; with eight before the patches, three cells a side."""
    classifier = replace(TINY["vit"](), n_prefix_tokens=8, feature_layer="blocks.1.norm1")
    with classifier.capture("blocks.1.norm1") as outputs, torch.no_grad():
        classifier.logits(IMAGES)
    tokens = outputs["blocks.1.norm1"]
    assert torch.equal(classifier.as_grid(tokens, IMAGES), tokens[:, 8:].transpose(1, 2).unflatten(2, (3, 3)))


def test_no_prefix_tokens_are_made_up_for_features_of_no_layer() -> None:
    with pytest.raises(SeewhyError, match=r"21 tokens, which form no grid for an image of 64 x 64: .* set n_prefix_tokens$"):
        Classifier(cnn(), input_size=(64, 64)).as_grid(torch.zeros(2, 21, 5), torch.zeros(2, 3, 64, 64))


def test_a_grid_is_found_again_in_images_of_other_sizes() -> None:
    """One register, and cells of 4 x 4 pixels."""
    classifier = plain(Late(1))
    for h, w in ((16, 32), (24, 16), (40, 40)):
        assert grid_of(classifier, "middle", torch.rand(2, 3, h, w)).shape == (2, 12, h // 4, w // 4)


# -- a block is preferred to its branches -----------------------------------------------------------------------------


class Reduction(nn.Module):
    """Branches that keep the grid at first; what comes out of the block has one cell."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 4))
        self.second = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.first(x), self.second(x), nn.functional.max_pool2d(x, 4)], 1)


def test_the_block_before_is_preferred_to_a_branch() -> None:
    block = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU())
    classifier = plain(nn.Sequential(block, Reduction(), nn.Flatten(), nn.Linear(24, 5)))
    assert classifier.layer == "0"


@cache
def inception() -> Classifier:
    torch.manual_seed(0)
    return Classifier(from_timm("inception_v3")().eval(), input_size=(96, 96))


def test_inception_at_96_pixels_is_read_at_a_block() -> None:
    """The blocks after it have one cell there; one of their branches was found."""
    assert inception().layer == "Mixed_6e"


# -- cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["cnn", "vit", "functional"])
def test_the_trials_are_made_once_and_run_few_pictures(model: str) -> None:
    classifier, pictures = TINY[model](), [0]
    handle = classifier.module.register_forward_pre_hook(lambda _m, a: pictures.__setitem__(0, pictures[0] + len(a[0])))
    assert classifier.layer
    assert classifier.spatial_layers
    first = pictures[0]
    assert first <= 30
    grid_of(classifier, classifier.layer, IMAGES)  # others look at the network's end, once
    first = pictures[0]
    grid_of(classifier, classifier.layer, IMAGES)
    assert pictures[0] == first + len(IMAGES)
    handle.remove()


def test_a_network_without_gradients_has_no_feature_layer() -> None:
    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = cnn()

        def forward(self, x: Tensor) -> Tensor:
            return cast(Tensor, self.body(x).detach())

    with pytest.raises(SeewhyError, match=r"^(no layer of Detached has a grid|the network computes without gradients)"):
        _ = plain(Detached()).layer
