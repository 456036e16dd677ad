"""From any trainings to the fewest maps that hold them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Hashable, Iterable, Sequence

from lyapopt.dynamics.compilation import Compile
from lyapopt.dynamics.execution import leaving_inference_mode
from lyapopt.dynamics.structure import activations
from lyapopt.dynamics.system import Known, System
from lyapopt.dynamics.training import Training, as_list
from lyapopt.dynamics.training_map import TrainingMap
from lyapopt.dynamics.unstacked import UnstackedMap, UnstackedSystem
from lyapopt.errors import NotStackableError

AnySystem = System | UnstackedSystem
"""A training that is read: one that can be a row of a stack, or one that runs by itself."""

AnyTrainingMap = TrainingMap | UnstackedMap
"""Two maps of one interface."""

_LOG = logging.getLogger(__name__)


def stack(
    trainings: Iterable[Training], compile: Compile = "auto", expected_steps: int | None = None
) -> list[tuple[list[int], AnyTrainingMap]]:
    """Trainings of equal structure share a map; every training is read once.

    What cannot be stacked gets a map of its own that runs it as a PyTorch loop would; a line in the
    log says why.

    Args:
        trainings: Of any structures.
        compile: See `TrainingMap`.
        expected_steps: See `TrainingMap`.

    Returns:
        For every map the positions of its trainings: maps in order of first appearance, and in each
        the trainings in order, those of equal activations together.

    Raises:
        TrainingError: If a training cannot be trained as given.
        NotStackableError: If one keeps state where no neighbour can have its own.

    Example:
        >>> from torch import eye, nn, optim
        >>> def training(width):
        ...     model = nn.Linear(width, 1)
        ...     return Training(
        ...         model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1),
        ...         data=(eye(width), eye(width)[:, :1]),
        ...     )
        >>> [positions for positions, step in stack([training(2), training(3), training(2)])]
        [[0, 2], [1]]
    """
    systems = _read(trainings)
    found: list[tuple[list[int], AnyTrainingMap]] = []
    for positions in _positions_by_structure(systems):
        maps = maps_of([systems[position] for position in positions], compile, expected_steps)
        found += [([positions[row] for row in rows], step) for rows, step in maps]
    return sorted(found, key=lambda part: part[0][0])


@leaving_inference_mode
def read_system(training: Training, known: Known | None = None) -> AnySystem:
    """Take a training apart; one that cannot be stacked is made to run by itself.

    Args:
        training: Any.
        known: See `System.read`.

    Raises:
        TrainingError: If it cannot be trained as given.
        NotStackableError: If it cannot even run by itself next to neighbours.
    """
    try:
        return System.read(training, known)
    except NotStackableError as refusal:
        return _unstacked(training, refusal)


@leaving_inference_mode
def maps_of(
    systems: Sequence[AnySystem], compile: Compile = "auto", expected_steps: int | None = None
) -> list[tuple[list[int], AnyTrainingMap]]:
    """Maps of systems of equal structure: one, unless running them together shows otherwise.

    Returns:
        For every map the positions of its systems, those of equal activations together.
    """
    unstacked = [system for system in systems if isinstance(system, UnstackedSystem)]
    if unstacked:  # its structure is equal to no other
        return [([0], UnstackedMap(unstacked))]
    order = _by_activations(systems, range(len(systems)))
    rows = [system for system in (systems[k] for k in order) if isinstance(system, System)]
    try:
        return [(order, TrainingMap.of_systems(rows, compile, expected_steps))]
    except NotStackableError as refusal:
        unstacked = [_unstacked(system.training, refusal) for system in rows]
        pairs = zip(order, unstacked, strict=True)
        return [([position], UnstackedMap([system])) for position, system in pairs]


def group_by_structure(trainings: Iterable[Training]) -> list[list[int]]:
    """Positions of the trainings that can share a stack, in order of first appearance.

    See `stack`, which makes the maps too.
    """
    return _positions_by_structure(_read(trainings))


def _read(trainings: Iterable[Training]) -> list[AnySystem]:
    known: Known = {}
    return [read_system(training, known) for training in as_list(trainings)]


def _unstacked(training: Training, refusal: NotStackableError) -> UnstackedSystem:
    system = UnstackedSystem(training, str(refusal))
    _say(str(refusal))
    return system


@functools.lru_cache(maxsize=256)
def _say(reason: str) -> None:
    """Warn once in a process: a search makes thousands of the same kind."""
    _LOG.warning("trained unstacked, which is slower: %s", reason)


def _positions_by_structure(systems: Sequence[AnySystem]) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for position, system in enumerate(systems):
        groups.setdefault(system.structure, []).append(position)
    return [_by_activations(systems, positions) for positions in groups.values()]


def _by_activations(systems: Sequence[AnySystem], positions: Iterable[int]) -> list[int]:
    """Rows of equal activations next to each other, where they run fastest."""
    alike: dict[Hashable, list[int]] = {}
    for position in positions:
        alike.setdefault(_activations_of(systems[position]), []).append(position)
    return [position for part in alike.values() for position in part]


def _activations_of(system: AnySystem) -> Hashable:
    own = activations(system.training.model)
    return tuple((type(part), part.extra_repr()) for _, part in own)


def briefly(step: AnyTrainingMap) -> AnyTrainingMap:
    """The same map, for a few steps with counters of its own: under `auto` none is compiled."""
    if isinstance(step, UnstackedMap):
        return step.briefly()
    made = TrainingMap.__new__(TrainingMap)
    made.__dict__.update(step.__dict__, gradient_evaluations=0, examples=0, _programs={})
    made._compile = "on" if step._compile == "on" else "off"
    return made
