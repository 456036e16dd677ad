"""One `Training` taken apart into what the stacked map needs."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lyapopt.dynamics.alike import form_of
from lyapopt.dynamics.checked import check_training
from lyapopt.dynamics.data import BatchOrder, Examples, read_examples, read_order
from lyapopt.dynamics.hyperparameters import HyperparameterTable
from lyapopt.dynamics.structure import loss_structure, structure_across_activations
from lyapopt.dynamics.trace import Trace, trace_first_batch
from lyapopt.dynamics.training import Training
from lyapopt.dynamics.update_rules import UpdateRule, rule_for
from lyapopt.errors import NotStackableError, TrainingError


@dataclass(frozen=True)
class System:
    """A training as tensors: what moves, what stays, and what the update reads.

    Attributes:
        training: Where it all comes from.
        trace: What the model does on its first batch; of a training that differs in numbers only,
            unless `is_traced`.
        fixed_names: Parameters and buffers that stay as they are.
        examples: The training data.
        validation: The data that final losses are taken on.
        order: Order of the batches.
        table: Hyperparameters at every step, a column a parameter group.
        group_of_weight: Parameter group of every trained parameter.
        updates: Updates that the optimiser has already made, by group.
        structure: Systems of equal structure stack.
        is_traced: Whether the trace is the training's own, losses and gradients included.
    """

    training: Training
    trace: Trace
    fixed_names: tuple[str, ...]
    examples: Examples
    validation: Examples
    order: BatchOrder
    table: HyperparameterTable
    group_of_weight: tuple[int, ...]
    updates: tuple[int, ...]
    structure: tuple[Hashable, ...]
    is_traced: bool = True

    @classmethod
    def read(cls, training: Training, known: Known | None = None) -> System:
        """Take `training` apart; it is left as it is.

        Args:
            training: Any.
            known: Systems that were read, by the form of their trainings; this one is added. Its
                model is not run if it is of a form that is known.

        Raises:
            TrainingError: If the model or the loss raises on its first batch, the loss is not a
                scalar, nothing is trained, or the parts lie on different devices.
            NotStackableError: If the optimiser has no update rule, or the model is no pure function
                of its tensors.
        """
        rule = rule_for(training.optimizer)
        refuse_patches(training.optimizer)
        examples = read_examples(training.data)
        validation = examples
        if training.validation is not None:
            validation = read_examples(training.validation, "validation")
        order = read_order(training.data, examples, training.batch_size, training.seed)
        finding = check_training(training, examples, order)
        if finding.has_drawn or finding.has_changed:
            what = "draws random numbers" if finding.has_drawn else "changes something outside"
            raise NotStackableError(f"the model or the loss {what}, which has one order in a loop")
        form = None if known is None else form_of(training, examples, order)
        like = None if known is None or form is None else known.get(form)
        trace = trace_first_batch(training, examples, order) if like is None else like.trace
        parameters = dict(training.model.named_parameters())
        places = {(parameters[n].dtype, parameters[n].device) for n in trace.weight_names}
        if len(places) > 1:
            raise TrainingError(
                "Training: the trained parameters must have one dtype and lie on one device, not "
                + ", ".join(sorted(f"{dtype} on {device}" for dtype, device in places))
            )
        buffers = dict(training.model.named_buffers())
        moving = {*trace.weight_names, *trace.buffer_names, *trace.counter_names}
        group_of = {
            p: i for i, group in enumerate(training.optimizer.param_groups) for p in group["params"]
        }
        group_of_weight = tuple(group_of[parameters[name]] for name in trace.weight_names)
        weights = [parameters[name] for name in trace.weight_names]
        system = cls(
            training=training,
            trace=trace,
            fixed_names=tuple(n for n in (*parameters, *buffers) if n not in moving),
            examples=examples,
            validation=validation,
            order=order,
            table=HyperparameterTable(training.optimizer, training.scheduler, rule.numbers),
            group_of_weight=group_of_weight,
            updates=_updates(training.optimizer, weights, group_of_weight),
            is_traced=like is None,
            structure=(
                _structure_of_pass(training) if like is None else like.structure[0],
                _structure_of_steps(training, trace, rule, group_of_weight),
                order.count if not order.is_full_batch else None,
                order.size,
                _shapes_of(examples),
                _shapes_of(validation),
                tuple((str(device), dtype) for dtype, device in places),
                tuple(buffers[name].cpu().numpy().tobytes() for name in trace.counter_names),
            ),
        )
        if known is not None and form is not None:
            known.setdefault(form, system)
        return system

    @classmethod
    def read_all(cls, trainings: Iterable[Training]) -> list[System]:
        """Take trainings apart; raises what `read` does."""
        known: Known = {}
        return [cls.read(training, known) for training in trainings]

    def own_trace(self) -> Trace:
        """What the model of this very training does on its first batch."""
        if self.is_traced:
            return self.trace
        return trace_first_batch(self.training, self.examples, self.order)

    def tensor(self, name: str) -> Tensor:
        """A parameter or buffer of the model by its qualified name, detached."""
        path, _, last = name.rpartition(".")
        value: Tensor = getattr(self.training.model.get_submodule(path), last)
        return value.detach()

    def per_weight(self, values: Sequence[int]) -> Int[Tensor, " weights"]:
        """One value for every trained parameter, repeated for each of its weights."""
        sizes = [self.tensor(name).numel() for name in self.trace.weight_names]
        return torch.tensor(values).repeat_interleave(torch.tensor(sizes))

    def flat_weights(self) -> Float[Tensor, " weights"]:
        """The trained parameters in one vector."""
        return torch.cat([self.tensor(name).reshape(-1) for name in self.trace.weight_names])

    def flat_buffers(self) -> Float[Tensor, " buffers"]:
        """The moving buffers in one vector."""
        like = self.tensor(self.trace.weight_names[0])
        parts = [self.tensor(name).reshape(-1) for name in self.trace.buffer_names]
        return torch.cat([like.new_empty(0), *parts])

    def flat_slot(self, slot: str) -> Float[Tensor, " weights"]:
        """One slot of the optimiser's state, zero where the optimiser has none yet."""
        parameters = dict(self.training.model.named_parameters())
        parts = []
        for name in self.trace.weight_names:
            value = self.training.optimizer.state.get(parameters[name], {}).get(slot)
            like = parameters[name].detach()
            parts.append((torch.zeros_like(like) if value is None else value).reshape(-1))
        return torch.cat(parts)


Known = MutableMapping[Hashable, System]
"""Systems by the form of their trainings."""


def _structure_of_pass(training: Training) -> Hashable:
    return structure_across_activations(training.model), loss_structure(training.loss_fn)


def _structure_of_steps(
    training: Training, trace: Trace, rule: type[UpdateRule], group_of_weight: tuple[int, ...]
) -> Hashable:
    # What a row keeps beside its weights has exponents of its own. A slot that only a neighbour in
    # the stack needs would give it as many again, all of them -inf.
    slots = rule([training.optimizer.param_groups], lambda values: False).slots
    return (
        rule,
        slots,
        trace.weight_names,
        trace.buffer_names,
        trace.counter_names,
        trace.needs_layers,
        group_of_weight,
        len(training.optimizer.param_groups),
        training.metric is None,
    )


def refuse_patches(optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimiser whose step was replaced on the object."""
    step = vars(optimizer).get("step")
    if step is not None and not hasattr(step, "_wrapped_by_lr_sched"):
        raise NotStackableError(
            "the optimizer has a step of its own (a patched one), which no update rule knows and "
            "no copy has"
        )


def _updates(
    optimizer: torch.optim.Optimizer, weights: Sequence[Tensor], groups: Sequence[int]
) -> tuple[int, ...]:
    """Updates that every group has had: Adam's own count, or one if a momentum buffer exists."""
    counts: list[set[int]] = [set() for _ in optimizer.param_groups]
    for weight, group in zip(weights, groups, strict=True):
        counts[group].add(_count(optimizer.state.get(weight, {})))
    if any(len(found) > 1 for found in counts):
        raise NotStackableError(
            "the optimizer has updated some parameters of a group more often than others; give "
            "those a parameter group of their own"
        )
    return tuple(found.pop() if found else 0 for found in counts)


def _count(state: dict[str, Any]) -> int:
    if "step" in state:
        return int(state["step"])
    return int(state.get("momentum_buffer") is not None)


def _shapes_of(examples: Examples) -> Hashable:
    return tuple((tuple(t.shape[1:]), t.dtype) for t in examples.tensors)
