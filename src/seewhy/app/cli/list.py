"""``seewhy list``: what the registries hold."""

import json
from typing import Annotated

import typer

from seewhy.app.cli.progress import print_table
from seewhy.app.cli.terminal import say
from seewhy.errors import SeewhyError
from seewhy.registry import did_you_mean

KINDS = ("explainers", "metrics", "models", "datasets", "presets")


def list_(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[explainers|metrics|models|datasets|presets] [WORD]...",
            help="What to list, everything by default; words leave those whose names have all of them.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List explainers, metrics, models, datasets, and presets of trainings: all, or those that a word names."""
    from seewhy.app import catalog

    first, *rest = words or [""]
    kind = next((kind for kind in KINDS if first.lower() in (kind, kind.removesuffix("s"))), None)
    kinds, wanted = ([kind], rest) if kind else (KINDS, words or [])
    entries = {k: catalog.found(k, wanted) if wanted else catalog.entries(k) for k in kinds}
    for line in (line for k in kinds if k in catalog.REGISTRIES for line in catalog.REGISTRIES[k].problems()):
        say(f"left out: {line}", err=True)
    if wanted and not any(entries.values()):
        asked = " ".join(wanted)[:100]
        hint = "" if kind else did_you_mean(asked, list(KINDS))
        hint = hint or next((near for k in kinds if (near := catalog.near(k, wanted))), "")
        raise SeewhyError(f"no {kind or 'name'} with {asked!r}.{hint} seewhy list {kind or ''}".rstrip() + " shows all")
    if as_json:
        typer.echo(json.dumps(entries, indent=2))
        return
    for name, rows in entries.items():
        if rows or not wanted:
            print_table(catalog.terminal_table(name, rows))
