"""Similarities as a network: the cosine written out, the embedding of any network, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from support.tiny_models import TINY, cnn
from support.two_towers import SIZE, VISION, clip_folder, save_quietly, spread
from torch import Tensor, nn

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.similarity import SimilarityNetwork, embedding_in, embedding_of
from seewhy.errors import SeewhyError

transformers = pytest.importorskip("transformers")


def images(classifier: Classifier, n: int = 2) -> Tensor:
    return torch.rand(n, len(classifier.mean), *classifier.input_size, generator=torch.Generator().manual_seed(4))


def tower(d: int = 6) -> Classifier:
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, d))
    return Classifier(spread(module), input_size=(16, 16), outputs="embedding")


def test_the_cosine_written_out() -> None:
    network = tower()
    references = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    classifier = seewhy.similarity_classifier(network, references, ["a", "b", "c"], scale=20.0, bias=-2.0, multilabel=True)
    x = images(classifier)
    for image, logits in zip(x, classifier.logits(x), strict=True):
        e = network.logits(image[None])[0]
        for j, reference in enumerate(references):
            dot = sum(float(a) * float(b) for a, b in zip(e.detach(), reference, strict=True))
            lengths = sum(float(a) ** 2 for a in e.detach()) ** 0.5 * sum(float(b) ** 2 for b in reference) ** 0.5
            assert float(logits[j].detach()) == pytest.approx(20 * dot / lengths - 2, rel=1e-4, abs=1e-4)
    torch.testing.assert_close(classifier.probabilities(x), classifier.logits(x).sigmoid())


def test_without_a_scale_the_outputs_are_cosines_and_no_probabilities() -> None:
    classifier = seewhy.similarity_classifier(tower(), 3 * torch.eye(6)[:2], ["a", "b"])
    assert classifier.returns_values
    assert classifier.logits(images(classifier)).abs().max() <= 1 + 1e-6
    with pytest.raises(SeewhyError, match="values, which have no probabilities"):
        classifier.probabilities(images(classifier))
    assert classifier.class_name(1) == "b"


def test_the_head_is_found_and_the_embedding_has_length_1() -> None:
    classifier = seewhy.similarity_classifier(tower(), torch.eye(6)[:2], ["a", "b"], scale=10.0)
    assert classifier.heads == ("head",)
    torch.testing.assert_close(classifier.embed(images(classifier)).norm(dim=1), torch.ones(2))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"embeddings": torch.eye(5)}, r"floats \(k, 6\), .* got torch.float32 \(5, 5\)"),
        ({"embeddings": torch.zeros(2, 6)}, "a row of zeros"),
        ({"embeddings": torch.full((2, 6), torch.nan)}, "NaN"),
        ({"classes": ["a"]}, "2 embeddings and 1 names"),
        ({"scale": -1.0}, "scale is -1.0"),
        ({"embeddings": torch.eye(6)[:1], "classes": ["a"], "scale": 100.0}, "one embedding alone"),
    ],
)
def test_what_does_not_go_together(change: dict[str, object], words: str) -> None:
    given: dict[str, object] = {"embeddings": torch.eye(6)[:2], "classes": ["a", "b"], **change}
    with pytest.raises(SeewhyError, match=words) as error:
        seewhy.similarity_classifier(tower(), **given)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


# -- the embedding of any network --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cnn", "vit", "shapes"])
def test_the_embedding_is_the_input_of_the_last_linear_layer(name: str) -> None:
    classifier = seewhy.load("shapes/vit") if name == "shapes" else TINY[name]()
    found, x = embedding_of(classifier), images(classifier)
    torch.testing.assert_close(found.logits(x), classifier.embed(x))
    torch.testing.assert_close(found.embed(x), classifier.embed(x))
    assert found.ending == "embedding"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet10t", {}),
        ("vit_tiny_patch16_224", {"depth": 2, "img_size": 64}),
        ("deit_tiny_distilled_patch16_224", {"depth": 2, "img_size": 64}),
    ],
)
def test_the_embedding_of_a_classifier_of_timm_is_what_it_returns_without_classes(
    name: str, options: dict[str, int]
) -> None:
    whole = Classifier(spread(timm.create_model(name, **options)), input_size=(64, 64))
    bare = timm.create_model(name, num_classes=0, **options)
    bare.load_state_dict(
        {key: value for key, value in whole.module.state_dict().items() if "head" not in key and "fc." not in key}
    )
    alone = Classifier(bare.eval(), input_size=(64, 64))
    x = images(whole, 1)
    assert alone.ending == "embedding"
    assert embedding_of(alone) is alone
    torch.testing.assert_close(alone.embed(x), alone.logits(x))
    torch.testing.assert_close(embedding_of(whole).logits(x), alone.logits(x), rtol=1e-4, atol=1e-5)


def test_the_network_keeps_its_classes() -> None:
    classifier = TINY["cnn"]()
    before = classifier.logits(images(classifier))
    embedding_of(classifier).logits(images(classifier))
    torch.testing.assert_close(classifier.logits(images(classifier)), before)


def test_a_network_that_ends_otherwise_has_no_embedding() -> None:
    ended = Classifier(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), input_size=(16, 16))
    with pytest.raises(SeewhyError, match="does not end in a linear layer"):
        embedding_of(ended)
    softmaxed = Classifier(nn.Sequential(cnn(), nn.Softmax(1)), input_size=(16, 16))
    with pytest.raises(SeewhyError, match="does not end in a linear layer"), pytest.warns(UserWarning, match="softmax"):
        embedding_of(softmaxed)


RETURNED: dict[str, tuple[Callable[[Tensor], object], bool]] = {
    "a tensor": (lambda e: e, True),
    "a pooled cell": (lambda e: e[..., None, None], True),
    "pooler_output": (lambda e: {"last_hidden_state": e[:, None], "pooler_output": e}, True),
    "image_embeds": (lambda e: {"pooler_output": torch.cat([e, e], 1), "image_embeds": e}, True),
    "a tuple": (lambda e: (e, e[:, None]), True),
    "tokens alone": (lambda e: {"last_hidden_state": e[:, None]}, False),
    "a map": (lambda e: e[..., None, None].expand(-1, -1, 2, 2), False),
}


@pytest.mark.parametrize("name", RETURNED)
def test_the_embedding_is_found_in_what_a_network_returns(name: str) -> None:
    pack, found = RETURNED[name]
    e = torch.rand(2, 3)
    if found:
        assert torch.equal(embedding_in(pack(e)), e)
    else:
        with pytest.raises(SeewhyError, match="there is no embedding"):
            embedding_in(pack(e))


# -- folders and names that return an embedding ------------------------------------------------------------------------


def dinov2_folder(folder: Path) -> Path:
    config = transformers.Dinov2Config(**{**VISION, "patch_size": 8, "image_size": SIZE, "mlp_ratio": 2})
    save_quietly(spread(transformers.Dinov2Model(config)), folder)
    size = {"height": SIZE, "width": SIZE}
    save_quietly(transformers.BitImageProcessor(size={"shortest_edge": SIZE}, crop_size=size), folder)
    return folder


def test_a_backbone_of_hugging_face_is_loaded_without_a_classifier(tmp_path: Path) -> None:
    folder = dinov2_folder(tmp_path)
    with pytest.raises(SeewhyError, match=r"random: 2 missing.*saved without a classifier: give outputs=embedding"):
        seewhy.load(f"hf/{folder}")
    classifier = seewhy.load(f"hf/{folder}", options={"outputs": "embedding"})
    module = transformers.Dinov2Model.from_pretrained(folder).eval()
    x = images(classifier)
    torch.testing.assert_close(classifier.embed(x), module(classifier.normalize(x)).pooler_output)
    save_quietly(transformers.ViTModel(transformers.ViTConfig(**VISION), add_pooling_layer=False), folder)
    with pytest.raises(SeewhyError, match="pooler"):  # a pooler of random numbers is no embedding
        seewhy.load(f"hf/{folder}", options={"outputs": "embedding"})


def test_an_image_tower_of_hugging_face_is_loaded_with_its_projection(tmp_path: Path) -> None:
    config = transformers.CLIPVisionConfig(**VISION, projection_dim=7)
    module = spread(transformers.CLIPVisionModelWithProjection(config))
    clip_folder(tmp_path)
    save_quietly(module, tmp_path)
    classifier = seewhy.load(f"hf/{tmp_path}", options={"outputs": "embedding"})
    x = images(classifier)
    torch.testing.assert_close(classifier.embed(x), module(classifier.normalize(x)).image_embeds)


def test_a_classifier_of_hugging_face_gives_the_input_of_its_last_layer(tmp_path: Path) -> None:
    clip_folder(tmp_path)
    save_quietly(spread(transformers.ViTForImageClassification(transformers.ViTConfig(**VISION, num_labels=3))), tmp_path)
    whole = seewhy.load(f"hf/{tmp_path}")
    found = seewhy.load(f"hf/{tmp_path}", options={"outputs": "embedding"})
    torch.testing.assert_close(found.embed(images(whole)), whole.embed(images(whole)))


def test_the_image_tower_of_clip_in_timm_returns_an_embedding_and_no_512_classes() -> None:
    from seewhy.classifier.sources import MODELS, Request

    built = MODELS["timm"](Request("fastvit_mci0.apple_mclip", pretrained=False))
    assert built.outputs == "embedding"
    assert MODELS["timm"](Request("fastvit_mci0.apple_mclip", {"num_classes": 5}, pretrained=False)).outputs is None
    assert MODELS["timm"](Request("resnet18", pretrained=False)).outputs is None


# -- RELAX -------------------------------------------------------------------------------------------------------------


def test_relax_explains_what_a_network_of_embeddings_returns() -> None:
    """As of a classifier with a linear layer behind the same embedding, and not the mean of the feature layer."""
    network = tower()
    whole = Classifier(nn.Sequential(network.module, nn.Linear(6, 3)), input_size=(16, 16))
    x, target = images(network, 2), torch.tensor([0, 1])
    for method in ("relax", "u_relax"):
        maps = [seewhy.explainer(method, c, samples=12, cells=3).explain(x, target) for c in (network, whole)]
        assert maps[0].std() > 0
        torch.testing.assert_close(maps[0], maps[1])


def test_relax_explains_a_backbone_a_tower_and_a_network_of_timm(tmp_path: Path) -> None:
    dinov2_folder(tmp_path / "dino")
    clip_folder(tmp_path / "clip")
    networks = [seewhy.load(f"hf/{tmp_path / name}", options={"outputs": "embedding"}) for name in ("dino", "clip")]
    for network in [*networks, Classifier(spread(timm.create_model("resnet10t", num_classes=0)), input_size=(32, 32))]:
        found = seewhy.explainer("relax", network, samples=8, cells=3).explain(images(network, 1), torch.tensor([0]))
        assert found.std() > 0


def test_the_module_says_what_it_holds() -> None:
    module = SimilarityNetwork(nn.Flatten(), torch.eye(4), about={"texts": "4"})
    assert module.about == {"texts": "4"}
    assert not any(p.requires_grad for p in module.parameters())
