"""Only ``classifier`` reaches inside a network."""

from pathlib import Path

import seewhy

SOURCE = Path(seewhy.__file__).parent


def test_hooks_are_registered_in_the_classifier_package_alone() -> None:
    files = [file for file in SOURCE.rglob("*.py") if "register_forward" in file.read_text(encoding="utf-8")]
    # the contract of an explainer puts a hook of its own into a network, to see that the hook survives
    assert {file.relative_to(SOURCE).parts[0] for file in files} == {"classifier", "testing"}
