"""Batch, instance, layer and weight normalisation, written out.

torch's forward-mode derivative of the fused batch norm loses the running statistics. That of a
gradient through any of the fused norms is wrong under `vmap` if scales are batched (torch 2.13: off
by tens of percent and more, silently). The fused weight norm has none.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`F.batch_norm`; the running statistics are changed in place."""
    if training:
        mean, variance, centred = _statistics(input)
        if running_mean is not None and running_var is not None:
            count = input.numel() // input.shape[1]
            unbiased = variance * (count / (count - 1))
            running_mean.copy_((1 - momentum) * running_mean + momentum * mean)
            running_var.copy_((1 - momentum) * running_var + momentum * unbiased)
    else:
        assert running_mean is not None
        assert running_var is not None
        centred, variance = input - _over_channels(running_mean, input), running_var
    output = centred * _over_channels((variance + eps).rsqrt(), input)
    if weight is not None:
        output = output * _over_channels(weight, input)
    return output if bias is None else output + _over_channels(bias, input)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """`F.layer_norm`: over the last axes."""
    axes = list(range(-len(normalized_shape), 0))
    centred = input - input.mean(axes, keepdim=True)
    output = centred * ((centred * centred).mean(axes, keepdim=True) + eps).rsqrt()
    if weight is not None:
        output = output * weight
    return output if bias is None else output + bias


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`F.instance_norm`: every channel of every example; running statistics in place."""
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    axes = list(range(2, input.dim()))
    count = input[0, 0].numel()
    if count == 1:
        raise ValueError(
            "Expected more than 1 spatial element when training, "
            f"got input size {tuple(input.shape)}"
        )
    mean = input.mean(axes, keepdim=True)
    centred = input - mean
    variance = (centred * centred).mean(axes, keepdim=True)
    if running_mean is not None and running_var is not None:
        unbiased = variance.flatten(1).mean(0) * (count / (count - 1))
        running_mean.copy_((1 - momentum) * running_mean + momentum * mean.flatten(1).mean(0))
        running_var.copy_((1 - momentum) * running_var + momentum * unbiased)
    output = centred * (variance + eps).rsqrt()
    if weight is not None:
        output = output * _over_channels(weight, input)
    return output if bias is None else output + _over_channels(bias, input)


def torch_batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Tensor:
    """`torch.batch_norm`, what `F.batch_norm` calls: the same, in another order of arguments."""
    return batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def torch_layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    """`torch.layer_norm`, what `F.layer_norm` calls."""
    return layer_norm(input, normalized_shape, weight, bias, eps)


def torch_instance_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Tensor:
    """`torch.instance_norm`, what `F.instance_norm` calls."""
    statistics = running_mean, running_var
    return instance_norm(input, *statistics, weight, bias, use_input_stats, momentum, eps)


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """`torch._weight_norm`: `g v / |v|`, a norm for every index of axis `dim` (-1: one norm)."""
    axes = [axis for axis in range(v.dim()) if dim == -1 or axis != dim]
    return v * (g / (v * v).sum(axes, keepdim=True).sqrt())


def _statistics(input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance of every channel, and the input less its mean."""
    if input.numel() == input.shape[1]:
        raise ValueError(
            "Expected more than 1 value per channel when training, "
            f"got input size {tuple(input.shape)}"
        )
    axes = [0, *range(2, input.dim())]
    mean = input.mean(axes)
    centred = input - _over_channels(mean, input)
    return mean, (centred * centred).mean(axes), centred


def _over_channels(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, -1, *(1 for _ in like.shape[2:]))
