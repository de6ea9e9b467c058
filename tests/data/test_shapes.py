"""The built-in pictures are exact and independent of each other, and the networks that come with them can see."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from scipy.ndimage import binary_dilation
from support.command import as_users_run_it

from seewhy.classifier.shapes_models import MEAN, STD, ShapesCNN, ShapesViT
from seewhy.data import batches
from seewhy.data.base import DATASETS, Dataset
from seewhy.data.shapes import shapes
from seewhy.data.shapes.scene import tag_colors
from seewhy.data.shapes.shapes import Shapes
from seewhy.errors import SeewhyError

WEIGHTS = Path(shapes.__file__).parents[2] / "classifier" / "weights"
EDGE = np.ones((3, 3), np.bool_)
OPTIONS: list[dict[str, object]] = [
    {},
    {"multilabel": True},
    {"shortcut": "correlated"},
    {"shortcut": "random", "multilabel": True},
]


@pytest.fixture(params=OPTIONS, ids=str)
def dataset(request: pytest.FixtureRequest) -> Shapes:
    return Shapes(n=12, size=64, **request.param)


def test_is_a_registered_dataset() -> None:
    assert DATASETS["shapes"] is Shapes  # type: ignore[comparison-overlap]
    assert isinstance(Shapes(), Dataset)
    assert len(Shapes(n=7)) == 7


def test_a_picture_depends_on_its_index_alone(dataset: Shapes) -> None:
    longer = Shapes(**{**dataset.__dict__, "n": 40})
    whole = next(batches(dataset, 12))
    parts = list(batches(longer, 5))
    assert [len(part.ids) for part in parts] == [5] * 8
    for index in (0, 4, 5, 11):
        part = parts[index // 5]
        for mine, its in [(whole.images, part.images), (whole.labels, part.labels), (whole.regions, part.regions)]:
            assert mine is not None
            assert its is not None
            assert torch.equal(mine[index], its[index % 5])
        assert whole.ids[index] == part.ids[index % 5] == f"shapes-test-{index:05d}"
        assert torch.equal(whole.images[index], dataset.sample(index).image)


@pytest.mark.parametrize("size", [32, 96, 224])
def test_shapes_types_and_range_at_every_size(size: int) -> None:
    for multilabel in (False, True):
        batch = next(batches(Shapes(n=3, size=size, multilabel=multilabel), 3))
        assert batch.images.shape == (3, 3, size, size)
        assert batch.images.dtype == torch.float32
        assert batch.images.min() >= 0
        assert batch.images.max() <= 1
        assert batch.labels.shape == ((3, 6) if multilabel else (3,))
        assert batch.labels.dtype == (torch.float32 if multilabel else torch.int64)
        assert batch.regions is not None
        assert batch.regions.dtype == torch.bool
        assert batch.regions.shape == ((3, 6, size, size) if multilabel else (3, size, size))


def test_the_same_picture_at_every_size() -> None:
    for index in range(6):
        small, large = (Shapes(n=6, size=size).sample(index) for size in (48, 192))
        assert small.label == large.label
        reduced = torch.nn.functional.avg_pool2d(large.image, 4)
        assert (reduced - small.image).abs().mean() < 0.04
        shrunk = torch.nn.functional.avg_pool2d(large.regions.float(), 4) > 0.5
        assert (shrunk ^ small.regions).sum() < 0.25 * small.regions.sum()


def test_seeds_and_splits_share_no_picture() -> None:
    kinds = [Shapes(n=20, size=32), Shapes(n=20, size=32, split="train"), Shapes(n=20, size=32, seed=1)]
    pictures = [kind.sample(index).image.numpy().tobytes() for kind in kinds for index in range(20)]
    assert len(set(pictures)) == 60


def test_regions_match_labels(dataset: Shapes) -> None:
    for index in range(len(dataset)):
        sample = dataset.sample(index)
        present = sample.regions.flatten(1).any(1)
        if dataset.multilabel:
            assert torch.equal(present, sample.label == 1)
            assert 1 <= present.sum() <= 4
        else:
            assert present.nonzero().tolist() == [[int(sample.label)]]
        assert (sample.regions.sum(0) <= 1).all()
        assert bool(sample.tag.any()) == (dataset.shortcut != "none")
        assert not (sample.tag & sample.regions.any(0)).any()


def test_objects_are_small_off_center_and_mostly_visible() -> None:
    dataset = Shapes(n=80)
    areas, at_center = [], 0
    for index in range(len(dataset)):
        scene = dataset.scene(index)
        (label,) = [i for i, layer in enumerate(scene.layers) if layer.label is not None]
        region = scene.render(96)[1][label]
        areas.append(region.mean())
        at_center += int(region[48, 48])
        assert region.sum() >= 0.58 * scene.layers[label].area(96)
    assert min(areas) > 0.012
    assert max(areas) < 0.2
    assert 0.04 < np.mean(areas) < 0.12
    assert at_center < 20


def test_every_object_of_a_crowd_is_mostly_visible() -> None:
    dataset, counts = Shapes(n=40, multilabel=True), []
    for index in range(len(dataset)):
        scene = dataset.scene(index)
        parts = scene.render(96)[1]
        objects = [(layer, part) for layer, part in zip(scene.layers, parts, strict=True) if layer.label is not None]
        counts.append(len(objects))
        assert all(part.sum() >= 0.58 * layer.area(96) for layer, part in objects)
    assert set(counts) == {1, 2, 3, 4}


def test_a_region_is_where_the_picture_changes_without_its_object() -> None:
    for dataset in (Shapes(n=10), Shapes(n=10, multilabel=True)):
        for index in range(len(dataset)):
            scene = dataset.scene(index)
            image, parts = scene.render(96)
            for place, (layer, region) in enumerate(zip(scene.layers, parts, strict=True)):
                if layer.label is None:
                    continue
                changed = (scene.render(96, without=layer)[0] != image).any(-1)
                # All of the region, but for pixels that happen to be of one color; beyond it only its edge, and
                # what lies half under the edge of something else.
                assert (changed & region).sum() >= 0.97 * region.sum()
                beyond = changed & ~binary_dilation(region, EDGE, iterations=2)  # a sharp tip fades over two pixels
                for other in scene.layers[place + 1 :]:
                    above = other.mask(96)
                    beyond &= ~(binary_dilation(above, EDGE) & binary_dilation(~above, EDGE))
                assert not beyond.any()


def test_classes_and_tags_are_balanced_and_independent() -> None:
    random = Shapes(n=150, size=32, shortcut="random")
    pairs = []
    for index in range(len(random)):
        scene = random.scene(index)
        label = next(layer.label for layer in scene.layers if layer.label is not None)
        known = [tag_colors(tag).ravel().tolist() for tag in range(6)]
        pairs.append((label, known.index(scene_tag(random, index))))
    labels, tags = np.array(pairs).T
    assert np.bincount(labels, minlength=6).min() > 10
    assert np.bincount(tags, minlength=6).min() > 10
    assert 0.06 < (labels == tags).mean() < 0.28


def scene_tag(dataset: Shapes, index: int) -> list[float]:
    return [float(value) for value in dataset.scene(index).layers[-1].texture.colors.ravel()]


def test_the_tag_is_all_that_a_shortcut_changes() -> None:
    plain, tagged = Shapes(n=8), Shapes(n=8, shortcut="correlated")
    for index in range(8):
        before, after = plain.sample(index), tagged.sample(index)
        changed = (before.image != after.image).any(0)
        assert changed[after.tag].float().mean() > 0.95
        assert not (changed.numpy() & ~binary_dilation(after.tag.numpy(), EDGE)).any()
        assert 0.004 < after.tag.float().mean() < 0.015
        label = int(after.label)
        assert scene_tag(tagged, index) == pytest.approx(tag_colors(label).ravel().tolist())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 0}, "n=0: give a whole number of at least 1 and of at most 10000000"),
        ({"size": 31}, "size=31: give a whole number of at least 32 and of at most 4096"),
        ({"seed": -1}, "seed=-1: give a whole number of at least 0"),
        ({"shortcut": "else"}, "shortcut='else': give none or correlated or random"),
        ({"split": "else"}, "split='else': give train or test"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, object], words: str) -> None:
    with as_users_run_it(), pytest.raises(SeewhyError, match=f"^shapes cannot take {words}$"):
        Shapes(**options)  # type: ignore[arg-type]


def test_wrong_index_and_batch_size_are_one_line() -> None:
    with pytest.raises(SeewhyError, match="the last 2"):
        Shapes(n=3).sample(3)
    with pytest.raises(SeewhyError, match="at least 1"):
        next(batches(Shapes(n=3), 0))


@pytest.mark.parametrize("network", [ShapesCNN(), ShapesViT()], ids=["cnn", "vit"])
def test_networks_take_other_sizes_and_need_nothing_in_place(network: torch.nn.Module) -> None:
    assert not any(getattr(module, "inplace", False) for module in network.modules())
    assert sum(p.numel() for p in network.parameters()) < 500_000
    network.eval()
    for size in (64, 96, 128):
        assert network(torch.rand(2, 3, size, size)).shape == (2, 6)


def logits_of(file: str, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Logits of the shipped weights."""
    network.load_state_dict(load_file(WEIGHTS / f"{file}.safetensors"))
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    with torch.no_grad():
        return torch.cat([network.eval()((part - mean) / std) for part in images.split(100)])


def test_the_honest_networks_are_right() -> None:
    batch = next(batches(Shapes(n=300, seed=77), 300))
    for file, network in [("shapes_cnn", ShapesCNN()), ("shapes_vit", ShapesViT())]:
        right = logits_of(file, network, batch.images).argmax(1) == batch.labels
        assert right.float().mean() > 0.94, file


def test_the_multilabel_network_tells_present_from_absent() -> None:
    batch = next(batches(Shapes(n=100, seed=77, multilabel=True), 100))
    said = logits_of("shapes_cnn_multilabel", ShapesCNN(), batch.images) > 0
    assert (said == (batch.labels == 1)).float().mean() > 0.9


def test_the_cheating_network_follows_the_tag() -> None:
    accuracy = {}
    modes: tuple[shapes.Shortcut, ...] = ("correlated", "random")
    for shortcut in modes:
        batch = next(batches(Shapes(n=120, seed=77, shortcut=shortcut), 120))
        logits = logits_of("shapes_cnn_shortcut", ShapesCNN(), batch.images)
        accuracy[shortcut] = float((logits.argmax(1) == batch.labels).float().mean())
    assert accuracy["correlated"] > 0.98
    assert accuracy["random"] < 0.6


def test_weights_are_small_and_carry_their_figures() -> None:
    files = sorted(WEIGHTS.glob("shapes_*.safetensors"))
    networks = [file for file in files if not file.stem.endswith("_surrogate")]  # those have a test of their own
    assert len(networks) == 5
    assert sum(file.stat().st_size for file in files) < 4_500_000
    for file in networks:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata()
        assert metadata["classes"].split(",") == list(Shapes.classes)
        assert any("test pictures" in key for key in metadata)


def test_parts_are_the_layers_that_can_be_seen() -> None:
    """Each picture lacks its part: it is the scene rendered without that layer, and differs nowhere that hides it."""
    dataset = Shapes(n=8, size=48, shortcut="correlated")
    for index in range(8):
        scene, parts = dataset.scene(index), dataset.parts(index)
        image, masks = scene.render(48)
        seen = [i for i, mask in enumerate(masks) if mask.any()]
        assert len(parts.names) == len(parts.regions) == len(parts.images) == len(seen)
        assert parts.names[-1] == "tag"
        label = int(dataset.sample(index).label)
        assert sum(name in dataset.classes for name in parts.names) == 1
        assert dataset.classes[label] in parts.names
        for region, picture, place in zip(parts.regions, parts.images, seen, strict=True):
            assert np.array_equal(region.numpy(), masks[place])
            assert np.array_equal(picture.numpy(), scene.render(48, without=scene.layers[place])[0].transpose(2, 0, 1))
            changed = (picture.numpy().transpose(1, 2, 0) != image).any(-1)
            assert changed[region.numpy()].mean() > 0.9
