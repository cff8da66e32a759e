"""Batches of training windows, from the memory map or from a copy on the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from skelzoo.skeleton.clip import FloatArray


class Batches:
    """Training windows to take batches of.

    A GPU holds a copy of them all when they fill less than half of its free memory; elsewhere each batch is read from the
    memory map, and nothing else is kept.

    Args:
        array: (windows, C, T, V, M) float32, see ``pretraining_array``.
        device: the batches' device.

    Attributes:
        device: where indices belong: that of the copy, else the CPU.
    """

    def __init__(self, array: FloatArray, device: torch.device) -> None:
        self._array, self._target = array, device
        fits = device.type == "cuda" and 2 * array.nbytes < torch.cuda.mem_get_info(device)[0]
        self._copy = torch.from_numpy(np.array(array)).to(device) if fits else None
        self.device = torch.device("cpu") if self._copy is None else self._copy.device

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The windows at ``indices`` (N,), in that order: (N, C, T, V, M)."""
        if self._copy is not None:
            return self._copy[indices]
        # Read in the order of the file, and put into the order asked for.
        order = np.argsort(indices.numpy())
        batch = np.empty((len(order), *self._array.shape[1:]), np.float32)
        batch[order] = self._array[indices.numpy()[order]]
        return torch.from_numpy(batch).to(self._target)
