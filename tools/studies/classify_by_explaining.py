"""How well does an explainer classify, beside the network that it explains? Salvage's figures 4 and 5 and its table 4.

    python tools/studies/classify_by_explaining.py --explainer salvage vit_shapley --images 500 --out build/classify
    python tools/studies/classify_by_explaining.py --model shapes --explainer runs/salvage --corrupt noise blur

``--explainer`` takes folders, or names of methods that come trained for the network. The prediction of an explainer is that
of ``explainer.as_classifier()``: the sum of what each patch contributes. Pictures are those of the dataset, and the same
pictures after each corruption. Two tables in Markdown are printed, with 95 % intervals of the bootstrap over the pictures:

- accuracy, macro F1 and agreement with the network (table 4), and the difference of the accuracies;
- the overlap of the rights and wrongs of both (figure 4): rows sum to 100 %.

With ``--out`` a folder gets both tables as csv, and ``wrong.png``: pictures that the first explainer gets wrong, with its
maps for the class that it predicts and for the true class (figure 5). A multi-label network decides each class by itself,
and an accuracy is then one over all classes of all pictures.
"""

import argparse
import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur, resize

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.data.base import Dataset, batches
from seewhy.data.pictures import to_picture
from seewhy.errors import SeewhyError
from seewhy.evaluation.statistics import mean_interval
from seewhy.explainers.learned.learned_shapley import LearnedShapley
from seewhy.explanation.overlay import DIVERGING, overlay
from seewhy.explanation.sheet import Panel, sheet
from seewhy.options import pairs

Corruption = Callable[[Tensor, torch.Generator], Tensor]
"""Changes one picture (c, h, w) in [0, 1]."""


def _noise(image: Tensor, generator: torch.Generator) -> Tensor:
    return image + 0.15 * torch.randn(image.shape, generator=generator)


def _blur(image: Tensor, _: torch.Generator) -> Tensor:
    sigma = image.shape[-1] / 60
    return gaussian_blur(image, [2 * round(3 * sigma) + 1] * 2, [sigma] * 2)


def _contrast(image: Tensor, _: torch.Generator) -> Tensor:
    return image.mean() + 0.4 * (image - image.mean())


def _brightness(image: Tensor, _: torch.Generator) -> Tensor:
    return image + 0.25


def _pixelate(image: Tensor, _: torch.Generator) -> Tensor:
    height, width = image.shape[-2:]
    return resize(resize(image, [height // 3, width // 3], antialias=True), [height, width], interpolation=0)


def _occlusion(image: Tensor, generator: torch.Generator) -> Tensor:
    """A gray square over a tenth of the picture, anywhere."""
    height, width = image.shape[-2:]
    side = round((0.1 * height * width) ** 0.5)
    top, left = (int(torch.randint(pixels - side + 1, (), generator=generator)) for pixels in (height, width))
    hidden = image.clone()
    hidden[:, top : top + side, left : left + side] = 0.5
    return hidden


CORRUPTIONS: dict[str, Corruption] = {
    "none": lambda image, _: image,
    "noise": _noise,
    "blur": _blur,
    "contrast": _contrast,
    "brightness": _brightness,
    "pixelate": _pixelate,
    "occlusion": _occlusion,
}


class Answer(NamedTuple):
    """What a classifier decides of n pictures, (n, d): one class, or yes and no for each class of a multi-label network."""

    decided: Tensor
    truth: Tensor

    @property
    def right(self) -> Tensor:
        """(n, d) bool."""
        return self.decided == self.truth


def decisions(logits: Tensor, multilabel: bool) -> Tensor:
    return (logits > 0).long() if multilabel else logits.argmax(1, keepdim=True)


def corrupted(images: Tensor, first: int, kind: str, seed: int) -> Tensor:
    """The pictures, the first of which has the number ``first``; each has draws of its own."""
    made = []
    for number, image in enumerate(images, first):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
        made.append(CORRUPTIONS[kind](image, generator).clamp(0, 1))
    return torch.stack(made)


def answers(
    classifiers: dict[str, Classifier], dataset: Dataset, kinds: Sequence[str], batch_size: int, seed: int
) -> dict[tuple[str, str], Answer]:
    """What each classifier decides of the pictures after each corruption."""
    found: dict[tuple[str, str], list[Tensor]] = {}
    truth: list[Tensor] = []
    done = 0
    for batch in batches(dataset, batch_size):
        if batch.labels is None:
            raise SeewhyError("the pictures have no labels: give a folder for each class, or a labels.csv")
        truth.append(batch.labels if batch.labels.ndim == 2 else batch.labels[:, None])
        for kind in kinds:
            images = corrupted(batch.images, done, kind, seed)
            for name, classifier in classifiers.items():
                with torch.no_grad():
                    logits = classifier.logits(classifier.to_device(images)).cpu()
                found.setdefault((kind, name), []).append(decisions(logits, classifier.multilabel))
        done += len(batch.images)
    labels = torch.cat(truth).long()
    return {key: Answer(torch.cat(parts), labels) for key, parts in found.items()}


# -- table 4 ------------------------------------------------------------------------------------------------------------


def macro_f1(answer: Answer, k: int, multilabel: bool) -> float:
    """The mean over classes of 2 TP / (2 TP + FP + FN); a class that neither occurs nor is predicted is left out."""
    if not multilabel:
        decided, truth = (torch.nn.functional.one_hot(t[:, 0], k) for t in answer)
    else:
        decided, truth = answer
    hits, either = (decided * truth).sum(0).double(), (decided + truth).sum(0).double()
    return float((2 * hits / either)[either > 0].mean())


def percent(values: Tensor) -> str:
    found = mean_interval(100 * values.double().numpy())
    return f"{found.value:.1f} ({found.low:.1f} to {found.high:.1f})"


def table(found: dict[tuple[str, str], Answer], network: str, k: int, multilabel: bool) -> list[list[str]]:
    columns = ["corruption", "classifier", "pictures", "accuracy, %", "less than the network's", "macro F1, %"]
    rows = [[*columns, "agreement, %"]]
    for (kind, name), answer in found.items():
        original = found[kind, network]
        right, others = (a.right.double().mean(1) for a in (answer, original))
        agree = (answer.decided == original.decided).double().mean(1)
        rows.append([
            *(kind, name, str(len(right)), percent(right), "" if name == network else percent(others - right)),
            *(f"{100 * macro_f1(answer, k, multilabel):.1f}", "" if name == network else percent(agree)),
        ])  # fmt: skip
    return rows


# -- figure 4 -----------------------------------------------------------------------------------------------------------


def overlap(found: dict[tuple[str, str], Answer], network: str) -> list[list[str]]:
    """Of each explainer, the share of pictures that both get right, one of them, or neither."""
    rows = [["corruption", "explainer", "both right, %", "explainer alone, %", "network alone, %", "both wrong, %"]]
    for (kind, name), answer in found.items():
        if name != network:
            mine, its = answer.right, found[kind, network].right
            cells = (mine & its, mine & ~its, ~mine & its, ~mine & ~its)
            rows.append([kind, name, *(percent(cell.double().mean(1)) for cell in cells)])
    return rows


# -- figure 5 -----------------------------------------------------------------------------------------------------------


def wrong_sheet(explainer: LearnedShapley, answer: Answer, dataset: Dataset, most: int) -> Image.Image | None:
    """Pictures that the explainer classifies wrongly, with its maps for the class predicted and for the true one."""
    places = (~answer.right[:, 0]).nonzero()[:, 0].tolist()[:most]
    if not places:
        return None
    classifier, batch = explainer.classifier, dataset.batch(places)
    classes = torch.cat([answer.decided[places], answer.truth[places]], 1)
    images = classifier.to_device(batch.images)
    _, maps = explainer.predict_and_explain(images, classes.to(images.device))
    columns = []
    for image, pair, of in zip(batch.images, maps.cpu(), classes.tolist(), strict=True):
        predicted, true = (classifier.class_name(c).partition(",")[0] for c in of)
        captions = (f"predicted: {predicted}", f"true: {true}")
        shown = [Panel(overlay(image, part, 168), said) for part, said in zip(pair, captions, strict=True)]
        columns.append([Panel(to_picture(image)), *shown])
    rows = [list(row) for row in zip(*columns, strict=True)]
    return sheet(rows, f"Wrong, and why: {seewhy.EXPLAINERS.name_of(type(explainer))}", keys=(DIVERGING,))


# -- the command --------------------------------------------------------------------------------------------------------


def in_markdown(rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def loaded(names: Sequence[str], classifier: Classifier) -> dict[str, LearnedShapley]:
    found: dict[str, LearnedShapley] = {}
    for name in names:
        made = seewhy.explainer(name, classifier)
        if not isinstance(made, LearnedShapley):
            raise SeewhyError(f"{name} is no learned Shapley explainer: it classifies nothing")
        found[Path(name).name] = made
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="shapes/vit")
    parser.add_argument("--weights")
    parser.add_argument("--classes")
    parser.add_argument("--model-option", action="append", default=[])
    parser.add_argument("--explainer", nargs="+", required=True, help="folders or names")
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--data-option", action="append", default=[])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--corrupt", nargs="*", choices=list(CORRUPTIONS), default=list(CORRUPTIONS))
    parser.add_argument("--shown", type=int, default=8, help="pictures of the sheet")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    given = {"weights": asked.weights, "classes": asked.classes, "options": pairs(asked.model_option)}
    classifier = seewhy.load(asked.model, **{name: value for name, value in given.items() if value})
    classifier.module.to(asked.device)
    explainers = loaded(asked.explainer, classifier)
    classifiers = {"network": classifier, **{name: e.as_classifier() for name, e in explainers.items()}}
    dataset = seewhy.dataset(asked.data, classifier, asked.images, pairs(asked.data_option))
    kinds = list(dict.fromkeys(["none", *asked.corrupt]))
    found = answers(classifiers, dataset, kinds, asked.batch_size, asked.seed)
    tables = {
        "table_4": table(found, "network", classifier.n_classes, classifier.multilabel),
        "figure_4": overlap(found, "network"),
    }
    for name, rows in tables.items():
        print(f"\n{name}\n\n{in_markdown(rows)}")
    if not asked.out:
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        with (asked.out / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    name = next(iter(explainers))
    if not classifier.multilabel and (drawn := wrong_sheet(explainers[name], found["none", name], dataset, asked.shown)):
        drawn.save(asked.out / "wrong.png")


if __name__ == "__main__":
    main()
