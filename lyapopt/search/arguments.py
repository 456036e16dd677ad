"""Checks of the arguments that samplers, pruners and objectives have in common."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from lyapopt.checks import Arguments
from lyapopt.probe import Probe
from lyapopt.search.space import SearchSpace


class SearchArguments(Arguments):
    """The checks of one class or function that searches."""

    def build(self, build: object) -> None:
        """Refuse what is no build function."""
        self.function("build", build, "a function `params -> Training`")

    def probe(self, probe: object) -> None:
        """Refuse what is neither a probe nor `None`."""
        expected = "a lyapopt.Probe, such as Probe(horizon=20)"
        self.optional(self.instance, "probe", probe, types=Probe, expected=expected)

    def sampler(self, base: object, *, is_needed: bool = False) -> None:
        """Refuse what is neither a sampler of Optuna's nor, unless one is needed, `None`."""
        if base is not None or is_needed:
            expected = "a sampler of Optuna's, such as optuna.samplers.TPESampler()"
            self.instance("base", base, BaseSampler, expected)

    def pruner(self, wrapped: object) -> None:
        """Refuse what is neither a pruner of Optuna's nor `None`."""
        expected = "a pruner of Optuna's, such as optuna.pruners.MedianPruner()"
        self.optional(self.instance, "wrapped", wrapped, types=BasePruner, expected=expected)

    def space(self, space: object, *, may_be_function: bool = False) -> None:
        """Refuse what is no search space."""
        if not (may_be_function and callable(space)):
            expected = "a SearchSpace or a mapping of names to distributions"
            expected += ", or a function `trial -> params`" if may_be_function else ""
            self.instance("search_space", space, (SearchSpace, Mapping), expected)
