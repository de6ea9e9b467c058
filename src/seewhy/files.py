"""Files on disk, written whole or not at all; and what killed commands have left there.

All that this library writes goes through this file. Other libraries write into memory: of those that write to a disk
themselves, one keeps half a picture without a word when the disk is full, and another raises an exception of its own.
"""

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import EDQUOT, EIO, ENOSPC
from functools import cache
from hashlib import sha256
from io import BytesIO
from itertools import count, islice
from pathlib import Path
from typing import Any

from seewhy.errors import SeewhyError
from seewhy.registry import did_you_mean

HIDDEN = ".seewhy-"
"""The names of unfinished files and folders begin so. Then come machine, process, start of the process, and a number."""
ABANDONED_SECONDS = 24 * 3600
"""An unfinished file of another machine is abandoned if nobody has changed it for so long."""
MAX_COMPARED_NAMES = 20_000
"""In a folder with more names no similar one is looked for: it would take seconds."""

_numbers = count()


class WriteError(SeewhyError):
    """A file or a folder cannot be written. ``error``: what the system says."""

    def __init__(self, where: str | Path, error: OSError) -> None:
        self.error = error
        name = str(where)
        name = name if len(name) <= 300 else f"{name[:200]}…{name[-80:]}"
        again = "; give the same command again when there is room" if error.errno in (ENOSPC, EDQUOT) else ""
        super().__init__(f"cannot write to {name}: {error.strerror or error}{again}")


@contextmanager
def safely(folder: str | Path) -> Iterator[None]:
    """An error of the file system becomes one line that names ``folder``."""
    try:
        yield
    except OSError as error:
        raise WriteError(folder, error) from None
    except WriteError as error:
        raise WriteError(folder, error.error) from None


def write_atomically(file: Path, write: Callable[[BytesIO], object]) -> None:
    """Write what ``write(content)`` has written into memory, in one step: a reader sees the old file or the new one.

    The folder of the file is made where it does not exist. If anything fails, the old file stays and no part is left.
    SeewhyError if the file cannot be written, or not as a whole.
    """
    content = BytesIO()
    write(content)
    with safely(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.parent / _hidden_name()
        try:
            with part.open("xb") as opened:  # an error of a late write is raised when the file is closed
                opened.write(content.getbuffer())
            if part.stat().st_size != content.getbuffer().nbytes:
                raise OSError(EIO, "the file has lost a part")
            part.replace(file)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise


def write_text(file: Path, text: str) -> None:
    """Write ``text`` as UTF-8 in one step. A letter that UTF-8 does not have, of a file's name, becomes an escape."""
    write_atomically(file, lambda content: content.write(text.encode("utf-8", "backslashreplace")))


def add_text(file: Path, text: str) -> None:
    """Add ``text`` as UTF-8 to the end of a file. A command that is killed can leave a part of it."""
    content = text.encode("utf-8", "backslashreplace")
    with safely(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as opened:
            opened.write(content)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as JSON in one step."""
    write_text(file, json.dumps(content, indent=2, default=str) + "\n")


@contextmanager
def staged(folder: str | Path) -> Iterator[Path]:
    """A hidden folder whose files move into ``folder`` at the end of the block, the manifest last.

    Files of the same name are replaced. If anything fails before the end, nothing is left behind, not even ``folder``.
    What a killed command has left in ``folder`` is removed. SeewhyError if ``folder`` cannot be written.
    """
    folder = Path(folder)
    with scratch(folder) as staging:
        yield staging
        with safely(folder):
            files = sorted(staging.iterdir(), key=lambda path: path.name == "manifest.json")
            for path in files:
                if (folder / path.name).is_dir():  # checked before the first file is moved
                    raise SeewhyError(f"cannot write to {folder}: {path.name} in it is a folder")
            for path in files:
                path.replace(folder / path.name)


@contextmanager
def scratch(folder: str | Path) -> Iterator[Path]:
    """A hidden folder in ``folder``, which is deleted at the end of the block.

    ``folder`` is made where it does not exist, and deleted again if the block fails. SeewhyError if it cannot be written.
    """
    folder = Path(folder)
    check_writable(folder)
    with safely(folder):
        made = [path for path in (folder, *folder.parents) if not path.exists()]
    hidden = folder / _hidden_name()
    try:
        with safely(folder):
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
            hidden.mkdir()
        yield hidden
    except BaseException as error:
        shutil.rmtree(hidden, ignore_errors=True)
        for path in made:
            with suppress(OSError):  # somebody else has put something there
                path.rmdir()
        if isinstance(error, WriteError):  # it names the hidden folder, which nobody knows
            raise WriteError(folder, error.error) from None
        raise
    shutil.rmtree(hidden, ignore_errors=True)


def is_directory(path: str | Path) -> bool:
    """Is there a folder of this name? Also asked of text that no file can be called."""
    with suppress(OSError, ValueError):
        return str(path) != "" and Path(path).is_dir()  # an empty path is the working folder
    return False


def is_file(path: str | Path) -> bool:
    """Is there a file of this name? Also asked of text that no file can be called."""
    with suppress(OSError, ValueError):
        return Path(path).is_file()
    return False


def did_you_mean_file(path: str | Path, folders: bool = False) -> str:
    """``". Did you mean 'dog.jpg'?"`` for a file or a folder that is missing: the most similar name in its folder.

    Where its folder is missing too, this one is named. Nothing where no name is similar, or too many names are there. With
    ``folders`` only folders are compared.
    """
    with suppress(OSError, ValueError):  # text that no file can be called, and a folder that may not be read
        path = Path(path)
        if missing := [folder for folder in path.parents if not folder.exists()]:
            return f". There is no folder {missing[-1]}{did_you_mean_file(missing[-1], folders=True)}"
        if path.exists():
            return ""
        entries = list(islice(os.scandir(path.parent), MAX_COMPARED_NAMES + 1))
        if len(entries) <= MAX_COMPARED_NAMES:
            names = sorted(entry.name for entry in entries if entry.name[0] != "." and (entry.is_dir() or not folders))
            same = [name for name in names if Path(name).stem.lower() == path.stem.lower()]
            if hint := did_you_mean(path.name, same or names):
                return f".{hint}"
    return ""


def check_writable(folder: str | Path) -> None:
    """SeewhyError, before anything is made or measured, where nothing can be written."""
    folder = Path(folder)
    with safely(folder):
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not existing.is_dir():
            raise SeewhyError(f"cannot write to {folder}: {existing} is a file")
        if not os.access(existing, os.W_OK):
            raise SeewhyError(f"cannot write to {folder}: no permission for {existing}")


def remove_leftovers(folder: Path, below: bool = False) -> None:
    """Remove unfinished files and folders of commands that were killed; ``below``: in all folders below too.

    Removed is what belongs to a process of this machine that is no longer there. The name says which process: its number
    and when it started, since numbers are used again. Whether a process of another machine is there cannot be known; what
    another machine has left is removed when it is a day old.
    """
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if name.startswith(HIDDEN) and _is_abandoned(path := Path(parent, name)):
                if name in folders:
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    with suppress(OSError):  # another command was faster
                        path.unlink()
        folders[:] = [name for name in folders if not name.startswith(HIDDEN)] if below else []


def _hidden_name() -> str:
    return f"{HIDDEN}{_machine()}-{os.getpid()}-{_start_of(os.getpid())}-{next(_numbers)}"


def _is_abandoned(path: Path) -> bool:
    """Does an unfinished file or folder belong to nobody any more?"""
    machine, *numbers = path.name.removeprefix(HIDDEN).split("-")
    if machine == _machine() and len(numbers) == 3 and numbers[0].isdecimal() and sys.platform != "win32":
        return not _lives(int(numbers[0]), numbers[1])
    with suppress(OSError):
        return time.time() - path.stat().st_mtime > ABANDONED_SECONDS
    return False


def _lives(process: int, start: str) -> bool:
    """Is the process still there, and not another one with its number?"""
    try:
        os.kill(process, 0)  # signal 0 asks only
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # a process of another user
    now = _start_of(process)
    return now in ("unknown", start)


def _start_of(process: int) -> str:
    """When a process started, in ticks since its machine has; "ended" of one that has ended and still has a number."""
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "unknown"  # not Linux, or a process of which we may not know
    return "ended" if state in "ZX" else fields[18]


@cache
def _machine() -> str:
    """A name for what numbers its processes by itself: a machine since its start, or a container."""
    about = [socket.gethostname()]
    with suppress(OSError):
        about += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return sha256("\n".join(about).encode()).hexdigest()[:10]
