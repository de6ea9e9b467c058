"""What users of other libraries ask for on transformers: each complaint is a test on the real class of its library.

The numbers are issues of the libraries that a docstring names.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from support.tiny_transformers import MAKE, pictures, transformer_classifier, transformer_network
from torch import Tensor, nn
from torch.nn.functional import interpolate

from seewhy import explain
from seewhy.classifier.classifier import Classifier
from seewhy.data.pictures import to_picture
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, explainer

OF_ATTENTION = [name for name in ("attention_rollout", "tiba", "attention_gradients") if name in EXPLAINERS]
NETWORKS = ["timm_vit", "timm_deit_distilled", "timm_dinov2_registers", "torchvision_vit", "hf_vit", "hf_deit_distilled"]


def swin(library: str) -> nn.Module:
    """A Swin of four stages for pictures of 64 pixels, whose last stage has 2 x 2 cells."""
    torch.manual_seed(0)
    if library == "timm":
        options = {"embed_dim": 12, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 4, "num_classes": 5}
        return timm.create_model("swin_tiny_patch4_window7_224", img_size=64, **options).eval()  # type: ignore[no-any-return]
    if library == "torchvision":
        return torchvision.models.SwinTransformer([4, 4], 12, [1, 1, 1, 1], [1, 1, 2, 2], [4, 4], num_classes=5).eval()
    config = transformers.SwinConfig(
        image_size=64, embed_dim=12, depths=[1, 1, 1], num_heads=[1, 1, 2], window_size=4, num_labels=5
    )
    return transformers.SwinForImageClassification(config).eval()


def after(prefix: int) -> Callable[[Tensor], Tensor]:
    """The ``reshape_transform`` of pytorch-grad-cam's tutorial, for 4 x 4 patches."""
    return lambda tokens: tokens[:, prefix:].reshape(len(tokens), 4, 4, -1).permute(0, 3, 1, 2)


LAST_STAGE: dict[str, tuple[Callable[[], nn.Module], Callable[[Tensor], Tensor]]] = {
    "timm_vit": (lambda: transformer_network("timm_vit"), after(1)),
    "timm_vit_mean": (lambda: transformer_network("timm_vit_mean"), after(0)),
    "timm_deit_distilled": (lambda: transformer_network("timm_deit_distilled"), after(2)),
    "torchvision_vit": (lambda: transformer_network("torchvision_vit"), after(1)),
    "hf_vit": (lambda: transformer_network("hf_vit"), after(1)),
    "hf_deit_distilled": (lambda: transformer_network("hf_deit_distilled"), after(2)),
    "timm_swin": (lambda: swin("timm"), lambda maps: maps.permute(0, 3, 1, 2)),
    "torchvision_swin": (lambda: swin("torchvision"), lambda maps: maps),
    "hf_swin": (lambda: swin("hf"), lambda tokens: tokens.transpose(1, 2).unflatten(2, (4, 4))),
}


@pytest.mark.parametrize("name", list(LAST_STAGE))
def test_no_layer_and_no_reshape_function_is_asked_for(name: str) -> None:
    """grad-cam #511, #513, #257, #426, #474, #503, #76, #403; torch-cam #133.

    What the user had to write, a layer and the reshape of its output, is written here, and gives the same map.
    """
    make, reshape = LAST_STAGE[name]
    classifier, image = Classifier(make().double(), input_size=(64, 64)), pictures("timm_vit", 1, double=True)
    kept: list[Tensor] = []
    handle = classifier.module.get_submodule(classifier.layer).register_forward_hook(
        lambda _m, _a, output: kept.append(output if isinstance(output, Tensor) else output[0])
    )
    logits = classifier.logits(image.clone().requires_grad_())[0]
    handle.remove()
    features, expected = reshape(kept[0].detach()), []
    for logit in logits:
        gradient = reshape(torch.autograd.grad(logit, kept[0], retain_graph=True)[0])
        coarse = (gradient.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).relu()
        expected.append(interpolate(coarse, size=(64, 64), mode="bilinear")[0, 0])
    assert any(of_class.amax() > of_class.amin() for of_class in expected)
    maps = [explainer("grad_cam", classifier).explain(image, torch.tensor([c]))[0] for c in range(len(expected))]
    torch.testing.assert_close(torch.stack(maps), torch.stack(expected), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["timm_vit", "torchvision_vit", "hf_vit", "timm_deit_distilled", "hf_deit_distilled"])
def test_a_picture_and_a_network_are_enough(name: str) -> None:
    """grad-cam #511, #426 ("Sadly I just gave up"): one call, from the picture to the overlay."""
    picture = to_picture(pictures(name, 1)[0])
    for method in ("grad_cam", *OF_ATTENTION):
        explanation = explain(picture, transformer_classifier(name), method)
        assert explanation.map.shape == (64, 64)
        assert explanation.map.amax() > explanation.map.amin()
        assert explanation.overlay().size[0] > 0


@pytest.mark.parametrize("library", ["timm", "torchvision", "hf"])
def test_where_attention_has_windows_one_line_says_what_works(library: str) -> None:
    """Transformer-Explainability #30, #54: rollout and relevance are asked of a Swin, where they are not defined."""
    classifier = Classifier(swin(library), input_size=(64, 64))
    for method in OF_ATTENTION:
        with pytest.raises(SeewhyError, match=r"Swin.* attends within windows.*grad_cam") as error:
            explainer(method, classifier)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", list(MAKE))
def test_rollout_and_relevance_of_the_unmodified_class(name: str) -> None:
    """Transformer-Explainability #56, #49, #30, #54, #58, #34; captum #637, #916; zennit #184: any ViT, no patched copy."""
    classifier, images = transformer_classifier(name), pictures(name, 2)
    library = type(classifier.module).__module__.partition(".")[0]
    assert library == {"hf": "transformers"}.get(name.partition("_")[0], name.partition("_")[0])
    forwards = {name: module.forward for name, module in classifier.module.named_modules()}
    for method in OF_ATTENTION:
        made = explainer(method, classifier)
        first, other = (made.explain(images, torch.full((2,), c)) for c in (1, 3))
        assert first.isfinite().all()
        assert bool((first.amax((1, 2)) > first.amin((1, 2))).all()), method
        assert (first[0] - first[1]).abs().max() > 1e-3 * first.abs().max(), method
        assert made.class_specific != torch.equal(first, other), method
    for name_of, module in classifier.module.named_modules():
        assert module.forward == forwards[name_of]
        assert not module._forward_hooks
        assert "forward" not in module.__dict__


def rolled(weights: list[Tensor]) -> Tensor:
    """(n, t, t) the product of (mean over heads + I) / 2, block by block and image by image."""
    products = []
    for i in range(len(weights[0])):
        product = torch.eye(weights[0].shape[-1], dtype=weights[0].dtype)
        for block in weights:
            product = (block[i].mean(0) + torch.eye(block.shape[-1], dtype=block.dtype)) / 2 @ product
        products.append(product)
    return torch.stack(products)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("timm_vit", [0]),
        ("timm_vit_mean", range(16)),
        ("timm_deit_distilled", [0, 1]),
        ("timm_beit", range(1, 17)),
        ("timm_clip", [0]),
    ],
)
def test_rollout_survives_fused_attention(name: str, read: Sequence[int]) -> None:
    """vit-explain #23: with timm's ``fused_attn`` the hooks on ``attn_drop`` collect an empty list. timm PR #2220.

    The same hooks see the weights where fused attention is off; rollout written out of these is the map with it on. The head
    reads the tokens ``read``.
    """
    fused, plain = transformer_network(name), transformer_network(name).double()
    blocks: Any = plain.blocks
    assert all(block.attn.fused_attn for block in fused.blocks)  # type: ignore[union-attr]
    images, kept = pictures(name, 2, double=True), []
    classifier = Classifier(fused.double(), input_size=(64, 64))
    for block in blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _m, _a, output: kept.append(output.detach()))
    plain(classifier.normalize(images))
    assert len(kept) == len(blocks)
    coarse = rolled(kept)[:, list(read), -16:].mean(1).reshape(-1, 1, 4, 4)
    found = explainer("attention_rollout", classifier).explain(images, torch.tensor([0, 1]))
    torch.testing.assert_close(found, interpolate(coarse, size=(64, 64), mode="bilinear")[:, 0])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", OF_ATTENTION)
def test_a_batch_of_eight_is_eight_images(name: str, method: str) -> None:
    """Transformer-Explainability #22 (batches are not supported) and #32 ("each category and image individually")."""
    images, targets = pictures(name, 8), torch.arange(8) % 5
    made = explainer(method, transformer_classifier(name))
    together = made.explain(images, targets)
    for i in range(8):
        alone = made.explain(images[i : i + 1], targets[i : i + 1])[0]
        assert (together[i] - alone).abs().max() <= 1e-5 * alone.abs().max()


@pytest.mark.parametrize("method", OF_ATTENTION)
def test_all_classes_in_one_call(method: str) -> None:
    """Transformer-Explainability #32: "each category and image individually, really slow"."""
    images = pictures("hf_vit", 2)
    made: Any = explainer(method, transformer_classifier("hf_vit"))
    maps = made.explain_classes(images, torch.arange(5))
    for c in range(5):
        torch.testing.assert_close(maps[:, c], made.explain(images, torch.full((2,), c)), rtol=1e-5, atol=1e-7)


class Returns(nn.Module):
    """A network whose answer is put into something else."""

    def __init__(self, network: nn.Module, form: Callable[[Any], Any]) -> None:
        super().__init__()
        self.network, self.form = network, form

    def forward(self, x: Tensor) -> Any:
        return self.form(self.network(x))


FORMS: dict[str, Callable[[Any], Any]] = {
    "ModelOutput": lambda output: output,
    "tuple": lambda output: output.to_tuple(),
    "dict": lambda output: {"features": torch.zeros(len(output.logits), 7, 3), "logits": output.logits},
    "list of one": lambda output: [output.logits],
}


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("method", ["grad_cam", *OF_ATTENTION])
def test_outputs_of_hugging_face_tuples_and_dicts(form: str, method: str) -> None:
    """grad-cam #481, #386, #574, #216: ``'ImageClassifierOutput' object has no attribute 'shape'``."""
    images, targets = pictures("hf_vit", 2), torch.tensor([1, 3])
    network = transformer_network("hf_vit")
    expected = explainer(method, Classifier(network, input_size=(64, 64))).explain(images, targets)
    wrapped = Classifier(Returns(network, FORMS[form]), input_size=(64, 64))
    torch.testing.assert_close(explainer(method, wrapped).explain(images, targets), expected)


def test_two_candidates_for_the_logits_are_one_clear_line() -> None:
    """grad-cam #481: which of several outputs is explained must not be guessed."""
    network = Returns(transformer_network("hf_vit"), lambda output: (output.logits, 2 * output.logits))
    with pytest.raises(SeewhyError, match="logits") as error:
        explainer("grad_cam", Classifier(network, input_size=(64, 64))).explain(pictures("hf_vit", 1), torch.tensor([0]))
    assert "\n" not in str(error.value)
