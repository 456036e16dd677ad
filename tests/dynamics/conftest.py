"""One thread: the tensors are small, and threads that wait for each other cost more."""

import torch

torch.set_num_threads(1)
