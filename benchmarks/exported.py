"""What prediction and explanation cost together, in torch and in onnxruntime, beside the bare network.

    python benchmarks/exported.py [--networks NAME ...] [--explainer NAME|FOLDER] [--target predicted|all] [--rounds 7]

NAME is that of seewhy.load, or of a timm network, which then has random weights, as a learned explainer without a folder:
they take as long as trained ones. In torch, cam runs the network twice: for the class, and for its map. One thread,
milliseconds of the processor for an image, the best of several rounds in which the contestants take turns. Prints a table in
Markdown.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnxruntime
import timm
import torch
from onnx.utils import Extractor
from tokens import best_of

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.explainers.learned.learned_explainer import LearnedExplainer


def network(name: str) -> Classifier:
    if name.startswith("shapes"):
        return seewhy.load(name)
    return Classifier(timm.create_model(name).eval())


def contestants(explainer: seewhy.Explainer, target: str, n: int, file: Path) -> dict[str, Callable[[], object]]:
    classifier: Classifier = explainer.classifier  # type: ignore[attr-defined]
    images = torch.rand(n, len(classifier.mean), *classifier.input_size)
    options, model = onnxruntime.SessionOptions(), onnx.load_model_from_string(file.read_bytes())
    options.intra_op_num_threads = 1
    alone = Extractor(model).extract_model(["images"], ["probabilities"])  # without what only the maps need
    bare, whole = (onnxruntime.InferenceSession(m.SerializeToString(), options) for m in (alone, model))
    given = {"images": images.numpy()}

    @torch.no_grad()
    def predict() -> torch.Tensor:
        with classifier.running():
            return classifier.probabilities(images)

    def both() -> torch.Tensor:
        if hasattr(explainer, "predict_and_explain"):
            every = torch.arange(classifier.n_classes).expand(n, -1)
            return explainer.predict_and_explain(images, every if target == "all" else None)[1]
        if target == "all":
            return explainer.explain_classes(images, torch.arange(classifier.n_classes))  # type: ignore[attr-defined]
        return explainer.explain(images, predict().argmax(1))

    return {
        "network, torch": predict,
        "with maps, torch": both,
        "network, onnxruntime": lambda: bare.run(None, given),
        "with maps, onnxruntime": lambda: whole.run(None, given),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--networks", nargs="*", default=["shapes/cnn", "mobilenetv2_100", "resnet50"])
    parser.add_argument("--explainer", default="cam")
    parser.add_argument("--target", default="predicted", choices=["predicted", "all"])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for row, name in enumerate(arguments.networks):
        explainer = seewhy.explainer(arguments.explainer, network(name))
        if isinstance(explainer, LearnedExplainer) and explainer.network is None:
            explainer = explainer.untrained()
        with TemporaryDirectory() as folder:
            file = seewhy.export(explainer, Path(folder) / "explained.onnx", arguments.target).file
            for n in (1, 8):
                best = best_of(contestants(explainer, arguments.target, n, file), arguments.rounds)
                if row == 0 and n == 1:
                    print("| network | images | " + " | ".join(best) + " |\n" + "|---" * (2 + len(best)) + "|")
                cells = " | ".join(f"{1000 * seconds / n:.2f}" for seconds in best.values())
                print(f"| {name} | {n} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
