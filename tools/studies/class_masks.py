"""One mask for each class on real pictures with several classes: the layout of tables 1, 2 and 4 of Stalder et al. (2022).

    SEEWHY_REAL_DATA=FOLDER python tools/studies/class_masks.py DATA [--fit METHOD ...] [--minutes M] [--out FOLDER]
    SEEWHY_REAL_DATA=FOLDER python tools/studies/class_masks.py DATA --measure [--limit N] [--baselines NAME ...]

DATA is "camvid" (street scenes with index masks), "bccd" (blood cells with boxes) or "coco" (200 photographs with masks).
A MobileNetV2 with ImageNet weights gets a new last layer, one sigmoid for each class, fitted on the frozen features of
the training pictures; it is the explained network. ``--fit`` trains explainers on these pictures, each for M minutes at
most; the same command goes on. ``--measure`` prints the tables on the test pictures and leaves run folders for
``seewhy report``.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

import seewhy
from seewhy.classifier.load import on_device
from seewhy.data.base import Batch
from seewhy.data.voc import read_annotation
from seewhy.describe import digest_of
from seewhy.metrics import metric
from seewhy.metrics.class_masks import class_mask_table

ROOT = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("SEEWHY_REAL_DATA", ROOT.parent / "shared" / "real_data"))
SIDE = 224
AT_A_TIME = 4
"""Pictures of table 1: each of its cells is hundreds of passes, and what is finished is kept."""
LEAST_PIXELS = 0.005
"""Share of a picture below which a class of an index mask does not count as present."""
LEARNED = ("nn_explainer", "rtis", "t_tame")
OPTIONS: dict[str, dict[str, Any]] = {"nn_explainer": {"architecture": "light"}, "rtis": {"architecture": "light"}}
RIVALS: dict[str, dict[str, Any]] = {"rise": {"samples": 1000, "batch_size": 256}}
REFERENCES = ("zeros", "halves", "ones", "region")


class Scene(NamedTuple):
    """A picture and a function that makes the regions of its classes, (k, h, w) true or false at SIDE x SIDE pixels."""

    name: str
    picture: Path
    regions: Callable[[], Tensor]


@dataclass(frozen=True)
class Scenes:
    """Pictures with several classes, resized to squares, and the region of each class."""

    scenes: tuple[Scene, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scenes)

    @cached_property
    def ids(self) -> list[str]:
        return [scene.name for scene in self.scenes]

    def batch(self, indices: Sequence[int]) -> Batch:
        chosen = [self.scenes[i] for i in indices]
        pictures = [Image.open(s.picture).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR) for s in chosen]
        images = torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) / 255 for p in pictures])
        regions = torch.stack([s.regions() for s in chosen])
        return Batch([s.name for s in chosen], images, present(regions), regions)

    def digest(self, indices: Sequence[int]) -> str:
        return digest_of(repr([(self.ids[i], self.scenes[i].picture.stat().st_size) for i in sorted(indices)]).encode())


def present(regions: Tensor) -> Tensor:
    return (regions.float().mean((-2, -1)) > LEAST_PIXELS).float()


def of_index_mask(file: Path, values: Sequence[int]) -> Tensor:
    """(k, h, w) where the index mask has each value."""
    mask = Image.open(file)
    pixels = torch.from_numpy(np.array(mask.resize((SIDE, SIDE), Image.Resampling.NEAREST)).astype(np.int64))
    return torch.stack([pixels == value for value in values])


def of_boxes(file: Path, classes: Sequence[str]) -> Tensor:
    """(k, h, w) the boxes of each class together."""
    found = read_annotation(file)
    width, height = found.size or (640, 480)
    regions = torch.zeros(len(classes), SIDE, SIDE, dtype=torch.bool)
    for name, box, _ in found.objects:
        if box is not None:
            left, top, right, bottom = (round(v * SIDE / s) for v, s in zip(box, (width, height) * 2, strict=True))
            regions[classes.index(name), top:bottom, left:right] = True
    return regions


def camvid() -> tuple[Scenes, Scenes]:
    """The end of each of the two films is for the test, so that no test picture has a neighbor in the training."""
    folder, classes = REAL / "camvid", ("Pole", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist")
    names = [line.split()[1] for line in (folder / "classes.txt").read_text().splitlines()]
    values = [names.index(name) for name in classes]
    parts: tuple[list[Scene], list[Scene]] = ([], [])
    for film in ("0001TP", "Seq05VD"):
        files = sorted((folder / "test").glob(f"{film}*"))
        for number, file in enumerate(files):
            mask = folder / "testannot" / f"{file.stem}.png"
            scene = Scene(file.name, file, lambda mask=mask: of_index_mask(mask, values))  # type: ignore[misc]
            parts[number >= 0.65 * len(files)].append(scene)
    return Scenes(tuple(parts[0]), classes), Scenes(tuple(parts[1]), classes)


def bccd() -> tuple[Scenes, Scenes]:
    """The lists trainval and test of the dataset. Red blood cells are in nearly every picture."""
    folder, classes = REAL / "bccd" / "BCCD", ("Platelets", "RBC", "WBC")
    parts = []
    for split in ("trainval", "test"):
        scenes = []
        for stem in (folder / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
            file = folder / "Annotations" / f"{stem}.xml"
            regions = lambda file=file: of_boxes(file, classes)  # noqa: E731
            scenes.append(Scene(stem, folder / "JPEGImages" / f"{stem}.jpg", regions))
        parts.append(Scenes(tuple(scenes), classes))
    return parts[0], parts[1]


def coco() -> tuple[Scenes, Scenes]:
    """Classes of things in at least eight of the 200 pictures; every third picture is for the test."""
    folder = REAL / "more" / "coco_masks"
    table = pl.read_csv(folder / "labels.csv", infer_schema_length=0)
    things = [set((row or "").split(";")) for row in table["things"]]
    names = pl.read_csv(folder / "classes.csv")
    chosen = [(i, n) for i, n, thing in names.select("id", "name", "isthing").iter_rows() if thing]
    chosen = [(i, n) for i, n in chosen if sum(n in row for row in things) >= 8]
    values, classes = [i for i, _ in chosen], tuple(n for _, n in chosen)
    parts: tuple[list[Scene], list[Scene]] = ([], [])
    for number, name in enumerate(table["file"]):
        mask = folder / "masks" / f"{Path(name).stem}.png"
        regions = lambda mask=mask: of_index_mask(mask, values)  # noqa: E731
        parts[number % 3 == 2].append(Scene(name, folder / "images" / name, regions))
    return Scenes(tuple(parts[0]), classes), Scenes(tuple(parts[1]), classes)


DATA = {"camvid": camvid, "bccd": bccd, "coco": coco}


def explained(data: Scenes, device: str = "cpu", steps: int = 300) -> seewhy.Classifier:
    """MobileNetV2 with a sigmoid for each class; its last layer is fitted on the features of the training pictures."""
    network = timm.create_model("mobilenetv2_100", pad_type="same")
    network.load_state_dict(load_file(REAL / "weights" / "mobilenetv2_100.safetensors"))
    network.eval()
    features, labels = [], []
    with torch.no_grad():
        for start in range(0, len(data), 32):
            batch = data.batch(range(start, min(start + 32, len(data))))
            features.append(network.forward_head(network.forward_features(2 * batch.images - 1), pre_logits=True))
            labels.append(batch.labels)
    x, y = torch.cat(features), torch.cat([part for part in labels if part is not None])
    torch.manual_seed(0)
    network.reset_classifier(len(data.classes))
    optimizer = torch.optim.AdamW(network.classifier.parameters(), 3e-3, weight_decay=0.1)
    for _ in range(steps):
        loss = binary_cross_entropy_with_logits(network.classifier(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    half = (0.5, 0.5, 0.5)
    classifier = seewhy.Classifier(network.eval(), half, half, (SIDE, SIDE), data.classes, multilabel=True, crop=1.0)
    return on_device(classifier, device)


def says_how_good(classifier: seewhy.Classifier, data: Scenes) -> None:
    """For each class how often it is there, and how often the classifier is right."""
    batches = [data.batch(range(i, min(i + 32, len(data)))) for i in range(0, len(data), 32)]
    with torch.no_grad():
        predicted = torch.cat([(classifier.logits(classifier.to_device(batch.images)) > 0).cpu() for batch in batches])
    there = torch.cat([batch.labels for batch in batches if batch.labels is not None]) > 0
    for name, p, t in zip(data.classes, predicted.T, there.T, strict=True):
        print(f"{name}: in {t.float().mean():.0%} of {len(t)} test pictures, right in {(p == t).float().mean():.0%}")


def tables_2_and_4(
    name: str, classifier: seewhy.Classifier, methods: dict[str, Any], data: Scenes, folder: Path, limit: int
) -> None:
    """The merged masks of the present classes, beside masks that know nothing or all."""
    clipped = {"scale": "clipped"}  # merged maps are in [0, 1] already
    segments = {f"{kind}": metric(kind, **clipped) for kind in ("mask_accuracy", "mask_iou", "saliency_score", "mask_mae")}
    sanity = {f"{kind} of {use}": metric(kind, use=use) for kind in segments for use in REFERENCES}
    seen = {f: metric("masked_classification", figure=f, **clipped) for f in ("precision", "recall", "f_score")}
    whole = {f"{f} of the image": metric("masked_classification", figure=f, on="image") for f in seen}
    quiet = {f: metric("silence", figure=f) for f in ("silent", "speaking", "absent_area", "present_area")}
    decided = {"decided_share": metric("decided_share", **clipped)}
    wanted = {**segments, **sanity, **seen, **whole, **quiet, **decided}
    merged = seewhy.evaluate(classifier, methods, wanted, data, target="present", out=folder / "tables24", limit=limit)
    print(
        f"\nTables 2 and 4, {name}, {min(limit, len(data))} test pictures (intervals: seewhy report {folder / 'tables24'})\n"
    )
    table = merged.table()
    for label in (*segments, *seen, *quiet, *decided):
        print(f"{label:16}" + "".join(f"{method} {values[label]:.3f}   " for method, values in table.items()))
    first = next(iter(table.values()))
    for label in (*sanity, *whole):
        print(f"{label}: {first[label]:.3f}")


def measure(
    name: str, classifier: seewhy.Classifier, data: Scenes, folder: Path, rivals: list[str], limit: int, merged: bool
) -> None:
    """Tables 1, 2 and 4; and how silent and how decided the masks are. ``merged``: tables 2 and 4 too."""
    there = [method for method in LEARNED if (folder / method / "config.json").exists()]
    # the last layer of the network is fitted anew, and on another machine its weights differ by rounding
    trained = {method: seewhy.explainer(str(folder / method), classifier, any_weights=True) for method in there}
    methods = {**trained, **{rival: seewhy.explainer(rival, classifier, **RIVALS.get(rival, {})) for rival in rivals}}
    common: dict[str, Any] = {"limit": limit, "map_classes": data.classes}
    if merged:
        tables_2_and_4(name, classifier, methods, data, folder, limit)
    # masks that were trained are taken as they are; maps of another scale by min-max, as the paper takes them
    kinds = {"own": (trained, "clipped"), "min_max": ({rival: methods[rival] for rival in rivals}, "min_max")}
    runs = {
        kind: seewhy.evaluate(
            classifier, some, {kind: metric("class_masks", scale=scale)}, data, target="label", batch_size=AT_A_TIME,
            out=folder / f"table1-{kind}", **common,
        )
        for kind, (some, scale) in kinds.items() if some
    }  # fmt: skip
    for method in methods:
        kind = "own" if method in trained else "min_max"
        single = runs[kind]
        of_kind = pl.col("metric").str.starts_with(f"{kind}[")  # own[0], own[1], ... in this order
        lines = single.frame.filter((pl.col("explainer") == method) & of_kind)
        rows = lines.group_by("image_id", "scored", maintain_order=True).agg("value")
        scores, scored = torch.tensor(rows["value"].to_list()), torch.tensor(rows["scored"].to_list())
        print(f"\nTable 1, {method}: rows are target classes, columns the classes of the mask, the last column is no mask")
        for target, row in zip(data.classes, class_mask_table(scores, scored, torch.arange(len(data.classes))), strict=True):
            print(f"{target:12}" + "".join(f"{float(value):7.3f}" for value in row))
        print(f"right mask less wrong masks: {single.table()[method][kind]:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=DATA)
    parser.add_argument("--fit", nargs="+", default=[], choices=LEARNED, metavar="METHOD")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--baselines", nargs="*", default=["grad_cam", "rise"])
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--single", action="store_true", help="table 1 alone")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs") / "class_masks")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    train, test = DATA[given.data]()
    classifier = explained(train, given.device)
    says_how_good(classifier, test)
    folder = given.out / given.data
    for method in given.fit:
        settings = {"epochs": given.epochs, "learning_rate": 1e-2, "precision": "fp32"}
        made = {"options": OPTIONS.get(method, {}), "max_time": 60 * given.minutes, "threads": given.threads}
        seewhy.fit(method, classifier, train, folder / method, **made, **settings)
    if given.measure:
        measure(given.data, classifier, test, folder, given.baselines, given.limit, not given.single)


if __name__ == "__main__":
    main()
