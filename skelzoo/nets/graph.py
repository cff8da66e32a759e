"""Adjacency of a layout for graph convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def directed_partitions(parents: Sequence[int]) -> Tensor:
    """The three partitions of 2s-AGCN, as SkeAttnCLR uses them.

    Args:
        parents: index of each joint's parent, -1 for the root.

    Returns:
        (3, V, V), read as ``out[w] = sum_v in[v] * A[k, v, w]``: k=0 the joint itself, k=1 its parent,
        k=2 the mean of its children. There is no centre joint and no hop distance.
    """
    count = len(parents)
    adjacency = torch.zeros(3, count, count)
    adjacency[0] = torch.eye(count)
    for child, parent in enumerate(parents):
        if parent >= 0:
            adjacency[1, parent, child] = 1
            adjacency[2, child, parent] = 1
    return adjacency / adjacency.sum(1, keepdim=True).clamp(min=1)
