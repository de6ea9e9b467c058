"""Train the learned explainers that come with seewhy, on the built-in pictures, and store them in half precision.

    python tools/train_explainers.py --list
    python tools/train_explainers.py --only nemt_classes-cnn nn_explainer-cnn
    python tools/train_explainers.py --minutes 8 --threads 2

``salvage`` and ``vit_shapley`` learn from the surrogates that tools/train_surrogates.py has stored: run that first.

Each is trained by the ``seewhy fit`` command that ``--list`` prints, in a run folder below ``--runs``. A command that was
interrupted goes on. What is stored is measured on pictures of the other split: these figures go into its card.
"""

import argparse
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch

import seewhy
from seewhy.data.shapes.shapes import Shapes, Shortcut
from seewhy.explainers.learned.config import read_explainer_config

SHIPPED = Path(__file__).resolve().parents[1] / "src" / "seewhy" / "explainers" / "learned" / "shipped"
MODELS = {"cnn": "shapes", "vit": "shapes/vit", "shortcut": "shapes/cnn_shortcut", "multilabel": "shapes/cnn_multilabel"}
MOST_BYTES = 3_000_000
"""Of all explainers together."""
LICENSE = "apache-2.0"
TEST_SEED = 7
"""Of the pictures that are measured: not the first pictures of the test split, on which settings were tried."""


@dataclass(frozen=True)
class ShippedExplainer:
    """An explainer that comes with the package.

    preset    of ``seewhy fit``; empty for the defaults of the method
    options   of the method, beside those of the preset
    settings  of the training, beside those of the preset
    """

    method: str
    network: str
    preset: str = ""
    options: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.method}-{self.network}"

    def command(self, arguments: argparse.Namespace) -> list[str]:
        """The command that trains it."""
        shortcut = ["--data-option", "shortcut=correlated"] if self.network == "shortcut" else []
        options = [part for key, value in self.options.items() for part in ("--option", f"{key}={value}")]
        settings = [part for key, value in self.settings.items() for part in (f"--{key}", value)]
        return [
            *("seewhy", "fit", self.method, "--model", MODELS[self.network], "--data", "shapes"),
            *("--data-option", "split=train", *shortcut, "--limit", str(arguments.pictures), *options),
            *(("--preset", self.preset) if self.preset else ()),
            *(*settings, "--max-time", f"{arguments.minutes}m", "--threads", str(arguments.threads)),
            *("--device", arguments.device, "--out", str(arguments.runs / self.name)),
        ]


BLUR = {"baseline": "blur"}
"""A gray hole has the outline of the object, and the outline is the class: what is removed is blurred."""


def sparse(network: str) -> dict[str, str]:
    """The transformer hardly reacts where little is blurred: masks that start small vanish there."""
    return BLUR if network == "vit" else {**BLUR, "sparsity": "1", "start": "0.2"}


NETWORKS = ("cnn", "vit", "shortcut", "multilabel")
EXPLAINERS = [
    *(
        ShippedExplainer("nemt_classes", n, options={**sparse(n), "how": "heads"}, settings={"epochs": "6"})
        for n in NETWORKS
    ),
    *(ShippedExplainer("nemt", n, options=sparse(n), settings={"epochs": "6"}) for n in ("cnn", "vit", "shortcut")),
    *(
        ShippedExplainer("nem_u", n, options={**BLUR, "embedding": "logits"}, settings={"epochs": "5"})
        for n in ("cnn", "vit")
    ),
    *(ShippedExplainer("nn_explainer", n, "nn_explainer-shapes") for n in NETWORKS),
    *(
        ShippedExplainer("rtis", n, options={"architecture": "light"}, settings={"learning-rate": "0.01", "epochs": "4"})
        for n in ("cnn", "vit")
    ),
    *(ShippedExplainer("t_tame", n, options=BLUR, settings={"epochs": "4"}) for n in ("cnn", "vit")),
    *(
        ShippedExplainer(method, n, options={"surrogate": f"shapes/{n}_surrogate"}, settings={"epochs": "8"})
        for method, n in (("salvage", "vit"), ("vit_shapley", "vit"), ("salvage", "cnn"))
    ),
]


def shortcut_of(network: str) -> Shortcut:
    """The tag of the pictures on which a network was trained."""
    return "correlated" if network == "shortcut" else "none"


def figures(run: Path, one: ShippedExplainer, n: int) -> dict[str, float]:
    """What the explainer scores on ``n`` pictures of the test split, for the label of each."""
    classifier = seewhy.load(MODELS[one.network])
    data = Shapes(n, multilabel=classifier.multilabel, shortcut=shortcut_of(one.network), seed=TEST_SEED)
    explainer = seewhy.load_explainer(run, classifier)
    found = seewhy.evaluate(classifier, {one.name: explainer}, ["relevance_mass", "pointing_game"], data, target="label")
    return {f"{name}, {n} test pictures": round(value, 4) for name, value in found.table()[one.name].items()}


def store(run: Path, one: ShippedExplainer, n: int) -> None:
    """Copy the explainer of a run folder into the package, in half precision, with what it scores."""
    card = read_explainer_config(run).card
    card = {**card, "license": LICENSE, "scores": {**card.get("scores", {}), **figures(run, one, n)}}
    explainer = seewhy.load_explainer(run, seewhy.load(MODELS[one.network]))
    seewhy.save_explainer(explainer, SHIPPED / one.name, card, half=True)
    print(f"{one.name}: {card['scores']}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[one.name for one in EXPLAINERS], help="these alone")
    parser.add_argument("--list", action="store_true", help="print the commands and train nothing")
    parser.add_argument("--store-only", action="store_true", help="store what the run folders have; train nothing")
    parser.add_argument("--runs", type=Path, default=Path("build/explainers"), help="folder of the run folders")
    parser.add_argument("--pictures", type=int, default=4000, help="training pictures")
    parser.add_argument("--test-pictures", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=8, help="at most, for each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="of the trainings")
    arguments = parser.parse_args()
    wanted = [one for one in EXPLAINERS if not arguments.only or one.name in arguments.only]
    torch.set_num_threads(arguments.threads)
    for one in wanted:
        command = one.command(arguments)
        if arguments.list:
            print(shlex.join(command))
            continue
        if not arguments.store_only:
            program = [sys.executable, "-c", "from seewhy.app.cli.main import main; main()", *command[1:]]
            subprocess.run(program, check=True)
        store(arguments.runs / one.name, one, arguments.test_pictures)
    size = sum(file.stat().st_size for file in SHIPPED.rglob("*") if file.is_file())
    print(f"{size:,} bytes in {SHIPPED.name}, of at most {MOST_BYTES:,}")
    return 1 if size > MOST_BYTES else 0


if __name__ == "__main__":
    raise SystemExit(main())
