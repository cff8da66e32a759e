"""Joints to index batches with."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
@torch.inference_mode(False)  # else what was made within that mode could not be kept for a backward pass outside of it
def joints_on(device: torch.device, joints: tuple[int, ...]) -> Tensor:
    """Indices of joints on a device, made once: indexed with a list, a GPU is waited for until it has a copy of it."""
    return torch.tensor(joints, device=device)
