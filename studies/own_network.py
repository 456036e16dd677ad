"""A network of one's own for `lyapopt`: one function, `build(params) -> lyapopt.Training`.

Everything is ordinary PyTorch. `params` has the values of one trial, by the names of the search
space, and the `kwargs` of the study file. Initial weights are drawn here, and follow from the
study's seed and the number of the trial.
"""

import torch
from sklearn.datasets import load_wine
from torch import nn

import lyapopt

features, classes = load_wine(return_X_y=True)
X = torch.tensor(features, dtype=torch.float32)
X = (X - X.mean(0)) / X.std(0)
Y = torch.tensor(classes)
order = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
train, held_out = order[40:], order[:40]


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))

    def forward(self, x):
        """`x + f(x)`, of shape (examples, width)."""
        return x + self.inner(self.norm(x))


def accuracy(outputs, target):
    """Share of the examples whose largest output is that of their class."""
    return (outputs.argmax(1) == target).double().mean()


def build(params, steps=200):
    """One training: model, loss, optimizer and data."""
    width = params["width"]
    model = nn.Sequential(nn.Linear(13, width), Block(width), Block(width), nn.Linear(width, 3))
    if params["optimizer"] == "sgd":
        optimizer = torch.optim.SGD(
            model.parameters(), lr=params["lr"], momentum=params["momentum"]
        )
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=params["lr"])
    return lyapopt.Training(
        model,
        nn.CrossEntropyLoss(),
        optimizer,
        data=(X[train], Y[train]),
        validation=(X[held_out], Y[held_out]),
        metric=accuracy,
        batch_size=32,
        steps=steps,
    )
