"""Tests run with the shapes of signatures checked (see `shape_checks`)."""

import pytest
import torch
from jaxtyping import TypeCheckError

from lyapopt.dynamics import maps
from lyapopt.dynamics.systems import CatMap


@pytest.mark.parametrize(
    "z", [torch.zeros(2, 3), torch.zeros(2, 1, 2, dtype=torch.int64)], ids=["axes", "dtype"]
)
def test_a_state_of_another_shape_or_dtype_is_refused(z: torch.Tensor) -> None:
    with pytest.raises(TypeCheckError):
        maps.step_with_losses(CatMap(), z, 0)


def test_axes_of_one_name_have_one_length() -> None:
    with pytest.raises(TypeCheckError):
        maps.difference(CatMap(), torch.zeros(2, 3, 2), torch.zeros(2, 4, 2))
