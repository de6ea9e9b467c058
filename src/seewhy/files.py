"""Files on disk, written whole or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path
from typing import Any

from seewhy.errors import SeewhyError


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as JSON in one step: a reader sees the old file or the new one."""
    write_atomically(file, lambda part: part.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8"))


def write_atomically(file: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(part)`` for a file beside ``file``, and move this part into its place.

    If anything fails, the old file stays and the part is deleted.
    """
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

    Files of the same name are replaced. If anything fails before the end, nothing is left behind, not even ``folder``.
    SeewhyError if ``folder`` cannot be written.
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
            if (folder / path.name).is_dir():  # checked before the first file is moved
                raise SeewhyError(f"cannot write to {folder}: {path.name} in it is a folder")
        for path in files:
            path.replace(folder / path.name)
    except OSError as error:
        raise SeewhyError(f"cannot write to {folder}: {error.strerror or error}") from None
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def safely(folder: Path) -> Iterator[None]:
    """An error of the file system becomes one line."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        kept = "; what was done is kept: mend that and give the same command again" if error.errno == ENOSPC else ""
        raise SeewhyError(f"cannot write to {folder}: {why}{kept}") from None
