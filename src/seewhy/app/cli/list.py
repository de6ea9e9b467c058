"""``seewhy list``: what the registries hold."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from seewhy.app.cli.progress import print_table
from seewhy.app.cli.terminal import say

Kind = StrEnum("Kind", ["explainers", "metrics", "models", "datasets", "presets"])


def list_(
    kind: Annotated[Kind | None, typer.Argument(help="What to list; everything by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List explainers, metrics, models, datasets, and presets of trainings."""
    from seewhy.app import catalog

    kinds = [k.value for k in ([kind] if kind else Kind)]
    entries = {k: catalog.entries(k) for k in kinds}
    for line in (line for k in kinds if k in catalog.REGISTRIES for line in catalog.REGISTRIES[k].problems()):
        say(f"left out: {line}", err=True)
    if as_json:
        typer.echo(json.dumps(entries, indent=2))
        return
    for name, rows in entries.items():
        print_table(catalog.terminal_table(name, rows))
