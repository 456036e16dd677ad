"""Every random number comes from a key: (study seed, trial number, replica, purpose).

Keys are hashed, so that neighbouring keys give unrelated streams and adding a purpose never shifts
the numbers of another one.
"""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 2^64 / golden ratio as a signed integer (splitmix64)
_MIX_1 = -4658895280553007687
_MIX_2 = -7723592293110705685


def derive_seed(*key: int | str) -> int:
    """A seed in `0 .. 2**63 - 1` that is a function of `key` alone.

    Args:
        key: Integers (study seed, trial number, replica) and strings (the purpose), in order.

    Example:
        >>> derive_seed(0, 17, "batches") == derive_seed(0, 17, "batches")
        True
        >>> derive_seed(0, 17, "batches") == derive_seed(0, 18, "batches")
        False
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(*key: int | str) -> torch.Generator:
    """A CPU generator whose stream is a function of `key` alone.

    Example:
        >>> a = torch.randn(3, generator=generator(0, 1, "init"))
        >>> bool((a == torch.randn(3, generator=generator(0, 1, "init"))).all())
        True
    """
    return torch.Generator().manual_seed(derive_seed(*key))


def seed_torch(seed: int) -> None:
    """Seed torch's global generators, as `torch.manual_seed` does.

    That also notes the seed for every kind of accelerator that torch knows, to be used when it is
    first needed, with a stack trace each: a hundred times what seeding takes. A build of torch that
    has none does without.

    Example:
        >>> seed_torch(3)
        >>> drawn = torch.rand(2)
        >>> _ = torch.manual_seed(3)
        >>> torch.equal(drawn, torch.rand(2))
        True
    """
    if may_have_accelerators():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def may_have_accelerators() -> bool:
    """Whether torch was built for accelerators; whether there are any is not asked."""
    return torch.accelerator.current_accelerator(check_available=False) is not None


def hashed_uniform(key: Tensor, size: torch.Size) -> Tensor:
    """Uniform numbers in [0, 1) as a pure function of an integer key (splitmix64 by counter).

    A generator has a state, which a row of a stacked tensor cannot own; a counter needs none, so
    that dropping a row changes no other row, and the same code runs under `vmap` and on a GPU.

    Args:
        key: Integer scalar (int64), batched under `vmap`.
        size: Shape of the result.

    Returns:
        float64 tensor of shape `size`.
    """
    count = torch.arange(1, size.numel() + 1, device=key.device, dtype=torch.int64)
    bits = _scramble(_scramble(key) + count * _GOLDEN)
    return (((bits >> 11) & ((1 << 53) - 1)).to(torch.float64) * 2.0**-53).view(size)


def hashed_key(key: Tensor, *parts: int) -> Tensor:
    """A new integer key from `key` and further integers, elementwise."""
    for part in parts:
        key = _scramble(key ^ _scramble(torch.full_like(key, part) + _GOLDEN))
    return key


def _scramble(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift (torch shifts signed integers arithmetically)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
