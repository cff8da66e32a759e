"""The PSP net beyond the goldens: its size, its groups, one stream, the pyramid by hand, export, what cannot be built."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import SMALL, randomise
from torch import Tensor

from skelzoo import create, get_layout, make_layout
from skelzoo.errors import CheckpointError
from skelzoo.nets.psp import PSP
from skelzoo.skeleton.layouts import Layout


def make_net(layout: str | Layout = "kinect20", in_channels: int = 6, seed: int = 0, **options: Any) -> PSP:
    torch.manual_seed(seed)
    net = randomise(create("psp", layout=layout, num_classes=4, in_channels=in_channels, options={**SMALL["psp"], **options}), seed)
    assert isinstance(net, PSP)
    return net.eval()


def inputs(frames: int = 14, channels: int = 6, persons: int = 2, joints: int = 20) -> Tensor:
    return torch.randn(3, channels, frames, joints, persons, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("options", "parameters"), [({}, 5_138_940), ({"pyramid": False}, 4_216_316)])
def test_the_papers_net_has_the_authors_number_of_parameters(options: dict[str, Any], parameters: int) -> None:
    net = create("psp", layout="ntu25", num_classes=60, in_channels=6, options=options)
    assert sum(p.numel() for p in net.parameters()) == parameters and net.embedding_dim == 512


def test_initial_values() -> None:
    """He-normal convolutions by fan-out, Xavier-normal linear layers, zero biases (facts/psp.md, section 4)."""
    torch.manual_seed(0)
    net = create("psp", layout="ntu25", num_classes=60, in_channels=6)
    for name, module in net.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_out = module.weight.shape[0] * module.weight[0, 0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.15), name
        elif isinstance(module, torch.nn.Linear):
            assert module.weight.std().item() == pytest.approx((2 / sum(module.weight.shape)) ** 0.5, rel=0.05) and not module.bias.any(), name


def test_groups_of_kinect20_are_those_of_the_fact_sheet() -> None:
    net = make_net()
    assert net.pyramid is not None
    body, part = net.pyramid.body_of_joint.tolist(), net.pyramid.part_of_joint.tolist()
    assert {tuple(j for j in range(20) if body[j] == g) for g in set(body)} == {tuple(range(i, i + 4)) for i in range(0, 20, 4)}
    assert {tuple(j for j in range(20) if part[j] == g) for g in set(part)} == {(i, i + 1) for i in range(0, 20, 2)}
    assert [body[j] for j in range(20)] == [net.pyramid.body_of_part[p] for p in part]


def test_pyramid_by_hand() -> None:
    """Own maps of the coarser levels, expanded by membership and weighted, are added to the finer ones; no chain (facts/psp.md, section 6)."""
    net, x = make_net(coefficients=[0.3, 0.5, 0.7]).double(), inputs().double()
    layout = get_layout("kinect20")
    groups = {"body": layout.part_indices, "part": layout.subpart_indices, "joint": [(j,) for j in range(20)]}
    weights = {"body": {}, "part": {"body": 0.3}, "joint": {"part": 0.5, "body": 0.7}}
    assert net.pyramid is not None
    feature_map, own = net.maps(x)[0][0][-1], {}
    levels = net.levels(net.maps(x)[0], 2)
    for level, head in (("body", net.pyramid.body), ("part", net.pyramid.part), ("joint", net.pyramid.joint)):
        nodes = torch.stack([feature_map[..., list(g)].mean(-1) for g in groups[level]], -1)
        q, k, v = head.query_key_value(nodes).unflatten(1, (3, head.subsets, -1)).unbind(1)
        own[level] = torch.tanh(torch.einsum("bsdtu,bsdtw->bsuw", q, k) / (q.shape[2] * q.shape[3]))
        total = own[level].clone()
        for coarse, weight in weights[level].items():
            for i, fine_i in enumerate(groups[level]):
                for j, fine_j in enumerate(groups[level]):
                    a, b = (next(n for n, g in enumerate(groups[coarse]) if set(fine) <= set(g)) for fine in (fine_i, fine_j))
                    total[:, :, i, j] += weight * own[coarse][:, :, a, b]
        out = torch.nn.functional.leaky_relu(nodes + head.out(torch.einsum("bsuw,bsdtw->bsdtu", total, v).flatten(1, 2)), 0.1)
        torch.testing.assert_close(levels[level].vectors[0], out.unflatten(0, (3, 2)).mean((1, 3, 4)))


def test_streams_share_the_net_and_their_logits_are_added() -> None:
    net, x = make_net(), inputs()
    assert net.head is not None
    with torch.inference_mode():
        joint, motion = net.forward_features(x).chunk(2, 1)
        torch.testing.assert_close(net(x), net.head(joint) + net.head(motion), atol=1e-5, rtol=1e-5)
        swapped = net.forward_features(torch.cat([x[:, 3:], x[:, :3]], 1))
    torch.testing.assert_close(swapped, torch.cat([motion, joint], 1), atol=1e-5, rtol=1e-5)


def test_one_stream_without_a_pyramid_is_plain_dsta_net() -> None:
    both, one = make_net(pyramid=False), make_net(in_channels=3, streams=1, pyramid=False)
    one.load_state_dict(both.state_dict())
    with torch.inference_mode():
        x = inputs()
        torch.testing.assert_close(one.forward_features(x[:, :3]), both.forward_features(x).chunk(2, 1)[0], atol=1e-6, rtol=1e-6)
    assert set(one.features(x[:, :3])) == {"block0", "block1", "block2", "pooled"}
    with pytest.raises(ValueError, match="pyramid=False"):
        one.levels(one.maps(x[:, :3])[0], 2)


def test_batches_go_through_the_backbone_together() -> None:
    """Alone in evaluation mode, with common statistics in training."""
    net, x = make_net(), inputs()
    with torch.inference_mode():
        for part, maps in zip((x[:2], x[2:]), net.maps(x[:2], x[2:]), strict=True):
            for alone, together in zip(net.maps(part)[0], maps, strict=True):
                torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
        whole = net.train().maps(x)[0]
        parts = net.maps(x[:2], x[2:])
    torch.testing.assert_close(torch.cat([p[0][-1] for p in parts]), whole[0][-1], atol=1e-4, rtol=1e-4)


def test_the_vector_may_hold_statistics_of_several_blocks() -> None:
    """Per stream: block after block, group after group, mean and maximum over time; the head reads a stream's vector."""
    layout, x = get_layout("kinect20"), inputs()
    net = make_net(embed_blocks=[0, -1], embed_groups="parts", embed_statistics=["mean", "max"])
    assert net.head is not None
    with torch.inference_mode():
        f, z = net.features(x), net.forward_features(x)
        expected = []
        for stream in range(2):
            for block in (f["block0"], f["block2"]):
                maps = block.chunk(2, 1)[stream]
                for part in layout.part_indices:
                    tracks = maps[:, :, :, list(part)].mean(3)
                    expected += [tracks.mean(2), tracks.max(2).values]
        torch.testing.assert_close(z, torch.cat([e.mean(2) for e in expected], 1), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(net(x), sum(net.head(v) for v in z.chunk(2, 1)), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="blocks are 0 to 2"):
        make_net(embed_blocks=[3])


def test_export() -> None:
    net, x = make_net(), inputs()
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("clips")},))
    more = torch.cat([x, x.flip(2)])
    torch.testing.assert_close(program.module()(more), net(more), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("in_channels", "options", "says"),
    [
        (3, {}, r"3 channels for 2 streams.*\(6\), or streams=1"),
        (6, {"streams": 3}, "6 channels for 3 streams"),
        (6, {"streams": 0}, "6 channels for 0 streams"),
        (6, {"coefficients": [0.2, 0.1]}, "3 coefficients, got 2"),
        (6, {"coefficients": 0.2}, "options coefficients"),
        (6, {"num_subsets": 3}, "16 channels of the last block do not split into 3 subsets"),
        (6, {"temporal": "gru"}, "temporal 'gru'"),
    ],
)
def test_what_cannot_be_built(in_channels: int, options: dict[str, Any], says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        make_net(in_channels=in_channels, **options)


def test_a_layout_without_parts_has_no_pyramid() -> None:
    layout = make_layout("bare", ["a", "b", "c"], [None, "a", "b"])
    with pytest.raises(CheckpointError, match=r"'bare' of 0 parts.*pyramid=False"):
        make_net(layout)
    assert make_net(layout, pyramid=False)(inputs(joints=3)).shape == (3, 4)
