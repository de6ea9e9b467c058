"""Maps that a run folder keeps, and finds again."""

from pathlib import Path

import numpy as np
import pytest
from support.evaluations import CNN, N, Pictures, Watched, measured

from seewhy.errors import SeewhyError
from seewhy.evaluation.evaluate import evaluate
from seewhy.explainers import explainer


def test_kept_maps_are_read_instead_of_made_again(tmp_path: Path) -> None:
    first, second = Watched(), Watched()
    evaluate(CNN, {"mine": first}, ["complexity"], Pictures(), out=tmp_path / "run", batch_size=4, keep_maps=True)
    found = evaluate(CNN, {"mine": second}, ["deletion"], Pictures(), out=tmp_path / "run", batch_size=4)
    assert (len(first.asked), second.asked) == (3, [])
    alone = evaluate(CNN, {"mine": Watched()}, ["complexity", "deletion"], Pictures(), batch_size=4)
    assert found.frame.equals(alone.frame)
    there = {}
    for file in (tmp_path / "run" / "maps").glob("Watched-*/*.npz"):
        with np.load(file) as kept:
            there |= dict(zip(kept["index"].tolist(), kept["maps"], strict=True))
    assert sorted(there) == list(range(N))
    for index, found_map in there.items():
        assert np.array_equal(found_map, Pictures().batch([index]).images[0].mean(0).numpy())


def test_a_damaged_file_of_maps_is_named(tmp_path: Path) -> None:
    methods = {"mine": Watched()}
    measured(tmp_path / "run", methods=methods, metrics=["complexity"], keep_maps=True)
    file = next((tmp_path / "run" / "maps").glob("*/*.npz"))
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(SeewhyError, match=r"npz cannot be read .*: delete it"):
        measured(tmp_path / "run", methods=methods, metrics=["sparseness"])


def test_kept_maps_are_found_under_another_name_and_not_with_other_options(tmp_path: Path) -> None:
    measured(tmp_path / "run", methods={"a": explainer("random", CNN)}, metrics=["complexity"], keep_maps=True)
    (file,) = (tmp_path / "run" / "maps").iterdir()
    measured(tmp_path / "run", methods={"b": explainer("random", CNN)}, metrics=["complexity"], keep_maps=True)
    assert [file] == list((tmp_path / "run" / "maps").iterdir())
    measured(tmp_path / "run", methods={"c": explainer("random", CNN, seed=1)}, metrics=["complexity"], keep_maps=True)
    assert len(list((tmp_path / "run" / "maps").iterdir())) == 2
