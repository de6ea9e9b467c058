"""The page of a report, and the files beside it."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib import colormaps
from matplotlib.colors import to_hex

from seewhy.errors import SeewhyError
from seewhy.evaluation.run import Run, open_run
from seewhy.explanation import overlay
from seewhy.files import staged, write_text
from seewhy.report import prose, tables
from seewhy.report.digits import place, printed, seconds
from seewhy.report.section import Section, section
from seewhy.report.together import Together, check_same_images, together
from seewhy.text import printable


def write_report(runs: Sequence[str | Path], out: str | Path | None = None) -> list[Path]:
    """One page of finished runs, and its tables as Markdown, LaTeX and csv beside it; all of them or none.

    Several runs, such as those of two networks, share a leaderboard. They have to be of the same images, and of the same
    class explained and scored.

    Args:
        runs: run folders, as ``seewhy evaluate --out`` writes them.
        out: the page, NAME.html; by default report.html in the first run folder.

    Returns:
        NAME.html, NAME.md, NAME.tex, NAME.csv (a line for each figure) and NAME.scores.csv (a line for each number).

    Raises:
        SeewhyError: a folder is no finished run, or is damaged; two runs are not of the same images; ``out`` cannot be
            written, or does not end in .html.
    """
    if not runs:
        raise SeewhyError("give at least one run folder: seewhy evaluate --out writes one")
    opened = [open_run(folder) for folder in runs]
    out = Path(out) if out is not None else opened[0].folder / "report.html"
    if out.suffix not in (".html", ".htm"):
        raise SeewhyError(f"cannot write a page to {out}: give a name that ends in .html")
    check_same_images(opened)
    sections = [section(run, title, number) for number, (title, run) in enumerate(titled(opened), start=1)]
    common = together(sections) if len(sections) > 1 else None
    titles = [(s.title, s.rankings) for s in sections]
    texts = {
        out.name: page(sections, common, out.stem),
        f"{out.stem}.md": tables.as_markdown(titles, conclusions(sections, common)),
        f"{out.stem}.tex": tables.as_latex(titles),
        f"{out.stem}.csv": tables.as_csv(titles),
        f"{out.stem}.scores.csv": tables.scores_csv([(s.title, s.run) for s in sections]),
    }
    with staged(out.parent) as folder:
        for name, text in texts.items():
            write_text(folder / name, text)
    return [out.with_name(name) for name in texts]


def titled(runs: Sequence[Run]) -> list[tuple[str, Run]]:
    """Each run with a title: the name of its folder, and a number if several folders have this name."""
    names = [run.folder.resolve().name or "run" for run in runs]
    return [
        (f"{name} ({names[:i].count(name) + 1})" if names.count(name) > 1 else name, run)
        for i, (name, run) in enumerate(zip(names, runs, strict=True))
    ]


def conclusions(sections: Sequence[Section], common: Together | None) -> list[str]:
    """What the runs say together, and what each of them says."""
    each = [
        " ".join([f"{s.title}:" if common else "", v.conclusion, f"How sure: {v.sure}.", *v.reasons, *v.advice]).strip()
        for s, v in ((s, s.verdict) for s in sections)
    ]
    return [*([common.conclusion] if common else []), *each]


def page(sections: Sequence[Section], common: Together | None, stem: str) -> str:
    """The page as text. Its words are in the templates, in ``prose`` and in ``verdict``."""
    environment = templates("seewhy.report")
    environment.filters.update(
        printed=printed,
        seconds=seconds,
        place=place,
        breakable=breakable,
        and_list=prose.and_list,
        named=named,
    )
    return environment.get_template("page.html.j2").render(
        sections=sections,
        common=common,
        stem=stem,
        prose=prose,
        tables=tables,
        to_json=lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    )


def templates(package: str) -> Environment:
    """The templates of a package, which escape all values. ``ramps``: the colors of maps by the name of a color scale."""
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scales = overlay.SEQUENTIAL, overlay.DIVERGING
    environment.globals["ramps"] = {name: [to_hex(colormaps[name](i / 8)) for i in range(9)] for name in scales}
    return environment


def breakable(name: str) -> Markup:
    """A name in which a line may break after an underscore, and between its options."""
    return Markup("<wbr>".join(str(escape(part)) for part in re.split(r"(?<=[_:,=])", printable(name))))


def named(text: str, names: Iterable[str]) -> Markup:
    """A text in which these names are bold."""
    shown = escape(printable(text))
    found = sorted((str(escape(printable(name))) for name in names if name), key=len, reverse=True)
    pattern = "|".join(re.escape(name) for name in found)
    return Markup(re.sub(rf"(?<![\w&])(?:{pattern})(?!\w)", r"<b>\g<0></b>", str(shown))) if found else Markup(shown)


def _printable(value: object) -> object:
    """A value of a template: of text, nothing but the ends of lines steers."""
    return printable(value, keep="\n\t") if type(value) is str else value
