"""The number of threads is set for a block."""

from contextlib import suppress

import torch

from seewhy.classifier.threads import threads


def test_as_many_threads_as_asked_for_and_then_as_before() -> None:
    before = torch.get_num_threads()
    with suppress(KeyError), threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before
