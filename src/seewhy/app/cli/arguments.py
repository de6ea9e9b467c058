"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

ModelName = Annotated[
    str, typer.Option("--model", help="timm name, torchvision/NAME, hf/ID, shapes, package.module:factory.")
]
WeightsFile = Annotated[Path | None, typer.Option(help="File of weights: safetensors, or a pickle of tensors.")]
ClassNames = Annotated[str | None, typer.Option("--classes", help='"imagenet", or a text or csv file of class names.')]
Texts = Annotated[
    list[str] | None,
    typer.Option("--texts", help='Texts as classes: "a dog,a cat", a file, or in evaluate "dataset"; may be repeated.'),
]
Templates = Annotated[
    list[str] | None,
    typer.Option("--template", help='Sentence around each text, "a photo of a {}"; several are averaged.'),
]
ModelOptions = Annotated[
    list[str] | None,
    typer.Option("--model-option", help="key=value: mean, std, size, ..., or one of the architecture."),
]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps.")]
Explainers = Annotated[
    list[str] | None,
    typer.Option(help="NAME or NAME:key=value,..., or the FOLDER of a trained one; may be repeated; all for every one."),
]
RemovalName = Annotated[
    str | None,
    typer.Option(
        "--removal", help='What removed parts become: pixels of a baseline, "tokens" that are dropped, "mask_tokens".'
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no lines; errors still show.")]


def with_removal(options: dict[str, str], removal: str | None) -> dict[str, str]:
    """The options, and the removal if one is given."""
    return options if removal is None else {**options, "removal": removal}
