"""``seewhy list``: what the registries hold."""

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from seewhy.app import catalog

if TYPE_CHECKING:
    pass

from seewhy.app.cli.progress import print_table


class Kind(StrEnum):
    """What ``seewhy list`` lists."""

    explainers = "explainers"
    metrics = "metrics"
    models = "models"
    datasets = "datasets"


def list_(
    kind: Annotated[Kind | None, typer.Argument(help="What to list; everything by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List explainers, metrics, models and datasets."""
    entries = {k.value: catalog.entries(k.value) for k in ([kind] if kind else Kind)}
    if as_json:
        typer.echo(json.dumps(entries, indent=2))
        return
    for name, rows in entries.items():
        print_table(catalog.table(name, rows))
