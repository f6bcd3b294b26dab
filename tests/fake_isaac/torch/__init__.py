"""As much of torch as the backend uses: an array that must be fetched from its device before NumPy may have it."""

import numpy as np

float32 = np.float32
int32 = np.int32


class Tensor:
    def __init__(self, values, device):
        self._values, self.device = values, device

    def detach(self):
        return self

    def cpu(self):
        return Tensor(self._values, "cpu")

    def numpy(self):
        assert self.device == "cpu", "torch refuses this for a tensor on a GPU"
        return self._values


def tensor(data, dtype=None, device="cpu"):
    return Tensor(np.array(data, dtype), device)
