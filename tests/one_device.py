"""Torch's meta device stands for a GPU: what is computed nowhere, but must all be there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.fx.experimental._config as settings
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _OneDevice(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        devices = {str(t.device) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.dim()}
        moves = func in (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)
        assert moves or len(devices) < 2, f"{func} takes tensors on {' and '.join(sorted(devices))}"
        return func(*args, **(kwargs or {}))


class _NoCopies(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        index = args[1] if func in (Tensor.__getitem__, Tensor.__setitem__) else ()
        assert not any(isinstance(part, (list, np.ndarray)) for part in (index if isinstance(index, tuple) else (index,))), f"indexed with {index}"
        assert func is not Tensor.new_tensor, f"new_tensor{args[1:]}"
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def one_device() -> Iterator[None]:
    """Refuses operations on tensors of two devices, as a GPU does and the meta device does not always; numbers (0 axes) may come from the CPU.

    Also what a GPU would be waited for until it has a copy: indices that are lists or arrays, and new_tensor.
    """
    with settings.patch(meta_nonzero_assume_all_nonzero=True), _OneDevice(), _NoCopies():
        yield
