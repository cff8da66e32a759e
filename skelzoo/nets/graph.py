"""Adjacency of a layout for graph convolutions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from skelzoo.skeleton.layouts import Layout


def directed_partitions(layout: Layout) -> Tensor:
    """The three partitions of 2s-AGCN, as SkeAttnCLR uses them.

    Returns:
        (3, V, V), read as ``out[w] = sum_v in[v] * A[k, v, w]``: k=0 the joint itself, k=1 its parent,
        k=2 the mean of its children. There is no centre joint and no hop distance.
    """
    count = len(layout)
    adjacency = torch.zeros(3, count, count, dtype=torch.float32)
    adjacency[0] = torch.eye(count)
    for child, parent in enumerate(layout.parents):
        if parent >= 0:
            adjacency[1, parent, child] = 1
            adjacency[2, child, parent] = 1
    return adjacency / adjacency.sum(1, keepdim=True).clamp(min=1)


def spatial_partitions(layout: Layout) -> Tensor:
    """The "spatial" partitions of ST-GCN (Yan et al. 2018, section 3.3) as its code and that of its followers compute them.

    A joint and its neighbours, each weighing 1 / their number, in three groups: k=0 the joint itself, k=1 neighbours as far from the
    centre as it is or farther, k=2 nearer ones. The centre is the joint between the shoulders, or the root where that is no joint. The
    code looks no farther than one hop: joints of two hops and more from the centre count as equally far, unlike in the paper.

    Returns:
        (3, V, V), read as ``directed_partitions`` are.
    """
    shoulders = layout.point("shoulder_center") or {}
    center = next((joint for joint, weight in shoulders.items() if weight > 0.5), layout.parents.index(-1))
    near = undirected_adjacency(layout, links=False) + torch.eye(len(layout))
    distance = 2 - near[center]
    distance[center] = 0
    farther = (distance[:, None] >= distance[None]).float()
    others = near - torch.eye(len(layout))
    return torch.stack([torch.eye(len(layout)), others * farther, others * (1 - farther)]) / near.sum(0)


def undirected_adjacency(layout: Layout, links: bool = True) -> Tensor:
    """Symmetric 0/1 matrix (V, V) of the edges between child and parent and, with ``links``, the layout's further links; no self loops.

    On ``coco17`` these are the 18 edges of SkeletonMAE's figure 2, and PYSKL's 16 without the links.
    """
    edges = [(child, parent) for child, parent in enumerate(layout.parents) if parent >= 0]
    if links:
        edges += [(layout.index(a), layout.index(b)) for a, b in layout.links]
    adjacency = torch.zeros(len(layout), len(layout), dtype=torch.float32)
    for a, b in edges:
        adjacency[a, b] = adjacency[b, a] = 1
    return adjacency


GRAPHS: Mapping[str, Callable[[Layout], Tensor]] = {"agcn": directed_partitions, "spatial": spatial_partitions}
"""Name of a graph -> its partitions (3, V, V)."""
