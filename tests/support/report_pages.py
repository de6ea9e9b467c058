"""Pages of a report, read back; and the scores of a small run."""

from html.parser import HTMLParser
from pathlib import Path

from seewhy.evaluation.run import open_run
from seewhy.report import write_report
from seewhy.report.leaderboard import rank_explainers
from seewhy.report.run_numbers import read_metrics

N = 10
HIGH = [0.9, 0.8, 0.85, 0.95, 0.9, 0.8, 0.9, 0.7, 0.9, 0.8]
NEAR = [0.8, 0.9, 0.85, 0.9, 0.9, 0.85, 0.85, 0.75, 0.9, 0.75]
LOW = [0.1, 0.2, 0.15, 0.1, 0.2, 0.15, 0.1, 0.2, 0.15, 0.1]
SCORES = {"gain": {"a": HIGH, "b": NEAR, "c": LOW}}


class Page(HTMLParser):
    """Tags with their attributes, the texts of all cells, and what is neither tag nor style nor script."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._silent = "", 0
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._silent += tag in ("style", "script")

    def handle_endtag(self, tag):
        self._silent -= tag in ("style", "script")

    def handle_data(self, data):
        self.text += "" if self._silent else data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def board(folder: Path, metric: str = "gain"):
    return rank_explainers(next(m for m in read_metrics(open_run(folder))[0] if m.name == metric))


def report(folder: Path, *more: Path) -> Page:
    return Page(write_report([folder, *more])[0])
