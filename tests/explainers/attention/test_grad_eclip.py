"""Grad-ECLIP against its equations, written out in float64 from the weights of the last block."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_transformers import pictures, transformer_classifier
from support.two_towers import SIZE, clip_folder, siglip_folder
from torch import Tensor
from torch.nn import functional as F

import seewhy
from seewhy import explainer
from seewhy.classifier.attention import BlockAttention
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.maps import upsample

TEXTS = ["dog", "a cat", "xyz"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    found = seewhy.load(f"hf/{clip_folder(tmp_path_factory.mktemp('clip'))}", texts=TEXTS)
    return replace(found, module=found.module.double())


def images(n: int = 2) -> Tensor:
    return torch.rand(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def cosine_gradient(e: Tensor, t: Tensor) -> Tensor:
    """dS / de of S = e . t / (|e| |t|), written out."""
    lengths = e.norm() * t.norm()
    return t / lengths - (e @ t) * e / (e.norm() ** 2 * lengths)


def literal_map(w: Tensor, q: Tensor, keys: list[Tensor], values: list[Tensor]) -> list[float]:
    """H_i = ReLU(sum over c of w_c lambda_i v_ic), lambda_i = cos(q, k_i) from 0 to 1 over the patches."""
    cosines = [float(q @ k / (q.norm() * k.norm())) for k in keys]
    found = []
    for cosine, value in zip(cosines, values, strict=True):
        loosened = (cosine - min(cosines)) / (max(cosines) - min(cosines))
        found.append(max(0.0, sum(float(w[c]) * loosened * float(value[c]) for c in range(len(w)))))
    return found


def literal_clip(classifier: Classifier, image: Tensor, text: int) -> Tensor:
    """The last block and the end of CLIP by hand: from the class token's attention output o to the similarity S."""
    tower: Any = classifier.module.tower.network  # type: ignore[union-attr]
    vision, heads = tower.vision_model, tower.vision_model.encoder.layers[-1].self_attn.num_heads
    block = vision.encoder.layers[-1]
    with torch.no_grad():
        x = vision.pre_layrnorm(vision.embeddings(classifier.normalize(image[None])))
        for layer in vision.encoder.layers[:-1]:
            x = layer(x, None)
            x = x if isinstance(x, Tensor) else x[0]
        x = x[0]
        normed = block.layer_norm1(x)
        q, k, v = (getattr(block.self_attn, f"{name}_proj")(normed) for name in ("q", "k", "v"))
        width = q.shape[1] // heads
        o = torch.zeros_like(q[0])
        for h in range(heads):
            part = slice(h * width, (h + 1) * width)
            scores = torch.stack([q[0, part] @ key[part] / width**0.5 for key in k])
            for weight, value in zip(scores.exp() / scores.exp().sum(), v, strict=True):
                o[part] += weight * value[part]
    o.requires_grad_()
    y = x[0] + block.self_attn.out_proj(o)
    y = y + block.mlp(block.layer_norm2(y))
    e = tower.visual_projection(vision.post_layernorm(y))
    rows = classifier.module.head.weight  # type: ignore[union-attr]
    t, scale = rows[text].detach(), float(rows[text].norm())
    (w,) = torch.autograd.grad(e, o, scale * cosine_gradient(e.detach(), t))
    torch.testing.assert_close(scale * (e @ t) / (e.norm() * t.norm()), classifier.logits(image[None])[0, text])
    cells = int((len(x) - 1) ** 0.5)
    return torch.tensor(literal_map(w, q[0], list(k[1:]), list(v[1:])), dtype=torch.float64).view(1, cells, cells)


@pytest.mark.parametrize("text", range(3))
def test_clip_is_explained_as_the_equations_say(clip: Classifier, text: int) -> None:
    image = images(1)
    expected = upsample(literal_clip(clip, image[0], text), image.shape[-2:])
    found = explainer("grad_eclip", clip).explain(image, torch.tensor([text]))
    assert expected.max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def side_by_side(heads: Tensor) -> Tensor:
    """(m, h * d) of (h, m, d)."""
    return torch.cat(list(heads), dim=1)


def literal_sums(block: BlockAttention, gradient: Tensor, i: int, query: int, prefix: int) -> list[float]:
    """sum over c of w_c lambda_i v_ic for the patches of image i."""
    q, k, v, w = (side_by_side(part[i].detach()) for part in (block.query, block.key, block.value, gradient))
    cosines = [float(q[query] @ key / (q[query].norm() * key.norm())) for key in k[prefix:]]
    loosened = [(c - min(cosines)) / (max(cosines) - min(cosines)) for c in cosines]
    return [
        sum(float(w[query, c]) * weight * float(value[c]) for c in range(v.shape[1]))
        for weight, value in zip(loosened, v[prefix:], strict=True)
    ]


@pytest.mark.parametrize(
    ("name", "queries", "blocks"),
    [
        ("timm_vit", [0], 1),
        ("timm_vit", [0], 2),
        ("hf_dinov2_registers", [0], 1),
        ("timm_deit_distilled", [0, 1], 1),
        ("timm_siglip", [0], 1),
    ],
)
def test_blocks_class_tokens_and_pooling_queries_are_summed_before_the_relu(
    name: str, queries: list[int], blocks: int
) -> None:
    classifier, x = transformer_classifier(name, double=True), pictures(name, double=True)
    transformer, targets = classifier.transformer, torch.tensor([1, 3])
    with classifier.running(gradients=True):
        logits, attentions = transformer.read(x.clone().requires_grad_())
        last = attentions[-blocks:]
        score = logits[0, 1] + logits[1, 3]
        gradients = torch.autograd.grad(score, [a.output for a in last])
    expected = torch.zeros(2, last[0].key.shape[2] - transformer.prefix, dtype=torch.float64)
    for block, gradient in zip(last, gradients, strict=True):
        for i in range(2):
            for query in queries:
                sums = literal_sums(block, gradient, i, query, transformer.prefix)
                expected[i] += torch.tensor(sums, dtype=torch.float64)
    side = int(expected.shape[1] ** 0.5)
    found = explainer("grad_eclip", classifier, blocks=blocks).explain(x, targets)
    torch.testing.assert_close(found, upsample(expected.relu().view(2, side, side), x.shape[-2:]))


def test_the_pooling_query_of_siglip_takes_the_place_of_the_class_token(tmp_path: Path) -> None:
    classifier = seewhy.load(f"hf/{siglip_folder(tmp_path)}", texts=TEXTS)
    classifier, x = replace(classifier, module=classifier.module.double()), images(1)
    with classifier.running(gradients=True):
        logits, attentions = classifier.transformer.read(x.clone().requires_grad_())
        (gradient,) = torch.autograd.grad(logits[0, 2], [attentions[-1].output])
    sums = torch.tensor(literal_sums(attentions[-1], gradient, 0, 0, 0), dtype=torch.float64)
    found = explainer("grad_eclip", classifier).explain(x, torch.tensor([2]))
    torch.testing.assert_close(found, upsample(sums.relu().view(1, 4, 4), x.shape[-2:]))
    with pytest.raises(SeewhyError, match="an attention pooling is one block"):
        explainer("grad_eclip", classifier, blocks=2)


def test_a_batch_of_8_equals_8_single_images(clip: Classifier) -> None:
    single = replace(clip, module=deepcopy(clip.module).float())
    x, targets = images(8).float(), torch.arange(8) % 3
    method = explainer("grad_eclip", single)
    alone = torch.cat([method.explain(x[i : i + 1], targets[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(method.explain(x, targets), alone, rtol=1e-5, atol=1e-6)


def test_all_texts_at_once(clip: Classifier) -> None:
    x, method = images(2), explainer("grad_eclip", clip)
    every = method.explain_classes(x, torch.arange(3))  # type: ignore[attr-defined]
    for text in range(3):
        torch.testing.assert_close(every[:, text], method.explain(x, torch.tensor([text, text])))


def test_a_network_that_averages_its_patches_is_refused() -> None:
    with pytest.raises(UnsuitedError, match=r"averages its patches\. Use grad_cam"):
        explainer("grad_eclip", transformer_classifier("timm_vit_mean"))


def test_more_blocks_than_there_are(clip: Classifier) -> None:
    with pytest.raises(SeewhyError, match="cannot read 3 blocks: the network has 2"):
        explainer("grad_eclip", clip, blocks=3)


def test_patches_with_the_same_key_have_no_weight() -> None:
    """A black picture without positions: the paper divides by zero."""
    classifier = transformer_classifier("timm_vit")
    module: Any = classifier.module
    module.pos_embed.data.zero_()
    same = torch.zeros(1, 3, *classifier.input_size)
    assert torch.isfinite(explainer("grad_eclip", classifier).explain(same, torch.tensor([0]))).all()


# -- gradient methods on a similarity, with its gradient written out ---------------------------------------------------


def embedding_and_tokens(classifier: Classifier, image: Tensor, layer: str) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels, the tokens (m, d) of a layer, and the embedding of one image, as the network itself makes them."""
    tower: Any = classifier.module.tower.network  # type: ignore[union-attr]
    kept: list[Tensor] = []
    handle = tower.get_submodule(layer).register_forward_hook(lambda _m, _a, output: kept.append(output))
    pixels = image.clone().requires_grad_()
    mean, std = (torch.tensor(v, dtype=image.dtype)[:, None, None] for v in (classifier.mean, classifier.std))
    e = tower.get_image_features(pixel_values=((pixels - mean) / std)[None]).pooler_output[0]
    handle.remove()
    return pixels, kept[0], e


def test_input_x_gradient_of_a_similarity(clip: Classifier) -> None:
    image = images(1)[0]
    pixels, _, e = embedding_and_tokens(clip, image, "vision_model.post_layernorm")
    row = clip.module.head.weight[1].detach()  # type: ignore[union-attr]
    (gradient,) = torch.autograd.grad(e, pixels, row.norm() * cosine_gradient(e.detach(), row))
    found = explainer("input_x_gradient", clip).explain(image[None], torch.tensor([1]))[0]
    torch.testing.assert_close(found, (image * gradient).sum(0), rtol=1e-9, atol=1e-12)


def test_grad_cam_of_a_similarity(clip: Classifier) -> None:
    """Equations 1 and 2 of Grad-CAM on the patch tokens before the last attention."""
    image, layer = images(1)[0], "vision_model.encoder.layers.1.layer_norm1"
    _, tokens, e = embedding_and_tokens(clip, image, layer)
    row = clip.module.head.weight[2].detach()  # type: ignore[union-attr]
    (gradient,) = torch.autograd.grad(e, tokens, row.norm() * cosine_gradient(e.detach(), row))
    a, g = tokens[0, 1:].detach(), gradient[0, 1:]
    expected = torch.zeros(len(a), dtype=torch.float64)
    for d in range(a.shape[1]):
        alpha = sum(float(g[i, d]) for i in range(len(g))) / len(g)
        for i in range(len(a)):
            expected[i] += alpha * a[i, d]
    assert clip.layer == f"tower.network.{layer}"
    found = explainer("grad_cam", clip).explain(image[None], torch.tensor([2]))
    grid = F.relu(expected).view(1, 4, 4)
    torch.testing.assert_close(found, upsample(grid, image.shape[-2:]), rtol=1e-9, atol=1e-12)
