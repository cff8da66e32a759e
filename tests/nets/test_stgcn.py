"""ST-GCN alone: its graph, and that it is SkeAttnCLR's backbone with a mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import SMALL, randomise

from skelzoo import create, get_layout
from skelzoo.errors import CheckpointError
from skelzoo.nets.graph import GRAPHS


def by_the_definition(layout: str, center: str) -> np.ndarray:
    """The spatial partitions joint by joint; distances from the centre are told up to one hop, as in ST-GCN's code."""
    joints = get_layout(layout)
    near = np.eye(len(joints), dtype=bool)
    for child, parent in enumerate(joints.parents):
        if parent >= 0:
            near[child, parent] = near[parent, child] = True
    hops = np.where(near[joints.index(center)], 1.0, np.inf)
    hops[joints.index(center)] = 0
    out = np.zeros((3, len(joints), len(joints)))
    for target in range(len(joints)):
        for source in np.flatnonzero(near[:, target]):
            group = 0 if source == target else 1 if hops[source] >= hops[target] else 2
            out[group, source, target] = 1 / near[:, target].sum()
    return out


@pytest.mark.parametrize(("layout", "center"), [("ntu25", "SpineShoulder"), ("kinect20", "ShoulderCenter"), ("coco17", "nose")])
def test_spatial_partitions(layout: str, center: str) -> None:
    graph = GRAPHS["spatial"](get_layout(layout))
    np.testing.assert_allclose(graph.numpy(), by_the_definition(layout, center), atol=1e-7)
    torch.testing.assert_close(graph.sum((0, 1)), torch.ones(graph.shape[1]))
    assert (graph - GRAPHS["agcn"](get_layout(layout))).abs().max() > 0.5


def test_it_is_skeattnclrs_backbone_with_a_mean() -> None:
    big = randomise(create("skeattnclr-stgcn", layout="kinect20", num_classes=3, options=SMALL["skeattnclr-stgcn"])).eval()
    net = create("stgcn", layout="kinect20", num_classes=3, options={**SMALL["stgcn"], "graph": "agcn"}).eval()
    net.load_state_dict({k: v for k, v in big.state_dict().items() if not k.startswith("neck.")})
    x = torch.randn(2, 3, 12, 20, 2)
    with torch.inference_mode():
        torch.testing.assert_close(net(x), big(x))
        other = create("stgcn", layout="kinect20", num_classes=3, options=SMALL["stgcn"]).eval()
        other.load_state_dict(net.state_dict())
        assert (other(x) - net(x)).abs().max() > 1e-3


def test_unknown_graphs() -> None:
    with pytest.raises(CheckpointError, match="graph 'star' one of agcn, spatial"):
        create("stgcn", layout="kinect20", options={"graph": "star"})
