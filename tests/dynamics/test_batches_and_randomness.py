"""Batches and random numbers are pure functions of their keys."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import vmap

from lyapopt.dynamics.data import BatchOrder
from lyapopt.dynamics.randomness import derive_seed, generator, hashed_key, hashed_uniform

quick = settings(max_examples=30, deadline=None)


@quick
@given(st.integers(1, 60), st.integers(1, 60), st.integers(-5, 2**62), st.integers(0, 1000))
def test_an_epoch_sees_every_example_at_most_once(
    count: int, size: int, seed: int, epoch: int
) -> None:
    size = min(size, count)
    batches = BatchOrder(count, size, seed).epoch(epoch)
    assert batches.shape == (count // size, size)
    seen = batches.flatten().tolist()
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(count))
    assert torch.equal(batches, BatchOrder(count, size, seed).epoch(epoch))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {
        tuple(BatchOrder(50, 50, seed).epoch(epoch).flatten().tolist())
        for seed in range(5)
        for epoch in range(5)
    }
    assert len(orders) == 25


def test_every_place_in_an_epoch_is_equally_likely() -> None:
    first = torch.tensor([int(BatchOrder(4, 1, seed).epoch(0)[0, 0]) for seed in range(2000)])
    shares = torch.bincount(first, minlength=4) / 2000
    # Binomial with deviation 0.0097: five of them.
    assert float((shares - 0.25).abs().max()) < 0.05


def test_hashed_numbers_are_uniform_and_unrelated() -> None:
    keys = hashed_key(torch.arange(200), 3)
    draw = vmap(lambda key: hashed_uniform(key, torch.Size([500])))
    u = draw(keys)
    assert u.dtype == torch.float64
    assert bool(((u >= 0) & (u < 1)).all())
    # Mean of 100,000 uniform numbers: deviation 0.0009; of a correlation of 500 pairs: 0.045.
    assert abs(float(u.mean()) - 0.5) < 0.005
    assert abs(float(u.var()) - 1 / 12) < 0.002
    correlations = torch.corrcoef(u[:40]) - torch.eye(40, dtype=u.dtype)
    assert float(correlations.abs().max()) < 0.25
    assert float(torch.corrcoef(u[:, :40].mT).fill_diagonal_(0).abs().max()) < 0.4
    assert torch.equal(draw(keys[7:9]), u[7:9])


def test_keys_of_other_types_and_orders_give_other_seeds() -> None:
    keys = [(0, 1), (1, 0), (0, "1"), (0, 1, ""), ("01",), (0, 11), (0, -1)]
    assert len({derive_seed(*key) for key in keys}) == len(keys)
    assert all(0 <= derive_seed(*key) < 2**63 for key in keys)
    assert not torch.equal(
        torch.rand(3, generator=generator(0, "a")), torch.rand(3, generator=generator(0, "b"))
    )
