"""`lyapopt run --dry-run`: what a study would do, its storage untouched."""

from __future__ import annotations

import sys

from lyapopt.cli import exit_codes, logs
from lyapopt.cli.text import assignments, count, echo, fitted, plural, print_rows, short
from lyapopt.display import one_line
from lyapopt.store.errors import masked
from lyapopt.study.file import ClassSpec, StudyFile
from lyapopt.study.file.automatic import Choices
from lyapopt.study.run.choices import with_choices
from lyapopt.study.run.preview import preview
from lyapopt.study.run.promotion import promoted_file
from lyapopt.yaml_text import flow

_SHOWN = 10


def show(file: StudyFile, extra: int | None) -> int:
    """Print the first configurations, sampler, pruner and estimated cost.

    Args:
        file: The study file.
        extra: Number of further trials, from `--extra`.

    Returns:
        The exit code: 1 if no configuration could be built.
    """
    logs.configure(file.output.log_level)
    file, chosen = with_choices(file)
    found = preview(file)
    if found.said is not None:
        echo(fitted(f"warning: {found.said}", sys.stderr), err=True)
    where = one_line(masked(file.storage))
    echo(f"study {short(file.study_name)} in {where}: nothing was run\n")
    if chosen is not None:
        echo(fitted("\n".join([*in_words(chosen), ""]), sys.stdout))
    print_rows(
        [
            ("sampler", class_in_words(file.sampler_spec)),
            ("pruner", class_in_words(file.pruner_spec)),
            ("seed", str(file.seed)),
            ("groups", f"{plural(len(found.configurations), 'trial')} at once"),
            *(("measured", one_line(text)) for text in found.measured),
            ("cost", _cost(file, found.cost, extra)),
            *_promotion_rows(file, found.cost, extra),
        ]
    )
    shown = found.configurations[:_SHOWN]
    echo(f"\nthe first {plural(len(shown), 'trial')} of a new study:")
    for number, params in enumerate(shown):
        failure = found.failures[number]
        echo(f"{number:>5}  {assignments(params)}" + (f"  {one_line(failure)}" if failure else ""))
    return exit_codes.FAILED if all(found.failures) else exit_codes.DONE


def in_words(chosen: Choices) -> list[str]:
    """What was chosen for a study, ready to paste into its file, and why.

    Example:
        >>> in_words(Choices({"sampler": {"name": "tpe", "seed": 1}, "rank_at": 75}, ("why",)))
        ['chosen: sampler: {name: tpe, seed: 1}', 'chosen: rank_at: 75', 'why']
    """
    settings = [f"chosen: {name}: {flow(value)}" for name, value in chosen.values.items()]
    return [*settings, *chosen.reasons]


def class_in_words(spec: ClassSpec) -> str:
    """A sampler or pruner as it would be called in Python.

    Example:
        >>> class_in_words(ClassSpec("optuna.samplers:TPESampler", {"n_startup_trials": 5}))
        'optuna.samplers.TPESampler(n_startup_trials=5)'
    """
    arguments: dict[str, str] = {name: repr(value) for name, value in spec.kwargs.items()}
    arguments |= dict(spec.functions)
    arguments |= {name: class_in_words(nested) for name, nested in spec.nested.items()}
    called = ", ".join(f"{name}={text}" for name, text in arguments.items())
    return f"{spec.import_path.replace(':', '.')}({called})"


def _trials(file: StudyFile, extra: int | None) -> int | None:
    return extra if extra is not None else file.n_trials


def _promotion_rows(
    file: StudyFile, of_one: float | None, extra: int | None
) -> list[tuple[str, str]]:
    """What training the best in full costs, and all together, where the file says `promote`."""
    if not file.promote or of_one is None:
        return []
    number = _trials(file, extra)
    best = file.promote if number is None else min(file.promote, number)
    full = preview(promoted_file(file)).cost
    if full is None:
        return []
    text = f"about {count(full)} for each of the best {best} in full, {count(full * best)}"
    if number is not None:
        text += f"; {count(of_one * number + full * best)} altogether"
    if file.budget is not None:
        text += ", as far as the budget pays for them"
    return [("promoted", text)]


def _cost(file: StudyFile, of_one: float | None, extra: int | None) -> str:
    if of_one is None:
        return "unknown, since nothing could be built"
    unit = "gradient evaluations"
    text = f"about {count(of_one)} {unit} a trial"
    number = _trials(file, extra)
    if number is not None:
        text += f", {count(of_one * number)} for {plural(number, 'trial')} if none is pruned"
    if file.budget is not None:
        text += f"; the budget is {count(file.budget.gradient_evaluations)}"
    return text
