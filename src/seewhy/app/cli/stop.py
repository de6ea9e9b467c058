"""Ctrl-C, and the signals with which a system ends a command: answered in one way, and with one line."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
CLEANING_SECONDS = 5
"""After a signal, so long no other one is answered: impatience must not interrupt the cleaning."""


class Stopped(BaseException):
    """The command was told to stop. Like ``KeyboardInterrupt`` it is no error, so that nothing takes it for one.

    number  of the signal
    folder  in which the same command goes on
    """

    def __init__(self, number: int, folder: Path | None = None) -> None:
        super().__init__(number)
        self.number, self.folder = number, folder

    @property
    def status(self) -> int:
        """The exit status: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, as of other programs."""
        return 128 + self.number


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside the block SIGINT, SIGTERM and SIGHUP raise ``Stopped``, unless they are ignored, as under nohup."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python hands signals to the main thread alone
        return
    last, told = -float("inf"), list[Stopped]()

    def answer(number: int, _frame: FrameType | None) -> None:
        nonlocal last
        if monotonic() - last > CLEANING_SECONDS:
            last = monotonic()
            told.append(Stopped(number))
            raise told[-1]

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, answer)
    try:
        yield
    except Exception:
        if told:  # a library that called Python in the wrong moment has made an error of its own of the signal
            raise told[-1] from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def noted() -> Iterator[list[Stopped]]:
    """Inside the block a signal is noted in the list, and the block ends by itself; one that comes much later raises."""
    told, first = list[Stopped](), list[float]()

    def note(number: int, _frame: FrameType | None) -> None:
        if told and monotonic() - first[0] > CLEANING_SECONDS:
            raise Stopped(number)
        told.append(Stopped(number))
        first.append(monotonic())

    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def going_on_in(folder: Path | None) -> Iterator[None]:
    """What is stopped in the block goes on in ``folder``."""
    try:
        yield
    except Stopped as stop:
        stop.folder = folder
        raise
