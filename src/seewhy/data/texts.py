"""Texts that pictures are compared with: read from a list, a line or a file, and put into prompt templates."""

from collections.abc import Sequence
from pathlib import Path

from seewhy.data.class_names import fold, read_class_names, read_lines
from seewhy.errors import SeewhyError
from seewhy.files import did_you_mean_file

BLANK = "{}"
"""The place of the text in a template."""


def read_texts(given: str | Path | Sequence[str]) -> tuple[str, ...]:
    """The texts, each once. SeewhyError for none, an empty one, or the same one twice.

    Args:
        given: a list of texts; a text file with a text per line (or a csv file with a column "name"); or several
            texts in one line with commas, "a dog,a cat".
    """
    texts: Sequence[str]
    if not isinstance(given, str | Path):
        texts = given
    elif not is_file_name(given):
        texts = str(given).split(",")
    else:
        texts = read_class_names(given) if Path(given).suffix.lower() == ".csv" else read_lines(Path(given), "texts")
    found = tuple(str(text).strip() for text in texts)
    if not found or not all(found):
        raise SeewhyError(
            "an empty text: give texts with letters, such as --texts 'a dog,a cat', or texts=['a dog', 'a cat']"
        )
    seen: dict[str, str] = {}
    for text in found:
        if fold(text) in seen:
            raise SeewhyError(f"the text {text!r} is given twice: give each text once")
        seen[fold(text)] = text
    return found


def read_templates(given: str | Path | Sequence[str] | None) -> tuple[str, ...]:
    """The templates, each with one {} where the text goes; the text alone by default. SeewhyError for any other.

    Args:
        given: a template, several, or a text file with a template per line.
    """
    templates = [BLANK] if given is None else [given] if isinstance(given, str | Path) else list(given)
    if len(templates) == 1 and is_file_name(templates[0]):
        templates = read_lines(Path(templates[0]), "templates")
    found = tuple(str(template).strip() for template in templates)
    if not found:
        raise SeewhyError("there is no template: give one, such as 'a photo of a {}', or leave template away")
    for template in found:
        if template.count(BLANK) != 1:
            raise SeewhyError(f"the template {template!r} must have one {{}} where the text goes, as in 'a photo of a {{}}'")
    return found


def prompts(texts: Sequence[str], template: str) -> list[str]:
    """Each text in its place in the template."""
    return [template.replace(BLANK, text) for text in texts]


def is_file_name(given: str | Path) -> bool:
    """Is it the name of a file, which has a suffix or a folder? SeewhyError for texts.txt, if there is no such file."""
    try:
        found = Path(given).is_file() and (isinstance(given, Path) or bool(Path(given).suffix) or "/" in given)
    except (OSError, ValueError):  # a text that no file system takes for a name
        return False
    if not found and (isinstance(given, Path) or Path(given).suffix.lower() in (".txt", ".csv")):
        raise SeewhyError(f"texts {str(given)!r}: no such file{did_you_mean_file(given)}")
    return found
