"""Files on disk, written whole or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seewhy.errors import SeewhyError


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """In one step: a reader sees the old file or the new one."""
    write_atomically(file, lambda part: part.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8"))


def write_atomically(file: Path, write: Callable[[Path], object]) -> None:
    """``write(part)`` a file beside it, which then takes its place."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        write(part)
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def staged(folder: str | Path) -> Iterator[Path]:
    """A hidden folder whose files move into ``folder`` at the end of the block, the manifest last.

    Files of the same name are replaced. If anything fails before, nothing is left behind, not even ``folder``.
    Raises SeewhyError where it cannot be written.
    """
    folder = Path(folder)
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise SeewhyError(f"cannot write to {folder}: {existing} is a file")
    staging = None
    try:
        staging = Path(tempfile.mkdtemp(prefix=".seewhy-", dir=existing))
        yield staging
        folder.mkdir(parents=True, exist_ok=True)
        files = sorted(staging.iterdir(), key=lambda path: path.name == "manifest.json")
        for path in files:
            if (folder / path.name).is_dir():  # found now, while no file has been moved
                raise SeewhyError(f"cannot write to {folder}: {path.name} in it is a folder")
        for path in files:
            path.replace(folder / path.name)
    except OSError as error:
        raise SeewhyError(f"cannot write to {folder}: {error.strerror or error}") from None
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
