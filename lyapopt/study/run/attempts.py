"""How the trials of a group are run, so that neither interruptions nor deaths change a result.

A trial's result depends on its group in its last bits, since stacks of other sizes are computed in
other orders, and in more where a pruner compares trials that train side by side. A group that was
left unfinished is therefore run again from its start and as a whole, as if it had never begun: all
of its trials are asked for again. Of one that counts already nothing is kept the second time; that
is rare, since the trials of a group end together.

A trial may be what its process died of: native code that crashes, or too much memory. After
`DEATHS_OF_A_GROUP` any of the group may be the cause, and each is first run alone to see whether it
survives; nothing of that is kept. Then the group is run as a whole, without those that were given
up (`recovery`). If it goes on dying although each survived alone, up to `DEATHS_OF_SURVIVORS`, it
is too large: its trials are run one at a time, which is the one case where results differ.

A trial that failed by its own fault and has retries left is repeated with the parameters it had,
after its group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lyapopt.study.run.ledger import Ledger
from lyapopt.study.run.worker_table import Group

DEATHS_OF_A_GROUP: Final = 2
"""Deaths after which the trials of a group are first run one at a time."""

DEATHS_OF_SURVIVORS: Final = 4
"""Deaths after which they are not run together any more, although each survived alone."""


@dataclass(frozen=True)
class Attempt:
    """Trials that are asked for, trained and ended together.

    Attributes:
        numbers: Their logical numbers.
        kept: Those whose results count.
        is_alone: Whether it is a single trial of a group whose process died repeatedly.
        is_retry: Whether they failed by their own fault, and are repeated with their parameters.
    """

    numbers: tuple[int, ...]
    kept: frozenset[int]
    is_alone: bool = False
    is_retry: bool = False


def attempts(group: Group, ledger: Ledger) -> list[Attempt]:
    """What is left to do of a group, one after the other.

    Args:
        group: The group.
        ledger: Which trials count.
    """
    left = [number for number in range(*group) if number not in ledger.done]
    together = [_together(group, left, ledger)] if left else []
    deaths = max(map(ledger.deaths, left), default=0)
    if deaths < DEATHS_OF_A_GROUP or len(left) < 2:
        return together
    survivors = [number for number in range(*group) if ledger.survived(number)]
    if any(ledger.deaths(number) >= DEATHS_OF_SURVIVORS for number in survivors):
        return [Attempt((number,), frozenset({number}), is_alone=True) for number in left]
    suspects = [number for number in left if number not in survivors]
    return [Attempt((number,), frozenset(), is_alone=True) for number in suspects] + together


def _together(group: Group, left: list[int], ledger: Ledger) -> Attempt:
    failed = [number for number in left if ledger.has_failed(number)]
    if failed == left:  # the group has ended, and these have retries left
        return Attempt(tuple(left), frozenset(left), is_retry=True)
    numbers = tuple(number for number in range(*group) if not ledger.is_given_up(number))
    return Attempt(numbers, frozenset(left) - frozenset(failed))
