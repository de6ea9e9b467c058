"""Within a batch: each image of a slow method is written when it is done, and a kill costs no more than one of them."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from support.evaluations import CNN, N, Watched, bytes_of, measured
from torch import Tensor

from seewhy.evaluation.pieces import FOLDER, places_of_pieces
from seewhy.evaluation.run import open_run
from seewhy.explainers import explainer


class Slow(Watched):
    """A method that removes parts of one image at a time."""

    family: ClassVar[Any] = "perturbation"


class Killed(BaseException):
    """Ends a run in the middle, as a signal does."""


def killed_at(number: int) -> Slow:
    """A slow method that is killed at its n-th image."""

    def stop(images: Tensor) -> None:
        if len(method.asked) == number:
            raise Killed

    method = Slow(fails=stop)
    return method


def pieces_in(folder: Path) -> int:
    return len(list(folder.glob(f"units/*/{FOLDER}/*/*.parquet")))


def test_rows_are_cut_by_the_family_alone() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert places_of_pieces("perturbation", 3, cpu) == [[0], [1], [2]]
    assert places_of_pieces("optimized", 6, cpu) == [[0, 1, 2, 3], [4, 5]]
    for family, device in (("gradient", cpu), ("reference", cpu), ("perturbation", gpu), ("optimized", gpu)):
        assert places_of_pieces(family, 3, device) == [[0, 1, 2]]
    assert places_of_pieces("cam", 0, cpu) == places_of_pieces("perturbation", 0, cpu) == []


@pytest.mark.parametrize("keep_maps", [False, True])
def test_a_kill_within_a_batch_costs_one_image(keep_maps: bool, tmp_path: Path) -> None:
    out, options = tmp_path / "run", {"batch_size": 8, "keep_maps": keep_maps}
    with pytest.raises(Killed):
        measured(out, methods={"slow": killed_at(6)}, **options)
    assert pieces_in(out) == 5, "five of eight images were finished"
    again = Slow()
    found = measured(out, methods={"slow": again}, **options)
    assert again.asked == [1] * (N - 5), "the five are not explained again"
    assert pieces_in(out) == 0
    assert not list(out.glob(f"units/*/{FOLDER}"))
    whole = measured(tmp_path / "whole", methods={"slow": Slow()}, **options)
    assert bytes_of(out) == bytes_of(tmp_path / "whole"), "bit for bit as if nobody had killed it"
    assert found.frame.equals(whole.frame)
    assert {p.relative_to(out) for p in out.rglob("*")} == {
        p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*")
    }
    for name in ("pictures", "maps"):
        for file in (out / name).rglob("*.np*"):
            assert file.read_bytes() == (tmp_path / "whole" / file.relative_to(out)).read_bytes(), file
    assert len(open_run(out).maps("slow") if keep_maps else range(N)) == N


def test_numbers_are_those_of_whole_batches(tmp_path: Path) -> None:
    slow, fast = measured(None, methods={"x": Slow()}, batch_size=8), measured(None, methods={"x": Watched()}, batch_size=8)
    assert slow.frame.drop("value").equals(fast.frame.drop("value"))
    assert torch.allclose(torch.tensor(slow.frame["value"]), torch.tensor(fast.frame["value"]), atol=1e-5)
    rise = {"rise": explainer("rise", CNN, samples=40)}
    assert measured(tmp_path / "r", methods=rise, batch_size=8).frame.equals(
        measured(None, methods=rise, batch_size=8).frame
    )


def test_a_process_and_two_shares_write_the_same(tmp_path: Path) -> None:
    measured(tmp_path / "one", methods={"slow": Slow()}, batch_size=3)
    for share in (1, 2):
        measured(tmp_path / "two", methods={"slow": Slow()}, batch_size=3, shard=(share, 2))
    measured(tmp_path / "two", methods={"slow": Slow()}, batch_size=3)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")


def test_a_damaged_piece_is_measured_again(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        measured(tmp_path / "run", methods={"slow": killed_at(4)}, batch_size=8)
    for file in (tmp_path / "run").glob(f"units/*/{FOLDER}/*/0001.parquet"):
        file.write_bytes(b"cut off")
    again = Slow()
    measured(tmp_path / "run", methods={"slow": again}, batch_size=8)
    assert len(again.asked) == N - 2


def test_pieces_of_other_metrics_are_not_taken(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        measured(tmp_path / "run", methods={"slow": killed_at(4)}, batch_size=8, metrics=["complexity"])
    again = Slow()
    found = measured(tmp_path / "run", methods={"slow": again}, batch_size=8, metrics=["complexity", "sparseness"])
    assert len(again.asked) == N
    assert found.frame["metric"].value_counts()["count"].to_list() == [N, N]
    assert pieces_in(tmp_path / "run") == 0, "the batch has a whole unit by now"


def test_progress_moves_within_a_batch() -> None:
    told: list[float] = []
    measured(None, methods={"slow": Slow()}, batch_size=11, progress=lambda done, *_: told.append(done))
    assert len({round(done, 6) for done in told}) >= N
    assert told == sorted(told)


def test_an_image_that_fails_costs_itself_alone(tmp_path: Path) -> None:
    def fail(images: Tensor) -> None:
        if len(method.asked) == 2:
            raise ZeroDivisionError("the second")

    method = Slow(fails=fail)
    found = measured(tmp_path / "run", methods={"slow": method}, batch_size=4, metrics=["complexity"], keep_maps=True)
    assert [(f.index, f.error) for f in found.failures] == [(1, "ZeroDivisionError: the second")]
    assert len(found.frame) == N - 1
