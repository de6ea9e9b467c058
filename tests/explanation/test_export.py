"""One ONNX file that answers as torch does; or one line, and no file."""

import json
import re
import shlex
import subprocess
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
from PIL import Image
from support.command import as_users_run_it, run
from support.tiny_models import SIZE, TINY, cnn, tiny
from torch import Tensor, nn

import seewhy
from seewhy import Classifier, SeewhyError
from seewhy.describe import weights_digest
from seewhy.explainers.learned.learned_explainer import LearnedExplainer, Seen, Step
from seewhy.explanation.prepare import prepare
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
    "sigmoids, logits in a mapping, a skip": lambda: replace(TINY["functional"](), multilabel=True),
    "a softmax at the end, BGR": lambda: changed(nn.Sequential(cnn(), nn.Softmax(1)), channel_order="bgr"),
    "values, own normalization": lambda: changed(cnn(k=1), outputs="values", mean=(0.2, 0.3, 0.4), std=(0.5, 0.6, 0.7)),
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

    family, class_specific, paper = "learned", True, ""

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


# -- the page on serving ----------------------------------------------------------------------------------------------

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "serve.md"
POSTED = """
import threading, urllib.request
from contextlib import suppress
server = HTTPServer(("127.0.0.1", 0), Service)
Service.log_message = lambda *_: None
threading.Thread(target=server.handle_request).start()
print(json.dumps([probabilities, maps.tolist()]))
address = f"http://127.0.0.1:{server.server_port}"
print(urllib.request.urlopen(address, open("other.png", "rb").read()).read().decode())
print(sys.modules["torch"], sys.modules["seewhy"])
"""
"""What is done with the service of the page: the answer to a file, and to a picture that is posted."""


def test_the_service_of_the_page_needs_no_torch_and_sees_what_the_network_sees(tmp_path: Path) -> None:
    classifier = replace(TINY["cnn"](), crop=0.7)
    seewhy.export(seewhy.explainer("cam", classifier), tmp_path / "explained.onnx")
    rng = np.random.default_rng(0)
    for name, shape in {"photo.jpg": (90, 161, 3), "other.png": (67, 41, 3)}.items():
        Image.fromarray(rng.integers(0, 255, shape, np.uint8)).save(tmp_path / name)
    _, service, http = re.findall(r"^```.*python.*\n([^`]*)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    serving = http.replace('HTTPServer(("127.0.0.1", 8000), Service).serve_forever()\n', POSTED)
    assert POSTED in serving
    without = "import sys\nsys.modules['torch'] = sys.modules['seewhy'] = None\n"
    (tmp_path / "service.py").write_text(f"{without}{service}{serving}")
    done = subprocess.run([sys.executable, "service.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    _, answer, posted, loaded = done.stdout.splitlines()
    assert loaded == "None None"
    session = onnxruntime.InferenceSession((tmp_path / "explained.onnx").read_bytes())
    found = {"photo.jpg": json.loads(answer), "other.png": list(json.loads(posted).values())}
    for name, (probabilities, maps) in found.items():
        image, _ = prepare(tmp_path / name, classifier)
        expected = session.run(None, {"images": image[None].numpy()})
        assert dict(zip(classifier.classes, expected[0][0].tolist(), strict=True)) == probabilities
        assert expected[1][0].tolist() == maps


# -- what cannot be exported is one line, and no file -----------------------------------------------------------------


class Own(nn.Module):
    """The small network, with something of its own at the beginning."""

    def __init__(self, own: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.own = cnn(), own

    def forward(self, x: Tensor) -> Tensor:
        return self.network(self.own(x))


class Dice(Weighed):
    """Masks that are drawn anew at each pass."""

    def new_network(self) -> nn.Module:
        network: Any = nn.Conv2d(3, 5, 1)
        network.layers = ()
        return network

    def masks(self, seen: Seen, classes: Tensor) -> Float[Tensor, "n j h w"]:
        return torch.rand_like(self.ready(seen.images))


def cam(own: Callable[[Tensor], Tensor]) -> Any:
    return seewhy.explainer("cam", tiny(Own(own)))


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "gradients": (
        lambda: seewhy.explainer("grad_cam", TINY["cnn"]()),
        "maps of grad_cam take more than one pass: export .*cam",
    ),
    "not trained": (lambda: Weighed(TINY["cnn"]()), "not trained for this network: seewhy fit"),
    "similar classes": (lambda: seewhy.explainer("cam", TINY["cnn"](), selector="finer"), "give selector=logit"),
    "len(x)": (lambda: seewhy.explainer("cam", TINY["vit"]()), r"TinyViT with cam .* write x.shape\[0\] where len\(x\) is"),
    "an if": (lambda: cam(lambda x: x + (1 if x.mean() > 0 else 2)), "Own with cam asks for numbers of the images"),
    "no ONNX": (
        lambda: cam(lambda x: x + 1e-6 * torch.linalg.eigvalsh(x @ x.transpose(2, 3)).sum()),
        "Own with cam cannot become ONNX .*eigh",
    ),
    "draws": (
        lambda: Dice(TINY["cnn"]()).untrained(),
        "for 1 images of 16 x 16 the maps of onnxruntime differ from those of torch",
    ),
    "batch statistics": (
        lambda: cam(lambda x: x - x.mean(0, keepdim=True)),
        "images of a batch change each other's logits in Own",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_exported_is_one_line_and_no_file(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make, said = WRONG[name]
    explainer = make()
    with as_users_run_it(), pytest.raises(SeewhyError, match=said):
        seewhy.export(explainer, tmp_path / "file.onnx")
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_wrong_names_are_said_before_anything_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explainer = seewhy.explainer("cam", TINY["cnn"]())
    with pytest.raises(SeewhyError, match=r"name it \.onnx"):
        seewhy.export(explainer, tmp_path / "file.pt")
    with pytest.raises(SeewhyError, match="class 'fox' does not exist"):
        seewhy.export(explainer, tmp_path / "file.onnx", "fox")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(SeewhyError, match=r"pip install 'seewhy\[onnx\]'"):
        seewhy.export(explainer, tmp_path / "file.onnx")


def test_the_command_writes_the_file(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(capfd, *shlex.split("export cam --model factories:small --target dog --batch 2 --out out/dog.onnx"))
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("out/dog.onnx: 0.0 MB, maps of 1 x 16 x 16 for an image; onnxruntime differs from torch, ")
    assert Answers(tmp_path / "out" / "dog.onnx", pictures(2)).about["maps"] == [3]
    refused = run(capfd, *shlex.split("export all --model factories:small --out all.onnx"))
    assert (refused.status, refused.err) == (2, "seewhy: one file has one explainer: name it\n")
