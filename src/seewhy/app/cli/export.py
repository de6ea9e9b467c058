"""``seewhy export``: a network and an explainer in, one ONNX file out."""

from pathlib import Path
from typing import Annotated

import typer

from seewhy.app.choose import choose
from seewhy.app.cli.arguments import ClassNames, ModelName, ModelOptions, Quiet, WeightsFile
from seewhy.app.cli.network import load_network
from seewhy.app.cli.terminal import say
from seewhy.errors import SeewhyError
from seewhy.options import pairs


def export(
    explainer: Annotated[str, typer.Argument(help="cam, a learned explainer, or the folder of one: NAME:key=value,...")],
    model: ModelName,
    out: Annotated[Path, typer.Option(help="The file, FILE.onnx.")],
    weights: WeightsFile = None,
    classes: ClassNames = None,
    model_option: ModelOptions = None,
    option: Annotated[list[str] | None, typer.Option(help="key=value: an option of the method.")] = None,
    target: Annotated[
        str, typer.Option(help="Classes of the maps: all, predicted, or index and name, several with commas.")
    ] = "all",
    any_size: Annotated[bool, typer.Option("--any-size", help="For images of any height and width.")] = False,
    batch: Annotated[int | None, typer.Option(min=1, help="For so many images at a time; any number by default.")] = None,
    quiet: Quiet = False,
) -> None:
    """Write one ONNX file that answers with probabilities and maps, and needs no torch."""
    from seewhy.explanation.export import export as write
    from seewhy.explanation.export import must_have_onnx

    must_have_onnx()
    classifier = load_network(model, weights, classes, model_option, "cpu")
    methods, _ = choose([explainer], classifier, pairs(option or []))
    if len(methods) != 1:
        raise SeewhyError("one file has one explainer: name it")
    written = write(*methods.values(), out, target, any_size=any_size, batch=batch)
    if not quiet:
        say(written)
