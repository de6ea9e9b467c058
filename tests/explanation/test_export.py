"""One ONNX file that answers as torch does; or one line, and no file."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from jaxtyping import Float
from support.tiny_models import SIZE, TINY, cnn, tiny
from torch import Tensor, nn

import seewhy
from seewhy import Classifier, SeewhyError
from seewhy.describe import weights_digest
from seewhy.errors import UnsuitedError
from seewhy.explainers.learned.learned_explainer import LearnedExplainer, Seen, Step
from seewhy.explanation import export as module
from seewhy.explanation.export import about, in_one_graph
from seewhy.maps import upsample


class Answers(dict[str, np.ndarray]):
    """What a file says of images, and its metadata."""

    def __init__(self, file: Path, images: Tensor) -> None:
        session = onnxruntime.InferenceSession(file.read_bytes())
        names = [output.name for output in session.get_outputs()]
        super().__init__(zip(names, session.run(names, {"images": images.numpy()}), strict=True))
        self.about = json.loads(session.get_modelmeta().custom_metadata_map["seewhy"])


def pictures(n: int, size: tuple[int, int] = (SIZE, SIZE)) -> Tensor:
    return torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(n))


def changed(network: nn.Module, **fields: Any) -> Classifier:
    return replace(tiny(network), classes=(), **fields)


NETWORKS: dict[str, Callable[[], Classifier]] = {
    "multilabel, a part of the output": lambda: TINY["cnn_multilabel"](),
    "logits in a mapping, a skip": lambda: TINY["functional"](),
    "a softmax at the end, BGR": lambda: changed(nn.Sequential(cnn(), nn.Softmax(1)), channel_order="bgr"),
    "one logit": lambda: changed(cnn(k=1), mean=(0.2, 0.3, 0.4), std=(0.5, 0.6, 0.7)),
    "values": lambda: changed(cnn(k=2), outputs="values"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_answers_as_the_library_for_any_number_of_images(name: str, tmp_path: Path) -> None:
    classifier = NETWORKS[name]()
    cam = seewhy.explainer("cam", classifier)
    seewhy.export(cam, tmp_path / "cam.onnx")
    for n in (1, 3):
        images, answers = pictures(n), Answers(tmp_path / "cam.onnx", pictures(n))
        scores = answers["values"] if classifier.returns_values else answers["probabilities"]
        expected = classifier.logits(images) if classifier.returns_values else classifier.probabilities(images)
        torch.testing.assert_close(torch.from_numpy(scores), expected.detach(), rtol=1e-5, atol=1e-6)
        maps = torch.stack([cam.explain(images, torch.full((n,), k)) for k in range(classifier.n_classes)], 1)
        torch.testing.assert_close(torch.from_numpy(answers["maps"]), maps, rtol=1e-5, atol=1e-5)


def test_images_of_any_size_and_chosen_classes(tmp_path: Path) -> None:
    cam = seewhy.explainer("cam", TINY["cnn"]())
    written = seewhy.export(cam, tmp_path / "cam.onnx", "dog,1", any_size=True)
    assert written.maps == (2, SIZE, SIZE)
    assert "maps of 2 x 16 x 16 for an image" in str(written)
    assert max(written.differences.values()) < 1e-5
    images = pictures(2, (34, 22))
    answers = Answers(written.file, images)
    assert answers.about["maps"] == [3, 1]
    expected = cam.explain_classes(images, torch.tensor([3, 1]))  # type: ignore[attr-defined]
    torch.testing.assert_close(torch.from_numpy(answers["maps"]), expected, rtol=1e-5, atol=1e-5)


def test_a_service_finds_in_the_file_what_it_has_to_know(tmp_path: Path) -> None:
    classifier = replace(TINY["cnn"](), crop=0.5, mean=(0.1, 0.2, 0.3))
    seewhy.export(seewhy.explainer("cam", classifier), tmp_path / "cam.onnx", "predicted")
    answers = Answers(tmp_path / "cam.onnx", pictures(4))
    assert answers["maps"].shape == (4, 1, SIZE, SIZE)
    said = answers.about
    assert said["classes"] == ["ant", "bee", "cat", "dog", "elk"]
    assert (said["explainer"], said["maps"], said["seewhy"]) == ("cam", "predicted", seewhy.__version__)
    assert (said["mean"], said["std"]) == ([0.1, 0.2, 0.3], [0.229, 0.224, 0.225])
    assert said["weights"] == weights_digest(classifier.module)
    assert said["input"]["size"] == [16, 16]
    assert said["input"]["box"] == [32, 32]
    assert said["options"]["selector"] == "logit"


class Weighed(LearnedExplainer):
    """A mask of each class by a 1 x 1 convolution of the features of two layers."""

    def new_network(self) -> nn.Module:
        network: Any = nn.Sequential(nn.Conv2d(12, 5, 1), nn.Dropout(0.5), nn.Sigmoid())
        network.layers = ("blocks.0", "blocks.1.norm1")
        return network

    def loss(self, seen: Seen, generator: torch.Generator) -> Step:
        raise NotImplementedError

    def masks(self, seen: Seen, classes: Tensor) -> Float[Tensor, "n j h w"]:
        masks = upsample(self.ready(seen.features[0] + seen.features[1]), seen.images.shape[-2:])
        return masks.gather(1, classes[:, :, None, None].expand(-1, -1, *masks.shape[-2:]))


def test_a_learned_explainer_reads_tokens_of_the_same_pass(tmp_path: Path) -> None:
    explainer = Weighed(TINY["vit_registers"]()).untrained()
    assert explainer.network is not None
    explainer.network.train()
    seewhy.export(explainer, tmp_path / "masks.onnx", batch=3)
    assert explainer.network.training
    images = pictures(3)
    answers = Answers(tmp_path / "masks.onnx", images)
    logits, maps = explainer.predict_and_explain(images, torch.arange(5).expand(3, -1))
    torch.testing.assert_close(torch.from_numpy(answers["maps"]), maps, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.from_numpy(answers["probabilities"]), logits.softmax(1), rtol=1e-5, atol=1e-6)
    assert answers.about["explainer"] == "Weighed"
    assert "Sequential" in answers.about["options"]["network"]  # with the digest of its weights


# -- what cannot be exported is one line, and no file -----------------------------------------------------------------


class Ending(nn.Module):
    """The small network, and what is added to its logits."""

    def __init__(self, more: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.more = cnn(), more

    def forward(self, x: Tensor) -> Tensor:
        logits = self.network(x)
        return logits + self.more(logits)


def cam_of(network: nn.Module) -> Any:
    return seewhy.explainer("cam", changed(network), layer="4" if isinstance(network, nn.Sequential) else "network.4")


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "gradients": (lambda: seewhy.explainer("grad_cam", TINY["cnn"]()), "maps of grad_cam take more than one pass: export .*cam"),
    "not trained": (lambda: Weighed(TINY["cnn"]()), "not trained for this network: seewhy fit"),
    "similar classes": (lambda: seewhy.explainer("cam", TINY["cnn"](), selector="finer"), "give selector=logit"),
    "len(x)": (lambda: seewhy.explainer("cam", TINY["vit"]()), r"TinyViT with cam .* write x.shape\[0\] where len\(x\) is"),
    "an operation without ONNX": (
        lambda: Two(torch.linalg.eigvalsh),
        "Two with cam cannot become ONNX",
    ),
}
