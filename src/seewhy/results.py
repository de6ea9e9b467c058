"""Results, written whole or not at all, and what they depend on."""

import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch

from seewhy.errors import SeewhyError


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


def environment() -> dict[str, object]:
    """What a result depends on beside its arguments."""
    packages = ("seewhy", "torch", "torchvision", "timm")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {
        "schema": 1,
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
        "hardware": device,
    }
