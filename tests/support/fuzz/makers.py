"""Every kind of input, and its share of the trials."""

from pathlib import Path

from support.fuzz import folders, inputs
from support.fuzz.trial import Maker

MAKERS: dict[str, Maker] = {
    "picture": inputs.picture,
    "csv": inputs.csv_file,
    "xml": inputs.xml_file,
    "weights": inputs.weights,
    "classes": inputs.class_file,
    "options": inputs.options,
    "run": folders.run_folder,
}
SHARES = {"picture": 22, "csv": 14, "xml": 12, "weights": 12, "classes": 10, "options": 18, "run": 12}
"""Of a hundred trials. A run folder costs several times as much as any other input."""


def write_good(folder: Path) -> None:
    """Sound files of every kind in ``folder``."""
    inputs.write_good_files(folder)
    folders.write_good_run(folder / "run")
