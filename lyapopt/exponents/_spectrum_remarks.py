"""Flags of a spectrum, read off on the host once, after the run."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from lyapopt.exponents import flags as f
from lyapopt.exponents._resolution import Resolution
from lyapopt.exponents.drift import drifts
from lyapopt.exponents.flags import Flag
from lyapopt.exponents.intervals import FEWEST_SEGMENTS, has_interval_over_time
from lyapopt.exponents.lyapunov_spectrum import Spectrum


def remarks(
    result: Spectrum, is_finite: Tensor, resolution: Resolution, is_dead: Tensor
) -> Spectrum:
    """The spectrum in descending order, with its flags.

    Args:
        result: Exponents in the order of the frame.
        is_finite: Whether each state was finite after each step, burn-in included, `(steps, M)`.
        resolution: Which exponents fell below rounding.
        is_dead: Which systems have no gradient, `(M,)`.
    """
    order = _descending(result.values)
    increments = result.increments.gather(-1, order.expand(len(result.increments), -1, -1))
    tangents = result.final_tangents.gather(
        1, order.unsqueeze(-1).expand(-1, -1, result.final_tangents.shape[-1])
    )
    ordered = dataclasses.replace(result, increments=increments, final_tangents=tangents)
    flags = _flags(
        ordered,
        is_finite,
        resolution.is_zero.gather(-1, order),
        resolution.is_doubtful.gather(-1, order),
        is_dead.tolist(),
    )
    return dataclasses.replace(ordered, flags=flags)


def _descending(values: Tensor) -> Tensor:
    """Order of the exponents, `(M, k)`; NaN rows keep theirs."""
    sortable = values.nan_to_num(0.0, torch.inf, -torch.inf)
    return sortable.sort(dim=-1, descending=True, stable=True).indices


def _flags(
    spectrum: Spectrum,
    is_finite: Tensor,
    is_zero: Tensor,
    is_doubtful: Tensor,
    is_dead: list[bool],
) -> tuple[tuple[Flag, ...], ...]:
    increments, steps = spectrum.increments, spectrum.segment_steps
    is_lost = torch.isnan(increments).all(-1).any(0).tolist()
    diverged_at = [None if all(row) else row.index(False) for row in is_finite.T.tolist()]
    drifting = drifts(increments, steps).tolist()
    dimension_unknown = torch.isnan(spectrum.kaplan_yorke_dimension()).tolist()
    rounding = 8 * torch.finfo(spectrum.final_state.dtype).eps
    unchanged = (increments.abs().amax((0, 2)) <= rounding).tolist()
    found = []
    for row in range(len(is_zero)):
        flags = []
        at = diverged_at[row]
        if at is not None:
            step = at + 1 - spectrum.burn_in
            flags.append(Flag(f.DIVERGED, "the state is not finite", step))
        elif is_lost[row]:
            flags.append(
                Flag(
                    f.PRECISION,
                    "tangents overflowed before they were orthonormalised; lower qr_every",
                )
            )
        flags += _small(is_zero[row].tolist(), is_doubtful[row].tolist())
        if unchanged[row]:
            flags.append(Flag(f.UNCHANGED, "no tangent changed its length by more than rounding"))
        if is_dead[row]:
            flags.append(
                Flag(f.DEAD, "the weights did not move, nor would from beside: no gradient")
            )
        if any(drifting[row]):
            names = _numbers(drifting[row])
            flags.append(
                Flag(f.NOT_CONVERGED, f"exponent {names} drifts: its halves differ beyond chance")
            )
        if dimension_unknown[row] and not is_lost[row]:
            flags.append(Flag(f.TRUNCATED, "the Kaplan-Yorke dimension needs a larger k"))
        if not has_interval_over_time(len(increments)):
            flags.append(
                Flag(
                    f.NO_INTERVAL,
                    f"{len(increments)} segments in time are too few to average over; an interval "
                    f"needs {FEWEST_SEGMENTS}",
                )
            )
        found.append(tuple(flags))
    return tuple(found)


def _small(is_zero: list[bool], is_doubtful: list[bool]) -> list[Flag]:
    flags = []
    if any(is_zero):
        flags.append(
            Flag(f.COLLAPSED, f"exponent {_numbers(is_zero)}: the map annihilates the direction")
        )
    if any(is_doubtful):
        flags.append(
            Flag(
                f.PRECISION,
                f"exponent {_numbers(is_doubtful)}: growth between two QR fell below rounding; "
                "lower qr_every",
            )
        )
    return flags


def _numbers(which: list[bool]) -> str:
    """Numbers of the exponents, from 1, as `3` or `3..7`."""
    chosen = [i + 1 for i, holds in enumerate(which) if holds]
    return str(chosen[0]) if len(chosen) == 1 else f"{chosen[0]}..{chosen[-1]}"
