"""A third party's package: its names are found, used and tested like our own; one that fails is one line."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from support.command import run
from support.run_folders import write_run
from support.tiny_models import LEARNED, TINY
from torch import Tensor

import seewhy
from seewhy import DATASETS, EXPLAINERS, METRICS, MODELS, SeewhyError
from seewhy.app.catalog import REGISTRIES
from seewhy.app.choose import choose
from seewhy.metrics import Case
from seewhy.registry import Registry
from seewhy.report import write_report
from seewhy.testing import check_dataset, check_explainer, check_metric

FOLDER = Path(__file__).parents[1] / "support" / "plugin"
Capture = pytest.CaptureFixture[str]
TAKEN = "seewhy-foo's explainer 'grad_cam' is not used: seewhy has one of that name"
BROKEN = "cannot be imported (ImportError: no module named 'their_dependency')"


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The packages on the path of this process, and the registries as they are in a fresh one."""
    monkeypatch.syspath_prepend(FOLDER)
    for registry in REGISTRIES.values():
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        monkeypatch.setattr(registry, "_broken", {})
        monkeypatch.setattr(registry, "_imported", set())
        registry.__dict__.pop("_plug_ins", None)
    yield
    for registry in REGISTRIES.values():
        registry.__dict__.pop("_plug_ins", None)
    for module in [name for name in sys.modules if name.startswith(("seewhy_foo", "seewhy_broken"))]:
        del sys.modules[module]


def test_names_are_known_without_an_import() -> None:
    assert {"foo", "foo_signed", "broken", "grad_cam"} <= set(EXPLAINERS)
    assert len(EXPLAINERS) == len(list(EXPLAINERS)) == len(set(EXPLAINERS))
    assert "foo_mean" in METRICS
    assert "foo_noise" in DATASETS
    assert "foo_nets" in MODELS
    assert not [name for name in sys.modules if name.startswith("seewhy_")]


def test_a_name_is_imported_when_it_is_asked_for() -> None:
    import seewhy_foo

    assert EXPLAINERS["foo"] is seewhy_foo.Foo
    assert EXPLAINERS.name_of(seewhy_foo.Foo) == "foo"
    assert EXPLAINERS["foo_signed"].__name__ == "SignedFoo", "it has registered itself, once"
    assert "seewhy_broken" not in sys.modules


def test_options_are_checked_like_our_own() -> None:
    classifier = TINY["cnn"]()
    with pytest.raises(SeewhyError, match=r"^foo has no option 'powre'. Did you mean 'power'\?"):
        seewhy.explainer("foo", classifier, powre=2)
    with pytest.raises(SeewhyError, match=r"foo cannot take power=0.5: give a whole number"):
        seewhy.explainer("foo", classifier, power=0.5)
    with pytest.raises(SeewhyError, match=r"foo_mean cannot take power='x'"):
        seewhy.metric("foo_mean", power="x")


@pytest.mark.parametrize("name", ["foo", "foo_signed"])
def test_it_keeps_the_contract_of_explainers(name: str, batch: tuple[Tensor, Tensor]) -> None:
    check_explainer(lambda c: seewhy.explainer(name, c), TINY["cnn"](), *batch)


def test_it_keeps_the_contract_of_metrics(batch: tuple[Tensor, Tensor]) -> None:
    classifier = TINY["cnn"]()
    maps = seewhy.explainer("saliency", classifier).explain(*batch)
    check_metric(seewhy.metric("foo_mean"), Case(classifier, batch[0], batch[1], batch[1], maps))


def test_it_keeps_the_contract_of_datasets() -> None:
    check_dataset(DATASETS["foo_noise"](classes=("one", "two", "three")))


def test_list_shows_it_and_says_what_fails(capfd: Capture) -> None:
    result = run(capfd, "list", "--json")
    listed = json.loads(result.out)
    assert result.status == 0
    names = {kind: {entry["name"]: entry for entry in entries} for kind, entries in listed.items()}
    assert names["explainers"]["foo"]["options"]["power"]["default"] == 1
    assert names["explainers"]["foo"]["summary"] == "Brightness of the pixels, whatever the class"
    assert names["explainers"]["grad_cam"]["family"] == "cam", "ours"
    assert names["metrics"]["foo_mean"]["summary"] == "The mean of the map, raised to a power"
    assert names["models"]["foo_nets"]["summary"] == "foo_nets/NAME: One convolution and its mean"
    assert "foo_noise" in names["datasets"]
    assert not {"broken", "careless", "gone", "broken_metric"} & {*names["explainers"], *names["metrics"]}
    careless = "AttributeError: seewhy_foo.signed:Careless has no family and no paper"
    gone = "AttributeError: module 'seewhy_foo' has no attribute 'Gone'"
    assert result.err.splitlines() == [
        f"left out: {TAKEN}",
        f"left out: seewhy-broken's explainer 'broken' {BROKEN}",
        f"left out: seewhy-broken's explainer 'careless' cannot be imported ({careless})",
        f"left out: seewhy-broken's explainer 'gone' cannot be imported ({gone})",
        f"left out: seewhy-broken's metric 'broken_metric' {BROKEN}",
        f"left out: seewhy-broken's source of models 'broken_nets' {BROKEN}",
        f"left out: seewhy-broken's dataset 'broken_data' {BROKEN}",
    ]
    assert "\nfoo " in run(capfd, "list", "explainers").out


def test_one_that_fails_is_one_line(capfd: Capture) -> None:
    with pytest.raises(SeewhyError, match=r"^seewhy-broken's explainer 'broken' cannot be imported"):
        seewhy.explainer("broken", TINY["cnn"]())
    for arguments in (
        "--model shapes --data shapes --explainer broken --metric complexity",
        "--model shapes --data shapes --metric broken_metric",
        "--model shapes --data broken_data --metric complexity",
        "--model broken_nets/x --data shapes --metric complexity",
    ):
        result = run(capfd, "evaluate", *arguments.split())
        assert result.status == 2
        assert BROKEN in result.err
        assert len(result.err.splitlines()) == 1
    with pytest.raises(SeewhyError, match=r"^unknown explainer 'fo'"):
        EXPLAINERS["fo"]


def test_all_leaves_out_what_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    methods, left_out = choose(["all"], TINY["vit"](), {})
    assert {"foo", "foo_signed", "saliency"} <= set(methods)
    assert set(EXPLAINERS) - set(methods) == {"broken", "careless", "gone", *LEARNED}
    assert TAKEN in left_out
    assert f"seewhy-broken's explainer 'broken' {BROKEN}" in left_out


def test_the_list_in_an_error_leaves_out_what_fails() -> None:
    """The error is about the method that was named, and not about another package."""
    with pytest.raises(
        SeewhyError, match=r"^the signs of 'grad_cam' cannot be read: it is no gradient method. Use one of .*saliency"
    ):
        seewhy.explainer("active_saliency", TINY["cnn"](), of="grad_cam").explain(
            torch.rand(1, 3, 16, 16), torch.tensor([0])
        )


def test_a_report_does_without_what_fails(tmp_path: Path) -> None:
    """The packages that explained and measured are broken by now."""
    run_folder = write_run(tmp_path / "run", {"broken_metric": {"broken": [1, 2, 3], "careless": [2, 3, 4]}})
    manifest = json.loads((run_folder / "manifest.json").read_text())
    manifest["metrics"]["broken_metric"]["metric"] = "broken_metric"
    (run_folder / "manifest.json").write_text(json.dumps(manifest))
    assert len(write_report([run_folder])) == 5
    assert "broken_metric" in (run_folder / "report.md").read_text(encoding="utf-8").replace("\\", "")


def test_a_metric_that_needs_an_option_is_listed(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    @dataclass(frozen=True)
    class Strict:
        """A metric of another package. It needs an option."""

        family = "complexity"
        higher_is_better = None
        range = (0.0, 1.0)
        needs = ()
        target = "any"
        paper = ""
        power: int

    monkeypatch.setitem(METRICS._entries, "strict", Strict)
    result = run(capfd, "list", "metrics", "--json")
    assert result.status == 0
    (entry,) = (entry for entry in json.loads(result.out)["metrics"] if entry["name"] == "strict")
    assert (entry["reads"], entry["summary"]) == ("", "A metric of another package")


def test_it_is_explained_with_and_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = "--model foo_nets/three --data foo_noise --explainer foo:power=2 --explainer foo_signed"
    arguments += " --metric foo_mean --metric complexity --limit 3 --out run"
    result = run(capfd, "evaluate", *arguments.split())
    assert (result.status, result.err) == (0, "")
    found = seewhy.open_run(tmp_path / "run")
    assert len(found.scores) == 3 * 2 * 2
    assert found.manifest.explainers["foo:power=2"].method == "foo"
    assert run(capfd, "report", "run").status == 0
    to = tmp_path / "picture.png"
    seewhy.explanation.overlay.to_picture(DATASETS["foo_noise"]().batch([0]).images[0]).save(to)
    result = run(capfd, "explain", to, "--model", "foo_nets/three", "--explainer", "foo", "--target", "three")
    assert (result.status, result.err) == (0, "")
    assert (tmp_path / "explanations" / "picture.foo.three.npy").is_file()


def test_a_registry_without_a_group_has_no_plug_ins() -> None:
    assert list(Registry("tool")) == []
    assert Registry("tool").problems() == []
