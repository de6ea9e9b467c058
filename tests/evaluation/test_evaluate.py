"""Explainers x metrics x batches -> rows: targets, what is scored, what is kept, and the command line."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from support.command import run
from support.tiny_models import TINY, ready_explainer
from torch import Tensor

import seewhy
from seewhy import evaluate
from seewhy.app.choose import choose_metrics
from seewhy.data import Batch, Shapes, batches
from seewhy.data.pictures import to_picture
from seewhy.errors import SeewhyError
from seewhy.evaluation.batch import box_around
from seewhy.evaluation.run import open_run
from seewhy.evaluation.scoreboard import interval
from seewhy.evaluation.statistics import figure_interval, mean_interval
from seewhy.metrics import METRICS, Case, metric
from seewhy.options import described


@dataclass(frozen=True)
class Fixed:
    """Seven images for the tiny networks, with labels of any kind."""

    labels: Tensor | None
    regions: Tensor | None = None
    classes: ClassVar[tuple[str, ...]] = ("a", "b", "c", "d", "e")

    def __len__(self) -> int:
        return 7

    @property
    def ids(self) -> list[str]:
        return [f"image {i}" for i in range(7)]

    def digest(self, indices: Sequence[int]) -> str:
        return str(list(indices))

    def batch(self, indices: Sequence[int]) -> Batch:
        images, rows = torch.rand(7, 3, 16, 16, generator=torch.Generator().manual_seed(0)), list(indices)
        labels, regions = (None if t is None else t[rows] for t in (self.labels, self.regions))
        return Batch([self.ids[i] for i in rows], images[rows], labels, regions)


@dataclass(frozen=True)
class Spy:
    """A metric that remembers its cases and scores 0."""

    cases: list[Case]
    family: ClassVar[Any] = "masking"
    higher_is_better: ClassVar[bool | None] = None
    range: ClassVar[tuple[float, float]] = (0, 1)
    needs: ClassVar[tuple[Any, ...]] = ()
    reads: ClassVar[str] = "none"
    target: ClassVar[Any] = "any"
    paper: ClassVar[str] = ""

    def score(self, case: Case) -> Tensor:
        self.cases.append(case)
        return torch.zeros(len(case.images))


LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 1])
SEVERAL = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 0, 0]] + [[0, 0, 0, 0, 1]] * 3).float()


def seen(network: str, labels: Tensor | None, regions: Tensor | None = None, **options: Any) -> Case:
    """The one case of an evaluation in one batch."""
    cases: list[Case] = []
    evaluate(TINY[network](), ["grad_cam"], {"spy": Spy(cases)}, Fixed(labels, regions), batch_size=7, **options)
    (case,) = cases
    return case


def test_the_class_that_is_explained() -> None:
    case = seen("cnn", LABELS)
    order = case.logits.argsort(1, descending=True)
    assert torch.equal(case.explained, order[:, 0])
    assert torch.equal(seen("cnn", LABELS, target="second").explained, order[:, 1])
    assert torch.equal(seen("cnn", LABELS, target="least").explained, order[:, -1])
    assert torch.equal(seen("cnn", LABELS, target="label").explained, LABELS)
    assert seen("cnn", LABELS, target="3").explained.tolist() == [3] * 7


def test_the_class_that_is_scored_may_differ() -> None:
    """Opti-CAM appendix C: maps of the second class, scored for the true one."""
    case = seen("cnn", LABELS, target="second", scored="label")
    assert torch.equal(case.scored, LABELS)
    assert torch.equal(case.explained, case.logits.topk(2, 1).indices[:, 1])
    maps = seewhy.explainer("grad_cam", case.classifier).explain(case.images, case.explained)
    torch.testing.assert_close(case.attributions, maps)


def test_several_labels_make_a_row_each() -> None:
    regions = torch.zeros(7, 5, 16, 16, dtype=torch.bool)
    regions[3, 1, 2:4, 5:9] = True
    case = seen("cnn_multilabel", SEVERAL, regions, target="label")
    assert case.explained.tolist() == [0, 2, 1, 0, 1, 2, 4, 4, 4]
    assert case.regions is not None
    assert case.boxes is not None
    assert case.regions[4].sum() == 8
    assert case.boxes[4].tolist() == [[5, 2, 9, 4]]
    assert len(case.boxes[0]) == 0
    assert case.labels is not None
    assert torch.equal(case.labels[3], SEVERAL[3])


def test_all_that_is_present_is_merged_by_the_maximum() -> None:
    regions = torch.zeros(7, 5, 16, 16, dtype=torch.bool)
    regions[0, 0, 0], regions[0, 2, 1] = True, True
    case = seen("cnn_multilabel", SEVERAL, regions, target="present")
    assert len(case.images) == 6  # one has no label
    method = seewhy.explainer("grad_cam", case.classifier)
    both = method.explain_classes(case.images[:1], torch.tensor([0, 2]))[0]
    low, high = both.amin((1, 2), keepdim=True), both.amax((1, 2), keepdim=True)
    torch.testing.assert_close(case.attributions[0], ((both - low) / (high - low)).amax(0))
    assert case.regions is not None
    assert case.regions[0].sum() == 32
    assert int(case.scored[0]) == max((0, 2), key=lambda c: float(case.logits[0, c]))


def test_masks_of_a_method_that_gives_masks_are_merged_as_they_are() -> None:
    """NN-Explainer's target mask is the maximum of the masks: min-max would blow up what is nearly empty."""
    cases: list[Case] = []
    classifier = TINY["cnn_multilabel"]()
    method: Any = ready_explainer("nn_explainer", classifier, architecture="light")
    regions = torch.zeros(7, 5, 16, 16, dtype=torch.bool)
    evaluate(classifier, {"masks": method}, {"spy": Spy(cases)}, Fixed(SEVERAL, regions), batch_size=7, target="present")
    both = method.explain_classes(cases[0].images[:1], torch.tensor([0, 2]))[0]
    torch.testing.assert_close(cases[0].attributions[0], both.amax(0))


def test_only_the_right_or_the_wrong() -> None:
    right = evaluate(TINY["cnn"](), ["random"], ["complexity"], Fixed(LABELS), only="correct", batch_size=3)
    wrong = evaluate(TINY["cnn"](), ["random"], ["complexity"], Fixed(LABELS), only="wrong", batch_size=3)
    everything = evaluate(TINY["cnn"](), ["random"], ["complexity"], Fixed(LABELS), batch_size=3)
    hit = {row.image_id for row in everything.rows if row.explained == int(LABELS[int(row.image_id[-1])])}
    assert {row.image_id for row in right.rows} == hit
    assert {row.image_id for row in wrong.rows} == {row.image_id for row in everything.rows} - hit


def test_rows_do_not_depend_on_the_batch_and_carry_what_they_belong_to() -> None:
    options: dict[str, Any] = {"target": "second", "scored": "label", "limit": 5}
    one, other = (
        evaluate(
            TINY["vit"](), ["grad_cam", "random"], ["average_drop", "complexity"], Fixed(LABELS), batch_size=b, **options
        )
        for b in (2, 7)
    )
    assert sorted(r[:5] for r in one.rows) == sorted(r[:5] for r in other.rows)
    assert len(one.rows) == 5 * 2 * 2
    for name in ("grad_cam", "random"):
        for measure in ("average_drop", "complexity"):
            torch.testing.assert_close(one.scores(name, measure), other.scores(name, measure), atol=1e-5, rtol=1e-4)
            values = [r.value for r in one.rows if (r.explainer, r.metric) == (name, measure)]
            assert one.table()[name][measure] == pytest.approx(sum(values) / 5)
    shown = [int(r.image_id[-1]) for r in one.rows if r.metric == "complexity" and r.explainer == "random"]
    assert shown == [0, 1, 2, 4, 6]  # the first five in the order in which limits take them
    assert [r.scored for r in one.rows if r.metric == "complexity" and r.explainer == "random"] == LABELS[shown].tolist()


def test_a_metric_of_several_numbers_has_a_row_for_each_and_its_own_figure() -> None:
    result = evaluate(
        TINY["cnn"](), ["random"], ["class_masks"], Fixed(LABELS), map_classes=["1", "3"], limit=2, batch_size=1
    )
    names = [row.metric for row in result.rows if row.image_id == "image 0"]
    assert names == [f"class_masks[{i}]" for i in range(len(names))]
    assert len(names) > 1
    scores = result.scores("random", "class_masks")
    assert result.table()["random"]["class_masks"] == METRICS["class_masks"]().reduce(scores)  # type: ignore[attr-defined]


def test_maps_are_made_once_and_the_network_sees_the_images_once() -> None:
    asked: list[int] = []

    class Counting:
        family: ClassVar[Any] = "reference"
        class_specific: ClassVar[bool] = False
        paper: ClassVar[str] = ""

        def explain(self, images: Tensor, targets: Tensor) -> Tensor:
            asked.append(len(images))
            return images.mean(1)

    names = ["complexity", "sparseness", "average_drop", "average_gain", "average_increase", "deletion", "lif"]
    evaluate(TINY["cnn"](), {"mine": Counting()}, names, Fixed(LABELS), batch_size=4)
    assert asked == [4, 3]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"target": "label", "dataset": Fixed(None)}, "target label needs the true classes, which the dataset fixed"),
        ({"only": "wrong", "dataset": Fixed(None)}, "only wrong needs the true classes"),
        ({"only": "good"}, "only is all, correct or wrong; not 'good'"),
        ({"target": "9"}, "class 9 does not exist"),
        ({"metrics": ["relevance_mass"]}, "relevance_mass needs the region of the object, which the dataset fixed"),
        ({"metrics": ["delition"]}, "Did you mean 'deletion'"),
        ({"explainers": ["grad_kam"]}, "Did you mean 'grad_cam'"),
        ({"explainers": []}, "at least one explainer"),
        ({"dataset": Fixed(LABELS + 1)}, "the dataset fixed has a class 5, and the classifier only classes 0 to 4"),
        ({"dataset": Fixed(SEVERAL * 0), "target": "label"}, "nothing to evaluate"),
        ({"limit": 0}, "limit is 0"),
        ({"metrics": {"x": metric("average_drop", use="region")}}, "use='region' needs the region"),
    ],
)
def test_what_cannot_be_evaluated_is_said(options: dict[str, Any], says: str) -> None:
    given = {"explainers": ["random"], "metrics": ["complexity"], "dataset": Fixed(LABELS), **options}
    with pytest.raises(SeewhyError, match=says.replace("(", r"\(")):
        evaluate(TINY["cnn"](), given.pop("explainers"), given.pop("metrics"), given.pop("dataset"), **given)


def test_maps_that_are_not_finite_name_their_method() -> None:
    class Broken:
        family: ClassVar[Any] = "reference"
        class_specific: ClassVar[bool] = False
        paper: ClassVar[str] = ""

        def explain(self, images: Tensor, targets: Tensor) -> Tensor:
            return images.mean(1) * torch.nan

    with pytest.raises(SeewhyError, match="7 failures, the first of image 0: mine gives NaN or infinite values"):
        evaluate(TINY["cnn"](), {"mine": Broken()}, ["complexity"], Fixed(LABELS), batch_size=7)


def test_the_smallest_box() -> None:
    region = torch.zeros(6, 8, dtype=torch.bool)
    assert box_around(region).shape == (0, 4)
    region[2, 3] = region[4, 6] = True
    assert box_around(region).tolist() == [[3, 2, 7, 5]]


def test_intervals_of_figures() -> None:
    """A figure of the whole dataset has its own; several labels of an image are one image; one image has none."""
    names = ["complexity", "masked_classification"]
    result = evaluate(TINY["cnn_multilabel"](), ["random"], names, Fixed(SEVERAL), target="label")
    several, figure = (interval(result, "random", name) for name in names)
    owner = result.image_ids("random", "complexity")
    assert owner == [f"image {i}" for i in (0, 0, 1, 3, 3, 3, 4, 5, 6)]
    assert several == mean_interval(result.scores("random", "complexity").numpy(), images=owner)
    assert several is not None
    assert several.n == 6
    scores = result.scores("random", "masked_classification").numpy()
    reduce = metric("masked_classification").reduce  # type: ignore[attr-defined]
    assert result.image_ids("random", "masked_classification") == owner
    assert figure == figure_interval(scores, lambda drawn: reduce(torch.from_numpy(drawn)), images=owner)
    single = evaluate(TINY["cnn"](), ["random"], ["complexity"], Fixed(LABELS), limit=1)
    assert interval(single, "random", "complexity") is None


# -- choosing metrics ----------------------------------------------------------------------------------------------------


def test_metrics_with_options_of_their_own() -> None:
    chosen, left_out = choose_metrics(["aopc", "aopc:regions=3,size=4", "road:shares=[0.2,0.4],noise=0"], {"size": "8"}, [])
    assert left_out == []
    assert list(chosen) == ["aopc", "aopc:regions=3,size=4", "road:shares=[0.2,0.4],noise=0"]
    assert chosen["aopc"] == metric("aopc", size=8)
    assert chosen["aopc:regions=3,size=4"] == metric("aopc", regions=3, size=4)
    assert chosen["road:shares=[0.2,0.4],noise=0"] == metric("road", shares=(0.2, 0.4), noise=0)


def test_all_metrics_that_the_data_allow() -> None:
    chosen, left_out = choose_metrics(["all"], {}, ["explainer"])
    assert set(chosen) == {name for name in METRICS if set(METRICS[name].needs) <= {"explainer"}}
    assert len(chosen) + len(left_out) == len(METRICS)
    assert "relevance_mass needs the region of the object" in left_out


# -- the command line ----------------------------------------------------------------------------------------------------


def test_evaluate_on_shapes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    arguments = "evaluate --model shapes --data shapes --limit 6 --target label --explainer grad_cam --explainer random"
    arguments += f" --metric average_drop --metric relevance_mass --metric aopc:regions=2 --seed 3 --out {out}"
    result = run(capfd, *arguments.split())
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].split() == ["explainer", "average_drop", "↓", "relevance_mass", "↑", "aopc:regions=2", "↑"]
    assert [line.split()[0] for line in lines[1:3]] == ["grad_cam", "random"]
    found = open_run(out)
    assert found.scores.columns == ["index", "image_id", "explainer", "explained", "scored", "metric", "value"]
    assert len(found.scores) == 6 * 2 * 3
    assert found.images["index"].to_list() == list(range(6))
    assert found.manifest.asked.target == "label"
    assert found.manifest.asked.seed == 3
    assert found.manifest.metrics["aopc:regions=2"].options["regions"] == 2
    assert found.manifest.metrics["average_drop"].explains == "label"
    assert found.manifest.details["command"][0] == "evaluate"
    about = found.manifest.details["classifier"]
    assert about["mean"] == {"value": [0.5] * 3, "from": "the built-in network shapes"}
    assert about["feature_layer"] == {"value": "layer3", "from": "found by a probe"}
    assert [line.partition(":")[0] for line in lines[-3:-1]] == ["input", "network"]


def test_a_regression_is_evaluated_by_its_value_and_has_no_probability(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither in the tables nor on the page of the report; a metric of probabilities says so in one line."""
    out = tmp_path / "run"
    (tmp_path / "pictures").mkdir()
    for i, image in enumerate(Shapes(n=3).batch(range(3)).images):
        to_picture(image).save(tmp_path / "pictures" / f"{i}.png")
    command = f"evaluate --model factories:one --model-option outputs=values --data {tmp_path / 'pictures'} --out {out}"
    result = run(capfd, *command.split(), "--metric", "aopc:value=logit,size=8,regions=2", "--metric", "complexity")
    assert (result.status, result.err) == (0, "")
    found = open_run(out)
    assert found.images["probability"].to_list() == [None] * 3
    assert found.images["predicted"].to_list() == [0] * 3
    assert run(capfd, "report", out).status == 0
    page = (out / "report.html").read_text()
    assert "output 0" in page
    assert "class 0" not in page
    wrong = run(capfd, *command.split(), "--metric", "average_drop")
    assert (wrong.status, wrong.err.count("\n")) == (2, 1)
    assert "returns values, which have no probabilities" in wrong.err


def test_list_metrics(capfd: pytest.CaptureFixture[str]) -> None:
    entries = json.loads(run(capfd, "list", "metrics", "--json").out)["metrics"]
    assert [e["name"] for e in entries] == list(METRICS)
    for entry in entries:
        assert {"range", "better", "needs", "paper", "explains", "reads", "summary"} <= set(entry)
        assert set(entry["options"]) == {option.name for option in described(METRICS[entry["name"]])}
    shown = run(capfd, "list", "metrics").out
    assert all(name in shown for name in METRICS)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--data nowhere", "unknown dataset 'nowhere', and no such folder or csv file. Known: folder, shapes, voc"),
        ("--data shape", "Did you mean 'shapes'?"),
        ("--data folder", "dataset folder needs a path"),
        ("--data shapes:here", "dataset shapes has no path"),
        ("--data folder:absent", "absent does not exist"),
        ("--data shapes --data-option sed=1", "no option 'sed'. Did you mean 'seed'?"),
        ("--data shapes --metric relevance_mas", "Did you mean 'relevance_mass'?"),
        ("--data shapes --metric aopc:region=3", "no option 'region'. Did you mean 'regions'?"),
        ("--data shapes --metric aopc:regions=few", "aopc cannot take regions='few'"),
        ("--data shapes --metric-option step=3", "no option 'step'"),
        ("--data shapes --target heard", "Did you mean 'heart'?"),
        ("--data shapes --only good", "only is all, correct or wrong"),
        ("--data shapes --map-class 77", "class 77 does not exist"),
    ],
)
def test_wrong_evaluations(arguments: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.chdir(tmp_path)
    given = arguments if "--metric " in arguments else f"{arguments} --metric average_drop"
    result = run(capfd, "evaluate", "--model", "shapes", "--limit", "2", "--out", "run", *given.split())
    assert result.status == 2
    assert says in result.err
    assert result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# -- what the numbers say -------------------------------------------------------------------------------------------------


def test_fake_cam_is_near_perfect_on_average_drop_and_fails_average_gain() -> None:
    """Opti-CAM, section 4."""
    classifier = seewhy.load("shapes")
    names = ["average_drop", "average_gain", "average_increase"]
    table = evaluate(classifier, ["fake_cam", "grad_cam"], names, Shapes(n=60, size=96), target="label").table()
    assert table["fake_cam"]["average_drop"] < 0.005
    assert table["fake_cam"]["average_gain"] < 0.02
    assert table["fake_cam"]["average_increase"] > 0.25
    assert table["grad_cam"]["average_gain"] > 3 * table["fake_cam"]["average_gain"]


def test_random_maps_score_at_chance() -> None:
    """A map that knows nothing: the share of the region, zero correlations, no gain of order."""
    classifier = seewhy.load("shapes")
    data = Shapes(n=60, size=96)
    names = {
        "relevance_mass": metric("relevance_mass"),
        "relevance_rank": metric("relevance_rank"),
        "energy_pointing_game": metric("energy_pointing_game"),
        "pointing_game": metric("pointing_game"),
        "srg": metric("srg", size=24),
        "r_srg": metric("r_srg", size=24, n_draws=8),
        "pixel_flipping": metric("pixel_flipping", size=9),
        "faithfulness_correlation": metric("faithfulness_correlation", runs=16),
    }
    result = evaluate(classifier, ["random"], names, data, target="label")
    share = torch.cat([b.regions.double().mean((1, 2)) for b in batches(data, 30) if b.regions is not None])
    for name in ("relevance_mass", "relevance_rank", "energy_pointing_game", "pointing_game"):
        difference = result.scores("random", name) - share
        assert abs(float(difference.mean())) < 3 * float(difference.std()) / 60**0.5 + 0.003, name
    for name in ("srg", "r_srg", "pixel_flipping", "faithfulness_correlation"):
        scores = result.scores("random", name)
        # one random order serves every image: the error of the mean is that of correlated draws
        assert abs(float(scores.mean())) < 0.12, name


class Truth:
    """The region of the object as a map."""

    family: ClassVar[Any] = "reference"
    class_specific: ClassVar[bool] = False
    paper: ClassVar[str] = ""

    def __init__(self, maps: Tensor) -> None:
        self.maps = maps

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        return self.maps


def test_the_exact_region_scores_best_in_every_region_metric() -> None:
    """On shapes, beside every explainer that comes with the library."""
    classifier = seewhy.load("shapes")
    batch = next(batches(Shapes(n=12, size=96), 12))
    assert batch.regions is not None
    maps = {"truth": batch.regions.float()}
    others = ("grad_cam", "layer_cam", "random", "center", "fake_cam", "smooth_grad")
    maps |= {name: seewhy.explainer(name, classifier).explain(batch.images, batch.labels) for name in others}
    boxes = tuple(box_around(region) for region in batch.regions)
    compared = [name for name in METRICS if {"regions", "boxes"} & set(METRICS[name].needs)]
    assert len(compared) >= 11
    for name in compared:
        measure = metric(name)
        figures = {}
        for method, values in maps.items():
            case = Case(classifier, batch.images, batch.labels, batch.labels, values, labels=batch.labels,
                        regions=batch.regions, boxes=boxes)  # fmt: skip
            scores = measure.score(case)
            figures[method] = measure.reduce(scores) if hasattr(measure, "reduce") else float(scores.mean())
        best = (max if measure.higher_is_better else min)(figures.values())
        assert figures["truth"] == pytest.approx(best, abs=1e-6), (name, figures)
        if "boxes" not in measure.needs:  # of a region that another object cuts in two, the box has the larger part alone
            bound = measure.range[1] if measure.higher_is_better else measure.range[0]
            assert figures["truth"] == pytest.approx(bound, abs=1e-6), name


def test_a_value_function_of_ones_own() -> None:
    """A surrogate instead of the classifier, tokens instead of pixels: any v(S)."""
    classifier = TINY["vit"]()
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1])
    asked: list[tuple[int, ...]] = []

    def value(images: Tensor, players: Any) -> Any:
        def game(rows: Tensor, kept: Tensor) -> Tensor:
            asked.append(tuple(kept.shape))
            share = kept.float().mean(1, keepdim=True)
            return share * torch.eye(5)[targets[rows]] * 9

        return game

    case = Case(classifier, images, targets, targets, torch.rand(2, 16, 16), batch_size=8, value=value)
    assert metric("lif", size=4).score(case).tolist() == metric("mif", size=4).score(case).flip(0).tolist()
    assert set(asked) == {(8, 16)} | {a for a in asked if a[1] == 16}
    assert metric("srg", size=4).score(case).tolist() == pytest.approx([0, 0], abs=1e-6)
    other = replace(case, value=None)
    assert metric("lif", size=4).score(other).tolist() != metric("lif", size=4).score(case).tolist()


def test_merged_maps_have_no_explainer() -> None:
    """An explainer makes the map of one class: what asks it again cannot be held against the merged one."""
    data = Fixed(SEVERAL)
    with pytest.raises(SeewhyError, match=r"max_sensitivity needs the explainer.* with maps of all present classes merged"):
        evaluate(TINY["cnn_multilabel"](), ["grad_cam"], ["max_sensitivity"], data, target="present")


def test_all_leaves_out_what_does_not_suit_the_network(capfd: pytest.CaptureFixture[str]) -> None:
    chosen, left_out = choose_metrics(["all"], {}, ["explainer"], TINY["cnn"]())
    assert "label_randomization" not in chosen
    assert any(line.startswith("label_randomization: shapes/cnn_permuted has 6 classes") for line in left_out)
    with pytest.raises(SeewhyError, match="give label_randomization network="):
        choose_metrics(["label_randomization"], {}, ["explainer"], TINY["cnn"]())


def test_the_paper_s_own_threshold_can_be_given() -> None:
    assert metric("masked_classification", threshold=-1, threshold_on="logit").threshold == -1  # type: ignore[attr-defined]


def test_one_name_alone_is_not_taken_for_letters() -> None:
    with pytest.raises(SeewhyError, match=r"^explainers are a list of names, or a mapping from the names that rows get"):
        evaluate(TINY["cnn"](), "grad_cam", ["complexity"], Fixed(None))
    with pytest.raises(SeewhyError, match=r"^metrics are a list of names, or a mapping"):
        evaluate(TINY["cnn"](), ["grad_cam"], "complexity", Fixed(None))
