"""What a class or an optimizer refuses is refused where it is written, before a study begins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lyapopt.registry import Role
from lyapopt.study.file import StudyFileError, load_study_file
from lyapopt.study.file.signatures import available, signature_of
from lyapopt.study.run.runner import run_study

HEAD = "storage: sqlite:///study.db\nstudy_name: s\nn_trials: 4\n"
OWN = "objective: {call: 'arguments_objective:objective'}\n"
NUMBERS = "search_space: {x: {type: float, low: .1, high: 10}, n: {type: int, low: 1, high: 8}}\n"
DIGITS = "task: {name: digits, model: transformer-tiny}\n"
LR = "search_space: {lr: {type: float, low: .1, high: 1}}\n"
TWO = "directions: [minimize, minimize]\n"

# a study with a caret at the mistake, part of the message
CASES = [
    # arguments one by one
    (OWN + "pruner: {name: hyperband, min_resource: ^0}", "a whole number of at least 1, got 0"),
    (OWN + "pruner: {name: hyperband, max_resource: ^x}", "of at least 1, or auto"),
    (OWN + "pruner: {name: sha, min_early_stopping_rate: ^-1}", "a whole number from 0 to 1000"),
    (OWN + "pruner: {name: wilcoxon, p_threshold: ^1.5}", "a number between 0 and 1, got 1.5"),
    (OWN + "sampler: {name: tpe, n_ei_candidates: ^0}", "a whole number from 1 to 1000000"),
    (OWN + "sampler: {name: tpe, prior_weight: ^-1}", "a number of at least 0"),
    (OWN + "sampler: {name: tpe, prior_weight: ^1" + 30 * "0" + "}", "at most 64 bits"),
    (OWN + "sampler: {name: tpe, gamma: ^.5}", "a function as package.module:name or null"),
    (OWN + "sampler: {name: gp, constraints_func: ^[]}", "a function as package.module:name"),
    (OWN + "sampler: {name: random, seed: ^-1}", "a whole number from 0 to 4294967295"),
    (OWN + "sampler: {name: cma-es, x0: ^3}", "expected a mapping or null, got 3"),
    (OWN + "sampler: {name: cma-es, popsize: ^1}", "a whole number from 2 to 10000"),
    (OWN + "sampler: {name: cma-es, source_trials: ^[]}", "a file holds no trials"),
    (OWN + "sampler: {name: nsgaii, population_size: ^1}", "a whole number of at least 2"),
    (OWN + "sampler: {name: qmc, qmc_type: ^Sobol}", "expected sobol or halton"),
    (OWN + "sampler: {name: partial-fixed, fixed_params: {}, base: ^null}", "a sampler's name"),
    (OWN + "sampler: {name: nsgaii, crossover: {name: blxalpha, alpha: ^1e5}}", "between 0 and 2"),
    (OWN + "sampler: {name: nsgaii, crossover: {name: sbx, eta: ^-1}}", "of at least 0, got -1"),
    (OWN + "sampler: {name: nsgaii, mutation: {name: polynomial, eta: ^-1}}", "of at least 0"),
    (OWN + TWO + "sampler: {name: nsgaiii, reference_points: ^[1, 0]}", "a list of points"),
    (DIGITS + LR + "sampler: {name: screening, candidates: ^1000000000}", "from 1 to 10000"),
    # several together
    (OWN + "pruner: {name: hyperband, bootstrap_count: ^1}", "needs a max_resource that is a num"),
    (OWN + "pruner: {name: hyperband, min_resource: 9, max_resource: ^3}", "is below min_resource"),
    (OWN + "pruner: ^threshold", "neither lower nor upper is given"),
    (OWN + "pruner: {name: threshold, lower: 1, upper: ^0}", "upper is below lower"),
    (OWN + "sampler: {name: tpe, multivariate: false, group: ^true}", "group needs multivariate"),
    (OWN + "sampler: {name: cma-es, lr_adapt: true, with_margin: ^true}", "exclude each other"),
    (OWN + "sampler: {name: nsgaii, crossover: undx, population_size: ^2}", "three parents"),
    (DIGITS + LR + "pruner: {name: lyapunov, wrapped: ^hyperband}", "does not see a Hyperband"),
    (DIGITS + LR + "sampler: {name: screening, base: ^edge-of-chaos}", "probes already"),
    # with the search space and the directions
    (OWN + NUMBERS + "sampler: {name: cma-es, x0: ^{x: 1}}", "x0 has no value of n"),
    (OWN + NUMBERS + "sampler: {name: cma-es, x0: {x: ^99, n: 2}}", "x is never 99"),
    (OWN + NUMBERS + "sampler: {name: cma-es, x0: {x: 1, n: 2, ^m: 2}}", "m is not in the search"),
    (
        OWN + NUMBERS + "sampler: {name: partial-fixed, base: tpe, fixed_params: {n: ^1.5}}",
        "n is never 1.5: it is a whole number from 1 to 8",
    ),
    (OWN + TWO + "sampler: {name: nsgaiii, reference_points: ^[[1]]}", "a trial returns 2"),
    (
        OWN + "directions: [minimize, minimize, minimize]\n"
        "sampler: {name: nsgaiii, dividing_parameter: ^1000000}",
        "from 1 to 1000",
    ),
    (
        OWN + "search_space: {^n: {type: int, low: 0, high: 10000000000}}\nsampler: grid",
        "these are too many: 1e+10",
    ),
    (
        OWN + "search_space: {a: [1, 2], b: [3, 4]}\nsampler: grid\nenqueue: [^{a: 1}]",
        "beside a grid, a trial has all parameters: b",
    ),
    # what torch and our models refuse
    (
        "task: {name: xor, momentum: .5}\n"
        "search_space: {nesterov: ^[true, false], dampening: [0, .1]}",
        "nesterov needs momentum above 0 and no dampening",
    ),
    ("task: {name: xor}\nsearch_space: {nesterov: ^[true, false]}", "needs momentum above 0"),
    (DIGITS.replace("tiny", "tiny, heads: ^3") + LR, "width 16 is no multiple of heads 3"),
    (DIGITS + "search_space: {heads: ^[2, 4, 5]}", "width 16 is no multiple of heads 5"),
    (DIGITS.replace("tiny", "tiny, patch: ^7") + LR, "patch 7 does not divide the 64 numbers"),
    (DIGITS + "search_space: {patch: ^{type: int, low: 1, high: 4}}", "patch 3 does not divide"),
    ("task: {name: xor, init_scale: ^1e9}\n" + LR, "at most 1e+06"),
    ("task: {name: xor, hidden: ^1000000000}\n" + LR, "at most 100000"),
]


@pytest.mark.parametrize(("marked", "message"), CASES, ids=lambda v: str(v)[-60:])
def test_an_argument_that_cannot_work_is_refused_in_its_place(
    marked: str, message: str, tmp_path: Path
) -> None:
    text = HEAD + marked
    path = tmp_path / "study.yaml"
    path.write_text(text.replace("^", ""))
    with pytest.raises(StudyFileError) as caught:
        load_study_file(path)
    [issue] = caught.value.issues
    before = text[: text.index("^")]
    assert issue.mark is not None
    place = (before.count("\n"), len(before) - (before.rfind("\n") + 1))
    assert (issue.mark.line, issue.mark.column) == place, str(caught.value)
    assert message in issue.message


@pytest.mark.parametrize(
    "section",
    [
        "task: {name: xor, momentum: .5}\nsearch_space: {nesterov: [true, false]}",
        "task: {name: xor}\nsearch_space: {nesterov: [true, false], momentum: [0, .9]}",
        "task: {name: xor, momentum: .9}\nsearch_space:\n  nesterov: [true, false]\n"
        "  dampening: {type: categorical, choices: [.1, .2], when: {nesterov: false}}",
        DIGITS + "search_space: {heads: [2, 4, 8], width: {type: int, low: 8, high: 24, step: 8}}",
        "task: {name: digits}\nsearch_space:\n  model: [mlp, transformer-tiny]\n  heads: [1, 2]",
        DIGITS
        + LR.replace("}}", "}, momentum: [0, .5]}")
        + "sampler: {name: edge-of-chaos, base: grid}",
        "task: {name: xor}\nsearch_space: {lr: [.1]}\npruner: {name: hyperband, max_resource: 9}",
    ],
)
def test_what_can_work_is_not_refused(section: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(HEAD + section)
    load_study_file(path)


# every argument of every class

VALUES = ("0", "-1", "1", "2", ".5", "1e300", "1e-300", str(2**63 - 1), '"x"', "null", "true")
VALUES += ("[]", "[[1]]", "{}", "{x: 1.0, n: 2}", "{x: 99, n: 2}")
OBJECTIVE = """
import optuna

def objective(trial):
    value = trial.suggest_float("x", 0.1, 10) + trial.suggest_int("n", 1, 8)
    for step in range(4):
        trial.report(value + 1 / (step + 1), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value
"""
NEEDED = {
    "percentile": {"percentile": "50.0"},
    "patient": {"wrapped_pruner": "median", "patience": "1"},
    "threshold": {"upper": "15.0"},
    "tpe": {"n_startup_trials": "2"},
    "gp": {"n_startup_trials": "2"},
    "nsgaii": {"population_size": "4"},
    "nsgaiii": {"population_size": "4"},
    "partial-fixed": {"base_sampler": "random", "fixed_params": "{x: 1.0}"},
    "screening": {"candidates": "2"},
}
ROLES: tuple[Role, ...] = ("sampler", "pruner", "crossover", "mutation")


def sections(role: Role, name: str) -> Iterator[str]:
    """Studies with each argument of a class at each of the values."""
    signature = signature_of(name, role)
    assert signature is not None
    searched = NUMBERS
    body = OWN
    if name in ("grid", "brute-force"):
        searched = NUMBERS.replace("high: 10", "high: 1.1, step: .5")
    elif signature.row.import_path.startswith("lyapopt"):
        body = "task: {name: xor, hidden: 2, steps: 6}\nprobe: {horizon: 3}\n"
        searched = "search_space: {lr: {type: float, low: .1, high: 1}, activation: [relu, tanh]}\n"
    for argument in signature.parameters.keys() - {"build", "probe", "search_space"}:
        for value in VALUES:
            given = {**NEEDED.get(name, {}), argument: value}
            written = ", ".join(f"{key}: {item}" for key, item in given.items())
            spec = f"{{name: {name}, {written}}}"
            if role in ("crossover", "mutation"):
                spec = f"{{name: nsgaii, population_size: 4, mutation_prob: .9, {role}: {spec}}}"
            kind = "pruner" if role == "pruner" else "sampler"
            yield f"{body}{searched}{kind}: {spec}\non_failure: {{catch: []}}\n"


@pytest.mark.slow
@pytest.mark.parametrize(("role", "name"), [(role, n) for role in ROLES for n in available(role)])
def test_a_study_that_is_valid_runs_whatever_the_arguments(
    role: Role, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A search through all points needs a finite number of them, which only the function knows.
    steps = "0.1, 10, step=0.1" if name == "brute-force" else "0.1, 10"
    objective = OBJECTIVE.replace("0.1, 10", steps)
    (tmp_path / "arguments_objective.py").write_text(objective)
    monkeypatch.chdir(tmp_path)
    trials = {"crossover": 8, "mutation": 8, "sampler": 6, "pruner": 5}[role]
    for number, section in enumerate(sections(role, name)):
        path = tmp_path / "study.yaml"
        head = HEAD.replace("study.db", f"{number}.db").replace(
            "n_trials: 4", f"n_trials: {trials}"
        )
        path.write_text(head + section)
        try:
            file = load_study_file(path)
        except StudyFileError:
            continue
        states = run_study(file).ledger.states
        assert states["complete"] + states["pruned"] == trials, section
