"""An Optuna storage that answers from memory and writes in bulk."""

from lyapopt.store.buffered.pending import Batch
from lyapopt.store.buffered.storage import BufferedStorage

__all__ = ["Batch", "BufferedStorage"]
