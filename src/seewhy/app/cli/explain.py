"""``seewhy explain``: pictures in, overlays and maps out."""

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seewhy.app.choose import choose, without_network
from seewhy.app.cli.arguments import (
    ClassNames,
    Device,
    Explainers,
    ModelOptions,
    Quiet,
    RemovalName,
    Templates,
    Texts,
    WeightsFile,
    with_removal,
)
from seewhy.app.cli.network import load_network
from seewhy.app.cli.progress import progress_bar
from seewhy.app.cli.stop import going_on_in
from seewhy.app.cli.terminal import say
from seewhy.errors import SeewhyError
from seewhy.options import pairs

if TYPE_CHECKING:
    from seewhy.explainers import Explainer
    from seewhy.explanation.expected import ClassContrast
    from seewhy.explanation.explanation import Explanation


def explain(
    images: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="timm name, torchvision/NAME, hf/ID, shapes, package.module:factory. Not needed for the --explainer FOLDER "
            "of one with a network of its own.",
        ),
    ] = None,
    weights: WeightsFile = None,
    classes: ClassNames = None,
    model_option: ModelOptions = None,
    texts: Texts = None,
    template: Templates = None,
    similar_to: Annotated[
        list[Path] | None,
        typer.Option("--similar-to", help="Explain the similarity to this picture, and no class; may be repeated."),
    ] = None,
    explainer: Explainers = None,
    option: Annotated[list[str] | None, typer.Option(help="key=value: an option of the methods that have it.")] = None,
    removal: RemovalName = None,
    surrogate: Annotated[
        str | None,
        typer.Option(
            help="FOLDER of seewhy fit surrogate: what methods ask when they remove parts, in place of the network."
        ),
    ] = None,
    target: Annotated[
        str, typer.Option(help="Class: index, name, several with commas, top:K, all, predicted.")
    ] = "predicted",
    expected: Annotated[
        str | None,
        typer.Option(help="Class that you expected: compares its map with that of the predicted class."),
    ] = None,
    white: Annotated[
        float | None, typer.Option(help="Value that is white in pictures of more than 8 bits, such as 4095; not of DICOM.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures, maps and manifest.")] = Path("explanations"),
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Explain pictures: writes NAME.EXPLAINER.CLASS.png and .npy, a sheet of several, and manifest.json."""
    from seewhy.classifier.identity import about_classifier, in_lines
    from seewhy.classifier.outputs import OutputsWarning
    from seewhy.explainers.describe import about_explainers, layer_of
    from seewhy.explanation.expected import comparable
    from seewhy.explanation.files import explain_each, find_pictures, read_pictures, write
    from seewhy.explanation.resume import resumable
    from seewhy.masking.surrogate import load_surrogate

    warnings.simplefilter("ignore", OutputsWarning)  # a line says it
    files = find_pictures(images)
    options = with_removal(pairs(option or []), removal)
    of_network = {"weights": weights, "classes": classes, "model-option": model_option, "texts": texts, "template": template}
    of_network["surrogate"] = surrogate
    if model is None:
        if given := [name for name, value in {**of_network, "similar-to": similar_to}.items() if value]:
            raise SeewhyError(f"--{given[0]} is of a network: give --model")
        methods, classifier = without_network(explainer or [], options)
        left_out: list[str] = []
    else:
        classifier = load_network(
            model, weights, classes, model_option, device, texts=texts, template=template, similar_to=similar_to
        )
    pictures = read_pictures(files, classifier, white)
    if model is not None:
        value = None if surrogate is None else load_surrogate(surrogate, classifier)
        methods, left_out = choose(explainer or ["grad_cam"], classifier, options, value)
    shown = methods
    if expected is not None:
        shown, reason = comparable(methods, classifier, expected, target)
        left_out += [reason] if reason else []
    for reason in left_out:
        not_shown(reason)
    details: dict[str, object] = {
        **{"command": sys.argv[1:], "model": model, "weights": str(weights) if weights else None, "target": target},
        **({} if expected is None else {"expected": expected}),
        "white": white,
        "explainers": about_explainers(methods, classifier),
        "classifier": {},
    }

    def explained(kept: "Mapping[str, Explainer]") -> "Iterator[Sequence[Explanation] | Sequence[ClassContrast]]":
        with progress_bar(quiet) as progress:
            tracked = progress.track(pictures, description="explaining")
            for seen, done in explain_each(tracked, classifier, kept, target, expected, not_shown):
                if (
                    model is not None and not details["classifier"]
                ):  # a network that fails has failed with its own message by now
                    about = about_classifier(classifier, layer_of(classifier, methods))
                    details["classifier"] = about
                    for line in () if quiet else in_lines(about):
                        say(line)
                if not quiet:
                    for e in done:
                        said = (e.caption, e.explainer) if expected is None else (e.explainer, e.caption)
                        say(f"{seen.file}: {', '.join(said)}")
                yield done

    kept_maps = resumable(out, classifier, shown) if model is not None else nullcontext(shown)
    with going_on_in(out), kept_maps as kept:
        written = write(out, explained(kept), details)
    if not quiet:
        say(f"{len(written)} files in {out}")


def not_shown(reason: str) -> None:
    """Say why a picture or a method is left out."""
    say(f"left out: {reason}", err=True)
