"""A good learning rate for one network now, without a study: from a build function."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.distributions import FloatDistribution

from lyapopt.checks import Arguments
from lyapopt.display import one_line
from lyapopt.dynamics import Training
from lyapopt.errors import UserError
from lyapopt.search.arguments import SearchArguments
from lyapopt.search.probing.building import Build, Params, build_training
from lyapopt.search.probing.probes import SteeringFailedError, optimizer_name
from lyapopt.search.steering.found_rate import Steering
from lyapopt.search.steering.optimizer_rates import peaks
from lyapopt.search.steering.rate_rules import rule_of, usual_rate
from lyapopt.search.steering.rate_search import RateSearch, budget_of
from lyapopt.search.steering.schedules import warm_up, without_schedule
from lyapopt.search.steering.search_line import Axis


def steer(
    build: Build,
    params: Params | None = None,
    *,
    name: str = "lr",
    low: float = 1e-5,
    high: float = 10.0,
    steps: int | None = None,
    target: float | None = None,
    seed: int = 0,
) -> Steering:
    """A good learning rate for one network: `lyapopt.find_lr` for a build function.

    Args:
        build: `params -> Training`.
        params: Parameters without the rate.
        name: The rate's name among the parameters.
        low, high: Range of rates.
        steps: Steps of the training: a quarter of them is spent at most, and never more than 300
            gradient evaluations. By default those of the `Training`, where it has any.
        target: Exponent from which a rate is too hot, nats per step; by default what was measured
            to be good for this optimiser.
        seed: Seed of initial weights that `build` does not seed itself.

    Raises:
        SteeringFailedError: If the build function raises, or the first steps do at every rate, or
            the loss is not finite from the start.
        UserError: If an argument is of another type or out of its range, the training cannot be
            trained as given, or `build` does not read `name`.

    Example:
        >>> from lyapopt.tasks.builder import TaskBuilder
        >>> found = steer(TaskBuilder("xor", {"activation": "tanh"}), {"init_seed": 0})
        >>> found.status, 0.1 < found.rate < 10, found.gradient_evaluations <= 300 / 4
        ('crossed', True, True)
    """
    check = SearchArguments("steer")
    check.build(build)
    mapping = "a mapping of names to values"
    check.optional(check.instance, "params", params, types=Mapping, expected=mapping)
    check.instance("name", name, str, "the name of a parameter")
    axis, target, steps = range_and_steps(check, low, high, target, steps)
    seed = check.whole("seed", seed)
    given = dict(params or {})

    def built(rate: float) -> Training:
        try:
            return build_training(build, {**given, name: rate}, seed, 0)
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            raise _failure(error, sorted({**given, name: None})) from error

    rates = [peaks(built(rate).optimizer) for rate in (usual_rate(""), 2 * usual_rate(""))]
    if rates[0] == rates[1]:
        raise UserError(
            f"steer: the optimizer has the same rate whatever it is; does build read "
            f"params[{name!r}]?"
        )
    first = built(usual_rate(""))
    steps = steps or first.steps
    optimizer, budget = optimizer_name(first.optimizer), budget_of(steps)
    search = RateSearch(
        where="steer",
        at=lambda rate: without_schedule(built(rate)),
        axis=axis,
        budget=budget,
        optimizer=optimizer,
        rule=rule_of(optimizer, target, budget),
        name=name,
    )
    note = warm_up(first.optimizer, first.scheduler, steps)
    return search.run((note,) if note else ())


def range_and_steps(
    check: Arguments, low: object, high: object, target: object, steps: object
) -> tuple[Axis, float | None, int | None]:
    """What the doors to a search have in common, checked."""
    lowest = check.real("low", low, above=0)
    highest = check.real("high", high, above=lowest)
    axis = Axis(FloatDistribution(lowest, highest, log=True))
    aimed = check.optional(check.real, "target", target, above=0)
    return axis, aimed, check.optional(check.whole, "steps", steps, least=1)


def _failure(error: Exception | SystemExit, given: list[str]) -> SteeringFailedError:
    message = f"steer: build raised {type(error).__name__}: {error}"
    if isinstance(error, KeyError):
        message += f" (given: {', '.join(given)}; `name` says what the rate is called)"
    return SteeringFailedError(one_line(message))
