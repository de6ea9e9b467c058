"""Names for things, and an answer for names that nothing has."""

from time import perf_counter

import pytest

from seewhy.errors import SeewhyError, cause
from seewhy.explainers import EXPLAINERS
from seewhy.registry import Registry, did_you_mean


@pytest.fixture
def tools() -> Registry[int]:
    registry: Registry[int] = Registry("tool")
    registry.register("saw")(1)
    registry.register("hammer")(2)
    return registry


def test_a_registry_is_a_mapping_in_order(tools: Registry[int]) -> None:
    assert list(tools) == ["hammer", "saw"]
    assert (len(tools), tools["saw"], "saw" in tools, "nail" in tools, 3 in tools) == (2, 1, True, False, False)


def test_what_is_registered_is_returned_unchanged() -> None:
    registry: Registry[type] = Registry("thing")

    @registry.register("it")
    class It:
        pass

    assert registry["it"] is It
    assert (registry.name_of(It), registry.name_of(int)) == ("it", "int")


def test_a_duplicate_raises_and_keeps_the_first(tools: Registry[int]) -> None:
    with pytest.raises(ValueError, match="tool 'saw' is already registered, by 1") as error:
        tools.register("saw")(3)
    assert not isinstance(error.value, SeewhyError), "the programmer's mistake, not the user's"
    assert tools["saw"] == 1


def test_an_unknown_name_is_answered(tools: Registry[int]) -> None:
    with pytest.raises(SeewhyError, match=r"^unknown tool 'hamer'. Did you mean 'hammer'\? Known: hammer, saw$"):
        tools["hamer"]
    with pytest.raises(SeewhyError, match=r"^unknown tool 'xyz'. Known: hammer, saw$"):
        tools["xyz"]


def test_the_neighbor_of_a_name() -> None:
    assert did_you_mean("grad_cma", EXPLAINERS) == " Did you mean 'grad_cam'?"
    assert did_you_mean("zzz", ["grad_cam"]) == ""
    assert did_you_mean("x", []) == ""


def test_names_with_that_word_in_them_come_before_the_closest() -> None:
    animals = ["crate", "tiger cat", "egyptian cat", "catamaran", "cat's eye", "persian cat"]
    assert did_you_mean("cat", animals) == " Did you mean 'tiger cat' or 'egyptian cat' or \"cat's eye\"?"
    assert did_you_mean("vit_tiny", ["gcvit_tiny", "vit_tiny_patch16_224"]) == " Did you mean 'vit_tiny_patch16_224'?"
    assert did_you_mean("a+", ["a-b", "x"]) == ""


def test_names_are_those_of_files_and_options() -> None:
    """Snake case: names of explainers become parts of file names."""
    assert all(name.isidentifier() and name == name.lower() for name in EXPLAINERS)


def test_a_foreign_failure_in_one_line() -> None:
    assert cause(ValueError("first\nsecond")) == "ValueError: first"
    assert cause(EOFError()) == "EOFError"
    assert cause(KeyError("layer")) == "KeyError: 'layer'"
    assert len(cause(RuntimeError("x" * 10_000))) < 300


@pytest.mark.parametrize("known", [["a" * 20_000, "saw"], ["[" * 20_000], ["saw"]])
def test_a_name_beyond_reason_has_no_neighbors(known: list[str]) -> None:
    """A comparison takes time that grows with both lengths, so a file of class names could stop a command for minutes."""
    start = perf_counter()
    assert did_you_mean("a[" * 10_000, known) == ""
    assert did_you_mean("sav", known) in ("", " Did you mean 'saw'?")
    assert perf_counter() - start < 1
    assert did_you_mean("a" * 250, ["a" * 250 + "b"]) == "", "no misspelled name is so long"
