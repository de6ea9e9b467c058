"""Networks that compare images with texts, loaded from folders in the layout of the hub: one classifier over the texts."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.two_towers import SIZE, clip_folder, save_quietly, siglip_folder, spread
from torch import Tensor, nn

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.hub_names import quiet
from seewhy.classifier.identity import classifier_identity
from seewhy.classifier.libra import balance
from seewhy.errors import SeewhyError

transformers = pytest.importorskip("transformers")
TEXTS = ["dog", "a cat", "xyz"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_folder(tmp_path_factory.mktemp("two") / "clip")


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return siglip_folder(tmp_path_factory.mktemp("two") / "siglip")


def whole_network(folder: Path) -> tuple[Any, Any]:
    """The network with both towers, and its tokenizer, as Transformers loads them."""
    with quiet():
        module = transformers.AutoModel.from_pretrained(folder)
    return module.eval(), transformers.AutoTokenizer.from_pretrained(folder)


def images(n: int = 3) -> Tensor:
    return torch.rand(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


# -- the scores are those of the network -------------------------------------------------------------------------------


def test_the_logits_are_those_of_clip(clip: Path) -> None:
    classifier = seewhy.load(f"hf/{clip}", texts=TEXTS)
    module, tokenizer = whole_network(clip)
    tokens = tokenizer(TEXTS, padding=True, return_tensors="pt")
    expected = module(pixel_values=classifier.normalize(images()), **tokens).logits_per_image
    assert expected.std() > 0.1
    torch.testing.assert_close(classifier.logits(images()), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(classifier.probabilities(images()), expected.softmax(1), rtol=1e-4, atol=1e-5)
    assert classifier.classes == tuple(TEXTS)
    assert not classifier.multilabel


def test_the_logits_are_those_of_siglip_and_each_text_has_a_probability_of_its_own(siglip: Path) -> None:
    classifier = seewhy.load(f"hf/{siglip}", texts=TEXTS)
    module, tokenizer = whole_network(siglip)
    tokens = tokenizer(TEXTS, padding="max_length", max_length=12, return_tensors="pt")
    expected = module(pixel_values=classifier.normalize(images()), **tokens).logits_per_image
    torch.testing.assert_close(classifier.logits(images()), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(classifier.probabilities(images()), expected.sigmoid(), rtol=1e-4, atol=1e-5)


OTHERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "MetaClip2": lambda: (
        transformers.MetaClip2Config(text_config=_TEXT, vision_config=_VISION, projection_dim=12),
        transformers.MetaClip2Model,
    ),
    "CLIPSeg": lambda: (
        transformers.CLIPSegConfig(text_config=_TEXT, vision_config=_VISION, projection_dim=12),
        transformers.CLIPSegModel,
    ),
    "GroupViT": lambda: (
        transformers.GroupViTConfig(
            text_config=_TEXT,
            vision_config={**_VISION, "depths": [1, 1, 1], "num_group_tokens": [4, 2, 0], "num_output_groups": [4, 2, 0]},
            projection_dim=12,
            projection_intermediate_dim=16,
        ),
        transformers.GroupViTModel,
    ),
    "AIMv2": lambda: (
        transformers.Aimv2Config(text_config=_TEXT, vision_config=_VISION, projection_dim=12),
        transformers.Aimv2Model,
    ),
    "VisionTextDualEncoder": lambda: (
        transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
            transformers.ViTConfig(**_VISION), transformers.CLIPTextConfig(**_TEXT), projection_dim=12
        ),
        transformers.VisionTextDualEncoderModel,
    ),
}
"""Other kinds of networks with two towers, in the folder of CLIP: with its tokenizer and its processor."""
_SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
_TEXT = {
    **_SMALL,
    "max_position_embeddings": 12,
    "vocab_size": 60,
    "bos_token_id": 58,
    "eos_token_id": 59,
    "pad_token_id": 59,
}
_VISION = {**_SMALL, "image_size": SIZE, "patch_size": 8}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_networks_with_two_towers_give_their_own_logits(kind: str, clip: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip, tmp_path / kind)
    config, made = OTHERS[kind]()
    save_quietly(spread(made(config)), folder)
    classifier = seewhy.load(f"hf/{folder}", texts=TEXTS)
    module, tokenizer = whole_network(folder)
    tokens = tokenizer(TEXTS, padding=True, return_tensors="pt")
    expected = module(pixel_values=classifier.normalize(images(2)), **tokens).logits_per_image
    torch.testing.assert_close(classifier.logits(images(2)), expected, rtol=1e-3, atol=1e-3)


def test_a_batch_of_8_equals_8_single_images(clip: Path) -> None:
    classifier, x = seewhy.load(f"hf/{clip}", texts=TEXTS), images(8)
    singles = torch.cat([classifier.logits(image[None]) for image in x])
    torch.testing.assert_close(classifier.logits(x), singles, rtol=1e-5, atol=1e-5)


def test_the_embeddings_of_several_templates_are_averaged_as_in_the_paper_of_clip(clip: Path) -> None:
    """Each prompt's embedding gets length 1, their mean gets length 1 again (Radford et al., 2021, section 3.1.4)."""
    templates = ["a {}", "the {} b"]
    classifier = seewhy.load(f"hf/{clip}", texts=TEXTS, template=templates)
    module, tokenizer = whole_network(clip)
    rows = []
    for text in TEXTS:
        mean = torch.zeros(12)
        for template in templates:
            tokens = tokenizer([template.replace("{}", text)], return_tensors="pt")
            one = module.get_text_features(**tokens).pooler_output[0]
            mean += one / one.norm() / len(templates)
        rows.append(mean / mean.norm())
    seen = module.get_image_features(classifier.normalize(images())).pooler_output
    expected = module.logit_scale.exp() * (seen / seen.norm(dim=1, keepdim=True)) @ torch.stack(rows).T
    torch.testing.assert_close(classifier.logits(images()), expected, rtol=1e-4, atol=1e-4)
    alone = seewhy.load(f"hf/{clip}", texts=TEXTS, template=templates[0])
    assert not torch.allclose(alone.logits(images()), expected, atol=1e-2)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_of_one_text_the_cosine_is_explained(kind: str, request: pytest.FixtureRequest) -> None:
    """A softmax over one text is always 1."""
    folder = request.getfixturevalue(kind)
    alone, beside = (seewhy.load(f"hf/{folder}", texts=texts) for texts in (["dog"], ["dog", "a cat"]))
    module, _ = whole_network(folder)
    bias = float(getattr(module, "logit_bias", torch.zeros(())).detach())
    expected = (beside.logits(images())[:, :1] - bias) / module.logit_scale.exp()
    torch.testing.assert_close(alone.logits(images()), expected, rtol=1e-4, atol=1e-5)
    assert alone.returns_values
    assert "%" not in seewhy.explain(images()[0], alone, "saliency").caption


def test_the_text_tower_is_left_out(clip: Path) -> None:
    classifier = seewhy.load(f"hf/{clip}", texts=TEXTS)
    names = {name for name, _ in classifier.module.named_parameters()}
    assert any("vision_model" in name for name in names)
    assert not any("text" in name for name in names)


def test_weights_of_a_file_come_before_the_texts_are_read(clip: Path, tmp_path: Path) -> None:
    changed = {key: 1.5 * value for key, value in load_file(clip / "model.safetensors").items()}
    save_file(changed, tmp_path / "other.safetensors", metadata={"format": "pt"})
    folder = shutil.copytree(clip, tmp_path / "changed")
    shutil.copy(tmp_path / "other.safetensors", folder / "model.safetensors")
    from_file = seewhy.load(f"hf/{clip}", texts=TEXTS, weights=tmp_path / "other.safetensors")
    expected = seewhy.load(f"hf/{folder}", texts=TEXTS).logits(images())
    torch.testing.assert_close(from_file.logits(images()), expected)
    assert not torch.allclose(seewhy.load(f"hf/{clip}", texts=TEXTS).logits(images()), expected, atol=1e-2)


# -- targets, names, identity ------------------------------------------------------------------------------------------


def test_a_text_is_a_target_and_a_caption_shows_all_of_it(clip: Path) -> None:
    classifier = seewhy.load(f"hf/{clip}", texts=["dog, a b", "dog, c d"])
    explanation = seewhy.explain(images()[0], classifier, "saliency", target="dog, c d")
    assert explanation.target == 1
    assert explanation.caption.startswith("dog, c d  ")


def test_texts_and_templates_are_a_part_of_the_identity(clip: Path) -> None:
    one, same, other, told = (
        classifier_identity(seewhy.load(f"hf/{clip}", texts=texts, template=template))
        for texts, template in ((TEXTS, None), (TEXTS, "{}"), (TEXTS[:2], None), (TEXTS, "a {}"))
    )
    assert one == same
    assert json.loads(json.dumps(told)) == told
    assert one != other
    assert one != told


# -- what cannot be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "template", "words"),
    [
        (["dog", "a b c d e f g h i j k l"], None, "'a b c d e f g h i j k l'... has 14 tokens, .* reads 12: shorten it"),
        (["dog", "cat"], "a b c d e f g h i j {}", "has 13 tokens"),
        (["dog", "7 cats"], None, "does not know all of the text '7 cats'"),
        (["a-b", "a- b"], None, "does not know all of|are the same text"),
        (["dog", "DOG"], None, "given twice"),
        (["dog", " "], None, "an empty text"),
        (None, "a {}", "give texts"),
    ],
)
def test_texts_that_the_tower_cannot_read(clip: Path, texts: Any, template: Any, words: str) -> None:
    with pytest.raises(SeewhyError, match=words) as error:
        seewhy.load(f"hf/{clip}", texts=texts, template=template)
    assert "\n" not in str(error.value)


def test_two_texts_that_the_tower_cannot_tell_apart_are_refused(clip: Path) -> None:
    with pytest.raises(SeewhyError, match="'dog, cat' and 'dog , cat' are the same text"):
        seewhy.load(f"hf/{clip}", texts=["dog, cat", "dog , cat"])


def test_a_folder_without_its_tokenizer_is_refused(clip: Path, tmp_path: Path) -> None:
    """Transformers would make a tokenizer that knows no word, and every text would be the same."""
    folder = shutil.copytree(clip, tmp_path / "bare")
    for file in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
        (folder / file).unlink()
    with pytest.raises(SeewhyError, match=r"has no tokenizer \(merges.txt or tokenizer.json or vocab.json\)"):
        seewhy.load(f"hf/{folder}", texts=TEXTS)


def test_a_broken_tokenizer_is_refused(clip: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip, tmp_path / "broken")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(SeewhyError, match=r"tokenizer of .* cannot be made") as error:
        seewhy.load(f"hf/{folder}", texts=TEXTS)
    assert "\n" not in str(error.value)


def test_a_tokenizer_with_code_of_its_own_is_refused(clip: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip, tmp_path / "code")
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "auto_map": {"AutoTokenizer": ["own.Own", None]}}))
    with pytest.raises(SeewhyError, match="needs code of its own"):
        seewhy.load(f"hf/{folder}", texts=TEXTS)


def test_class_names_beside_texts_are_refused(clip: Path) -> None:
    with pytest.raises(SeewhyError, match="the texts are the classes"):
        seewhy.load(f"hf/{clip}", texts=TEXTS, classes=TEXTS)


def test_a_missing_weight_of_the_text_tower_is_refused(clip: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip, tmp_path / "part")
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SeewhyError, match=r"not all weights of CLIPModel.*1 missing: text_projection\.weight"):
        seewhy.load(f"hf/{folder}", texts=TEXTS)


@pytest.mark.parametrize("name", ["shapes", "resnet18", "torchvision/resnet18", "vit_base_patch16_clip_224.openai"])
def test_texts_for_a_network_without_a_text_tower_are_refused(name: str) -> None:
    with pytest.raises(SeewhyError, match=f"{name} has no text tower"):
        seewhy.load(name, texts=TEXTS)


def test_texts_for_an_image_tower_of_hugging_face_are_refused(clip: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip, tmp_path / "vit")
    config = transformers.ViTConfig(**_VISION, num_labels=3)
    save_quietly(transformers.ViTForImageClassification(config), folder)
    with pytest.raises(SeewhyError, match="has no text tower"):
        seewhy.load(f"hf/{folder}", texts=TEXTS)


def test_a_network_of_two_towers_without_texts_says_what_to_give(clip: Path) -> None:
    with pytest.raises(SeewhyError, match=r"compares images with texts, .* give texts=.*outputs=embedding"):
        seewhy.load(f"hf/{clip}")
    module, _ = whole_network(clip)
    with pytest.raises(SeewhyError, match="CLIPModel compares images with texts"):
        Classifier(module)


def test_a_factory_that_takes_texts_gets_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So any network can be given texts on the command line."""
    (tmp_path / "own_towers.py").write_text(
        "import torch, seewhy\n"
        "from torch import nn\n"
        "def build(texts, template=('{}',)):\n"
        "    tower = seewhy.Classifier(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),\n"
        "                              input_size=(8, 8), outputs='embedding')\n"
        "    return seewhy.similarity_classifier(tower, torch.eye(4)[: len(texts)], texts, scale=10.0)\n"
        "def deaf():\n"
        "    return nn.Flatten()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert seewhy.load("own_towers:build", texts="dog,cat", template="a {}").classes == ("dog", "cat")
    with pytest.raises(SeewhyError, match=r"'own_towers:deaf' does not take these options.*texts"):
        seewhy.load("own_towers:deaf", texts="dog,cat")


# -- the image tower alone ---------------------------------------------------------------------------------------------


def test_the_image_tower_alone_returns_the_embedding_that_both_towers_share(clip: Path) -> None:
    tower = seewhy.load(f"hf/{clip}", options={"outputs": "embedding"})
    module, _ = whole_network(clip)
    expected = module.get_image_features(tower.normalize(images())).pooler_output
    torch.testing.assert_close(tower.embed(images()), expected)
    assert tower.ending == "embedding"


def test_the_embedding_of_a_text_classifier_is_that_of_the_image_tower(clip: Path) -> None:
    """So RELAX explains the embedding that is compared with the texts."""
    tower = seewhy.load(f"hf/{clip}", options={"outputs": "embedding"})
    found, expected = seewhy.load(f"hf/{clip}", texts=TEXTS).embed(images()), tower.embed(images())
    torch.testing.assert_close(found, expected / expected.norm(dim=1, keepdim=True))


# -- networks of the same libraries, given as they are -----------------------------------------------------------------


class WithTexts(nn.Module):
    """A wrapper that a user may write: it gives the texts, and returns all that CLIP returns."""

    def __init__(self, network: Any, tokens: Tensor) -> None:
        super().__init__()
        self.network, self.tokens = network, tokens

    def forward(self, images: Tensor) -> Any:
        return self.network(input_ids=self.tokens, pixel_values=images)


def test_of_what_clip_returns_the_logits_per_image_are_explained(clip: Path) -> None:
    module, tokenizer = whole_network(clip)
    tokens = tokenizer(TEXTS[:1] * 3, return_tensors="pt")["input_ids"]
    tokens[1, 1], tokens[2, 1] = 3, 4
    classifier = Classifier(WithTexts(module, tokens), input_size=(SIZE, SIZE))
    expected = module(input_ids=tokens, pixel_values=classifier.normalize(images())).logits_per_image
    torch.testing.assert_close(classifier.logits(images()), expected)
    assert classifier.ending == "logits"
    assert seewhy.explainer("grad_cam", classifier).explain(images(1), torch.tensor([1])).max() > 0


@pytest.mark.parametrize("kind", ["CLIPVisionModelWithProjection", "CLIPVisionModel", "SiglipVisionModel", "Dinov2Model"])
def test_a_tower_given_as_it_is_returns_an_embedding(kind: str) -> None:
    """``image_embeds`` or ``pooler_output``, found by its name: no classes, and no percent sign."""
    config = {"CLIP": "CLIPVisionConfig", "Sigl": "SiglipVisionConfig", "Dino": "Dinov2Config"}[kind[:4]]
    module = spread(getattr(transformers, kind)(getattr(transformers, config)(**_VISION)))
    classifier = Classifier(module, input_size=(SIZE, SIZE))
    with pytest.warns(UserWarning, match="an embedding"):
        assert classifier.ending == "embedding"
    output = module(classifier.normalize(images()))
    expected = output.image_embeds if kind.endswith("Projection") else output.pooler_output
    torch.testing.assert_close(classifier.embed(images()), expected)


def test_siglip_2_of_varying_size_is_refused(siglip: Path, tmp_path: Path) -> None:
    """Its processor makes patches of a picture, in the picture's own shape."""
    folder = shutil.copytree(siglip, tmp_path / "naflex")
    config = transformers.Siglip2Config(
        text_config={**_SMALL, "vocab_size": 33, "max_position_embeddings": 12},
        vision_config={**_SMALL, "patch_size": 8, "num_patches": 16},
    )
    save_quietly(transformers.Siglip2Model(config), folder)
    save_quietly(transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16), folder)
    with pytest.raises(SeewhyError, match=r"image processor of .* has steps that seewhy does not know") as error:
        seewhy.load(f"hf/{folder}", texts=TEXTS)
    assert "\n" not in str(error.value)


def test_a_network_in_half_precision_reads_texts(clip: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip, tmp_path / "half")
    module, _ = whole_network(clip)
    save_quietly(module.half(), folder)
    classifier, exact = (seewhy.load(f"hf/{f}", texts=TEXTS) for f in (folder, clip))
    torch.testing.assert_close(classifier.logits(images()), exact.logits(images()), rtol=2e-2, atol=5e-2)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_with_libra_pixels_and_biases_account_for_a_similarity(kind: str, request: pytest.FixtureRequest) -> None:
    """A cosine does not grow with the embedding, so the usual gradient by it accounts for nothing."""
    module = seewhy.load(f"hf/{request.getfixturevalue(kind)}", texts=TEXTS).module.double()
    words = ("bias", "class_embedding", "position_embedding", "probe")
    x = images(1).double().requires_grad_()
    given = [x, *(p for name, p in module.named_parameters() if any(word in name for word in words))]
    for p in given:
        p.requires_grad_()

    def accounted(libra: bool) -> float:
        logits = module(x)
        if libra:
            assert balance(logits) == []
        gradients = torch.autograd.grad(logits[0, 1], given, allow_unused=True)
        total = sum(float((a * g).detach().sum()) for a, g in zip(given, gradients, strict=True) if g is not None)
        return total / float(logits[0, 1].detach())

    assert accounted(libra=True) == pytest.approx(1, rel=1e-11)
    assert abs(accounted(libra=False) - 1) > 0.01
