"""Gradients of stacked perceptrons by passes that are written out, without autograd.

A step of a small network is mostly the work of recording and of calling. Sequences of linear layers
and activations with a common loss need none of it: `recognised` says whether a model is one.
"""

from lyapopt.dynamics.gradients.perceptron._passes import PerceptronPasses, recognised

__all__ = ["PerceptronPasses", "recognised"]
