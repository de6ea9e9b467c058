"""The explainers that come with the package: small, found by name, and better than chance."""

from functools import cache
from pathlib import Path

import pytest
import torch
import train_explainers

import seewhy
from seewhy.data.shapes.shapes import Shapes
from seewhy.describe import weights_digest
from seewhy.explainers.learned import folder
from seewhy.explainers.learned.config import ExplainerConfig
from seewhy.explainers.learned.learned_explainer import LearnedExplainer
from seewhy.metrics.regions import dilate

SHIPPED = folder._all_shipped()


@cache
def networks() -> dict[str, str]:
    """The built-in networks by the digest of their weights."""
    names = train_explainers.MODELS.values()
    return {weights_digest(seewhy.load(name).module): name for name in names}


def test_together_they_are_small() -> None:
    size = sum(file.stat().st_size for path, _ in SHIPPED for file in path.rglob("*") if file.is_file())
    assert size < train_explainers.MOST_BYTES


@pytest.mark.parametrize(("path", "config"), SHIPPED, ids=[path.name for path, _ in SHIPPED])
def test_each_is_found_by_its_method_and_network_and_shows_something(path: Path, config: ExplainerConfig) -> None:
    assert sorted(file.name for file in path.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert path.name in {one.name for one in train_explainers.EXPLAINERS}
    classifier = seewhy.load(networks()[config.explained.weights])
    found = seewhy.explainer(config.method, classifier)
    assert isinstance(found, LearnedExplainer)
    assert found.network is not None
    network = next(one.network for one in train_explainers.EXPLAINERS if one.name == path.name)
    shapes = Shapes(8, multilabel=classifier.multilabel, shortcut=train_explainers.shortcut_of(network))
    samples = [shapes.sample(i) for i in range(8)]
    images = torch.stack([sample.image for sample in samples])
    maps = found.explain(images, classifier.logits(images).argmax(1)).clamp_min(0)  # what speaks for the class
    assert (maps.std((1, 2)) > 0).all()
    # the cheating network looks at the tag; masks follow outlines, so a margin belongs to both
    evidence = torch.stack([s.tag if network == "shortcut" else s.regions.any(0) for s in samples])
    inside = (maps * dilate(evidence, 5)).sum((1, 2)) / maps.sum((1, 2))
    assert inside.mean() > 2 * dilate(evidence, 5).float().mean(), "a map that knows nothing has the share of the area"


def test_the_script_names_methods_and_networks_that_there_are(tmp_path: Path) -> None:
    arguments = train_explainers.argparse.Namespace(runs=tmp_path, pictures=10, minutes=1.0, threads=1, device="cpu")
    for one in train_explainers.EXPLAINERS:
        assert one.method in seewhy.EXPLAINERS
        command = one.command(arguments)
        assert command[:5] == ["seewhy", "fit", one.method, "--model", train_explainers.MODELS[one.network]]
    assert len({one.name for one in train_explainers.EXPLAINERS}) == len(train_explainers.EXPLAINERS)
