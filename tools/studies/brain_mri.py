"""The brain-tumour VGG-16 of real_data/more, as a model of the command line, and its training pictures as a folder.

    python tools/studies/brain_mri.py --out FOLDER

unpacks the 5,443 training pictures into ``FOLDER/CLASS/*.jpg`` and writes ``FOLDER/held_out.csv``: the 448 test pictures
without those that are byte-equal to a training picture, with their tumour masks. Then, with tools/studies on PYTHONPATH,

    seewhy fit nemt --model brain_mri:network --data FOLDER --out RUN
    seewhy evaluate --model brain_mri:network --data FOLDER/held_out.csv --explainer RUN --metric relevance_mass

The folder of real data is that of the environment variable SEEWHY_REAL_DATA.
"""

import argparse
import csv
import os
import zipfile
from itertools import pairwise
from pathlib import Path

import torchvision
from safetensors.torch import load_file
from torch import nn

import seewhy

ROOT = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("SEEWHY_REAL_DATA", ROOT.parent / "shared" / "real_data"))
MRI = REAL / "more" / "brain_mri"
CLASSES = ("glioma", "meningioma", "notumor", "pituitary")


def network() -> seewhy.Classifier:
    """The VGG-16 of four classes: pictures of 240 x 240 in [0, 1], without mean and standard deviation."""
    module = torchvision.models.vgg16(num_classes=len(CLASSES))
    layers: list[nn.Module] = []
    for before, after in pairwise((25088, 64, 128, 256, len(CLASSES))):
        layers += [nn.Linear(before, after), nn.ReLU()]
    module.classifier = nn.Sequential(*layers[:-1])
    weights = load_file(REAL / "more" / "weights" / "vgg16_brain_mri.safetensors")
    module.load_state_dict({name: weight.float() for name, weight in weights.items()})
    view = {"input_size": (240, 240), "crop": 1.0, "crop_mode": "squash", "interpolation": "bicubic"}
    return seewhy.Classifier(module.eval(), (0.0,) * 3, (1.0,) * 3, classes=CLASSES, **view)


def unpack(out: Path) -> tuple[int, int]:
    """The training pictures, and the list of the held-out ones; how many there are of each."""
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(MRI / "train.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        archive.extractall(out, names)
    with (MRI / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["in_train"] == "0"]
    with (out / "held_out.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "class", "mask"])
        for row in rows:
            mask = MRI / row["mask"] if row["mask"] else ""
            writer.writerow([MRI / "images" / row["file"], row["class"], mask])
    return len(names), len(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    train, held_out = unpack(parser.parse_args().out)
    print(f"{train} training pictures, {held_out} held out")
