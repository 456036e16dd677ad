"""A pytest kit for any Optuna pruner, as Optuna has for samplers.

Subclass and give a `pruner` fixture that makes a new pruner each time it is called:

    from lyapopt.testing.pruner_kit import PrunerTestCase

    class TestMyPruner(PrunerTestCase):
        @pytest.fixture
        def pruner(self):
            return lambda: MyPruner(...)

and, in `conftest.py`, `pytest.register_assert_rewrite("lyapopt.testing.pruner_kit")`.
"""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import optuna
import pytest
from optuna.pruners import BasePruner, PatientPruner
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState

from lyapopt.search._optuna import bracket_study, frozen

MakePruner = Callable[[], BasePruner]
Decisions = list[tuple[int, int, bool]]
"""Trial number, step, and whether it was pruned there."""

TRIALS = 14
STEPS = 5
STORAGES = ("memory", "sqlite", "cached sqlite", "journal")


class PrunerTestCase:
    """What holds for every pruner.

    Attributes:
        is_symmetric: Whether negated values are pruned alike when they are maximised. Not so for a
            pruner with absolute thresholds.
        answers: Types that an answer may have. Optuna 5.0's `MedianPruner` and `PercentilePruner`
            answer with numpy's, which JSON does not take.
        knows_brackets: Whether it works with the study that a Hyperband bracket shows. Optuna
            5.0's `WilcoxonPruner` asks it for its best trial, which it hides.
    """

    is_symmetric: ClassVar[bool] = True
    answers: ClassVar[tuple[type, ...]] = (bool,)
    knows_brackets: ClassVar[bool] = True

    @pytest.fixture
    def pruner(self) -> MakePruner:
        """A function that makes the pruner."""
        raise NotImplementedError

    def user_attrs(self, number: int) -> dict[str, float | str]:
        """User attributes of trial `number`."""
        return {}

    @pytest.mark.parametrize("direction", ["minimize", "maximize"])
    def test_a_trial_that_has_reported_nothing_is_not_pruned(
        self, pruner: MakePruner, direction: str
    ) -> None:
        """There is nothing to judge by."""
        study = self._study(pruner(), direction)
        assert study.ask().should_prune() is False

    @pytest.mark.parametrize("direction", ["minimize", "maximize"])
    @pytest.mark.parametrize("value", [0.0, 1e300, math.nan, math.inf, -math.inf])
    def test_any_value_gets_an_answer_without_a_history(
        self, pruner: MakePruner, direction: str, value: float
    ) -> None:
        """The first trial of a study, whatever it reports."""
        trial = self._study(pruner(), direction).ask()
        trial.report(value, 1)
        assert type(trial.should_prune()) in self.answers

    @pytest.mark.parametrize("direction", ["minimize", "maximize"])
    @pytest.mark.parametrize("value", [0.0, 1e300, math.nan, math.inf, -math.inf])
    def test_any_value_gets_an_answer_after_a_history(
        self, pruner: MakePruner, direction: str, value: float
    ) -> None:
        """The answer is the builtin `bool`, not numpy's, which JSON and databases refuse."""
        study = self._study(pruner(), direction)
        self._run(study)
        trial = self._ask(study)
        for step in range(1, STEPS + 1):
            trial.report(value, step)
            assert type(trial.should_prune()) in self.answers

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_strange_values_in_the_history_do_not_disturb(
        self, pruner: MakePruner, value: float
    ) -> None:
        """Trials with such values among the finished ones."""
        study = self._study(pruner(), "minimize")
        for _ in range(TRIALS):
            trial = self._ask(study)
            trial.report(value, 1)
            trial.should_prune()
            study.tell(trial, state=TrialState.PRUNED)
        assert all(type(pruned) in self.answers for _, _, pruned in self._run(study))

    def test_steps_may_be_sparse_and_out_of_order(self, pruner: MakePruner) -> None:
        """Reports at steps 7, 3, 100."""
        study = self._study(pruner(), "minimize")
        self._run(study)
        trial = self._ask(study)
        for step in (7, 3, 100):
            trial.report(0.5, step)
            assert type(trial.should_prune()) in self.answers

    def test_negated_values_are_pruned_alike_when_maximised(self, pruner: MakePruner) -> None:
        """Both directions mean the same, unless thresholds are absolute."""
        if not self.is_symmetric:
            return
        down = self._run(self._study(pruner(), "minimize"))
        up = self._run(self._study(pruner(), "maximize"), sign=-1.0)
        assert up == down

    def test_a_pruner_that_was_pickled_between_calls_decides_alike(
        self, pruner: MakePruner
    ) -> None:
        """What a pruner knows is in the study, so that it may move between processes."""

        def pickled(study: optuna.Study) -> None:
            study.pruner = pickle.loads(pickle.dumps(study.pruner))

        kept = self._run(self._study(pruner(), "minimize"))
        assert self._run(self._study(pruner(), "minimize"), before=pickled) == kept

    def test_a_new_pruner_for_every_trial_decides_alike(self, pruner: MakePruner) -> None:
        """A study that is resumed makes its pruner anew."""

        def renewed(study: optuna.Study) -> None:
            study.pruner = pruner()

        kept = self._run(self._study(pruner(), "minimize"))
        assert self._run(self._study(pruner(), "minimize"), before=renewed) == kept

    @pytest.mark.parametrize("kind", STORAGES)
    def test_every_storage_gives_the_same_decisions(
        self, pruner: MakePruner, kind: str, tmp_path: Path
    ) -> None:
        """Values come back from a storage as they went in."""
        study = self._study(pruner(), "minimize", _storage(kind, tmp_path))
        assert self._run(study) == self._run(self._study(pruner(), "minimize"))

    def test_asking_changes_nothing_of_the_trial_that_others_see(self, pruner: MakePruner) -> None:
        """Parameters, values and user attributes are as they were."""
        study = self._study(pruner(), "minimize")
        self._run(study)
        trial = self._ask(study)
        trial.report(1.0, 1)
        before = copy.deepcopy(frozen(trial))
        trial.should_prune()
        after = frozen(trial)
        for name in ("params", "distributions", "user_attrs", "intermediate_values", "state"):
            assert getattr(after, name) == getattr(before, name)

    def test_several_objectives_are_refused(self, pruner: MakePruner) -> None:
        """Optuna has no pruning there, and no pruner may hide it."""
        study = optuna.create_study(directions=["minimize", "minimize"], pruner=pruner())
        trial = study.ask()
        with pytest.raises(NotImplementedError):
            trial.should_prune()

    def test_it_works_inside_a_patient_pruner(self, pruner: MakePruner) -> None:
        """Patience waits for trials that still get better."""
        study = self._study(PatientPruner(pruner(), patience=1), "minimize")
        decisions = self._run(study)
        assert all(type(pruned) in self.answers for _, _, pruned in decisions)
        assert not any(pruned for _, step, pruned in decisions if step <= 2)

    def test_it_works_with_the_study_that_a_hyperband_bracket_shows(
        self, pruner: MakePruner
    ) -> None:
        """It has no user attributes and no best trial."""
        if not self.knows_brackets:
            return
        study = self._study(pruner(), "minimize")
        self._run(study)
        trial = self._ask(study)
        trial.report(1.0, 1)
        assert type(pruner().prune(bracket_study(study), frozen(trial))) in self.answers

    # What the cases are made of

    def _study(
        self, pruner: BasePruner, direction: str, storage: BaseStorage | None = None
    ) -> optuna.Study:
        sampler = optuna.samplers.RandomSampler(seed=0)
        return optuna.create_study(
            study_name="pruner-kit",  # Hyperband deals out brackets by the study's name
            storage=storage or InMemoryStorage(),
            sampler=sampler,
            pruner=pruner,
            direction=optuna.study.StudyDirection[direction.upper()],
        )

    def _ask(self, study: optuna.Study) -> optuna.Trial:
        trial = study.ask()
        trial.suggest_float("x", 0.0, 1.0)
        trial.suggest_categorical("kind", ["a", "b"])
        for name, value in self.user_attrs(trial.number).items():
            trial.set_user_attr(name, value)
        return trial

    def _run(
        self,
        study: optuna.Study,
        sign: float = 1.0,
        before: Callable[[optuna.Study], None] | None = None,
    ) -> Decisions:
        """Trials one after the other, each with a falling curve of its own."""
        decisions: Decisions = []
        for _ in range(TRIALS):
            trial = self._ask(study)
            value = math.nan
            for step, value in _curve(trial.number, sign):
                trial.report(value, step)
                if before is not None:
                    before(study)
                pruned = trial.should_prune()
                decisions.append((trial.number, step, pruned))
                if pruned:
                    break
            state = TrialState.PRUNED if decisions[-1][2] else TrialState.COMPLETE
            study.tell(trial, None if state == TrialState.PRUNED else value, state=state)
        return decisions


def _curve(number: int, sign: float) -> Iterator[tuple[int, float]]:
    """A falling loss that ends somewhere between 0 and 1, in no order of trial numbers."""
    end = (number * 5 % 13) / 13
    for step in range(1, STEPS + 1):
        yield step, sign * (end + 1.0 / step)


def _storage(kind: str, folder: Path) -> BaseStorage:
    match kind:
        case "sqlite":
            return RDBStorage(f"sqlite:///{folder}/a.db")
        case "cached sqlite":
            return get_storage(f"sqlite:///{folder}/a.db")
        case "journal":
            return JournalStorage(JournalFileBackend(str(folder / "a.log")))
    return InMemoryStorage()
