"""A picture of the user becomes the network's input."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from support.tiny_models import TINY, cnn
from torch import nn

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import Saliency
from seewhy.explanation.prepare import prepare


@pytest.fixture
def small() -> Classifier:
    return TINY["cnn"]()


@pytest.fixture
def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    return Image.fromarray(pixels).resize((40, 30), Image.Resampling.BICUBIC)


def test_a_file_a_picture_an_array_and_a_tensor_agree(small: Classifier, picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "dog.png")
    seen, _ = prepare(picture, small)
    sources = [tmp_path / "dog.png", str(tmp_path / "dog.png"), picture, np.asarray(picture), seen]
    done = [seewhy.explain(source, small, "saliency") for source in sources]
    assert [e.name for e in done] == ["dog.png", "dog.png", "picture", "array", "tensor"]
    for e in done:
        assert torch.equal(e.map, done[0].map)
        assert torch.equal(e.image, seen)
        assert e.map.shape == (16, 16)
        assert e.probability == done[0].probability
        assert e.class_name == small.class_name(e.target)


def test_a_tensor_is_given_to_the_network_as_it_is(small: Classifier) -> None:
    """Of another size than the network's own, too."""
    image = torch.rand(3, 20, 28)
    e = seewhy.explain(image, small, "saliency", 0)
    assert torch.equal(e.image, image)
    assert torch.equal(e.map, Saliency(small).explain(image[None], torch.tensor([0]))[0])


def test_a_network_for_gray_pictures(picture: Image.Image) -> None:
    module = cnn()
    module[0] = nn.Conv2d(1, 6, 3, padding=1)  # type: ignore[index]
    gray = Classifier(module.eval(), mean=(0.5,), std=(0.25,), input_size=(16, 16))
    e = seewhy.explain(picture, gray, "saliency")
    assert e.image.shape == (1, 16, 16)
    seen, _ = prepare(picture, TINY["cnn"]())
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    assert (e.image[0] - (seen * weights).sum(0)).abs().max() < 1.5 / 255
    assert e.overlay().width == 448


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_opened_picture_is_turned_by_its_tag_as_its_file_is(small: Classifier, orientation: int, tmp_path: Path) -> None:
    """A JPEG, a PNG and a camera's MPO; also after a change that keeps the tag."""
    pixels = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    sensor = Image.fromarray(pixels).resize((40, 30), Image.Resampling.BICUBIC)
    tags = Image.Exif()
    tags[0x0112] = orientation
    sensor.save(tmp_path / "a.jpg", exif=tags, quality=95)
    sensor.save(tmp_path / "a.png", exif=tags)
    sensor.save(tmp_path / "a.mpo", exif=tags, save_all=True, append_images=[sensor])
    for name in ("a.jpg", "a.png", "a.mpo"):
        expected, _ = prepare(tmp_path / name, small)
        with Image.open(tmp_path / name) as opened:
            assert torch.equal(prepare(opened, small)[0], expected), name
            assert torch.equal(prepare(opened.convert("RGBA"), small)[0], expected), name
            turned = ImageOps.exif_transpose(opened)
        assert torch.equal(prepare(turned, small)[0], expected), "upright already"
        assert torch.equal(prepare(np.asarray(turned), small)[0], expected), "an array has no tag"


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff"])
def test_an_opened_picture_whose_file_is_cut_off_is_one_line(small: Classifier, suffix: str, tmp_path: Path) -> None:
    """Pillow reads the pixels when they are first asked for."""
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    whole = (tmp_path / f"a.{suffix}").read_bytes()
    (tmp_path / f"b.{suffix}").write_bytes(whole[: len(whole) // 2] if suffix != "tiff" else whole[:-4000])
    with Image.open(tmp_path / f"b.{suffix}") as opened, pytest.raises(SeewhyError, match=r"^the picture is broken \("):
        prepare(opened, small)
