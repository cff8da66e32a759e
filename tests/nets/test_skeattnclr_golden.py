"""Our SkeAttnCLR nets give what the authors' networks give on the same weights and input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from golden_files import BACKBONES, close, read_golden_file, skeattnclr_net

from skelzoo.nets.skeattnclr import SkeAttnCLR

pytestmark = pytest.mark.needs_shared


@pytest.fixture(scope="module", params=BACKBONES)
def golden(shared: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    return read_golden_file(shared / f"golden/skeattnclr/{request.param}_small.safetensors", "config")


@pytest.fixture(scope="module")
def stgcn(shared: Path) -> dict[str, Any]:
    return read_golden_file(shared / "golden/skeattnclr/stgcn_small.safetensors", "config")


@pytest.fixture(scope="module")
def net(golden: dict[str, Any]) -> SkeAttnCLR:
    return skeattnclr_net(golden)


def test_the_graph_is_the_authors(stgcn: dict[str, Any]) -> None:
    assert torch.equal(skeattnclr_net(stgcn).backbone.adjacency, stgcn["sd::encoder_q.backbone.A"])


def test_logits_and_pooled_vector(golden: dict[str, Any], net: SkeAttnCLR) -> None:
    with torch.inference_mode():
        close(net(golden["in::x"]), golden["out::logits"])
        close(net.forward_features(golden["in::x"]), golden["out::pooled"])


def test_logits_and_pooled_vector_of_the_fast_form(stgcn: dict[str, Any]) -> None:
    net = skeattnclr_net(stgcn, fast=True)
    with torch.inference_mode():
        close(net(stgcn["in::x"]), stgcn["out::logits"])
        close(net.forward_features(stgcn["in::x"]), stgcn["out::pooled"])


def test_every_block(golden: dict[str, Any], net: SkeAttnCLR) -> None:
    with torch.inference_mode():
        maps = net.backbone(golden["in::x"])
    blocks = [k for k in golden if k.startswith("out::block")]
    assert len(blocks) == (0 if golden["config"]["arch"] == "bigru" else len(maps))
    for name in blocks:
        close(maps[int(name.removeprefix("out::block"))], golden[name])


def test_feature_map_has_its_axes_in_the_order_it_says(golden: dict[str, Any], net: SkeAttnCLR) -> None:
    with torch.inference_mode():
        feature = net.features(golden["in::x"])["feature_map"]
    upstream = golden["out::feature_upstream"]
    if golden["config"]["arch"] == "bigru":
        close(feature[:, :, :, 0, 0].transpose(1, 2), upstream)
        # Negative control: a true bidirectional GRU of the same weights.
        assert (golden["ref::true_bidirectional_output"] - upstream).abs().max() > 0.1
        return
    close(feature, golden["out::feature_ordered"])
    # Negative control: the authors relabel the memory without a permutation, which scrambles channels and persons.
    assert upstream.shape == feature.shape
    assert (feature - upstream).abs().max() > 0.1


def test_neck(golden: dict[str, Any], net: SkeAttnCLR) -> None:
    project, x = net.neck.projector, golden["in::x"]
    with torch.inference_mode():
        features, masked = net.features(x), net.masked(x)
        close(features["projection"][..., None], golden["out::neck_z"])
        close(project(features["salient"])[..., None], golden["out::neck_salient"])
        close(project(features["non_salient"])[..., None], golden["out::neck_nonsalient"])
        close(masked.mask, golden["out::neck_mask"])
    n, d, t, v, m = features["feature_map"].shape
    close(features["attention_mask"], golden["out::neck_mask"].reshape(n, m, t, v, d).permute(0, 4, 2, 3, 1))


def test_neck_with_a_mask_from_outside(golden: dict[str, Any], net: SkeAttnCLR) -> None:
    mask = golden["in::neck_external_mask"]
    with torch.inference_mode():
        masked = net.masked(golden["in::x"], mask)
        close(net.neck.projector(masked.salient)[..., None], golden["out::neck_salient_external_mask"])
        close(net.neck.projector(masked.non_salient)[..., None], golden["out::neck_nonsalient_external_mask"])
    assert masked.mask is mask


def test_key_encoder(stgcn: dict[str, Any]) -> None:
    with torch.inference_mode():
        close(skeattnclr_net(stgcn, "encoder_k")(stgcn["in::x"]), stgcn["out::logits_k"])


def test_fast_is_the_same_function_forward_and_backward(stgcn: dict[str, Any]) -> None:
    """In float64, where rounding cannot hide a difference; every block, neck output and gradient to 1e-10."""
    x = stgcn["in::x"].double()
    plain, fast = (skeattnclr_net(stgcn, fast=f).double() for f in (False, True))
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
    compared = {"logits", "pooled", "feature_ordered", "feature_upstream", "logits_k"}
    compared |= {"neck_z", "neck_salient", "neck_nonsalient", "neck_mask", "neck_salient_external_mask", "neck_nonsalient_external_mask"}
    rest = {k.removeprefix("out::") for k in golden if k.startswith("out::") and not k.startswith("out::block")} - compared
    assert not rest
