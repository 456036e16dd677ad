"""Mistakes in an entry of the search space: all at once, with what is probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from lyapopt.study.file import StudyFileError, load_study_file

OWN = "{build: package.module:build}"


def mistakes(
    entry: str, folder: Path, *, name: str = "x", task: str = OWN, more: str = ""
) -> list[tuple[str, str, str]]:
    """Path behind the entry's, message and hint of every mistake of a file with this entry."""
    path = folder / "study.yaml"
    path.write_text(
        f"storage: sqlite:///x.db\nn_trials: 3\ntask: {task}\n{more}\n"
        f"search_space:\n  other: [relu, tanh, null]\n  {name}: {entry}\n"
    )
    try:
        load_study_file(path)
    except StudyFileError as error:
        begin = f"search_space.{name}"
        return [(i.path.removeprefix(begin), i.message, i.hint or "") for i in error.issues]
    return []


@pytest.mark.parametrize(
    ("entry", "paths"),
    [
        (
            "{type: float, low: 0, high: -1, log: true, step: 0.1, foo: 3}",
            [".low", ".high", ".step", ".foo"],
        ),
        ("{type: floatt, low: 3, high: 1, foo: 3}", [".type", ".high", ".foo"]),
        ("{type: float, low: word, high: 1, log: true, step: 1}", [".low", ".step"]),
        ("{type: float, high: word, foo: 3}", [".low", ".high", ".foo"]),
        ("{min: 1, max: 10, q: 0.5}", [".type", ".min", ".max", ".q"]),
        ("{low: 3, high: 1, when: {othr: relu}}", [".type", ".high", ".when.othr"]),
        ("{type: int, low: 9, high: 3, step: 0, log: maybe}", [".high", ".step", ".log"]),
        ("{type: float, low: 3, high: 1, when: {other: [gelu, [1]]}}", [".high", ".when.other[1]"]),
        ("{type: categorical, choices: [1, 1, [2], 3, 3]}", [f".choices[{k}]" for k in (1, 2, 4)]),
        ("[1, 1, [2], .nan, null]", ["[1]", "[2]", "[3]"]),
        ("{type: categorical, choices: 3, foo: 1}", [".choices", ".foo"]),
        ("{choices: [1, 1], low: 3}", [".type", ".choices[1]", ".low"]),
        ("{type: seed, low: 9, high: 3, step: 1}", [".high", ".step"]),
        ("{type: 3, low: 1}", [".type"]),
        ("{}", [".type"]),
    ],
)
def test_all_mistakes_of_an_entry_are_said_at_once_and_no_more(
    entry: str, paths: list[str], tmp_path: Path
) -> None:
    assert [path for path, _, _ in mistakes(entry, tmp_path)] == paths


def test_a_seed_that_is_a_quantity_is_said_beside_its_other_mistakes(tmp_path: Path) -> None:
    found = mistakes("{type: int, low: 5, high: 1, when: {y: 1}}", tmp_path, name="init_seed")
    assert [path for path, _, _ in found] == ["", ".high", ".when.y"]


def test_all_mistakes_of_enqueued_trials_are_said_at_once(tmp_path: Path) -> None:
    more = "enqueue: [{x: 9, other: [1], foo: 2}, 3, {x: 8}]"
    found = mistakes("{type: int, low: 1, high: 3}", tmp_path, more=more)
    expected = ["[0].x", "[0].other", "[0].foo", "[1]", "[2].x"]
    assert [path for path, _, _ in found] == [f"enqueue{end}" for end in expected]


@pytest.mark.parametrize(
    ("entry", "meant"),
    [
        ("{low: 0, high: 1, step: 0.1}", "float"),
        ("{min: 0, max: 1, q: 0.1}", "float"),
        ("{low: 0, high: 1.5}", "float"),
        ("{low: 1, high: 100, log: true}", "float"),
        ("{low: 1, high: 100, step: 1e2}", "float"),
        ("{low: 1, high: 100, step: 5}", "int"),
        ("{low: 1, high: 100}", "int"),
        ("{choices: [1, 2]}", "categorical"),
        ("{type: int, low: 0, high: 1, step: 0.1}", "float"),
        ("{type: int, low: 0.5, high: 1}", "float"),
    ],
)
def test_the_type_that_is_advised_can_hold_what_the_entry_says(
    entry: str, meant: str, tmp_path: Path
) -> None:
    assert mistakes(entry, tmp_path)[0][2] == f"write type: {meant}"


@pytest.mark.parametrize(
    ("name", "entry", "hint"),
    [
        ("lr", "{low: 1, high: 10}", "write type: float"),
        ("steps", "{low: 20, high: 80, log: true}", "write type: int"),
        ("init_seed", "{low: 1, high: 10}", "write type: seed"),
        (
            "batch_size",
            "{type: float, low: 1, high: 2, step: 0.1}",
            "write type: int, and a whole step",
        ),
        ("batch_size", "{type: int, low: 1, high: 2, step: 0.5}", ""),
    ],
)
def test_the_type_that_is_advised_is_one_that_the_option_takes(
    name: str, entry: str, hint: str, tmp_path: Path
) -> None:
    task = "{name: digits, steps: 100}"
    found = [m for m in mistakes(entry, tmp_path, name=name, task=task) if "other" not in m[0]]
    assert [hint for _, _, hint in found] == [hint]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("tag(log, interval(1e-3, 1))", "{type: float, low: 1e-3, high: 1, log: true}"),
        ("tag(a, log, int, interval(1, 8))", "{type: int, low: 1, high: 8, log: true}"),
        ("interval(-1, 1)", "{type: float, low: -1, high: 1}"),
        ("range(2, 20, 3)", "{type: int, low: 2, high: 19, step: 3}"),
        ("range(5)", "{type: int, low: 0, high: 4}"),
        ("choice(relu, tanh)", "[relu, tanh]"),
        ("shuffle(choice(1, 2))", "write [1, 2]"),
        ("shuffle(range(1, 3))", "write {type: int, low: 1, high: 2}"),
        ("choice((1, 2), (3, 4))", "write for example ["),
        ("glob(*)", ""),
        ("tune.loguniform(1e-4, 1e-1)", "{type: float, low: 1e-4, high: 1e-1, log: true}"),
        ("~uniform(0, 1)", "{type: float, low: 0, high: 1}"),
        ("uniform[0:1]", "{type: float, low: 0, high: 1}"),
        ("np.logspace(-4, 0)", "for example {type: float"),
        ("hp.normal(0, 1)", "for example {type: float"),
        ("1..5", "{type: int, low: 1, high: 5}"),
        ("1e-4..1.0", "{type: float, low: 1e-4, high: 1.0}"),
        ("0.1, 0.2,0.3", "[0.1, 0.2, 0.3]"),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_a_range_in_another_tools_notation_is_no_constant(
    text: str, meant: str, listed: bool, tmp_path: Path
) -> None:
    ((path, message, hint),) = mistakes(f'["{text}", 1]' if listed else f'"{text}"', tmp_path)
    assert path == ("[0]" if listed else "")
    assert "another tool's notation" in message
    assert hint.startswith("write ")
    assert meant in hint


@pytest.mark.parametrize(
    "text", ["relu", "relu()", "12:30", "a, b", "f(x)", "tag", "1.5.2", "interval", "s3://a/b(1)"]
)
def test_a_plain_text_is_a_constant(text: str, tmp_path: Path) -> None:
    assert mistakes(f'"{text}"', tmp_path) == []


def test_null_is_shown_as_it_is_written(tmp_path: Path) -> None:
    where = "enqueue: [{other: swish}, {x: null}]"
    found = mistakes("{type: float, low: 0, high: 1}", tmp_path, more=where)
    said = [message for _, message, _ in found]
    assert said[0].endswith("its choices are relu, tanh, null")
    assert said[1].startswith("x is never null")
    entry = "{type: float, low: 0, high: 1, when: {other: swish}}"
    assert mistakes(entry, tmp_path)[0][2] == "its choices are relu, tanh, null"
    ((_, message, _),) = mistakes("[1, null, null]", tmp_path)
    assert message == "the choice null is listed twice"
