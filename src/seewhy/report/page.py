"""The page of a report, and the files beside it."""

import json
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib import colormaps
from matplotlib.colors import to_hex

from seewhy.errors import SeewhyError
from seewhy.evaluation.run import Run, open_run
from seewhy.explanation import overlay
from seewhy.files import staged
from seewhy.report import prose
from seewhy.report.digits import place, printed, seconds
from seewhy.report.section import Section, section
from seewhy.report.tables import ARROWS, BETTER, MARKS, as_csv, as_latex, as_markdown, by_family, places, scores_csv


def write_report(runs: Sequence[str | Path], out: str | Path | None = None) -> list[Path]:
    """One page of finished runs, and its tables as Markdown, LaTeX and csv beside it; all of them or none.

    Args:
        runs: run folders, as ``seewhy evaluate --out`` writes them.
        out: the page, NAME.html; by default report.html in the first run folder.

    Returns:
        NAME.html, NAME.md, NAME.tex, NAME.csv (a line for each figure) and NAME.scores.csv (a line for each number).

    Raises:
        SeewhyError: a folder is no finished run, or is damaged; ``out`` cannot be written, or does not end in .html.
    """
    if not runs:
        raise SeewhyError("give at least one run folder: seewhy evaluate --out writes one")
    opened = [open_run(folder) for folder in runs]
    out = Path(out) if out is not None else opened[0].folder / "report.html"
    if out.suffix not in (".html", ".htm"):
        raise SeewhyError(f"cannot write a page to {out}: give a name that ends in .html")
    sections = [section(run, title, number) for number, (title, run) in enumerate(titled(opened), start=1)]
    titles = [(s.title, s.rankings) for s in sections]
    texts = {
        ".md": as_markdown(titles),
        ".tex": as_latex(titles),
        ".csv": as_csv(titles),
        ".scores.csv": scores_csv([(s.title, s.run) for s in sections]),
        ".html": page(sections, out.stem),
    }
    with staged(out.parent) as folder:
        for suffix, text in texts.items():
            (folder / f"{out.stem if suffix != '.html' else ''}{suffix if suffix != '.html' else out.name}").write_text(
                text, encoding="utf-8"
            )
    return [out, *(out.with_name(out.stem + suffix) for suffix in texts if suffix != ".html")]


def titled(runs: Sequence[Run]) -> list[tuple[str, Run]]:
    """Each run with a title: the name of its folder, and a number if several folders have this name."""
    names = [run.folder.resolve().name or "run" for run in runs]
    return [
        (f"{name} ({names[:i].count(name) + 1})" if names.count(name) > 1 else name, run)
        for i, (name, run) in enumerate(zip(names, runs, strict=True))
    ]


def page(sections: Sequence[Section], stem: str) -> str:
    """The page as text. Its words are in the templates and in ``prose``."""
    environment = Environment(
        loader=PackageLoader("seewhy.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        printed=printed,
        seconds=seconds,
        place=place,
        breakable=breakable,
        and_list=prose.and_list,
        places=places,
        lowest=lambda e: e.low if isfinite(e.low) else e.value,
        highest=lambda e: e.high if isfinite(e.high) else e.value,
    )
    ramps = {name: [to_hex(colormaps[name](i / 8)) for i in range(9)] for name in (overlay.SEQUENTIAL, overlay.DIVERGING)}
    return environment.get_template("page.html.j2").render(
        sections=sections,
        stem=stem,
        arrow=ARROWS,
        better=BETTER,
        mark=MARKS,
        by_family=by_family,
        questions=prose.QUESTIONS,
        class_name=prose.class_name,
        ramps=ramps,
        to_json=lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    )


def breakable(name: str) -> Markup:
    """A name in which a line may break after an underscore."""
    return Markup(str(escape(name)).replace("_", "_<wbr>"))
