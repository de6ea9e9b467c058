"""The files of ``seewhy explain``: whole or not at all, and no two of one name."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny_models import TINY

import seewhy
from seewhy.errors import SeewhyError
from seewhy.explainers import explainer
from seewhy.explanation import files
from seewhy.explanation.explanation import Explanation
from seewhy.explanation.files import explain_seen, find_pictures, read_pictures, slug, write


def made(name: str = "dog.jpg", target: int = 3, class_name: str = "dog", method: str = "grad_cam") -> Explanation:
    """An explanation without a network."""
    values = torch.linspace(0, 1, 16 * 16).view(16, 16) + target
    return Explanation(values, target, class_name, 0.25, method, torch.full((3, 16, 16), 0.5), name)


def test_a_name_that_every_file_system_takes() -> None:
    assert slug("golden retriever") == "golden_retriever"
    assert slug("../../etc/passwd") == "etc_passwd"
    assert slug("a:b*c?") == "a_b_c"
    assert slug("Äffchen-2") == "Äffchen-2"
    assert slug("...") == "_"


def test_the_files_of_a_run(tmp_path: Path) -> None:
    groups = [[made("dog.jpg"), made("dog.jpg", 1, "bee, insect")], [made("cat.png", method="saliency")]]
    files = write(tmp_path / "out", groups, {"model": "small"})
    names = ["cat.saliency.dog.npy", "cat.saliency.dog.png", "dog.grad_cam.bee.npy", "dog.grad_cam.bee.png"]
    names += ["dog.grad_cam.dog.npy", "dog.grad_cam.dog.png", "dog.sheet.png"]
    assert sorted(p.name for p in files[:-1]) == names
    assert files[-1] == tmp_path / "out" / "manifest.json"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([*names, "manifest.json"])
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    manifest = json.loads(files[-1].read_text())
    assert manifest["model"] == "small"
    assert manifest["schema"] == 1
    assert set(manifest["versions"]) == {"python", "seewhy", "torch", "torchvision", "timm"}
    entry = {"picture": "dog.jpg", "explainer": "grad_cam", "target": 1, "class": "bee, insect", "probability": 0.25}
    assert manifest["explanations"][1] == {**entry, "overlay": "dog.grad_cam.bee.png", "map": "dog.grad_cam.bee.npy"}
    assert len(manifest["explanations"]) == 3
    assert np.array_equal(np.load(tmp_path / "out" / "dog.grad_cam.bee.npy"), groups[0][1].map.numpy())


def test_a_method_with_errors_has_a_file_for_them(tmp_path: Path) -> None:
    error = torch.rand(16, 16)
    written = write(tmp_path / "out", [[replace(made(), error=error), made(method="saliency")]], {})
    names = {p.name for p in written}
    assert [name for name in names if "error" in name] == ["dog.grad_cam.dog.error.npy"]
    assert np.array_equal(np.load(tmp_path / "out" / "dog.grad_cam.dog.error.npy"), error.numpy())
    first, second = json.loads(written[-1].read_text())["explanations"]
    assert first["error"] == "dog.grad_cam.dog.error.npy"
    assert "error" not in second


def test_equal_names_do_not_meet(tmp_path: Path) -> None:
    """Two pictures of one name, and two classes of one name: every map has a file of its own."""
    groups = [[made("a/dog.jpg", 2, "crane"), made("a/dog.jpg", 3, "crane")], [made("b/dog.png", 4, "crane")]]
    files = write(tmp_path, groups, {})
    maps = sorted(p.name for p in files if p.suffix == ".npy")
    assert maps == ["dog-2.grad_cam.crane.npy", "dog.grad_cam.crane-2.npy", "dog.grad_cam.crane.npy"]
    entries = json.loads((tmp_path / "manifest.json").read_text())["explanations"]
    assert len({entry["map"] for entry in entries}) == 3
    for entry, e in zip(entries, [*groups[0], *groups[1]], strict=True):
        assert np.array_equal(np.load(tmp_path / entry["map"]), e.map.numpy())


def test_names_that_look_alike_do_not_meet(tmp_path: Path) -> None:
    """A picture whose name ends like a numbered one; two names that one slug stands for; names in capitals."""
    pictures = ["a.png", "a.jpg", "a-2.png", "a b.png", "a_b.png", "A.png"]
    files = write(tmp_path, [[made(name, i)] for i, name in enumerate(pictures)], {})
    assert len({p.name.lower() for p in files}) == 2 * len(pictures) + 1
    entries = json.loads((tmp_path / "manifest.json").read_text())["explanations"]
    for i, entry in enumerate(entries):
        assert np.load(tmp_path / entry["map"])[0, 0] == i


def test_what_was_there_before_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write(tmp_path, [[made(target=1)]], {"run": 1})
    write(tmp_path, [[made(target=2)]], {"run": 2})
    assert np.load(tmp_path / "dog.grad_cam.dog.npy")[0, 0] == 2
    assert json.loads((tmp_path / "manifest.json").read_text())["run"] == 2
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("failure", [RuntimeError("boom"), KeyboardInterrupt(), SeewhyError("no")], ids=repr)
def test_an_interrupted_run_leaves_nothing(failure: BaseException, tmp_path: Path) -> None:
    def pictures() -> Iterator[Sequence[Explanation]]:
        yield [made()]
        raise failure

    with pytest.raises(type(failure)):
        write(tmp_path / "deep" / "out", pictures(), {})
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_leaves_the_last_one(tmp_path: Path) -> None:
    def pictures() -> Iterator[Sequence[Explanation]]:
        yield [made(target=2)]
        raise KeyboardInterrupt

    write(tmp_path, [[made(target=1)]], {})
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, pictures(), {})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_every_picture_is_read_once_and_a_broken_one_before_the_first_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of a picture is what ``explain`` makes of the file."""
    classifier, reads = TINY["cnn"](), []
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    read = files.read_picture
    monkeypatch.setattr(files, "read_picture", lambda path, white=None: reads.append(path.name) or read(path, white))
    pictures = read_pictures(find_pictures([tmp_path, tmp_path / "a.png"]), classifier)
    methods = {"saliency": explainer("saliency", classifier)}
    done = [explain_seen(seen, classifier, methods, "dog,ant") for seen in pictures]
    assert reads == ["a.png", "b.png", "a.png"]
    assert [[(e.name, e.class_name) for e in group] for group in done] == [[(name, "dog"), (name, "ant")] for name in reads]
    expected = seewhy.explain(tmp_path / "a.png", classifier, "saliency", "dog")
    torch.testing.assert_close(done[0][0].map, expected.map)
    assert torch.equal(done[0][0].image, expected.image)
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    with pytest.raises(SeewhyError, match=r"c.png is broken"):
        read_pictures(find_pictures([tmp_path]), classifier)
    with pytest.raises(SeewhyError, match=r"no.png does not exist"):
        find_pictures([tmp_path, tmp_path / "no.png"])
