"""Networks that are compiled, quantized, in another type, without gradients or not for images: a map, or the real cause."""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from support.command import as_users_run_it
from support.networks import from_hugging_face
from support.tiny_models import CHEAP, TINY, cnn, model_for
from support.tiny_models import ready_explainer as explainer
from torch import Tensor, nn
from torch.ao.quantization import quantize_dynamic

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.describe import weights_digest
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS
from seewhy.metrics import Case
from seewhy.metrics.base import metric

IMAGES, TWO = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 3])


class Holding(nn.Module):
    """A network of the user that holds another module."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.last = body, nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x))


def compiled(module: nn.Module) -> nn.Module:
    return cast(nn.Module, torch.compile(module, backend="eager"))


def in_place(module: nn.Module) -> nn.Module:
    module.compile(backend="eager")
    return module


# -- compiled ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "compile_inside",
    [
        lambda m: Holding(compiled(m)),
        lambda m: compiled(Holding(compiled(m))),
        lambda m: Holding(nn.Sequential(*m[:4], compiled(m[4:]))),
        lambda m: Holding(in_place(m)),
        lambda m: in_place(Holding(m)),
    ],
    ids=["a part", "a part and the whole", "a part of a part", "a part in place", "the whole in place"],
)
def test_a_module_compiled_inside_another_is_explained_as_it_was(compile_inside: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    body = TINY["cnn"]().module
    plain = Classifier(Holding(body).eval(), input_size=(16, 16))
    own = compile_inside(deepcopy(body)).eval()
    for name, module in own.named_modules():
        if name.endswith("last"):
            module.load_state_dict(plain.module.get_submodule("last").state_dict())
    before = {name: id(p) for name, p in own.named_parameters()}
    classifier = Classifier(own, input_size=(16, 16))
    for name in ("grad_cam", "ablation_cam", "saliency"):
        torch.testing.assert_close(
            explainer(name, classifier).explain(IMAGES, TWO), explainer(name, plain).explain(IMAGES, TWO)
        )
    assert weights_digest(classifier.module) == weights_digest(plain.module) or "1" in " ".join(
        classifier.module.state_dict()
    )
    assert {name: id(p) for name, p in own.named_parameters()} == before, "the user's module is as it was"
    assert {id(p) for p in classifier.module.parameters()} == set(before.values()), "and its weights are shared"


TYPES = [
    *((torch.float16, torch.float32), (torch.bfloat16, torch.float32)),
    *((torch.float64, torch.float32), (torch.float32, torch.float64)),
]
"""Of the network and of the images."""


# -- types -------------------------------------------------------------------------------------------------------------


METHODS = ("saliency", "integrated_gradients", "grad_cam", "cam", "eigen_cam", "score_cam", "occlusion", "relax", "opti_cam")
"""One of each way to compute."""


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("network", "images"), TYPES, ids=str)
def test_images_of_another_type_than_the_network(name: str, network: torch.dtype, images: torch.dtype) -> None:
    """The map has the images' type, as of any network."""
    classifier = TINY["cnn"]()
    other = replace(classifier, module=TINY["cnn"]().module.to(network))
    with as_users_run_it():
        found = explainer(name, other, **CHEAP.get(name, {})).explain(IMAGES.to(images), TWO)
    assert found.dtype == images
    assert found.isfinite().all()
    if name in ("grad_cam", "saliency", "cam", "occlusion"):
        expected = explainer(name, classifier, **CHEAP.get(name, {})).explain(IMAGES, TWO)
        pair = torch.stack([found.flatten().double(), expected.flatten().double()])
        assert torch.corrcoef(pair)[0, 1] > 0.99


# -- no gradients ------------------------------------------------------------------------------------------------------


class Cut(nn.Module):
    """Cuts the graph in one of several ways."""

    def __init__(self, how: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.how = TINY["cnn"]().module, how

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self.body, x)


def quietly(body: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return body(x)


CUTS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "detach": lambda body, x: body(x).detach(),
    "no_grad": quietly,
    "NumPy": lambda body, x: body(torch.from_numpy(x.numpy())),
    "NumPy after": lambda body, x: torch.from_numpy(body(x).detach().numpy()),
    "in the middle": lambda body, x: body[4:](body[:4](x).detach()),  # type: ignore[index]
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_network_without_gradients_is_said_to_have_none(cut: str) -> None:
    classifier = Classifier(Cut(CUTS[cut]).eval(), input_size=(16, 16))
    for name in ("saliency", "grad_cam", "ablation_cam", "opti_cam", "integrated_gradients"):
        with pytest.raises(SeewhyError, match=r"^the network computes without gradients \(no_grad, .* such as rise"):
            explainer(name, classifier, **CHEAP.get(name, {})).explain(IMAGES, TWO)
    for name in ("rise", "occlusion", "lime"):
        assert explainer(name, classifier, **CHEAP[name]).explain(IMAGES, TWO).isfinite().all()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_a_quantized_network_has_no_gradients_and_can_be_masked(kind: str) -> None:
    classifier = TINY[kind]()
    quantized = replace(classifier, module=quantize_dynamic(classifier.module, {nn.Linear}, dtype=torch.qint8))
    for name in ("saliency", "grad_cam", "opti_cam"):
        with pytest.raises(
            SeewhyError, match=r"^the network computes without gradients .* quantized layers .* such as rise"
        ):
            explainer(name, quantized, **CHEAP.get(name, {})).explain(IMAGES, TWO)
    found, expected = (explainer("occlusion", c).explain(IMAGES, TWO) for c in (quantized, classifier))
    assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.9
    assert weights_digest(quantized.module) != weights_digest(classifier.module)
    assert weights_digest(quantized.module) == weights_digest(quantized.module)


# -- networks that take no images --------------------------------------------------------------------------------------


class WithAge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = cnn()

    def forward(self, x: Tensor, age: Tensor) -> Tensor:
        return self.body(x) + age


class ByName(WithAge):
    def forward(self, x: Tensor, *, age: Tensor) -> Tensor:  # type: ignore[override]
        return self.body(x) + age


class Perhaps(WithAge):
    def forward(self, x: Tensor, age: Tensor | None = None) -> Tensor:
        return self.body(x) if age is None else self.body(x) + age


class Nothing(WithAge):
    def forward(self) -> Tensor:  # type: ignore[override]
        return torch.zeros(1, 5)


def words_of_hugging_face(name: str) -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: this test needs its models")
    if name == "ImageGPT":
        config = transformers.ImageGPTConfig(n_embd=8, n_layer=1, n_head=2, vocab_size=10, n_positions=16, num_labels=5)
        return transformers.ImageGPTForImageClassification(config)
    vision = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return transformers.Siglip2ForImageClassification(transformers.Siglip2Config(vision_config=vision, text_config=vision))


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (WithAge, r"WithAge takes more than images \(its forward needs age\): wrap it"),
        (ByName, r"ByName takes more than images \(its forward needs age\): wrap it"),
        (Nothing, "forward of Nothing takes no input"),
        (lambda: words_of_hugging_face("ImageGPT"), "ImageGPTForImageClassification reads input_ids, not pixels"),
    ],
    ids=["two inputs", "two inputs by name", "no input", "ImageGPT"],
)
def test_a_network_that_takes_something_else_is_refused_at_once(build: Callable[[], nn.Module], line: str) -> None:
    with pytest.raises(SeewhyError, match=rf"^{line}"):
        Classifier(build(), input_size=(16, 16))


def test_an_input_that_may_be_left_away_is_left_away() -> None:
    assert explainer("saliency", Classifier(Perhaps().eval(), input_size=(16, 16))).explain(IMAGES, TWO).isfinite().all()


def pooled(first: nn.Module, pool: nn.Module) -> nn.Module:
    return nn.Sequential(first, pool, nn.Flatten(), nn.Linear(4, 5)).eval()


FAILING: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "volumes": (lambda: pooled(nn.Conv3d(3, 4, 3), nn.AdaptiveAvgPool3d(1)), "it begins with Conv3d, which takes no images"),
    "signals": (lambda: pooled(nn.Conv1d(3, 4, 3), nn.AdaptiveAvgPool1d(1)), "it begins with Conv1d, which takes no images"),
    "gray": (lambda: pooled(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1)), "it takes 1 channels: give mean and std one"),
    "patches": (lambda: words_of_hugging_face("Siglip2"), "its forward also takes .*spatial_shapes: if it needs them"),
    "words": (lambda: nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(4, 5)), "check what it takes"),
    "another size": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(999, 5)), "and its input size"),
}


@pytest.mark.parametrize("kind", FAILING)
def test_a_network_that_fails_on_images_is_one_line_at_every_door(kind: str) -> None:
    build, cure = FAILING[kind]
    classifier = Classifier(build(), input_size=(16, 16))
    for name in ("saliency", "grad_cam", "rise", "opti_cam", "ablation_cam"):
        with pytest.raises(SeewhyError, match=rf"^\w+ fails on an image, given as 3 x 16 x 16 \(.*\): .*{cure}"):
            explainer(name, classifier, **CHEAP.get(name, {})).explain(IMAGES, TWO)
    with pytest.raises(SeewhyError, match=rf"^\w+ fails on tensor, given as 3 x 16 x 16 \(.*\): .*{cure}"):
        seewhy.explain(IMAGES[0], classifier)
    with pytest.raises(SeewhyError, match=cure):
        assert classifier.n_classes


def test_images_of_a_size_that_the_network_does_not_take() -> None:
    """The network's own size works, and the size of the images does not; and the other way round."""
    classifier = TINY["vit"]()
    with pytest.raises(SeewhyError, match=r"^TinyViT fails on an image, given as 3 x 20 x 20"):
        explainer("saliency", classifier).explain(torch.rand(1, 3, 20, 20), TWO[:1])
    wrong = replace(classifier, input_size=(20, 20))
    expected = explainer("saliency", classifier).explain(IMAGES, TWO)
    torch.testing.assert_close(explainer("saliency", wrong).explain(IMAGES, TWO), expected)
    with pytest.raises(SeewhyError, match=r"^TinyViT fails on an image, given as 3 x 20 x 20"):
        explainer("grad_cam", wrong).explain(IMAGES, TWO)


def test_the_size_that_the_network_takes_is_said() -> None:
    """The optional ``attn_mask`` of timm's ViT has nothing to do with it."""
    timm = pytest.importorskip("timm")
    module = timm.create_model("vit_tiny_patch16_224", img_size=(32, 48), depth=1, embed_dim=12, num_heads=2, num_classes=5)
    line = r"^VisionTransformer fails on an image, .*: it takes images of 32 x 48: .* input_size=\(32, 48\)$"
    with pytest.raises(SeewhyError, match=line):
        assert Classifier(module.eval(), input_size=(64, 64)).layer
    right = Classifier(module.eval(), input_size=(32, 48))
    with pytest.raises(SeewhyError, match=line):
        explainer("saliency", right).explain(torch.rand(1, 3, 64, 64), TWO[:1])


# -- a default device --------------------------------------------------------------------------------------------------


@contextmanager
def default_device(name: str) -> Iterator[None]:
    """What a script does at its top. Nothing can be computed with tensors on "meta"."""
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_a_default_device_is_not_that_of_the_network(name: str) -> None:
    classifier = TINY[model_for(name)]()
    expected = explainer(name, classifier, **CHEAP.get(name, {})).explain(IMAGES, TWO)
    with default_device("meta"):
        found = explainer(name, replace(classifier, classes=()), **CHEAP.get(name, {})).explain(IMAGES, TWO)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["srg", "deletion", "average_drop", "r_srg", "road", "max_sensitivity", "complexity"])
def test_metrics_do_not_follow_a_default_device(name: str) -> None:
    classifier, maps = TINY["cnn"](), torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(1))
    measure = metric(name)

    def scores() -> Tensor:
        return measure.score(Case(classifier, IMAGES, TWO, TWO, maps, explainer=explainer("saliency", classifier)))

    expected = scores()
    with default_device("meta"):
        found = scores()
    assert torch.equal(found, expected)


def test_explain_does_not_follow_a_default_device() -> None:
    expected = seewhy.explain(IMAGES[0], TINY["cnn"]())
    with warnings.catch_warnings(), default_device("meta"):
        warnings.simplefilter("error")
        with torch.device("cpu"):
            classifier = TINY["cnn"]()
        found = seewhy.explain(IMAGES[0], classifier)
    assert torch.equal(found.map, expected.map)
    assert found.probability == expected.probability


# -- a folder of Hugging Face that does not name its classes -----------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, "class 3"),
        ({str(i): f"LABEL_{i}" for i in range(5)}, "class 3"),
        ({"1": "a", "2": "b", "3": "c", "4": "d", "5": "e"}, "class 3"),
        ({"0": "a", "1": "b", "2": "c", "3": "d", "4": "e"}, "d"),
    ],
    ids=["no id2label", "names that are none", "counted from 1", "names"],
)
def test_a_folder_without_names_has_as_many_classes_as_its_head(
    names: dict[str, str] | None, expected: str, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: this test needs its models")
    module = from_hugging_face("ResNet", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")()
    cast(Any, module).save_pretrained(tmp_path)
    transformers.ConvNextImageProcessor().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config = {key: value for key, value in config.items() if key not in ("id2label", "label2id")}
    (tmp_path / "config.json").write_text(json.dumps({**config, **({"id2label": names} if names else {})}))
    classifier = seewhy.load(f"hf/{tmp_path}")
    assert classifier.n_classes == 5
    assert classifier.class_name(3) == expected
    image = classifier.normalize(torch.rand(1, 3, *classifier.input_size))
    with torch.no_grad():
        torch.testing.assert_close(classifier.module(image).logits, module.eval()(image).logits)
