"""Where the paper's claims hold: an estimate with an interval at every setting."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

from lyapopt.bench import Numbers
from lyapopt.bench.paper.settings import ACTIVATIONS, by_setting
from lyapopt.dynamics.randomness import derive_seed

CLAIMS = {
    "table 1, exponents": "exponents in the order sigmoid > linear > relu",
    "table 1, losses": "final losses in the order sigmoid > linear > relu",
    "table 1": "both orders of Table 1 at once",
    "fig. 5": "inside the gate, a lower exponent goes with a lower final loss",
    "fig. 4, chaos": "raising the rate turns the exponent positive",
    "fig. 4, dead": "a very large rate kills relu networks, and the exponent is zero",
}
_NETWORK = ["init", "output", "width"]
_TRAINED = [*_NETWORK, "lr", "horizon", "steps"]
_RESAMPLES = 1000


def claim_map(trained: pd.DataFrame, swept: pd.DataFrame) -> pd.DataFrame:
    """One row a claim and setting: columns `claim`, the setting, `activation` where it matters,
    `estimate`, `low`, `high` (95 %), `seeds` and `verdict`: `holds`, `fails` or `open` (the
    interval has the null in it).
    """
    rows = [
        *(
            row
            for setting, part in by_setting(trained, _TRAINED)
            for row in _table_1(setting, part)
        ),
        *(
            _fig_5(setting, part)
            for setting, part in by_setting(trained, [*_TRAINED, "activation"])
        ),
        *(
            _chaos(setting, part)
            for setting, part in by_setting(swept, [*_NETWORK, "horizon", "activation"])
        ),
        *(_dead(setting, part) for setting, part in by_setting(swept, _NETWORK)),
    ]
    return pd.DataFrame(rows)


def shares(claims: pd.DataFrame) -> pd.DataFrame:
    """At how many settings each claim holds, fails, or is open."""
    counts = claims.groupby("claim", sort=False)["verdict"].value_counts().unstack(fill_value=0)
    for verdict in ("holds", "fails", "open"):
        if verdict not in counts:
            counts[verdict] = 0
    counts["settings"] = counts[["holds", "fails", "open"]].sum(axis=1)
    counts["what"] = [CLAIMS[str(name)] for name in counts.index]
    return counts[["what", "holds", "fails", "open", "settings"]].reset_index()


def _table_1(setting: dict[str, Any], part: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    for claim, column in (("table 1, exponents", "exponent"), ("table 1, losses", "loss")):
        values = part.pivot_table(index="seed", columns="activation", values=column, dropna=False)
        found.append(_ordered(claim, setting, values[list(ACTIVATIONS)].to_numpy(dtype=float)))
    verdicts = {row["verdict"] for row in found}
    both = "holds" if verdicts == {"holds"} else "fails" if "fails" in verdicts else "open"
    weaker = min(found, key=lambda row: row["low"] / max(abs(row["estimate"]), 1e-300))
    return [*found, {**weaker, "claim": "table 1", "verdict": both}]


def _ordered(claim: str, setting: dict[str, Any], values: Numbers) -> dict[str, Any]:
    """The smaller of the two gaps between the means of neighbours in the order."""
    known = values[np.isfinite(values).all(1)]
    if len(known) < 2:
        return _row(claim, setting, math.nan, math.nan, math.nan, len(known), 0.0)
    gaps = known[:, :-1] - known[:, 1:]
    rng = np.random.default_rng(derive_seed(0, claim))
    means = gaps[rng.integers(len(known), size=(_RESAMPLES, len(known)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    worst = int(gaps.mean(0).argmin())
    row = _row(
        claim,
        setting,
        float(gaps.mean(0)[worst]),
        float(low[worst]),
        float(high[worst]),
        len(known),
        0.0,
    )
    if row["verdict"] == "holds" and (low <= 0).any():
        row["verdict"] = "open"
    return row


def in_gate(part: pd.DataFrame) -> NDArray[np.bool_]:
    """Which networks have an initial loss within the inter-quartile range."""
    low, high = part["initial_loss"].quantile([0.25, 0.75])
    inside: NDArray[np.bool_] = part["initial_loss"].between(low, high).to_numpy()
    return inside


def _fig_5(setting: dict[str, Any], part: pd.DataFrame) -> dict[str, Any]:
    gated = part[in_gate(part)].replace([np.inf, -np.inf], np.nan)
    gated = gated.dropna(subset=["exponent", "loss"])
    r, low, high = correlation(
        gated["exponent"].to_numpy(dtype=float), gated["loss"].to_numpy(dtype=float)
    )
    return _row("fig. 5", setting, r, low, high, len(gated), 0.0)


def correlation(x: Numbers, y: Numbers) -> tuple[float, float, float]:
    """Pearson's r with a 95 % interval (Fisher's z); NaN where a number does not vary."""
    if len(x) < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan, math.nan, math.nan
    r = float(np.corrcoef(x, y)[0, 1])
    z, half = math.atanh(min(max(r, -1 + 1e-12), 1 - 1e-12)), 1.959964 / math.sqrt(len(x) - 3)
    return r, math.tanh(z - half), math.tanh(z + half)


def _chaos(setting: dict[str, Any], part: pd.DataFrame) -> dict[str, Any]:
    """The largest mean exponent over rates; networks that blew up are left out."""
    known = part.replace([np.inf, -np.inf], np.nan).dropna(subset=["exponent"])
    grouped = known.groupby("lr")["exponent"]
    mean, error, count = (
        np.asarray(numbers, dtype=np.float64)
        for numbers in (grouped.mean(), grouped.sem(), grouped.count())
    )
    usable = np.flatnonzero(count >= max(2, part["seed"].nunique() // 2))
    if len(usable) == 0:
        return _row("fig. 4, chaos", setting, math.nan, math.nan, math.nan, 0, 0.0)
    top = int(usable[mean[usable].argmax()])
    # The largest of several rates is looked at: the interval is widened by Bonferroni's rule.
    half = float(norm.ppf(1 - 0.025 / len(usable))) * float(error[top])
    estimate, low, high = float(mean[top]), float(mean[top]) - half, float(mean[top]) + half
    return _row("fig. 4, chaos", setting, estimate, low, high, int(count[top]), 0.0)


def _dead(setting: dict[str, Any], part: pd.DataFrame) -> dict[str, Any]:
    """Share of relu networks that stand still at the largest rate (Wilson's interval)."""
    chosen = part[
        (part["activation"] == "relu")
        & (part["lr"] == part["lr"].max())
        & (part["horizon"] == part["horizon"].max())
    ]
    dead, count = int(chosen["is_dead"].sum()), len(chosen)
    ends = binomtest(dead, count).proportion_ci(method="wilson")
    return _row("fig. 4, dead", setting, dead / count, ends.low, ends.high, count, 0.5)


def _row(
    claim: str,
    setting: dict[str, Any],
    estimate: float,
    low: float,
    high: float,
    seeds: int,
    null: float,
) -> dict[str, Any]:
    verdict = "holds" if low > null else "fails" if high < null else "open"
    return {
        "claim": claim,
        **setting,
        "estimate": estimate,
        "low": low,
        "high": high,
        "seeds": seeds,
        "verdict": verdict,
    }
