"""What the registries hold: an entry for each name, with the options as plain JSON."""

import json
from io import StringIO

import pytest
from rich.console import Console

from seewhy.app import catalog
from seewhy.explainers import EXPLAINERS
from seewhy.metrics import METRICS
from seewhy.options import described


@pytest.mark.parametrize("kind", list(catalog.REGISTRIES))
def test_every_name_has_an_entry_with_a_summary(kind: str) -> None:
    entries = catalog.entries(kind)
    assert [entry["name"] for entry in entries] == list(catalog.REGISTRIES[kind])
    assert all(entry["summary"] for entry in entries)
    assert catalog.REGISTRIES[kind].problems() == []


@pytest.mark.parametrize("kind", ["explainers", "metrics"])
def test_options_are_plain_json_and_those_of_the_type(kind: str) -> None:
    for entry in catalog.entries(kind):
        assert json.loads(json.dumps(entry)) == entry
        options = described(catalog.REGISTRIES[kind][entry["name"]])
        assert list(entry["options"]) == [option.name for option in options]
        for option in options:
            shown = entry["options"][option.name]
            assert (shown["takes"], shown["text"]) == (option.takes, option.text)
            assert shown["choices"] == list(option.choices)
            plain = isinstance(option.default, int | float | str | None)
            assert shown["default"] == (option.default if plain else list(option.default))


def test_what_a_method_says_of_itself() -> None:
    methods = {entry["name"]: entry for entry in catalog.entries("explainers")}
    assert methods["opti_cam"]["all_classes_at_once"] is False, "a search for each class"
    assert {name for name in EXPLAINERS if methods[name]["family"] == "reference"} == {"center", "fake_cam", "random"}
    metrics = {entry["name"]: entry for entry in catalog.entries("metrics")}
    assert metrics["average_drop"]["better"] == "lower"
    assert all(metrics[name]["family"] == METRICS[name].family for name in METRICS)


def test_a_table_shows_brackets_as_they_are() -> None:
    console = Console(width=400, file=StringIO())
    console.print(catalog.terminal_table("models", [{"name": "hf", "summary": "needs seewhy[hf]"}]))
    assert "needs seewhy[hf]" in console.file.getvalue()  # type: ignore[attr-defined]
