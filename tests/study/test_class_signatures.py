"""Signatures read from source agree with the classes, and specs build them."""

from __future__ import annotations

import importlib
import inspect
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest

from lyapopt.errors import UserError
from lyapopt.registry import Role
from lyapopt.study.file import signature_table, signatures, write_signatures
from lyapopt.study.file.classes import ClassSpec, resolve_class
from lyapopt.study.file.document import Document, Report, StudyFileError
from lyapopt.study.file.signatures import available, signature_of

CLASSES = [(role, name) for role in ("sampler", "pruner") for name in available(role)]


def resolve(role: Role, value: Any) -> ClassSpec:
    report = Report(Document({role: value}))
    spec = resolve_class(role, value, (role,), report)
    if spec is None:
        raise StudyFileError(report.issues)
    return spec


@pytest.mark.parametrize(("role", "name"), CLASSES)
def test_a_signature_is_that_of_the_class(role: Role, name: str) -> None:
    signature = signature_of(name, role)
    assert signature is not None
    module = importlib.import_module(signature.row.import_path.partition(":")[0])
    if not hasattr(module, signature.row.class_name):
        pytest.skip(f"{signature.row.class_name} is not built yet")
    parameters = inspect.signature(getattr(module, signature.row.class_name)).parameters
    named = {n: p for n, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
    if signature.open:
        assert set(signature.parameters) <= set(parameters)
        return
    assert list(signature.parameters) == list(named)
    for parameter in signature.parameters.values():
        required = named[parameter.name].default is inspect.Parameter.empty
        assert parameter.required == required


def test_every_sampler_and_pruner_of_optuna_has_a_name() -> None:
    for module, role in ((optuna.samplers, "sampler"), (optuna.pruners, "pruner")):
        suffix = role.capitalize()
        names = [n for n in module.__all__ if n.endswith(suffix) and not n.startswith("Base")]
        found = {s.row.class_name for n in available(role) if (s := signature_of(n, role))}  # type: ignore[arg-type]
        assert set(names) <= found


@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        ("tpe", "TPESampler"),
        ("TPESampler", "TPESampler"),
        ("optuna.samplers.TPESampler", "TPESampler"),
        ("optuna.samplers:TPESampler", "TPESampler"),
        ("cmaes", "CmaEsSampler"),
        ("CMA-ES", "CmaEsSampler"),
        ("brute_force", "BruteForceSampler"),
        ("NSGAII", "NSGAIISampler"),
        ("nsga-iii", "NSGAIIISampler"),
        ("edge-of-chaos", "EdgeOfChaosSampler"),
    ],
)
def test_names_are_forgiving(name: str, class_name: str) -> None:
    assert resolve("sampler", name).class_name == class_name


def test_a_spec_builds_the_class_with_what_is_nested() -> None:
    spec = resolve("pruner", {"name": "patient", "patience": 3, "wrapped": {"name": "median"}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        pruner = spec.build()
    assert isinstance(pruner, optuna.pruners.PatientPruner)
    assert isinstance(pruner._wrapped_pruner, optuna.pruners.MedianPruner)


def test_what_the_runner_offers_goes_to_those_that_take_it() -> None:
    grid = resolve("sampler", "grid").build(search_space={"a": [1, 2]}, seed=3, build=None)
    assert isinstance(grid, optuna.samplers.GridSampler)
    spec = resolve("sampler", {"name": "partial-fixed", "fixed_params": {"a": 1}, "base": "tpe"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = spec.build(search_space={"a": [1, 2]}, seed=3)
    assert isinstance(sampler, optuna.samplers.PartialFixedSampler)


def test_a_class_that_refuses_its_arguments_says_so() -> None:
    with pytest.raises(UserError, match="ThresholdPruner refuses its arguments"):
        ClassSpec("optuna.pruners:ThresholdPruner").build()


def test_functions_are_given_by_import_path(tmp_path: Path) -> None:
    (tmp_path / "my_gammas.py").write_text("def third(n):\n    return n // 3\n")
    spec = resolve("sampler", {"name": "tpe", "gamma": "my_gammas:third"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Optuna 6 will drop gamma
        sampler = spec.build(base_dir=tmp_path)
    assert sampler._gamma(9) == 3


def test_a_class_of_ones_own_comes_from_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "my_samplers.py").write_text(
        "class Mine:\n"
        "    def __init__(self, base, width):\n"
        "        self.base, self.width = base, width\n"
    )
    spec = resolve("sampler", {"name": "my_samplers:Mine", "base": "random", "width": 2})
    mine = spec.build(base_dir=tmp_path)
    assert mine.width == 2
    assert isinstance(mine.base, optuna.samplers.RandomSampler)


def test_the_table_of_signatures_is_that_of_the_classes() -> None:
    if optuna.__version__ != signature_table.OPTUNA:
        pytest.skip("the table is of another version of Optuna")
    written = Path(signature_table.__file__).read_text(encoding="utf-8")
    assert written == write_signatures.signature_table()


@pytest.mark.parametrize(("role", "name"), CLASSES)
def test_a_signature_read_from_source_is_that_of_the_table(
    role: Role, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tabled = signature_of(name, role)
    monkeypatch.setattr(signatures, "_is_tabled", lambda: False)
    assert signature_of(name, role) == tabled
