"""Train the surrogates of the built-in networks on the built-in pictures, and store their weights in half precision.

    python tools/train_surrogates.py --list
    python tools/train_surrogates.py --only vit --minutes 4 --threads 2
    python tools/train_surrogates.py --device cuda

Each is trained by the ``seewhy fit surrogate`` command that ``--list`` prints, in a run folder below ``--runs``. A command
that was interrupted goes on. What is stored is measured on pictures of the test split: figures go into the file. A stored
surrogate is the network "shapes/NAME_surrogate" from then on.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.data.shapes.shapes import Shapes
from seewhy.masking.coalitions import sets_of_sizes
from seewhy.masking.surrogate import Surrogate, load_surrogate
from seewhy.training.surrogate import divergence

WEIGHTS = Path(__file__).resolve().parents[1] / "src" / "seewhy" / "classifier" / "weights"
RECIPES = {
    "vit": {"learning-rate": "3e-4", "epochs": "16"},
    "cnn": {"learning-rate": "1e-3", "epochs": "24"},
}
"""Settings of each, beside those below."""
SETTINGS = {"batch-size": "64", "schedule": "cosine", "warmup-steps": "50", "clip": "1"}
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the patches that are kept, where a surrogate is measured."""


def command(name: str, arguments: argparse.Namespace) -> list[str]:
    """The command that trains it."""
    settings = [part for key, value in {**SETTINGS, **RECIPES[name]}.items() for part in (f"--{key}", value)]
    return [
        *("seewhy", "fit", "surrogate", "--model", f"shapes/{name}", "--data", "shapes", "--data-option", "split=train"),
        *("--limit", str(arguments.pictures), *settings, "--max-time", f"{arguments.minutes}m"),
        *("--threads", str(arguments.threads), "--device", arguments.device, "--out", str(arguments.runs / name)),
    ]


def figures(explained: Classifier, surrogate: Surrogate, n: int) -> dict[str, float]:
    """Accuracy, and divergence from the prediction of the whole picture, on ``n`` test pictures and parts of them."""
    data = Shapes(n)
    found: dict[str, float] = {}
    names = {"surrogate": surrogate, "network": Surrogate(explained, surrogate.removal, surrogate.baseline, surrogate.size)}
    for share in SHARES:
        generator = torch.Generator().manual_seed(0)
        logits: dict[str, list[torch.Tensor]] = {"whole": [], **{name: [] for name in names}}
        labels = []
        for start in range(0, n, 50):
            batch = data.batch(range(start, min(start + 50, n)))
            players = surrogate.players(batch.images)
            kept = sets_of_sizes(torch.full((len(batch.images),), round(share * players.p)), players.p, generator)
            rows = torch.arange(len(kept))
            logits["whole"].append(explained.logits(batch.images).detach())
            for name, value in names.items():
                logits[name].append(value(batch.images, players)(rows, kept))
            labels.append(batch.labels)
        target, label = torch.cat(logits["whole"]), torch.cat([one for one in labels if one is not None])
        for name in names:
            got = torch.cat(logits[name])
            about = f"{name}, {share:.0%} of the patches"
            found[f"accuracy of the {about}"] = round(float((got.argmax(1) == label).double().mean()), 4)
            found[f"divergence of the {about}"] = round(float(divergence(target, got)), 4)
    return found


def store(name: str, arguments: argparse.Namespace) -> None:
    """Copy the surrogate of a run folder into the package, in half precision, with what it scores."""
    explained = seewhy.load(f"shapes/{name}")
    surrogate = load_surrogate(arguments.runs / name, explained)
    module = surrogate.classifier.module
    stored = {key: (t.half() if t.is_floating_point() else t).contiguous() for key, t in module.state_dict().items()}
    module.load_state_dict(stored)  # what is measured is what is stored
    measured = figures(explained, surrogate, arguments.test_pictures)
    print(name, json.dumps(measured, indent=2), flush=True)
    about = {"network": type(module).__name__, "classes": ",".join(Shapes.classes), "surrogate_of": f"shapes_{name}"}
    save_file(
        stored, WEIGHTS / f"shapes_{name}_surrogate.safetensors", {**about, **{k: str(v) for k, v in measured.items()}}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(RECIPES), default=list(RECIPES), help="these alone")
    parser.add_argument("--list", action="store_true", help="print the commands and train nothing")
    parser.add_argument("--store-only", action="store_true", help="store what the run folders have; train nothing")
    parser.add_argument("--runs", type=Path, default=Path("build/surrogates"), help="folder of the run folders")
    parser.add_argument("--pictures", type=int, default=4000, help="training pictures")
    parser.add_argument("--test-pictures", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=8, help="at most, for each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.only:
        words = command(name, arguments)
        if arguments.list:
            print(shlex.join(words))
            continue
        if not arguments.store_only:
            subprocess.run([sys.executable, "-c", "from seewhy.app.cli.main import main; main()", *words[1:]], check=True)
        store(name, arguments)


if __name__ == "__main__":
    main()
