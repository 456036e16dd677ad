"""Who takes part: rivals, ours, placebos and controls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from lyapopt.bench.search.frozen import (
    PATIENCE,
    PRUNED,
    RANKED,
    RANKED_BELOW,
    SCREENED,
    STEERED,
    WARM_UP,
    Ranked,
    Steered,
)
from lyapopt.bench.search.replay import FIRST_REPORT, Replay, Watch, run_ranked, run_trials
from lyapopt.bench.search.samplers import (
    KnowingSampler,
    LineSearchSampler,
    range_test,
    ternary_search,
)
from lyapopt.bench.search.table_probe import (
    AnotherNet,
    LogRate,
    Placebo,
    Shuffled,
    TableProbe,
    never_build,
)
from lyapopt.paper import GatedPercentilePruner
from lyapopt.search.pruners import LyapunovPruner
from lyapopt.search.screening import ScreeningSampler
from lyapopt.search.steering import EdgeOfChaosSampler

MakePlacebo = Callable[[int, int], Placebo]
"""From horizon and neighbours to a placebo."""

Family = Literal["rival", "ours", "placebo", "control"]


@dataclass(frozen=True)
class Method:
    """One way to search.

    Attributes:
        name: Its name in tables.
        family: What it is here for.
        run: Searches a replay's table until the budget is spent.
        is_anytime: Whether it does the same under every budget, so that one run shows all.
    """

    name: str
    family: Family
    run: Callable[[Replay], None]
    is_anytime: bool = True


def _steps(replay: Replay, length: int | str) -> int:
    """Steps of a length: a number of steps, or of epochs as in `1 epoch`."""
    if isinstance(length, int):
        return length
    return int(length.split()[0]) * replay.table.facts.steps_per_epoch


def _part(replay: Replay, part: float) -> int:
    """The checkpoint nearest to a part of a full training."""
    checkpoints = replay.table.checkpoints
    return int(checkpoints[abs(checkpoints - part * replay.table.facts.steps).argmin()])


def _tpe() -> BaseSampler:
    return TPESampler(n_startup_trials=10)


_SAMPLERS: Mapping[str, Callable[[], BaseSampler]] = {"random": RandomSampler, "TPE": _tpe}


def _pruner(name: str, replay: Replay) -> BasePruner | None:
    steps = replay.table.facts.steps
    pruners: dict[str, Callable[[], BasePruner | None]] = {
        "": lambda: None,
        "Median": lambda: MedianPruner(n_startup_trials=5),
        "SHA": lambda: SuccessiveHalvingPruner(min_resource=FIRST_REPORT, reduction_factor=3),
        "Hyperband": lambda: HyperbandPruner(
            min_resource=FIRST_REPORT, max_resource=steps, reduction_factor=3
        ),
    }
    return pruners[name]()


def _plain(sampler: str, pruner: str) -> Method:
    def run(replay: Replay) -> None:
        run_trials(replay, _SAMPLERS[sampler](), _pruner(pruner, replay))

    return Method(" + ".join(filter(None, (sampler, pruner))), "rival", run)


def _i_epoch(steps: int | str, keep: int) -> Method:
    def run(replay: Replay) -> None:
        run_ranked(replay, RandomSampler(), _steps(replay, steps), keep)

    length = f"{steps} steps" if isinstance(steps, int) else steps
    return Method(f"i-Epoch {length}, top {keep}", "rival", run, is_anytime=False)


def _ranked_alike(name: str, make: Callable[[Replay], BaseSampler], probe_steps: int = 0) -> Method:
    """Ranked as ours, with rates from elsewhere: what ranking alone is worth."""

    def run(replay: Replay) -> None:
        keep = max(1, round(RANKED.share * replay.budget))
        run_ranked(replay, make(replay), _part(replay, RANKED.part), keep, probe_steps=probe_steps)

    return Method(f"{name}, ranked as ours", "rival", run, is_anytime=False)


def _training_losses(replay: Replay) -> None:
    run_ranked(replay, RandomSampler(), _steps(replay, "1 epoch"), 1, by="training")


def _range_test(replay: Replay) -> None:
    run_ranked(replay, LineSearchSampler(replay, range_test), _steps(replay, "1 epoch"))


def _ternary(replay: Replay) -> None:
    steps = _steps(replay, "1 epoch")
    run_ranked(replay, LineSearchSampler(replay, ternary_search), steps, probe_steps=min(10, steps))


def steering_sampler(
    replay: Replay,
    how: Steered,
    base: BaseSampler,
    placebo: MakePlacebo | None = None,
) -> EdgeOfChaosSampler:
    """`EdgeOfChaosSampler` as it is, on a probe that answers from the table."""
    substitute = None if placebo is None else placebo(how.horizon, how.neighbours)
    return EdgeOfChaosSampler(
        base,
        build=never_build,
        probe=TableProbe(
            horizon=how.horizon, neighbours=how.neighbours, replay=replay, placebo=substitute
        ),
        search_space=replay.space,
        target=how.target,
        rates_at_once=how.rates_at_once,
        rounds=how.rounds,
        reuse=how.reuse,
        seed=replay.seed,
    )


def steered_and_ranked(
    replay: Replay,
    how: Ranked = RANKED,
    placebo: MakePlacebo | None = None,
    is_pruned: bool = False,
) -> None:
    """Candidates at the edge of chaos, ranked after a little training; pruned before if asked."""
    sampler = steering_sampler(replay, how.steered, RandomSampler(), placebo)
    steps = max(_part(replay, how.part), how.steered.horizon)
    keep = max(1, round(how.share * replay.budget))
    pruner, watch = _pruning() if is_pruned else (None, None)
    run_ranked(
        replay, sampler, steps, keep, probe_steps=how.steered.horizon, pruner=pruner, watch=watch
    )


def _late_median() -> MedianPruner:
    """The median pruner, from the report after the probe's on."""
    return MedianPruner(n_startup_trials=5, n_warmup_steps=WARM_UP)


def _pruning(**changed: Any) -> tuple[LyapunovPruner, Watch]:
    """The pruner as it is frozen, and what it reads."""
    pruner = LyapunovPruner(slow=PRUNED.slow, hot=PRUNED.hot, **changed)
    return pruner, Watch(PRUNED.horizon, PRUNED.neighbours, PRUNED.slow)


def _steered_trials(base: str, pruner: str) -> Method:
    def run(replay: Replay) -> None:
        sampler = steering_sampler(replay, STEERED, _SAMPLERS[base]())
        run_trials(replay, sampler, _pruner(pruner, replay), probe_steps=STEERED.horizon)

    return Method(" + ".join(filter(None, (f"edge of chaos ({base})", pruner))), "ours", run)


def _screening(rule: Literal["forecast", "loss", "paper"]) -> Method:
    def run(replay: Replay) -> None:
        sampler = ScreeningSampler(
            RandomSampler(),
            build=never_build,
            probe=TableProbe(
                horizon=SCREENED.horizon, neighbours=SCREENED.neighbours, replay=replay
            ),
            candidates=SCREENED.candidates,
            rule=rule,
            search_space=replay.space,
            seed=replay.seed,
        )
        run_trials(replay, sampler, probe_steps=SCREENED.horizon)

    return Method(f"screening ({rule})", "ours", run)


def _watched(name: str, make: Callable[[], BasePruner], base: str = "TPE") -> Method:
    def run(replay: Replay) -> None:
        run_trials(replay, _SAMPLERS[base](), make(), Watch(FIRST_REPORT, 1))

    return Method(f"{base} + {name}", "control", run)


def pruned_early(
    base: str, name: str, is_ranked: bool = False, family: Family = "ours", **changed: Any
) -> Method:
    """`LyapunovPruner` after the probe of every trial.

    Args:
        base: The sampler.
        name: How the method is called beside it.
        is_ranked: Whether what is left is ranked as ours is.
        family: What it is here for.
        changed: `loss` alone, without neighbours; neighbours for `all`, not just for trials whose
            loss has fallen; a `placebo` of the exponent; a `wrapped` pruner.
    """

    def run(replay: Replay) -> None:
        has_neighbours = not changed.get("loss")
        placebo: MakePlacebo | None = changed.get("placebo")
        watch = Watch(
            PRUNED.horizon,
            PRUNED.neighbours if has_neighbours else 0,
            None if changed.get("all") else PRUNED.slow,
            None if placebo is None else placebo(PRUNED.horizon, PRUNED.neighbours),
        )
        wrapped = _late_median() if changed.get("wrapped") else None
        hot = PRUNED.hot if has_neighbours else None
        pruner = LyapunovPruner(slow=PRUNED.slow, hot=hot, wrapped=wrapped)
        if not is_ranked:
            run_trials(replay, _SAMPLERS[base](), pruner, watch)
            return
        keep = max(1, round(RANKED.share * replay.budget))
        steps = max(_part(replay, RANKED.part), PRUNED.horizon)
        run_ranked(replay, _SAMPLERS[base](), steps, keep, pruner=pruner, watch=watch)

    ranked = " + ranking" if is_ranked else ""
    return Method(f"{base} + {name}{ranked}", family, run, is_anytime=not is_ranked)


def _of_pruning() -> Iterator[Method]:
    """The pruner, what it is without exponents, and with those of something else."""
    for is_ranked in (False, True):
        yield pruned_early("random", "LyapunovPruner", is_ranked)
        yield pruned_early("random", "LyapunovPruner, neighbours for all", is_ranked, all=True)
        yield pruned_early("random", "fell", is_ranked, "rival", loss=True)
        for name, placebo in (
            ("shuffled exponent", Shuffled),
            ("log lr", LogRate),
            ("another net", AnotherNet),
        ):
            label = f"LyapunovPruner ({name})"
            yield pruned_early("random", label, is_ranked, "placebo", placebo=placebo)
    yield pruned_early("TPE", "LyapunovPruner")
    yield pruned_early("TPE", "LyapunovPruner + Median", wrapped=True)
    yield pruned_early("TPE", "fell", family="rival", loss=True)
    yield pruned_early("TPE", "fell + Median", family="rival", loss=True, wrapped=True)


def pair_end(first: int) -> int:
    """Where a group of trials ends that `auto` draws together under a budget.

    The benchmark stands below studies and does not import their `Schedule`; a test compares them.

    Args:
        first: Number of its first trial.
    """
    return min((first // 2 + 1) * 2, 2 * first or 1)


def _auto(replay: Replay) -> None:
    """What a study file chooses that names neither sampler nor pruner."""
    if replay.budget < RANKED_BELOW:
        steered_and_ranked(replay)
        return
    sampler = TPESampler(constant_liar=True)
    pruner, watch = _pruning(wrapped=_late_median(), patience=PATIENCE)
    run_trials(replay, sampler, pruner, watch, group_end=pair_end)


def _placebo(name: str, placebo: MakePlacebo) -> Method:
    def run(replay: Replay) -> None:
        steered_and_ranked(replay, placebo=placebo)

    return Method(f"placebo: {name}", "placebo", run, is_anytime=False)


OURS = "edge of chaos + ranking"
"""The method that others are compared with."""
AUTO = "auto"
PRUNED_AND_RANKED = "edge of chaos + LyapunovPruner + ranking"
RANDOM_PRUNED_AND_RANKED = "random + LyapunovPruner + ranking"
PRUNED_TPE = "TPE + LyapunovPruner"

METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        *(_plain(s, p) for s in _SAMPLERS for p in ("", "Median", "SHA", "Hyperband")),
        *(
            _i_epoch(steps, keep)
            for steps in (10, 20, 40, "1 epoch", "2 epochs")
            for keep in (1, 3)
        ),
        _ranked_alike("random", lambda replay: RandomSampler()),
        _ranked_alike("rate range test", lambda replay: LineSearchSampler(replay, range_test)),
        _ranked_alike(
            "ternary loss search", lambda r: LineSearchSampler(r, ternary_search), probe_steps=10
        ),
        Method("sum of training losses", "rival", _training_losses, is_anytime=False),
        Method("rate range test", "rival", _range_test, is_anytime=False),
        Method("ternary loss search", "rival", _ternary, is_anytime=False),
        Method(OURS, "ours", steered_and_ranked, is_anytime=False),
        Method(AUTO, "ours", _auto, is_anytime=False),
        Method(
            PRUNED_AND_RANKED,
            "ours",
            lambda replay: steered_and_ranked(replay, is_pruned=True),
            is_anytime=False,
        ),
        _steered_trials("random", ""),
        _steered_trials("TPE", ""),
        _steered_trials("TPE", "SHA"),
        _screening("forecast"),
        _screening("loss"),
        _screening("paper"),
        *_of_pruning(),
        _watched("GatedPercentilePruner", GatedPercentilePruner),
        _placebo("shuffled exponent", Shuffled),
        _placebo("log lr", LogRate),
        _placebo("exponent of another net", AnotherNet),
        Method("oracle", "control", lambda r: run_trials(r, KnowingSampler(r, 0))),
        Method("useless", "control", lambda r: run_trials(r, KnowingSampler(r, -1))),
    )
}

CORE = (
    "random",
    "TPE",
    "TPE + Median",
    "TPE + Hyperband",
    "random + SHA",
    "i-Epoch 20 steps, top 1",
    "i-Epoch 1 epoch, top 1",
    "i-Epoch 1 epoch, top 3",
    "random, ranked as ours",
    "rate range test",
    "rate range test, ranked as ours",
    "ternary loss search",
    OURS,
    AUTO,
    "screening (forecast)",
    "screening (paper)",
    PRUNED_TPE,
    "TPE + fell",
    PRUNED_AND_RANKED,
    RANDOM_PRUNED_AND_RANKED,
    "random + fell + ranking",
    "placebo: shuffled exponent",
    "placebo: log lr",
    "placebo: exponent of another net",
    "oracle",
    "useless",
)
"""The methods of a quick run."""
