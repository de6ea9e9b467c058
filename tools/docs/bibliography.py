"""docs/bibliography.bib as citations: for the README, the pages, and the test that no paper is missing."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "bibliography.bib"


@dataclass(frozen=True)
class Entry:
    """One paper."""

    key: str
    fields: dict[str, str]

    @property
    def authors(self) -> list[str]:
        """Full names, the given name first."""
        return [" ".join(reversed(name.split(", "))) for name in self.fields["author"].split(" and ")]

    @property
    def short(self) -> str:
        """``Selvaraju et al., 2017``."""
        names = [name.partition(",")[0] for name in self.fields["author"].split(" and ")]
        who = names[0] + (" et al." if len(names) > 2 else f" & {names[1]}" if len(names) == 2 else "")
        return f"{who}, {self.fields['year']}"

    @property
    def url(self) -> str:
        if "eprint" in self.fields:
            return f"https://arxiv.org/abs/{self.fields['eprint']}"
        return self.fields["url"] if "url" in self.fields else f"https://doi.org/{self.fields['doi']}"

    @property
    def full(self) -> str:
        """One line of Markdown."""
        f = self.fields
        where = f.get("booktitle") or f["journal"]
        if "volume" in f:
            where += f" {f['volume']}"
        if "pages" in f:
            where += f", pages {f['pages'].replace('--', '–')}"
        return f"{', '.join(self.authors)}. *{f['title']}*. {where}, {f['year']}. [{self._link}]({self.url})"

    @property
    def _link(self) -> str:
        if "eprint" in self.fields:
            return f"arXiv:{self.fields['eprint']}"
        return f"doi:{self.fields['doi']}" if "doi" in self.fields else urlsplit(self.url).netloc


def read(path: Path = FILE) -> dict[str, Entry]:
    """The entries by key, in the order of the file; one field a line."""
    entries = {}
    for block in re.split(r"^@\w+", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        key = block[1 : block.index(",")]
        entries[key] = Entry(key, dict(re.findall(r"^\s+(\w+) = \{(.*)\},?$", block, flags=re.MULTILINE)))
    return entries
