"""Which images a step has, and what is drawn in it, depend on the seed and the number of the step alone."""

import pytest
import torch

from seewhy.training.order import Order, drawing, generator_of, key_of


def test_an_epoch_has_each_image_once_but_those_of_an_incomplete_batch() -> None:
    order = Order(23, 4, seed=1)
    assert order.steps == 5
    for epoch in range(3):
        places = torch.cat([order.places(5 * epoch + i) for i in range(5)])
        assert len(places) == 20
        assert len(places.unique()) == 20
    seen = {int(p) for step in range(50) for p in order.places(step)}
    assert seen == set(range(23)), "each epoch leaves out others"


def test_any_step_can_be_asked_for_at_any_time() -> None:
    order, other = Order(23, 4, seed=1), Order(23, 4, seed=1)
    there = [order.places(step) for step in range(20)]
    for step in (17, 3, 11, 3, 19, 0):
        assert torch.equal(other.places(step), there[step])
    assert not torch.equal(torch.cat(there[:5]), torch.cat(there[5:10]))
    assert not torch.equal(Order(23, 4, seed=2).places(0), there[0])


def test_fewer_images_than_a_batch_are_one_step() -> None:
    order = Order(3, 8, seed=0)
    assert (order.steps, order.batch_size) == (1, 3)
    assert sorted(order.places(7).tolist()) == [0, 1, 2]


def test_every_place_has_draws_of_its_own() -> None:
    keys = {key_of(seed, *place) for seed in (0, 1) for place in [(0, 0), (0, 1), (1, 0), ("held out", 0), (10, 0), (1, 10)]}
    assert len(keys) == 12
    assert all(0 <= key < 2**63 for key in keys)
    a, b = (torch.rand(5, generator=generator_of(3, 7, 1)) for _ in range(2))
    assert torch.equal(a, b)


@pytest.mark.parametrize("fails", [False, True])
def test_dropout_draws_of_its_place_and_the_global_generator_stays(fails: bool) -> None:
    before, found = torch.get_rng_state(), []
    for _ in range(2):
        try:
            with drawing(torch.device("cpu"), 3, 5, 0):
                found.append(torch.nn.functional.dropout(torch.ones(20), training=True))
                if fails:
                    raise KeyError
        except KeyError:
            pass
    assert torch.equal(found[0], found[1])
    assert torch.equal(torch.get_rng_state(), before)
