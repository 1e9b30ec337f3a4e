"""Activation functions by name, each with its first derivative written out."""

from collections.abc import Callable

import torch
from torch import Tensor

Activation = Callable[[Tensor], tuple[Tensor, Tensor]]

#: constants of selu (Klambauer et al., NeurIPS 2017, arXiv:1706.02515)
_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_ALPHA = 1.6732632423543772848170429916717


def _linear(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, torch.ones_like(x)


def _tanh(x: Tensor) -> tuple[Tensor, Tensor]:
    y = torch.tanh(x)
    return y, 1.0 - y**2


def _sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    y = torch.sigmoid(x)
    return y, y * (1.0 - y)


def _reverse_sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    y, slope = _sigmoid(-x)
    return y, -slope


def _softplus(x: Tensor) -> tuple[Tensor, Tensor]:
    return torch.logaddexp(x, torch.zeros_like(x)), torch.sigmoid(x)


def _relu(x: Tensor) -> tuple[Tensor, Tensor]:
    return torch.relu(x), (x > 0).to(x)


def _gaussian(x: Tensor) -> tuple[Tensor, Tensor]:
    y = torch.exp(-0.5 * x**2)
    return y, -x * y


def _cos(x: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cos(x), -torch.sin(x)


def _exp(x: Tensor) -> tuple[Tensor, Tensor]:
    y = torch.exp(-x)
    return y, -y


def _harmonic(x: Tensor) -> tuple[Tensor, Tensor]:
    return x**2, 2.0 * x


def _selu(x: Tensor) -> tuple[Tensor, Tensor]:
    # what is positive must not reach the exponential, which would overflow
    below = _SELU_ALPHA * torch.exp(x.clamp(max=0.0))
    y = torch.where(x > 0, x, below - _SELU_ALPHA)
    return _SELU_SCALE * y, _SELU_SCALE * torch.where(x > 0, torch.ones_like(x), below)


def _swish(x: Tensor) -> tuple[Tensor, Tensor]:
    gate, slope = _sigmoid(x)
    return x * gate, gate + x * slope


#: value and slope of each function
ACTIVATIONS: dict[str, Activation] = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "swish": _swish,
    "gaussian": _gaussian,
    "cos": _cos,
    "linear": _linear,
    "relu": _relu,
    "selu": _selu,
    "reverse_sigmoid": _reverse_sigmoid,
    "exp": _exp,
    "harmonic": _harmonic,
}
