"""What a search for the learning rate of one network found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from lyapopt.notebook import html_table
from lyapopt.probe import same_values

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

FoundRule = Literal["exponent", "loss"]
FoundStatus = Literal["crossed", "cold", "hot", "dead", "slow", "unknown"]
COLUMNS: Final = ("rate", "exponent", "fall", "loss", "verdict", "is_hot", "round")


@dataclass(frozen=True)
class Steering:
    """What `find_lr` and `steer` found.

    Attributes:
        rate: The learning rate to train with, of the first parameter group; with a schedule, its
            largest.
        status: `crossed`: a rate was found beyond which rates are too hot. Otherwise `rate` is a
            guess: `cold` (no rate of the range is too hot), `hot` (all are), `dead` (nothing
            moves), `slow` (the loss hardly falls: a plateau, whose edge says little of later
            steps), `unknown` (the budget did not suffice).
        rule: What says that a rate is too hot: the `exponent`, above `target`; or the `loss`, which
            a smaller rate has lowered more.
        target: Nats per step; NaN where the loss decides.
        table: One row a rate, ascending: `rate`, `exponent` (nats per step, after the perturbation
            has turned), `fall` (of the loss: 1 less the mean of the second half of the steps over
            the first loss), `loss` (that mean), `verdict`, `is_hot`, `round` (in which order).
        gradient_evaluations: Cost.
        name: The rate's name among the parameters.
        notes: What cannot be known, in sentences; each is logged as a warning, too.
    """

    rate: float
    status: FoundStatus
    rule: FoundRule
    target: float
    table: pd.DataFrame
    gradient_evaluations: float
    name: str = "lr"
    notes: tuple[str, ...] = ()

    @property
    def curve(self) -> pd.DataFrame:
        """The table."""
        return self.table

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Steering) and same_values(self, other)

    def __str__(self) -> str:
        return "; ".join([f"{self._title}, {self._cost}", *self.notes])

    def figure(self) -> go.Figure:
        """Exponent and fall of the loss against the rate, with the target and the chosen rate."""
        from lyapopt.figures import steering_path  # plotly: slow to import, and not all are drawn
        from lyapopt.figures.theme import notice

        if self.table.empty:
            return notice(self._title, *self.notes)
        return steering_path(self.table, target=self.target, chosen=self.rate, name=self.name)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = self.table.itertuples(index=False, name=None)
        loss = "too hot where a smaller rate lowers the loss more"
        limit = loss if self.rule == "loss" else f"too hot from {self.target:.3g} nats per step"
        return html_table(
            self._title, list(self.table.columns), rows, [f"{limit}, {self._cost}", *self.notes]
        )

    @property
    def _title(self) -> str:
        return f"{self.name} = {self.rate:.4g}: {self.status}"

    @property
    def _cost(self) -> str:
        return f"{self.gradient_evaluations:,.0f} gradient evaluations"
