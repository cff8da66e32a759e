"""Our SkeAttnCLR net gives what the authors' network gives on the same weights and input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from skelzoo.nets.skeattnclr import SkeAttnCLR
from skelzoo.skeleton.layouts import get_layout
from skelzoo.weights.convert import skeattnclr_encoder

pytestmark = pytest.mark.needs_shared
ATOL = 1e-5
"""Absolute, for values of order 1 to 10 (golden/README.md)."""

LARGE, RTOL = 10, 2e-6
"""Block outputs reach 60, where float32 sums in another order differ by 7e-5 (the authors' from a float64 run; 4e-5
between one thread and two): a tensor with values above 10 may be off by this share of its largest value."""


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    with safe_open(shared / "golden/skeattnclr/stgcn_small.safetensors", "pt") as f:
        return {**{k: f.get_tensor(k) for k in f.keys()}, "config": json.loads(f.metadata()["config"])}  # noqa: SIM118


def net_of(golden: dict[str, Any], encoder: str, **options: Any) -> SkeAttnCLR:
    """The query (``encoder_q``) or key (``encoder_k``) encoder of the golden, strictly loaded."""
    layout, prefix = get_layout("ntu25"), f"sd::{encoder}."
    tensors = {k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)}
    config = golden["config"]
    settings = {k: config[k] for k in ("hidden_channels", "hidden_dim", "feature_dim", "heads")}
    net = SkeAttnCLR(layout.parents, layout.part_indices, config["num_class"], **settings, **options)
    net.load_state_dict(skeattnclr_encoder(tensors))
    return net.eval()


@pytest.fixture(scope="module")
def net(golden: dict[str, Any]) -> SkeAttnCLR:
    return net_of(golden, "encoder_q")


def close(ours: Tensor, golden: Tensor) -> None:
    assert ours.shape == golden.shape
    largest = float(golden.abs().max())
    torch.testing.assert_close(ours, golden, atol=RTOL * largest if largest > LARGE else ATOL, rtol=0)


def test_the_graph_is_the_authors(golden: dict[str, Any], net: SkeAttnCLR) -> None:
    assert torch.equal(net.backbone.adjacency, golden["sd::encoder_q.backbone.A"])


@pytest.mark.parametrize("fast", [False, True])
def test_logits_and_pooled_vector(golden: dict[str, Any], fast: bool) -> None:
    net = net_of(golden, "encoder_q", fast=fast)
    with torch.inference_mode():
        close(net(golden["in::x"]), golden["out::logits"])
        close(net.forward_features(golden["in::x"]), golden["out::pooled"])


@pytest.mark.parametrize("block", range(10))
def test_every_block(golden: dict[str, Any], net: SkeAttnCLR, block: int) -> None:
    with torch.inference_mode():
        close(net.backbone(golden["in::x"])[block], golden[f"out::block{block}"])


def test_feature_map_has_its_axes_in_the_order_it_says(golden: dict[str, Any], net: SkeAttnCLR) -> None:
    with torch.inference_mode():
        feature = net.features(golden["in::x"])["feature_map"]
    close(feature, golden["out::feature_ordered"])
    # Negative control: the authors relabel the memory without a permutation, which scrambles channels and persons.
    assert golden["out::feature_upstream"].shape == feature.shape
    assert (feature - golden["out::feature_upstream"]).abs().max() > 0.1


def test_neck(golden: dict[str, Any], net: SkeAttnCLR) -> None:
    project = net.neck.projector
    with torch.inference_mode():
        features = net.features(golden["in::x"])
        close(features["projection"][..., None], golden["out::neck_z"])
        close(project(features["salient"])[..., None], golden["out::neck_salient"])
        close(project(features["non_salient"])[..., None], golden["out::neck_nonsalient"])
        masked = net.neck(net.backbone(golden["in::x"])[-1], persons=2)
        close(masked.mask, golden["out::neck_mask"])
    frames, joints = features["feature_map"].shape[2:4]
    ordered = golden["out::neck_mask"].reshape(4, 2, frames, joints, -1).permute(0, 4, 2, 3, 1)
    close(features["attention_mask"], ordered)


def test_neck_with_a_mask_from_outside(golden: dict[str, Any], net: SkeAttnCLR) -> None:
    mask = golden["in::neck_external_mask"]
    with torch.inference_mode():
        masked = net.neck(net.backbone(golden["in::x"])[-1], 2, mask)
        close(net.neck.projector(masked.salient)[..., None], golden["out::neck_salient_external_mask"])
        close(net.neck.projector(masked.non_salient)[..., None], golden["out::neck_nonsalient_external_mask"])
    assert masked.mask is mask


def test_key_encoder(golden: dict[str, Any]) -> None:
    with torch.inference_mode():
        close(net_of(golden, "encoder_k")(golden["in::x"]), golden["out::logits_k"])


def test_fast_is_the_same_function_forward_and_backward(golden: dict[str, Any]) -> None:
    """In float64, where rounding cannot hide a difference; every block, neck output and gradient to 1e-10."""
    x = golden["in::x"].double()
    plain, fast = (net_of(golden, "encoder_q", fast=f).double() for f in (False, True))
    outputs = [net.features(x) | {"logits": net(x)} for net in (plain, fast)]
    for name, expected in outputs[0].items():
        torch.testing.assert_close(outputs[1][name], expected, atol=1e-10 * max(1, float(expected.detach().abs().max())), rtol=0, msg=name)
    for out in outputs:
        sum((o * torch.linspace(-1, 1, o.numel(), dtype=o.dtype).view(o.shape)).mean() for o in out.values()).backward()
    gradients = [{n: p.grad for n, p in net.named_parameters()} for net in (plain, fast)]
    assert all(g is not None and g.abs().max() > 0 for g in gradients[0].values())
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, atol=1e-10, rtol=1e-10, msg=name)


def test_every_output_of_the_golden_is_compared(golden: dict[str, Any]) -> None:
    compared = {"logits", "pooled", "feature_ordered", "feature_upstream", "logits_k", *(f"block{i}" for i in range(10))}
    compared |= {"neck_z", "neck_salient", "neck_nonsalient", "neck_mask", "neck_salient_external_mask", "neck_nonsalient_external_mask"}
    assert {k.removeprefix("out::") for k in golden if k.startswith("out::")} == compared
