"""Our PSP net gives what the authors' network gives on the same weights and input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_files import psp_clips, psp_net, read_golden_file
from torch import Tensor, nn

from skelzoo.nets.psp import PSP
from skelzoo.skeleton.layouts import get_layout

pytestmark = pytest.mark.needs_shared
ATOL, HEADS_ATOL = 1e-5, 1e-4
"""Absolute (golden/README.md)."""

LEVELS = {"joint": "", "part": "p", "body": "b"}
"""Levels and their letters in the names of the authors' outputs."""

HEADS = {"joint": "att_jpb", "part": "att_pb", "body": "att_b"}


@pytest.fixture(scope="module", params=["t32", "shortT"])
def golden(shared: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    return read_golden_file(shared / f"golden/psp/psp_small_v25_{request.param}.safetensors", "meta")


@pytest.fixture(scope="module")
def net(golden: dict[str, Any]) -> PSP:
    return psp_net(golden)


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def close(ours: Tensor, golden: Tensor, atol: float = ATOL) -> None:
    torch.testing.assert_close(ours, golden, atol=atol, rtol=0)


def record(net: nn.Module, names: list[str]) -> dict[str, list[tuple[Tensor, Any]]]:
    """Submodule -> first input and output of each of its calls from now on."""
    calls: dict[str, list[tuple[Tensor, Any]]] = {name: [] for name in names}
    for name, rows in calls.items():
        net.get_submodule(name).register_forward_hook(lambda _, inputs, output, rows=rows: rows.append((inputs[0], output)))
    return calls


def test_vectors_and_logits(golden: dict[str, Any], net: PSP) -> None:
    labelled, _ = psp_clips(golden)
    joint, motion = golden["output/yj"], golden["output/ym"]
    z = net.forward_features(labelled)
    close(z, torch.cat([joint, motion], 1))
    features = net.features(labelled)
    assert torch.equal(features["joint_stream"], z[:, : joint.shape[1]]) and torch.equal(features["motion_stream"], z[:, joint.shape[1] :])
    close(net(labelled), golden["output/logits"])
    assert net.head is not None
    for stream, vector in (("j", "joint_stream"), ("m", "motion_stream")):
        close(net.head(features[vector]), golden[f"output/logits_{stream}"])
    # Negative control: mixing the streams up changes the vector, and one stream alone is not the sum.
    assert (z - torch.cat([motion, joint], 1)).abs().max() > 0.1 and (net(labelled) - golden["output/logits_j"]).abs().max() > 0.1


@pytest.mark.parametrize("level", LEVELS)
def test_levels_and_their_projections(golden: dict[str, Any], net: PSP, level: str) -> None:
    features = net.features(psp_clips(golden)[1])
    for prefix, theirs in (("", "out"), ("projection_", "proj_out")):
        expected = torch.cat([golden[f"output/{theirs}{stream}{LEVELS[level]}"] for stream in "jm"], 1)
        close(features[f"{prefix}{level}_level"], expected, HEADS_ATOL)


def test_every_block_and_its_attention(golden: dict[str, Any]) -> None:
    net, (labelled, unlabelled) = psp_net(golden), psp_clips(golden)
    blocks = [f"backbone.blocks.{i}" for i in range(len(net.backbone.widths))]
    calls = record(net, [*blocks, *(f"{b}.spatial" for b in blocks)])
    net.maps(labelled, unlabelled)
    # Rows are labelled joint, labelled motion, unlabelled joint, unlabelled motion.
    sizes = [len(x) * x.shape[-1] for x in (labelled, labelled, unlabelled, unlabelled)]
    first = {"xj": 0, "xmu": sum(sizes[:3])}
    for stream, row in first.items():
        close(calls[blocks[0]][0][0][row], golden[f"inter/input_map/{stream}_n0m0"])
        for i, block in enumerate(blocks):
            close(calls[block][0][1][row], golden[f"inter/layer{i}/{stream}_n0m0"])
    for i, block in enumerate(blocks):
        close(calls[f"{block}.spatial"][0][1][0], golden[f"inter/layer{i}/att_s/xj_n0m0"])
    for features, stream, half in ((net.features(labelled), "xj", 0), (net.features(unlabelled), "xmu", 1)):
        for i in range(len(blocks)):
            close(features[f"block{i}"].chunk(2, 1)[half][0, ..., 0], golden[f"inter/layer{i}/{stream}_n0m0"])


def theirs_in_ours(config: dict[str, Any], level: str) -> list[int]:
    """Place of each of the authors' groups among ours; all of theirs must be there."""
    layout = get_layout("ntu25")
    ours, theirs = {
        "joint": (range(25), range(25)),
        "part": (map(set, layout.subpart_indices), map(set, config["part_group"])),
        "body": (map(set, layout.part_indices), map(set, config["body_group"])),
    }[level]
    groups = list(ours)
    order = [groups.index(g) for g in theirs]
    assert sorted(order) == list(range(len(groups)))
    return order


@pytest.mark.parametrize("level", LEVELS)
def test_every_head_and_its_maps(golden: dict[str, Any], level: str) -> None:
    net, (_, unlabelled) = psp_net(golden), psp_clips(golden)
    calls = record(net, [f"pyramid.{level}"])[f"pyramid.{level}"]
    net.levels(net.maps(unlabelled)[0], unlabelled.shape[-1])
    assert len(calls) == 2
    order = theirs_in_ours(golden["config"], level)
    for stream, (x, (out, own)) in zip("jm", calls, strict=True):
        head = f"inter/{HEADS[level]}/{stream}"
        close(x[:2, ..., order], golden[f"{head}/in0"])
        close(out[:2, ..., order], golden[f"{head}/out0"], HEADS_ATOL)
        if level != "joint":
            close(own[:, :, order][..., order], golden[f"{head}/att0"])


def test_every_output_of_the_golden_is_compared(golden: dict[str, Any]) -> None:
    outputs = {"yj", "ym", "logits", "logits_j", "logits_m"} | {f"{p}out{s}{letter}" for p in ("", "proj_") for s in "jm" for letter in LEVELS.values()}
    losses = {f"loss_{n}" for n in ("joint", "part", "body", "con", "ce", "total")}  # in tests/learn/test_pretrain_psp_golden.py
    assert {k.removeprefix("output/") for k in golden if k.startswith("output/")} == outputs | losses
    streams, blocks = ("xj_n0m0", "xmu_n0m0"), range(3)
    inter = {f"input_map/{s}" for s in streams} | {f"layer{i}/{s}" for i in blocks for s in streams} | {f"layer{i}/att_s/xj_n0m0" for i in blocks}
    inter |= {f"{h}/{s}/{n}" for level, h in HEADS.items() for s in "jm" for n in ("in0", "out0", "att0")[: 2 if level == "joint" else 3]}
    assert {k.removeprefix("inter/") for k in golden if k.startswith("inter/")} == inter
