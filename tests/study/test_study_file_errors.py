"""Every mistake has its place and advice: the caret `^` in a text is where it must be shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_texts import FULL, SMALL, replaced

from lyapopt.errors import UserError
from lyapopt.study.file import StudyFileError, load_study_file

TASK = "task: {name: xor}"
ACTIVATION = "  activation: [linear, sigmoid, relu]"
LR = "low: 0.1, high: 10, log: true"
TRIALS = "n_trials: 60"
STORAGE = "storage: sqlite:///runs/xor.db"

ALIAS_BOMB = b"a0: &a0 [1]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 12)
)

# text to replace, replacement with a caret, part of the message, part of the hint
SMALL_CASES = [
    # keys
    (TRIALS, "^n_trial: 60\ntimeout: 3", "unknown key n_trial", "did you mean n_trials?"),
    (TRIALS, "^max_trials: 60\ntimeout: 3", "unknown key max_trials", "mean n_trials?"),
    (TRIALS, f"{TRIALS}\n^horizon: 5", "unknown key horizon", "indent it under probe:"),
    (TRIALS, f"{TRIALS}\n^steps: 5", "unknown key steps", "an option of the task"),
    (TRIALS, f"{TRIALS}\nprobe: {{^neighbors: 5}}", "unknown key neighbors", "neighbours?"),
    (STORAGE, f"{STORAGE}\n^{STORAGE}", "the key storage is here twice (first on line 1)", ""),
    (STORAGE + "\n", "^seed: 3\n", "`storage` is missing", "sqlite:///runs/study.db"),
    # types
    (TRIALS, 'n_trials: ^"60"', 'expected a whole number, got the string "60"', "quotes"),
    (LR, "low: ^nan, high: 10", 'expected a number, got the string "nan"', "it has to be finite"),
    (LR, "low: 0.1, high: ^.inf", "expected a finite number, got inf", "it has to be finite"),
    (TRIALS, "n_trials: ^true", "expected a whole number, got true", ""),
    (TRIALS, "n_trials: ^1e2", "expected a whole number, got 100.0", "write 100"),
    (TRIALS, "n_trials: ^0", "expected a whole number of at least 1, got 0", ""),
    (TRIALS, "n_trials: ^1_000", 'got the string "1_000"', "write 1000"),
    (TRIALS, "n_trials: ^[60]", "expected a whole number, got the list [60]", ""),
    (TRIALS, f"{TRIALS}\nload_if_exists: ^yes", "expected true or false", "write true"),
    (TRIALS, f"{TRIALS}\ncompile: ^true", "expected auto, on or off, got true", "write on"),
    (TRIALS, f"{TRIALS}\ndevice: ^gpu", "expected auto, cpu, cuda", "did you mean cuda?"),
    (TRIALS, f"{TRIALS}\ntimeout: ^soon", "20m, 1h30m, 45s or 2d", ""),
    (TRIALS, f"{TRIALS}\ntimeout: ^-3", "20m, 1h30m, 45s or 2d, got -3", ""),
    (TRIALS, f"{TRIALS}\ntrials_at_once: ^all", "of at least 1, or auto", ""),
    (TRIALS, f"{TRIALS}\nversion: ^2", "expected 1, got 2", "this lyapopt reads version 1"),
    (TRIALS, f"{TRIALS}\nseed: ^-1", "expected a whole number of at least 0, got -1", ""),
    (TRIALS, f"{TRIALS}\nprobe: ^20", "expected a mapping, got 20", ""),
    (TRIALS, f"{TRIALS}\n^probe:", "expected a mapping, got nothing", ""),
    (TRIALS, f"{TRIALS}\nstudy_name: ^7", "expected a string, got 7", "put it in quotes"),
    (TRIALS, f"{TRIALS}\nprobe: {{horizon: ^0}}", "a whole number of at least 1, got 0", ""),
    (TRIALS, f"{TRIALS}\nprobe: {{radius: ^0}}", "expected a number above 0, got 0", ""),
    (TRIALS, f"{TRIALS}\nprobe: {{radius: ^1e300}}", "a number of at most 1, got 1e+300", ""),
    (TRIALS, f"{TRIALS}\nvalue: ^metric", "the task xor has no metric", "write value: loss"),
    (STORAGE, 'storage: ^"sqlite:///a\\0b.db"', "has a control character in it", ""),
    (TRIALS, f"{TRIALS}\nprobe: {{radius: ^.nan}}", "expected a finite number, got nan", ""),
    (
        TRIALS,
        f"{TRIALS}\nprobe: {{estimator: tangent, distance: ^outputs}}",
        "estimator: tangent measures in the weights",
        "write distance: weights",
    ),
    (TRIALS, f"{TRIALS}\nprobe: {{distance: ^weight}}", "weights or outputs", "weights?"),
    (TRIALS, f"{TRIALS}\nbudget: ^1000", "expected a mapping, got 1000", ""),
    (TRIALS, f"{TRIALS}\n^budget: {{}}", "`gradient_evaluations` is missing", ""),
    (TRIALS, f"{TRIALS}\ncallbacks: ^a:b", "expected a list", "write [a:b]"),
    (TRIALS, f"{TRIALS}\ncallbacks: [^a.b]", "package.module:name", "did you mean a:b?"),
    (TRIALS, f"{TRIALS}\non_failure: {{catch: [^RuntimError]}}", "no built-in", "RuntimeError?"),
    (TRIALS, f"{TRIALS}\noutput: {{log_level: ^INFO}}", "debug, info, warning or", "mean info?"),
    # directions and values
    (TRIALS, f"{TRIALS}\ndirection: ^min", "expected minimize or maximize", "write minimize"),
    (TRIALS, f"{TRIALS}\ndirection: ^[minimize]", "got a list", "write directions:"),
    (TRIALS, f"{TRIALS}\ndirection: minimize\n^directions: [minimize]", "exclude each other", ""),
    (TRIALS, f"{TRIALS}\nvalue: ^both", "two values, and there is one", "directions: ["),
    (TRIALS, f"{TRIALS}\ndirections: ^[minimize, maximize]", "value: loss is one value", ""),
    (TRIALS, f"{TRIALS}\npromote: ^3", "promote trains the best in full", "rank_at: 50, or"),
    (TRIALS, f"{TRIALS}\nvalue: exponent\nrank_at: ^50", "nothing is trained beyond", ""),
    (TRIALS, f"{TRIALS}\nrank_at: ^3", "before the probe's horizon (20)", "a shorter horizon"),
    (TRIALS, f"{TRIALS}\nrank_at: ^300\npromote: 3", "no training has more than 300 steps", "300"),
    (TRIALS, f"{TRIALS}\nrank_at: ^0", "whole number of at least 1", ""),
    (TASK, "objective: {call: a:b}\n^rank_at: 5", "trains as long as it likes", "remove it"),
    (
        TRIALS,
        f"{TRIALS}\nvalue: both\ndirections: [minimize, minimize]\nrank_at: 50\npromote: ^3",
        "with two values none is the best",
        "write value: loss",
    ),
    # storage
    (STORAGE, "storage: ^runs/xor.db", "a URL, not a path", "write sqlite:///runs/xor.db"),
    (STORAGE, "storage: ^sqlite://runs/xor.db", "three slashes", "write sqlite:///runs/xor.db"),
    (STORAGE, "storage: ^postgres://u:p@h/d", "no storage is called postgres", "postgresql?"),
    (STORAGE, "storage: ^mysql://u:p@h", "mysql://user:password@host/database", ""),
    (STORAGE, "storage: ^sqlite://", "in memory is lost", ""),
    (STORAGE, "storage: ^grpc://host", "grpc://host:port", ""),
    (STORAGE, f"{STORAGE}\nstore: ^journal:///x", "our own tables need SQL", ""),
    # tasks
    (TASK, "task: {name: ^xr}", "expected a task's name (xor, digits,", "did you mean xor?"),
    (TASK, "task: {name: ^mnist}", "mnist5k, mnist1d", "did you mean mnist5k?"),
    (TASK, "^task: {}", "`name` is missing: which task?", "write name: xor, or build:"),
    (TASK, "task: ^3", "expected a mapping, got 3", "for example"),
    (TASK, "task: {name: xor, ^build: a:b}", "exclude each other", ""),
    (TASK + "\n", f"{TASK}\n^objective: {{call: a:b}}\n", "exclude each other", "keep one"),
    (TASK + "\n", "", "`task` is missing: what is trained?", "task: {name: digits"),
    (TASK, "task: {build: ^a/b.py:c}", "expected an import path", "did you mean a.b:c?"),
    (TASK, "task: {build: a:b, ^lr: 3}", "unknown key lr", "kwargs: {lr: ...}"),
    (TASK, "task: {name: xor, ^epochs: 3}", "epochs is no option", "did you mean steps?"),
    (TASK, "task: {name: xor, model: ^cnn}", "xor takes no model cnn, only mlp", ""),
    (TASK, "task: {name: xor, model: ^gru}", "xor takes no model gru, only mlp", ""),
    (TASK, "task: {name: digits, model: linear, ^hidden: 3}", "the model linear", "mlp"),
    (TASK, "task: {name: xor, hidden: ^[3, 3]}", "expected one whole number", ""),
    (TASK, "task: {name: xor, optimizer: ^sdg}", "one of sgd, adam", "did you mean sgd?"),
    (TASK, "task: {name: xor, lr: ^'0.1'}", 'got the string "0.1"', "without quotes"),
    (TASK, "task: {name: xor, steps: ^10}", "fewer than the probe's horizon (20)", ""),
    (TASK, "task: {name: xor, nesterov: ^true}", "nesterov needs momentum", ""),
    (TASK, "task: {name: xor, ^betas: [0, 0], beta1: 0}", "exclude each other", ""),
    # the search space
    (LR, "low: 10, high: ^0.1", "high (0.1) is below low (10)", "exchange"),
    (LR, "low: ^0, high: 10, log: true", "log: true needs low above 0, got 0", "1e-5"),
    (LR, "low: 1, high: 10, log: true, ^step: 0.5", "exclude each other", ""),
    (LR, "low: 1, high: 10, step: ^0", "expected a number above 0, got 0", ""),
    (LR, "low: 1, high: ^.inf", "expected a finite number, got inf", ""),
    (LR, "^min: 0.1, high: 10", "unknown key min", "did you mean low?"),
    ("lr: {type: float, low: 0.1", "^lr: {type: float", "`low` is missing", "smallest"),
    ("{type: float, low: 0.1", "{type: ^loguniform, low: 0.1", "one of float, int", "log: true"),
    ("lr: {type: float, low: 0.1", "^lr: {low: 0.1", "`type` is missing", "type: float"),
    ("  lr: {type: float,", "  ^lrr: {type: float,", "lrr would have no effect", "mean lr?"),
    (ACTIVATION, "  activation: ^[]", "there are no choices", ""),
    (ACTIVATION, "  activation: [relu, ^relu]", "listed twice", "a choice between"),
    (ACTIVATION, "  hidden: [8, ^8]", "listed twice", "write hidden under task:"),
    (ACTIVATION, "  activation: [relu, ^sigmod]", "expected one of linear", "mean sigmoid?"),
    (ACTIVATION, "  model: [mlp, ^mpl]", "expected one of mlp", "did you mean mlp?"),
    (ACTIVATION, "  activation: ^reluu", "expected one of linear", "did you mean relu?"),
    (ACTIVATION, "  activation: [relu, ^[tanh]]", "a number, a string, true", ""),
    (ACTIVATION, "  nesterov: {type: ^int, low: 0, high: 1}", "true or false", "[true, false]"),
    (
        ACTIVATION,
        "  momentum: {type: ^seed}",
        "a seed is a number without order",
        "write type: float",
    ),
    (ACTIVATION, "  init_seed: ^[1, 2, 5]", "a seed is a name", "type: seed, low: 1, high: 5"),
    (ACTIVATION, "  init_seed: ^{type: int, low: 1, high: 5}", "a seed is a name", "type: seed"),
    (ACTIVATION, "  steps: {type: int, low: ^5, high: 50}", "fewer than the probe's", ""),
    (ACTIVATION, "  optimizer: [adam]\n  ^momentum: [0.9]", "no effect: no optimizer", "sgd"),
    (
        ACTIVATION,
        "  momentum: {type: float, low: 0, high: 1, when: {^optimiser: sgd}}",
        "there is no parameter optimiser",
        "did you mean optimizer?",
    ),
    (
        ACTIVATION,
        "  optimizer: [sgd, adam]\n"
        "  momentum: {type: int, low: 0, high: 1, when: {optimizer: ^adm}}",
        'optimizer is never the string "adm"',
        "did you mean adam?",
    ),
    (
        ACTIVATION,
        "  momentum: {type: float, low: 0, high: 1, when: {lr: ^0.1}}",
        "lr is a real number",
        "",
    ),
    (
        ACTIVATION,
        "  momentum: {type: float, low: 0, high: 1, when: {^momentum: 1}}",
        "momentum cannot depend on itself",
        "",
    ),
    (ACTIVATION, "  activation: [relu, ^null]", "expected one of linear", ""),
    (ACTIVATION, "  ^activation:", "leaky-relu, silu, softplus, got nothing", ""),
    # enqueued trials
    (TRIALS, f"{TRIALS}\nenqueue: [{{lr: ^100}}]", "lr is never 100", ""),
    (TRIALS, f"{TRIALS}\nenqueue: [{{^lrr: 1}}]", "lrr is not in the search space", "mean lr?"),
    (TRIALS, f"{TRIALS}\nenqueue: [{{^steps: 99}}]", "not in the search space", "task:"),
    (TRIALS, f"{TRIALS}\nenqueue: [{{activation: ^rely}}]", "its choices are", "mean relu?"),
    (TRIALS, f"{TRIALS}\nenqueue: ^{{lr: 1}}", "expected a list, got a mapping", "[{...}]"),
    # samplers and pruners
    (TRIALS, f"{TRIALS}\nsampler: ^tpee", "no sampler is called tpee", "did you mean tpe?"),
    (TRIALS, f"{TRIALS}\nsampler: ^aut", "there are auto, edge-of-chaos", "did you mean auto?"),
    (TRIALS, f"{TRIALS}\nsampler: {{name: ^auto}}", "no sampler is", "write sampler: auto"),
    (TRIALS, f"{TRIALS}\npruner: {{name: lyapunov, wrapped: ^auto}}", "no pruner", "pruner: auto"),
    (TRIALS, f"{TRIALS}\nsampler: ^median", "no sampler is called", "write pruner: median"),
    (TRIALS, f"{TRIALS}\nsampler: ^a.B", "no sampler is called a.B", "did you mean a:B?"),
    (TRIALS, f"{TRIALS}\nsampler: ^3", "expected a sampler's name", "sampler: tpe"),
    (TRIALS, f"{TRIALS}\n^sampler: {{seed: 1}}", "`name` is missing", "{name: tpe}"),
    (TRIALS, f"{TRIALS}\nsampler: {{name: tpe, ^sed: 1}}", "no argument sed", "mean seed?"),
    (TRIALS, f"{TRIALS}\nsampler: {{name: tpe, seed: ^'1'}}", "a whole number or null", ""),
    (TRIALS, f"{TRIALS}\nsampler: {{name: tpe, gamma: ^x.y}}", "a function", "mean x:y?"),
    (TRIALS, f"{TRIALS}\nsampler: {{name: edge-of-chaos, ^build: a:b}}", "filled in", "remove"),
    (TRIALS, f"{TRIALS}\nsampler: {{name: edge-of-chaos, steer: ^activation}}", "bisects", "lr"),
    (TRIALS, f"{TRIALS}\nsampler: {{name: edge-of-chaos, steer: ^lrr}}", "not in the", "mean lr?"),
    (TRIALS, f"{TRIALS}\nsampler: {{name: edge-of-chaos, target: ^hot}}", "adaptive, or", ""),
    (TRIALS, f"{TRIALS}\nsampler: {{name: screening, base: ^tpp}}", "called tpp", "mean tpe?"),
    (TRIALS, f"{TRIALS}\npruner: ^medain", "no pruner is called medain", "did you mean median?"),
    (TRIALS, f"{TRIALS}\n^pruner: percentile", "`percentile` is missing", ""),
    (TRIALS, f"{TRIALS}\npruner: {{name: percentile, percentile: ^101}}", "between 0 and 100", ""),
    (TRIALS, f"{TRIALS}\npruner: {{name: lyapunov, hot: ^-1}}", "a number above 0", ""),
    (TRIALS, f"{TRIALS}\npruner: {{name: lyapunov, slow: ^1}}", "a share, such as 0.01", ""),
    (TRIALS, f"{TRIALS}\npruner: {{name: lyapunov, dead: ^1}}", "true or false, got 1", ""),
    (TRIALS, f"{TRIALS}\npruner: {{name: patient, patience: 1, wrapped: ^x}}", "called x", ""),
    (TASK, "objective: {call: a:b}\n^rank_at: 5", "trains as long as it likes", "remove it"),
    (
        TRIALS,
        f"{TRIALS}\nvalue: both\ndirections: [minimize, minimize]\npruner: ^median",
        "prunes studies of one value",
        "pruner: nop",
    ),
    (TASK, "objective: {call: a:b}\n^rank_at: 5", "trains as long as it likes", "remove it"),
    (
        TRIALS,
        f"{TRIALS}\nvalue: both\ndirections: [minimize, minimize]\nsampler: ^cma-es",
        "CmaEsSampler optimizes one value",
        "",
    ),
    # environment
    (STORAGE, "storage: sqlite:///^${LYAPOPT_NOT_SET}/x.db", "LYAPOPT_NOT_SET is not set", ""),
    (STORAGE, "storage: sqlite:///^${1X}/x.db", "${1X} is not ${NAME}", ""),
    # syntax
    (TRIALS, "^\tn_trials: 60", "a tab", "spaces"),
    (TRIALS, "n_trials: ^[60", "this [ is never closed", ""),
    (TRIALS, "n_trials: ^'60", "this quotation mark is never closed", ""),
    (TRIALS, "n_trials: ^@60", "a value cannot begin with @", "quotes"),
    (TRIALS, "n_trials: ^*all", "refers to no anchor", ""),
    (TRIALS, "n_trials: ^!!timestamp 3", "the tag !!timestamp", ""),
    (TRIALS, f"{TRIALS}\n^<<: {{seed: 1}}", "merge keys", ""),
    (TRIALS, f"{TRIALS}\n^1: 2", "a key is a name, got 1", ""),
    (TRIALS, f"{TRIALS}\n? ^[a]\n: 2", "a key is a name, not a list", ""),
    (TRIALS, f"{TRIALS}\n^---\na: 1", "a second document", ""),
    (TRIALS, f"{TRIALS}\n ^seed: 1", "the indentation does not fit", "one column"),
    # a parser notices these on a later line than where they are
    (TRIALS, f"{TRIALS}\n^seed 0\nworkers: 2", "this is no key with a value", "write seed: 0"),
    (TRIALS, f"{TRIALS}\n^seed 0", "this is no key with a value", "write seed: 0"),
    (TRIALS, f"{TRIALS}\n^seed:0\nworkers: 2", "a colon with a space", "write seed: 0, with"),
    (TRIALS, f"{TRIALS}\n^seed=0\n\n# two\nworkers: 2", "is no key", "write seed: 0"),
    (TRIALS, f"{TRIALS}\n^probe\n  horizon: 3", "this is no key", "write key: value"),
    (TRIALS, f"{TRIALS}\nprobe:\n  ^horizon 3\n  radius: 1", "is no key", "write horizon: 3"),
    (TRIALS, f"{TRIALS}\nprobe:\n  radius: 1\n  ^horizon 3\nseed: 0", "is no key", "horizon: 3"),
    (TRIALS, f"{TRIALS}\ncallbacks:\n- a:b\n^-c:d\nseed: 1", "is no key", "a space after the"),
    (STORAGE, f"^seed 0\nworkers 2\n{STORAGE}", "this is no key", "write seed: 0"),
    (TRIALS, f"{TRIALS}\ncallbacks: ^[a:b, c:d\nseed: 0", "this [ is never closed", ""),
    (TRIALS, f"{TRIALS}\nprobe: ^{{horizon: 3\nseed: 0", "this { is never closed", ""),
    (TRIALS, f"{TRIALS}\nprobe: {{horizon: 3^\n  radius: 1}}", "at the end of this line", ""),
    # types that are meant
]


def errors_of(text: str, tmp_path: Path, *overrides: str) -> StudyFileError:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyFileError) as caught:
        load_study_file(path, overrides)
    return caught.value


def place_of_caret(text: str) -> tuple[int, int]:
    before = text[: max(0, text.find("^"))]  # without a caret: the beginning
    return before.count("\n"), len(before) - (before.rfind("\n") + 1)


@pytest.mark.parametrize(("old", "new", "message", "hint"), SMALL_CASES, ids=lambda v: str(v)[:50])
def test_a_mistake_is_shown_where_it_is(
    old: str, new: str, message: str, hint: str, tmp_path: Path
) -> None:
    text = replaced(SMALL, old, new)
    error = errors_of(text.replace("^", "", 1), tmp_path)
    assert len(error.issues) == 1, str(error)
    issue = error.issues[0]
    assert issue.mark is not None
    assert (issue.mark.line, issue.mark.column) == place_of_caret(text), str(error)
    assert message in issue.message
    assert hint in (issue.hint or "")


def test_a_study_without_any_limit_would_never_end(tmp_path: Path) -> None:
    error = errors_of(replaced(SMALL, TRIALS + "\n", ""), tmp_path)
    assert "would never end" in str(error)


def test_a_grid_ends_by_itself_but_needs_finitely_many_values(tmp_path: Path) -> None:
    text = replaced(SMALL, TRIALS, "sampler: grid")
    assert "lr has no end of them" in str(errors_of(text, tmp_path))
    path = tmp_path / "finite.yaml"
    path.write_text(replaced(text, "high: 10, log: true", "high: 1, step: 0.1"))
    assert load_study_file(path).n_trials is None


def test_conditions_in_a_circle_are_refused(tmp_path: Path) -> None:
    circle = """\
  optimizer: {type: categorical, choices: [adam, sgd], when: {amsgrad: true}}
  amsgrad: {type: categorical, choices: [true, false], when: {optimizer: adam}}"""
    error = errors_of(replaced(SMALL, ACTIVATION, circle), tmp_path)
    assert "circle" in str(error)


def test_steering_needs_a_task_and_not_an_objective(tmp_path: Path) -> None:
    text = replaced(SMALL, TASK, "objective: {call: a:b}\nsampler: edge-of-chaos")
    assert "needs a task, not an objective" in str(errors_of(text, tmp_path))


def test_all_mistakes_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = FULL
    for old, new in [
        ("seed: 0\ndirection", "seed: x\ndirection"),
        ("name: digits, model", "name: digts, model"),
        ("low: 1e-4, high: 3.0", "low: 3, high: 1"),
        ("horizon: 20", "horizont: 20"),
        ("steer: lr,", "steer: lrr,"),
        ("hot: 0.3", "hot: -1"),
        ("name: median", "name: medain"),
        ("lr: 0.1}]", "lr: x}]"),
        ("nan: prune", "nan: prun"),
    ]:
        text = replaced(text, old, new)
    error = errors_of(text, tmp_path, "n_trials=0", "foo=1")
    places = [(i.mark.source.rank, i.mark.line, i.mark.column) for i in error.issues if i.mark]
    assert places == sorted(places)
    assert len(places) == len(error.issues) == 11
    assert str(error).endswith("11 mistakes")


def test_a_report_shows_place_line_caret_and_advice(tmp_path: Path) -> None:
    error = errors_of(replaced(SMALL, TRIALS, "n_trial: 60\ntimeout: 5"), tmp_path)
    assert str(error) == (
        f"{tmp_path}/study.yaml:6:1: n_trial: unknown key n_trial\n"
        "    6 | n_trial: 60\n"
        "      | ^\n"
        "      did you mean n_trials?"
    )
    assert isinstance(error, UserError)


def test_a_broken_entry_brings_no_follow_up_errors(tmp_path: Path) -> None:
    text = replaced(SMALL, LR, "low: x, high: y, log: maybe")
    text = replaced(text, TRIALS, f"{TRIALS}\nenqueue: [{{lr: 1}}]\nsampler: edge-of-chaos")
    error = errors_of(text, tmp_path)
    assert [i.path for i in error.issues] == [
        "search_space.lr.low",
        "search_space.lr.high",
        "search_space.lr.log",
    ]


def test_control_characters_never_reach_the_terminal(tmp_path: Path) -> None:
    error = errors_of(replaced(SMALL, TRIALS, 'n_trials: "\\e[31m"'), tmp_path)
    assert "\x1b" not in str(error)


def test_a_password_in_the_environment_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LYAPOPT_TEST_URL", "postgres://joe:hunter2@host/db")
    error = errors_of(replaced(SMALL, STORAGE, "storage: ${LYAPOPT_TEST_URL}"), tmp_path)
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"# only a comment\n", "the file is empty"),
        (b"{}\n", "the file is empty"),
        (b"- a\n- b\n", "this one is a list"),
        (b"just text\n", "this one is a single value"),
        ("storage: ä".encode("latin-1"), "not UTF-8 (byte 0xe4)"),
        ("storage: x".encode("utf-16"), "it looks like UTF-16"),
        (b"a: \x00", "the character U+0000 is not allowed"),
        (b"a: " + b"[" * 5000, "nested more than"),
        (ALIAS_BOMB, "aliases written out"),
        (b"a: &a [*a]", "refers to itself"),
        (b"#" * 1_100_000, "larger than 1000 kB"),
    ],
)
def test_a_file_that_is_no_study_is_refused_kindly(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(StudyFileError) as caught:
        load_study_file(path)
    assert message in str(caught.value)


def test_a_missing_file_names_the_files_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "xor.yaml").touch()
    with pytest.raises(StudyFileError, match=r"no such file\n.*xor\.yaml"):
        load_study_file(tmp_path / "xr.yaml")
    with pytest.raises(StudyFileError, match=r"a folder.*\n.*xor\.yaml"):
        load_study_file(tmp_path)
    with pytest.raises(StudyFileError, match="no such file"):
        load_study_file(tmp_path / "nowhere" / "x.yaml")
