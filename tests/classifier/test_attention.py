"""Reading a borrowed transformer: weights of fused attention are the weights that the library itself would show."""

import pytest
import timm
import torch
import torchvision
import transformers
from support.tiny_transformers import DEPTH, HEADS, MAKE, PREFIX, pictures, transformer_classifier, transformer_network
from support.two_towers import TEXT, VISION, spread
from torch import Tensor, nn

from seewhy.classifier.attention import attend
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError, UnsuitedError


@pytest.mark.parametrize("name", list(MAKE))
def test_every_block_is_read_and_the_pass_stays_the_same(name: str) -> None:
    classifier, images = transformer_classifier(name), pictures(name, 3)
    transformer, expected = classifier.transformer, classifier.logits(images)
    with classifier.running():
        logits, attentions = transformer.read(images)
    torch.testing.assert_close(logits, expected.detach(), rtol=1e-4, atol=1e-5)
    prefix = PREFIX.get(name, 1)
    assert (transformer.prefix, transformer.pooled) == (prefix, name == "timm_siglip")
    assert transformer.n_blocks == len(attentions) == DEPTH + transformer.pooled
    for a in attentions[:DEPTH]:
        assert a.weights.shape == (3, HEADS, 16 + prefix, 16 + prefix)
    for a in attentions:
        torch.testing.assert_close(a.weights.sum(-1), torch.ones(a.weights.shape[:3]))
        torch.testing.assert_close(a.weights @ a.value, a.output)
    assert torch.equal(classifier.logits(images), expected), "the network is as before"


@pytest.mark.parametrize("name", [name for name in MAKE if name not in ("timm_beit", "hf_beit", "hf_vit_eager")])
def test_weights_are_the_softmax_of_queries_and_keys(name: str) -> None:
    """Up to one scale for a block. BEiT adds a bias of positions; Hugging Face's eager softmax is in float32."""
    classifier, images = transformer_classifier(name, double=True), pictures(name, double=True)
    with classifier.running():
        for a in classifier.transformer.read(images)[1]:
            products = a.query @ a.key.transpose(-2, -1)
            scale = products.flatten().dot(_centered_log(a.weights).flatten()) / products.flatten().dot(
                (products - products.mean(-1, keepdim=True)).flatten()
            )
            torch.testing.assert_close((products * scale).softmax(-1), a.weights, rtol=1e-9, atol=1e-9)


def _centered_log(weights: Tensor) -> Tensor:
    logs = weights.log()
    return logs - logs.mean(-1, keepdim=True)


@pytest.mark.parametrize(
    "name", ["hf_vit", "hf_vit_eager", "hf_deit_distilled", "hf_dinov2", "hf_beit", "hf_clip", "hf_siglip"]
)
def test_weights_are_those_that_hugging_face_shows(name: str) -> None:
    classifier, images = transformer_classifier(name), pictures(name)
    with classifier.running():
        _, attentions = classifier.transformer.read(images)
    network = transformer_network(name)
    network.set_attn_implementation("eager")  # type: ignore[operator]
    shown = network(classifier.normalize(images), output_attentions=True).attentions
    for a, expected in zip(attentions, shown, strict=True):
        torch.testing.assert_close(a.weights, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in MAKE if name.startswith("timm")])
def test_fused_equals_unfused_in_timm(name: str) -> None:
    fused, images = transformer_classifier(name), pictures(name)
    plain = transformer_network(name)
    switched = [m for m in plain.modules() if getattr(m, "fused_attn", False)]
    assert switched, "the network would use fused attention"
    for m in switched:
        m.fused_attn = False  # type: ignore[assignment]
    read = []
    for classifier in (fused, Classifier(plain, input_size=fused.input_size)):
        with classifier.running():
            read.append(classifier.transformer.read(images)[1])
    for a, b in zip(*read, strict=True):
        torch.testing.assert_close(a.weights, b.weights, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(a.value, b.value, rtol=1e-4, atol=1e-6)


def test_weights_are_those_of_a_multihead_attention() -> None:
    classifier, images = transformer_classifier("torchvision_vit"), pictures("torchvision_vit")
    attention = classifier.module.encoder.layers[1].self_attention  # type: ignore[union-attr, index]
    given = []
    hook = attention.register_forward_pre_hook(lambda _m, args: given.append(args[0]))  # type: ignore[union-attr, operator]
    with classifier.running():
        attentions = classifier.transformer.read(images)[1]
        hook.remove()
        x = given[-1]
        _, expected = attention(x, x, x, need_weights=True, average_attn_weights=False)  # type: ignore[operator]
    torch.testing.assert_close(attentions[1].weights, expected)


@pytest.mark.parametrize("name", [name for name in MAKE if name != "hf_vit_eager"])  # its softmax is in float32
def test_gradients_of_weights_are_those_of_finite_differences(name: str) -> None:
    """The pass goes through the weights that are read: a weight is moved a little, and the logit moves by its gradient."""
    classifier, images = transformer_classifier(name, double=True), pictures(name, 1, double=True)
    transformer = classifier.transformer
    with classifier.running(gradients=True):
        logits, attentions = transformer.read(images.clone().requires_grad_())
        gradients = torch.autograd.grad(logits[0, 2], [a.weights for a in attentions])
    for block, gradient in enumerate(gradients):
        direction = torch.randn(gradient.shape, dtype=gradient.dtype, generator=torch.Generator().manual_seed(block))

        def moved(step: float, which: int = block, by: Tensor = direction) -> Tensor:
            with classifier.running():
                return transformer.read(images, lambda b, w: w + step * by if b == which else w)[0][0, 2]

        slope = (moved(1e-4) - moved(-1e-4)) / 2e-4
        torch.testing.assert_close(slope, (gradient * direction).sum(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        ("timm_vit", [1.0] + [0.0] * 16),
        ("timm_vit_mean", [1 / 16] * 16),
        ("timm_deit_distilled", [0.5, 0.5] + [0.0] * 16),
        ("timm_siglip", [1.0]),
        ("hf_dinov2", [0.5] + [1 / 32] * 16),
        ("hf_dinov2_registers", [0.5, 0, 0, 0, 0] + [1 / 32] * 16),
        ("hf_siglip", [1 / 16] * 16),
    ],
)
def test_what_the_head_reads_is_found(name: str, reads: list[float]) -> None:
    found = transformer_classifier(name).transformer.reads
    torch.testing.assert_close(found, torch.tensor(reads, dtype=torch.float64))


def test_pictures_of_another_size_have_another_grid() -> None:
    network = timm.create_model(
        "vit_tiny_patch16_224", img_size=64, depth=2, embed_dim=16, num_heads=2, num_classes=3, dynamic_img_size=True
    )
    classifier = Classifier(network.eval(), input_size=(64, 64))
    images = torch.rand(2, 3, 48, 96)
    with classifier.running():
        attentions = classifier.transformer.read(images)[1]
    rows = classifier.transformer.rows(attentions[-1].weights.mean(1))
    assert classifier.transformer.on_grid(rows, images).shape == (2, 3, 6)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("swin_tiny_patch4_window7_224", "SwinTransformer attends within windows or groups"),
        ("mixer_s32_224", "MlpMixer has no attention over tokens"),
        ("convnext_atto", "ConvNeXt has no attention over tokens"),
        ("pvt_v2_b0", "PyramidVisionTransformerV2 attends to other tokens in each stage"),
    ],
)
def test_where_attention_is_not_all_that_mixes_one_line_says_so(name: str, fault: str) -> None:
    classifier = Classifier(timm.create_model(name, num_classes=3).eval())
    with pytest.raises(UnsuitedError, match=f"^{fault}.*: attention methods are not defined for it. grad_cam, .* are"):
        _ = classifier.transformer


def test_stages_of_one_attention_each_are_no_pooling() -> None:
    """CoAtNet: the second of two stages has fewer queries, as an attention pooling has, but also fewer keys."""
    network = timm.create_model("test_coatnet", img_size=128, num_classes=3).eval()
    with pytest.raises(UnsuitedError, match=r"^MaxxVit attends to other tokens in each stage"):
        _ = Classifier(network, input_size=(128, 128)).transformer


def test_gates_between_softmax_and_values_are_seen() -> None:
    """ConViT mixes positions into its first blocks, without a class token: the class token's blocks alone are no chain."""
    network = timm.create_model("convit_tiny", img_size=64, depth=4, local_up_to_layer=2, embed_dim=16, num_classes=3)
    classifier = Classifier(network.eval(), input_size=(64, 64))
    with classifier.running():
        attentions = attend(classifier, torch.rand(2, 3, 64, 64))[1]
    assert [a.weights.shape[-1] for a in attentions] == [16, 16, 17, 17]
    for a in attentions:
        torch.testing.assert_close(a.weights.sum(-1), torch.ones(a.weights.shape[:3]))
    joins = r"^ConVit has tokens that join the patches after some blocks \(16 and then 17 tokens\)"
    with pytest.raises(UnsuitedError, match=joins):
        _ = classifier.transformer


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("xcit_nano_12_p16_224", "Xcit attends between channels, and not between tokens"),
        ("cait_xxs24_224", "Cait has several blocks in which the class token alone attends to the patches"),
    ],
)
def test_channels_and_class_attention_are_called_so(name: str, fault: str) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name, img_size=64, depth=2, num_classes=3).eval()
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape) * 0.1 + (1 if p.ndim == 1 else 0))
    with pytest.raises(UnsuitedError, match=f"^{fault}: attention methods are not defined for it"):
        _ = Classifier(network, input_size=(64, 64), feature_layer="norm").transformer


class BothTowers(nn.Module):
    """What users write for CLIP: the texts are a part of the network, and run with each picture."""

    def __init__(self, texts: int) -> None:
        super().__init__()
        config = transformers.CLIPConfig(
            text_config={**TEXT, "vocab_size": 9, "bos_token_id": 7, "eos_token_id": 8, "pad_token_id": 8},
            vision_config=VISION,
            projection_dim=12,
        )
        self.clip = spread(transformers.CLIPModel(config))
        self.texts = torch.tensor([[7, 1 + i, 8] for i in range(texts)])

    def forward(self, images: Tensor) -> Tensor:
        return self.clip(pixel_values=images, input_ids=self.texts).logits_per_image


@pytest.mark.parametrize("texts", [2, 3, 4])
def test_a_text_tower_in_the_pass_is_no_window(texts: int) -> None:
    """Two texts have as many rows as the two pictures of the trial."""
    classifier = Classifier(BothTowers(texts), input_size=(32, 32), outputs="logits")
    with pytest.raises(UnsuitedError, match=r"^BothTowers has attention that no pixel reaches, .* texts="):
        _ = classifier.transformer


def test_windows_whose_attention_is_an_equation_of_five_axes_are_found() -> None:
    """torchvision's MaxViT: B G H I D, B G H J D -> B G H I J."""
    network = torchvision.models.MaxVit((64, 64), 8, 4, [8, 16], [1, 1], 8, 0.0, num_classes=3).eval()
    with pytest.raises(UnsuitedError, match=r"^MaxVit attends within windows"):
        _ = Classifier(network, input_size=(64, 64)).transformer


def test_convolutions_between_blocks_are_found() -> None:
    """A network whose blocks attend to all tokens, and also let neighbors mix, is no chain of attentions."""
    classifier = transformer_classifier("timm_vit_mean")

    class Neighbors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(32, 32, 3, padding=1, groups=32)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.conv(x.transpose(1, 2)).transpose(1, 2)

    network = classifier.module
    network.blocks[1].mlp = nn.Sequential(network.blocks[1].mlp, Neighbors())  # type: ignore[union-attr, index, arg-type]
    with pytest.raises(UnsuitedError, match="mixes tokens also by other means than attention"):
        _ = Classifier(network, input_size=(64, 64)).transformer


def test_an_exception_in_the_pass_gives_everything_back() -> None:
    classifier, images = transformer_classifier("timm_vit"), pictures("timm_vit")
    expected = classifier.logits(images)
    transformer = classifier.transformer

    def fails(_: int, __: Tensor) -> Tensor:
        raise SeewhyError("on purpose")

    with classifier.running(), pytest.raises(SeewhyError, match="on purpose"):
        transformer.read(images, fails)
    assert torch.equal(classifier.logits(images), expected)
    assert all(p.requires_grad for p in classifier.module.parameters())
