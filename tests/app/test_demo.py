"""The demo: both files or none, every method on the page, figures that were measured, and a page that loads nothing."""

from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.progress import Progress
from support.tiny_models import CHEAP, is_defined

from seewhy.app.demo import evidence
from seewhy.app.demo import page as demo
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.load import load as load_classifier
from seewhy.data.shapes import shapes
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, GradCAM
from seewhy.explainers.learned.folder import shipped

WEIGHTS = Path(shapes.__file__).parents[2] / "classifier" / "weights"
SMALL = evidence.DemoPlan(candidates=24, further=2, tagged=24, evidence=3, seconds=1.0)
NEED_ATTENTION = {name for name in EXPLAINERS if not is_defined(name, "cnn")}
LEARNED = {name for name in EXPLAINERS if EXPLAINERS[name].family == "learned"}
FEW = {name: options for name, options in CHEAP.items() if name not in LEARNED}
"""A trained explainer takes no options of its training."""
UNTRAINED = [
    (name, network)
    for name in LEARNED
    for network in evidence.HONEST
    if not shipped(name, load_classifier(evidence.HONEST[network]), {})
]
"""Learned methods, and the networks for which none of them comes trained."""
VOID = {"meta", "img", "br", "link", "input", "hr"}


def load(name: str) -> Classifier:
    """The classifier itself, or the CNN where its weights are not in the tree."""
    short = {"shapes": "cnn"}.get(name, name.rpartition("/")[2])
    return load_classifier(name if (WEIGHTS / f"shapes_{short}.safetensors").is_file() else "shapes")


def silent() -> Progress:
    return Progress(disable=True)


class Page(HTMLParser):
    """Tags with their attributes, texts, and whether every element was closed in its order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "new" / "folder"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "FEWER_STEPS", FEW)
        files = demo.write_page(out, silent(), replace(SMALL, load=load))
    assert files == [out / "demo.png", out / "demo.html"]
    return out


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "demo.html").read_text(encoding="utf-8"))


def test_two_files_and_nothing_else(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["demo.html", "demo.png"]
    assert [path.name for path in folder.parents[1].iterdir()] == ["new"]
    assert (folder / "demo.html").stat().st_size < 4_000_000
    with Image.open(folder / "demo.png") as picture:
        picture.load()
        assert picture.width >= 1200


def test_every_method_is_on_the_page(page: Page) -> None:
    for name in EXPLAINERS:
        assert page.texts.count(name) >= 1 + len(evidence.HONEST), name  # the table, and once for each network


def test_every_method_has_a_map_on_the_page(folder: Path) -> None:
    """Not run is what must be trained first, and what needs attention, on the CNN. All else has a map, however slow."""
    text = (folder / "demo.html").read_text(encoding="utf-8")
    assert text.count("is learned, and not trained for this network") == len(UNTRAINED)
    read_attention = [name for name in NEED_ATTENTION if EXPLAINERS[name].family == "attention"]
    assert text.count("has no attention over tokens") == len(read_attention) > 0
    assert text.count("transformer_input_sampling is not defined for it") == 1
    assert text.count("Not run") == len(read_attention) + 1 + len(UNTRAINED)


def test_every_method_with_a_paper_names_its_authors() -> None:
    cited = {name: demo.citation(name) for name in EXPLAINERS}
    assert {name for name, words in cited.items() if not words} == {n for n in EXPLAINERS if not EXPLAINERS[n].paper}
    assert all(words[0].isupper() and words[-4:].isdigit() for words in cited.values() if words)


def test_the_page_is_closed_and_has_one_order_of_headings(page: Page) -> None:
    assert page.open == []
    levels = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))


def test_every_link_inside_the_page_has_its_end(page: Page) -> None:
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {str(a["href"])[1:] for tag, a in page.tags if tag == "a"} <= set(ids)


def test_every_picture_says_what_it_shows(page: Page) -> None:
    pictures = [a for tag, a in page.tags if tag == "img"]
    assert len(pictures) > 2 * len(EXPLAINERS)
    assert all(len(str(a.get("alt") or "")) > 10 for a in pictures)


def test_the_page_loads_nothing(folder: Path, page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object")
        for key in ("src", "href", "srcset", "data"):
            assert str(attributes.get(key) or "#").startswith(("#", "data:image/webp;base64,"))
    text = (folder / "demo.html").read_text(encoding="utf-8")
    assert "url(" not in text
    assert "@import" not in text
    assert str(Path.home()) not in text


def test_shares_of_hand_made_maps() -> None:
    region = torch.zeros(3, 2, 2, dtype=torch.bool)
    region[:, 0, 0] = True
    maps = torch.tensor([[[3.0, 1.0], [-8.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]], [[-1.0, 0.0], [-1.0, 0.0]]])
    shares = evidence.share_inside(maps, region)
    assert shares[:2].tolist() == [0.75, 0.25]
    assert shares[2].isnan()
    mean = evidence.Mean.of(shares)
    assert (mean.value, mean.n) == (0.5, 2)
    assert mean.margin == pytest.approx(12.706 * 0.25, rel=1e-3)  # t of one degree of freedom
    assert evidence.Mean.of(torch.full((2,), torch.nan)).n == 0
    assert [demo.share(v) for v in (0.754, 0.004, float("nan"))] == ["75\u202f%", "0.4\u202f%", "none"]


def test_the_cheat_is_measured() -> None:
    """An honest network in the place of the cheating one is not caught; both are counted picture by picture."""
    honest = load("shapes")
    same = evidence.compare_cheater(honest, honest, SMALL)
    assert same.caught == []
    assert same.accuracy["honest"] == same.accuracy["cheating"]
    for k, shortcut in enumerate(("correlated", "random")):
        pictures = evidence.make_pictures(SMALL.tagged, SMALL.seed, shortcut)
        right = evidence.probabilities(honest, pictures.images).argmax(1) == pictures.labels
        assert same.accuracy["honest"][k] == int(right.sum())
    pictures = evidence.make_pictures(SMALL.evidence, SMALL.seed, "correlated")
    answers = evidence.probabilities(honest, pictures.images).argmax(1)
    maps = GradCAM(honest).explain(pictures.images, answers)
    expected = (
        evidence.Mean.of(evidence.share_inside(maps, pictures.tags)),
        evidence.Mean.of(evidence.share_inside(maps, pictures.objects)),
    )
    assert same.evidence["grad_cam"]["honest"] == expected


def test_a_method_without_time_explains_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "FEWER_STEPS", FEW)
    classifier = load("shapes")
    pictures = evidence.make_pictures(4, 0)
    runs = evidence.explain_pictures({"CNN": classifier}, pictures, 2, -1.0, lambda: None)
    untrained = {name for name, network in UNTRAINED if network == "CNN"}
    assert {len(r.maps) for r in runs if r.name not in {*evidence.FEATURED, *untrained, *NEED_ATTENTION}} == {1}
    assert {len(r.maps) for r in runs if r.name in evidence.FEATURED} == {2}  # the sheet needs them
    runs = evidence.explain_pictures({"CNN": classifier}, pictures, 2, 600.0, lambda: None)
    assert {r.name for r in runs if len(r.maps) == 4} == set(EXPLAINERS) - untrained - NEED_ATTENTION
    wanted = GradCAM(classifier).explain(pictures.images, pictures.labels)
    got = next(torch.stack(r.maps) for r in runs if r.name == "grad_cam")
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-5)


def test_nothing_is_left_after_an_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page fails when the sheet is written already; what is measured for them does not matter here."""

    def broken(*_: object) -> str:
        assert len(list(tmp_path.rglob(".seewhy-*/demo.png"))) == 1
        raise RuntimeError("broken")

    for name in ("explain_pictures", "compare_cheater", "multilabel"):
        monkeypatch.setattr(demo, name, lambda *_: None)
    monkeypatch.setattr(demo, "_sheet", lambda *_: Image.new("RGB", (8, 8)))
    monkeypatch.setattr(demo, "_page", broken)
    with pytest.raises(RuntimeError, match="broken"):
        demo.write_page(tmp_path / "a" / "b", silent(), replace(SMALL, load=load))
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(SeewhyError, match="taken is a file"):
        demo.write_page(tmp_path / "taken", silent(), replace(SMALL, load=load))
    assert (tmp_path / "taken").read_text() == "mine"


def test_the_demo_ends_with_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        demo, "MEASURED", {"explainers": ["grad_cam", "random"], "metrics": ["relevance_mass", "average_drop"]}
    )
    with Progress(disable=True) as progress:
        files = demo.write_measurements(tmp_path, progress)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(file.name for file in files)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("grad_cam", "random", "relevance_mass", "average_drop"))
