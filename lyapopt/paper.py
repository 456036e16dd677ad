"""The rules of the paper, as published: for reproduction, not as advice.

T. Mitra, *Utilizing Lyapunov exponents in designing deep neural networks* (arXiv:2410.05988),
compares systems whose initial loss lies within the inter-quartile range, and says that of two the
one with the lower exponent ends at the lower loss. In the benchmark both rules lose to random
search; `studies/RESULTS.md` has the numbers.

Example:
    >>> import optuna
    >>> study = optuna.create_study(pruner=GatedPercentilePruner(percentile=50))
"""

from lyapopt.search.pruners.gated_percentile import GatedPercentilePruner
from lyapopt.search.screening.rules import paper_rule

__all__ = ["GatedPercentilePruner", "paper_rule"]
