"""The README, the documentation and the command line say the same, and what they show runs."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import bibliography
import explainer_pages
import metric_pages
import metric_pictures
import navigation
import pages
import pytest
import readme
import typer
from support.guides import blocks, lines
from support.tiny_models import CHEAP, TINY, is_defined
from support.tiny_models import ready_explainer as explainer
from torch import Tensor

from seewhy import EXPLAINERS
from seewhy.app.cli import main
from seewhy.metrics import METRICS
from seewhy.options import described

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SKILL.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def fences(page: Path, language: str) -> list[str]:
    """Blocks of one language, also those that no test runs (``tests/house/test_guides.py`` runs the others)."""
    return [block.code for block in blocks(page) if block.language == language and not block.title]


def test_the_readme_has_an_example_of_ten_lines() -> None:
    (code,) = fences(ROOT / "README.md", "python")
    assert 8 <= len([line for line in code.splitlines() if line.strip()]) <= 10


# -- the registry and what is written of it -----------------------------------------------------------------------------


def test_the_method_table_is_current() -> None:
    assert readme.updated(README) == README, "run python tools/docs/readme.py"


def test_a_stale_table_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = tmp_path / "README.md"
    stale.write_text(re.sub(r"^\| `grad_cam` .*\n", "", README, flags=re.MULTILINE), encoding="utf-8")
    monkeypatch.setattr(readme, "README", stale)
    monkeypatch.setattr("sys.argv", ["readme.py", "--check"])
    assert readme.main() == 1
    monkeypatch.setattr("sys.argv", ["readme.py"])
    assert readme.main() == 0
    assert stale.read_text(encoding="utf-8") == README


@pytest.mark.parametrize("name", list(EXPLAINERS))
def test_the_signs_in_the_table_are_true(name: str, batch: tuple[Tensor, Tensor]) -> None:
    """What is called signed has negative values on some network; what is not has none, or says why it may."""
    defined = [model for model in TINY if is_defined(name, model)]
    lowest = min(float(explainer(name, TINY[model](), **CHEAP.get(name, {})).explain(*batch).min()) for model in defined)
    assert (lowest < 0) == readme.is_signed(name)


@pytest.mark.parametrize("name", list(EXPLAINERS))
def test_every_paper_is_in_the_bibliography(name: str) -> None:
    paper = EXPLAINERS[name].paper
    assert paper in bibliography.read() if paper else EXPLAINERS[name].family == "reference"


@pytest.mark.parametrize("name", list(METRICS))
def test_every_metric_has_its_page_its_picture_and_its_paper(name: str) -> None:
    """All parts of the docstring, every option, and a drawing of its own or the bars of the costs."""
    paper = METRICS[name].paper
    assert not paper or paper in bibliography.read()
    page = metric_pages.page(name)
    for part in (
        "$$",
        "## What it rewards",
        "## How it can be fooled",
        "## Where it is defined",
        "## Source",
        f"({name}.webp)",
    ):
        assert part in page or (part == "$$" and METRICS[name].family == "cost")
    assert set(metric_pages.prose(name)) >= {"", "Rewards", "Fooled by", "Defined", "Source"}
    for option in described(METRICS[name]):
        assert f"| `{option.name}` | " in page
    assert f"[`{name}`]({name}.md)" in metric_pages.index()
    assert name in metric_pictures.DRAWN or METRICS[name].family == "cost"


def test_a_metrics_picture_is_drawn() -> None:
    assert metric_pictures.picture("relevance_rank")[8:12] == b"WEBP"


def test_every_entry_of_the_bibliography_is_complete() -> None:
    entries = bibliography.read()
    assert len(entries) == (ROOT / "docs" / "bibliography.bib").read_text(encoding="utf-8").count("\n@")
    for key, entry in entries.items():
        assert {"author", "title", "year"} <= set(entry.fields), key
        assert {"booktitle", "journal"} & set(entry.fields), key
        assert entry.url.startswith("https://")


def test_the_design_names_every_module() -> None:
    design = (ROOT / "docs" / "explanation" / "design.md").read_text(encoding="utf-8")
    for file in (ROOT / "src" / "seewhy").glob("*.py"):
        assert f"  {file.name} " in design, f"{file.name} is missing in the tree of docs/explanation/design.md"


@pytest.mark.parametrize("name", list(EXPLAINERS))
def test_every_method_is_told_of(name: str) -> None:
    """By hand on the page of methods or of transformers, and in the reference, which is made from the registry."""
    pages_by_hand = [ROOT / "docs" / "explanation" / page for page in ("methods.md", "transformers.md", "learned.md")]
    methods = "".join(page.read_text(encoding="utf-8") for page in pages_by_hand)
    assert f"`{name}`" in methods or f"**{name}**" in methods
    assert f"[`{name}`]({name}.md)" in explainer_pages.index()
    assert f"[`{name}`]({name}.md)" in explainer_pages.gallery()
    section = explainer_pages.page(name)
    assert f"::: {EXPLAINERS[name].__module__}.{EXPLAINERS[name].__name__}" in section
    assert f"$${explainer_pages.formulas()[name]}$$" in section
    assert (explainer_pages.IMAGES / f"{name}.webp").read_bytes()[8:12] == b"WEBP"
    assert float(explainer_pages.pictured()[name]["forward_equivalents"]) >= 0
    for option in described(EXPLAINERS[name]):
        assert f"| `{option.name}` | " in section
        assert option.text.strip(), f"{name}.{option.name} has no description, neither at its type nor in Args"


def test_the_pages_are_written_alike_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of docs/ and all generated pages, for any generator; what was in the folder before is gone."""
    monkeypatch.setattr(pages, "picture", lambda name: name.encode())  # drawing takes minutes
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    written = []
    for _ in range(2):
        (tmp_path / "docs").mkdir(exist_ok=True)
        (tmp_path / "docs" / "stale.md").touch()
        pages.write(tmp_path / "docs")
        files = [file for file in sorted((tmp_path / "docs").rglob("*")) if file.is_file()]
        written.append({str(file.relative_to(tmp_path / "docs")): file.read_bytes() for file in files})
    assert written[0] == written[1]
    by_hand = {str(file.relative_to(ROOT / "docs")) for file in (ROOT / "docs").rglob("*.md")}
    assert by_hand | set(pages.PAGES) <= set(written[0])
    assert "stale.md" not in written[0]


def test_the_navigation_names_every_page() -> None:
    """But the pages of explainers and metrics, which their overviews list: a hook puts them there."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    by_hand = {str(file.relative_to(ROOT / "docs")) for file in (ROOT / "docs").rglob("*.md")}
    folders = ("reference/metrics/", "reference/explainers/")
    for path in by_hand | {page for page in pages.PAGES if not page.startswith(folders) or page.endswith("index.md")}:
        assert re.search(rf"(: |- ){re.escape(path)}$", nav, flags=re.MULTILINE), f"{path} is not in the nav of mkdocs.yml"


def test_the_hook_lists_every_explainer_and_every_metric(tmp_path: Path) -> None:
    for file, page in (("explainers", explainer_pages.index()), ("metrics", metric_pages.index())):
        (tmp_path / "reference" / file).mkdir(parents=True)
        (tmp_path / "reference" / file / "index.md").write_text(page, encoding="utf-8")
    nav = navigation.expanded([{"Reference": [{"E": navigation.OVERVIEWS[0]}, {"M": navigation.OVERVIEWS[1]}]}], tmp_path)
    for names, (made,) in zip((EXPLAINERS, METRICS), [entry.values() for entry in nav[0]["Reference"]], strict=True):
        listed = [name for family in made[1:] for entries in family.values() for entry in entries for name in entry]
        assert sorted(listed) == sorted(names)


def test_llms_txt_names_every_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "picture", lambda name: b"")
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    pages.write(tmp_path)
    text = (tmp_path / "llms.txt").read_text(encoding="utf-8")
    assert text.startswith("# seewhy\n\n> ")
    linked = re.findall(r"^- \[[^]]+\]\(([^)]+)\.html\)", text, flags=re.MULTILINE)
    assert len(linked) == len(set(linked))
    assert {file.relative_to(tmp_path).with_suffix("").as_posix() for file in tmp_path.rglob("*.md")} == {*linked, "index"}


def test_the_skill_names_what_exists() -> None:
    text = (ROOT / "SKILL.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 100
    for path in re.findall(r"`(docs/[\w/.-]+)`", text):
        assert (ROOT / path).exists(), path


def test_long_commands_are_broken_over_lines() -> None:
    """So that they can be read without scrolling, on a phone too."""
    for page in PAGES:
        for line in "".join(fences(page, "sh")).splitlines():
            assert len(line) <= 115, f"{page.name}: {line}"


def test_every_change_is_a_fragment_of_a_kind() -> None:
    kinds = {kind["directory"] for kind in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["type"]}
    for file in (ROOT / "changelog.d").iterdir():
        number, kind, *_ = file.name.split(".")
        assert number.isdecimal(), f"{file.name}: NUMBER.KIND.md"
        assert kind in kinds, f"{file.name}: NUMBER.KIND.md with a kind of {', '.join(sorted(kinds))}"
        assert " ".join(file.read_text(encoding="utf-8").split()) in pages.changelog()


def test_the_reference_lists_every_command_and_option() -> None:
    reference = pages.command_line()
    group = typer.main.get_command(main.app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert f"## seewhy {name}\n" in reference
        for p in command.params:
            if p.param_type_name == "option":
                assert all(option in reference for option in p.opts), p.name


# -- commands -----------------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in fences(page, "sh"):
            for line in lines(block):
                if line.startswith("seewhy ") and "..." not in line:
                    yield str(page.relative_to(ROOT)), line
        for line in re.findall(r"`(seewhy [a-z]+[^`\n]*)`", page.read_text(encoding="utf-8")):
            yield str(page.relative_to(ROOT)), line


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_every_command_that_is_shown_exists(page: str, line: str) -> None:
    """The command, its options, and the methods and kinds that it names."""
    group = typer.main.get_command(main.app)
    _, name, *words = shlex.split(line, comments=True)
    command = group.commands[name]  # type: ignore[attr-defined]
    known = {option: p for p in command.params if p.param_type_name == "option" for option in p.opts}
    for word, following in pairwise([*words, ""]):
        if word.startswith("-"):
            assert word in {*known, "--help"}, f"{page}: {line}"
        if word == "--explainer":
            method, _, own = following.partition(":")
            if "/" in method or method.isupper():  # the folder of a learned explainer
                continue
            assert method in {*EXPLAINERS, "all", "dimmed_saliency"}, f"{page}: {line}"
            for option in re.findall(r"(\w+)=", own):
                assert option in {o.name for o in described(EXPLAINERS[method])}, f"{page}: {line}"
        if word in ("--option", "--model-option"):
            assert "=" in following, f"{page}: {line}"


def test_ci_and_the_readme_call_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    for page in PAGES:
        used = set(
            re.findall(
                r"`?\bmake ([a-z]+)\b(?=[`\s\"]| ARGS)",
                "\n".join([*fences(page, "sh"), *re.findall(r"`[^`\n]+`", page.read_text())]),
            )
        )
        assert used <= targets, page
    assert "make check" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make check\n" in fences(ROOT / "README.md", "sh")
    (check,) = re.findall(r"^check: (.*?) *##", makefile, flags=re.MULTILINE)
    assert {"lint", "types", "imports", "test", "docs"} <= set(check.split())


def test_constraints_pin_every_direct_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    names = {re.split(r"[\[<>=]", r)[0].lower().replace("_", "-") for r in wanted} - {"seewhy"}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert names <= {line.partition("==")[0] for line in lines if "==" in line}


# -- links --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:", "#")):
            continue
        path = (page.parent / target.partition("#")[0]).resolve()
        generated = path.is_relative_to(ROOT / "docs") and str(path.relative_to(ROOT / "docs")) in pages.PAGES
        assert path.exists() or generated, f"{page.name}: {target}"


def test_citations_name_entries_of_the_bibliography() -> None:
    known = bibliography.read()
    for page in PAGES:
        for key in re.findall(r"bibliography\.md#(\w+)", page.read_text(encoding="utf-8")):
            assert key in known, f"{page.name}: {key}"


def test_no_page_names_a_machine() -> None:
    for page in [*PAGES, ROOT / "Makefile", ROOT / ".ci" / "run", ROOT / "constraints.txt", ROOT / "pyproject.toml"]:
        assert not re.search(r"(^|[\s\"'(=])/(home|root|work|tmp|opt)/", page.read_text(encoding="utf-8")), page
