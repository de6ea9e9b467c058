"""One thread at a time uses a network, in the order in which they came, and none waits for ever."""

from contextlib import suppress
from threading import Event, get_ident
from time import monotonic

from support.threads import PATIENCE, in_threads
from torch import nn

from seewhy.classifier.turns import turn
from seewhy.errors import SeewhyError


def test_two_networks_with_a_weight_in_common_take_turns() -> None:
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    two.weight = one.weight
    inside, entered = Event(), []

    def first() -> None:
        with turn(one):
            inside.set()
            entered.append("one")
            Event().wait(0.2)
            entered.append("one leaves")

    def second() -> None:
        inside.wait(PATIENCE)
        with turn(two):
            entered.append("two")

    in_threads(first, second)
    assert entered == ["one", "one leaves", "two"]


def test_two_networks_do_not_wait_for_each_other() -> None:
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    with turn(one):
        assert in_threads(lambda: bool(turn(two).__enter__() is None)) == [True]  # type: ignore[func-returns-value]


def test_those_who_wait_come_in_the_order_in_which_they_came() -> None:
    """A thread that asks again and again does not keep the others out."""
    module, stop, passed = nn.Linear(2, 2), Event(), Event()

    def again() -> int:
        n = 0
        while not stop.is_set():
            with turn(module):
                n += 1
                passed.set()
                Event().wait(0.001)
        return n

    def once() -> float:
        passed.wait(PATIENCE)
        start = monotonic()
        with turn(module):
            return monotonic() - start

    def ender() -> list[float]:
        waited = in_threads(once, once, once)
        stop.set()
        return waited

    _, waited = in_threads(again, ender)
    assert max(waited) < 5


def test_two_threads_that_would_wait_for_ever_are_told() -> None:
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    events = [Event(), Event()]

    def work(mine: nn.Module, other: nn.Module, i: int) -> str:
        with turn(mine):
            events[i].set()
            events[1 - i].wait(PATIENCE)
            try:
                with turn(other):
                    return "both"
            except SeewhyError as error:
                return str(error)

    found = in_threads(lambda: work(one, two, 0), lambda: work(two, one, 1))
    assert sorted(f == "both" for f in found) == [False, True]
    assert "two threads wait for each other" in "".join(found)
    with turn(one, two):  # nothing is held
        assert in_threads(lambda: get_ident() > 0) == [True]


def test_an_interrupted_wait_lets_the_next_one_in() -> None:
    """A thread that gives up while it stands in line does not block the line."""
    one, two, held = nn.Linear(2, 2), nn.Linear(2, 2), Event()

    def holder() -> None:
        with turn(one):
            held.set()
            Event().wait(0.3)

    def gives_up() -> None:
        held.wait(PATIENCE)
        with suppress(SeewhyError), turn(two), turn(one):
            pass

    def after() -> str:
        held.wait(PATIENCE)
        with turn(one):
            return "in"

    assert in_threads(holder, gives_up, after)[2] == "in"
