"""The similarity to other pictures, explained."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from support.tiny_models import TINY

import seewhy
from seewhy.classifier.identity import classifier_identity
from seewhy.errors import SeewhyError


def picture(path: Path, seed: int) -> Path:
    pixels = torch.randint(0, 255, (20, 20, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(path)
    return path


def test_the_outputs_are_cosines_of_embeddings(tmp_path: Path) -> None:
    classifier = TINY["cnn"]()
    files = [picture(tmp_path / f"{name}.png", seed) for seed, name in enumerate(("tree", "lake"))]
    similar = seewhy.similar_to(classifier, files)
    x = torch.rand(3, 3, *classifier.input_size)
    references = torch.cat([classifier.embed(seewhy.explain(f, classifier, "center").image[None]) for f in files])
    expected = torch.nn.functional.cosine_similarity(classifier.embed(x)[:, None], references[None], dim=2)
    torch.testing.assert_close(similar.logits(x), expected)
    assert similar.classes == ("similar to tree.png", "similar to lake.png")


def test_a_picture_is_as_similar_as_can_be_to_itself_and_the_caption_names_it(tmp_path: Path) -> None:
    file = picture(tmp_path / "tree.png", 0)
    explanation = seewhy.explain(file, seewhy.similar_to(TINY["vit"](), file), "grad_cam")
    assert explanation.value == pytest.approx(1)
    assert explanation.caption == "similar to tree.png  1"


def test_pictures_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for seed, folder in enumerate("ab"):
        (tmp_path / folder).mkdir()
        picture(tmp_path / folder / "1.png", seed)
    similar = seewhy.similar_to(TINY["cnn"](), [tmp_path / "a" / "1.png", tmp_path / "b" / "1.png"])
    assert similar.classes == ("similar to 1.png (1)", "similar to 1.png (2)")


def test_other_pictures_are_another_identity(tmp_path: Path) -> None:
    files = [picture(tmp_path / f"{seed}.png", seed) for seed in range(2)]
    identities = [classifier_identity(seewhy.similar_to(TINY["cnn"](), file, ["x"])) for file in files]
    assert identities[0] != identities[1]


def test_wrong_pictures_are_refused(tmp_path: Path) -> None:
    file = picture(tmp_path / "tree.png", 0)
    with pytest.raises(SeewhyError, match=r"'tree\.png' is given twice"):
        seewhy.similar_to(TINY["cnn"](), [file, file])
    with pytest.raises(SeewhyError, match="there is no picture"):
        seewhy.similar_to(TINY["cnn"](), [])
    with pytest.raises(SeewhyError, match="1 pictures and 2 names"):
        seewhy.similar_to(TINY["cnn"](), file, ["a", "b"])
