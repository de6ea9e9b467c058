"""The ablations of NEMt's appendix, and of what its authors leave open: each is one command.

    python tools/studies/nemt_ablations.py sparsity --out FOLDER [--model M] [--weights W] [--data D] [--held-out D]

The studies: "sparsity" (table A.1), "neighborhood" (A.2), "filter" (A.3), "filter_nem_u" (the filter for NEM-U), "form" (the
sound and the released form, a drop and any change), and "classes" (a conditional decoder and a head for each class beside
``nemt``). Each setting is trained on the same images with the same seed, in a folder of its
own, where the same command goes on. Prints a table in Markdown: the means over the held-out images with a 95 % interval of
the bootstrap over the images, and the paper's numbers, which are of another network and data.

The default is the network of `shapes`, on 3,000 of its training pictures. Other data are folders:

    python tools/studies/nemt_ablations.py sparsity --out FOLDER --model mobilenetv2_100 --weights FILE --classes imagenet \
        --model-option mean=0.5 --model-option std=0.5 --model-option pad_type=same \
        --data real_data/imagenet_sample/images --held-out real_data/imagenet_val_boxes
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

import seewhy
from seewhy.classifier.load import on_device
from seewhy.explainers import EXPLAINERS
from seewhy.options import from_text, pairs

METRICS = ("faithfulness_estimate", "relevance_mass", "relevance_rank", "complexity", "sparseness")
DRAWS = 2000


class Setting(NamedTuple):
    """What is trained: the method, its options, and the faithfulness that the paper reports for it."""

    method: str
    options: dict[str, object]
    published: float | None = None


STUDIES: dict[str, list[Setting]] = {
    "sparsity": [
        Setting("nemt", {"sparsity": value}, published)
        for value, published in ((1.0, 0.219), (0.66, 0.414), (0.5, 0.420), (0.4, 0.426), (0.33, 0.010))
    ],
    "neighborhood": [
        Setting("nemt", {"neighborhood": value}, published)
        for value, published in ((14, 0.445), (17, 0.448), (21, 0.420), (24, 0.429), (28, 0.194))
    ],
    "filter": [Setting("nemt", {"neighborhood": 21}, 0.298), Setting("nemt", {"neighborhood": 0}, -0.001)],
    "filter_nem_u": [Setting("nem_u", {"neighborhood": value}) for value in (0, 21)],
    "form": [
        Setting("nemt", {}),
        Setting("nemt", {"direction": "any"}),
        Setting("nemt", {"form": "released"}),
        Setting("nemt", {"form": "released", "border": "circular"}),
        Setting("nemt", {"gain": 1.0, "start": 0.5}),
    ],
    "classes": [
        Setting("nemt", {}),
        Setting("nemt_classes", {"how": "conditional"}),
        Setting("nemt_classes", {"how": "heads"}),
    ],
}


def interval(values: np.ndarray) -> str:
    """The mean of the images, and a 95 % interval of the bootstrap over them."""
    generator = np.random.default_rng(0)
    means = values[generator.integers(len(values), size=(DRAWS, len(values)))].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=list(STUDIES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="shapes")
    parser.add_argument("--weights")
    parser.add_argument("--classes")
    parser.add_argument("--model-option", action="append", default=[])
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--held-out", default="shapes")
    parser.add_argument("--images", type=int, default=100, help="of the held-out ones")
    parser.add_argument("--train", type=int, default=3000, help="images to train on, at most")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--option", action="append", default=[], help="key=value for every setting, such as baseline=blur")
    asked = parser.parse_args()
    given = {"weights": asked.weights, "classes": asked.classes, "options": pairs(asked.model_option)}
    classifier = seewhy.load(asked.model, **{name: value for name, value in given.items() if value})
    classifier = on_device(classifier, asked.device)
    split = {"split": "train"} if asked.data == "shapes" else {}
    training = seewhy.dataset(asked.data, classifier, asked.train, split)
    held_out = seewhy.dataset(asked.held_out, classifier, asked.images)
    made = {}
    for setting in STUDIES[asked.study]:
        label = ", ".join([setting.method, *(f"{key}={value}" for key, value in setting.options.items())])
        folder = asked.out / label.replace(", ", "-").replace("=", "_")
        options = {**from_text(EXPLAINERS[setting.method], pairs(asked.option)), **setting.options}
        learned = seewhy.fit(
            setting.method, classifier, training, folder, options=options, epochs=asked.epochs, precision=asked.precision
        )
        made[label] = (setting, learned)
        print(f"trained: {label}", flush=True)
    explainers = {label: learned for label, (_, learned) in made.items()}
    run = seewhy.evaluate(classifier, explainers, METRICS, held_out, target="predicted")
    print(f"\n{asked.study}, {len(held_out)} held-out images of {asked.held_out}, {asked.model}:\n")
    print("| setting | faithfulness in the paper | " + " | ".join(METRICS) + " |")
    print("|---" * (2 + len(METRICS)) + "|")
    for label, (setting, _) in made.items():
        scores = [interval(np.asarray(run.scores(label, metric))) for metric in METRICS]
        print(f"| {label} | {'' if setting.published is None else setting.published} | {' | '.join(scores)} |")


if __name__ == "__main__":
    main()
