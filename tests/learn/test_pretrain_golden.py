"""One SkeAttnCLR training step gives what the authors' code gives on the same weights, views and swapped view."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from skelzoo.learn.pretrain.skeattnclr import Losses, SkeAttnCLROptions, SkeAttnCLRPretraining, stream_of
from skelzoo.nets.skeattnclr import SkeAttnCLR
from skelzoo.skeleton.layouts import get_layout
from skelzoo.weights.convert import skeattnclr_encoder

pytestmark = pytest.mark.needs_shared
ATOL = 1e-5
PREDICTORS = {"predictor": "z", "predictor_s": "salient", "predictor_ns": "non_salient"}
PREDICTOR_LAYERS = {"mlp.0": "linear1", "mlp.1": "norm", "mlp.3": "linear2"}
LAYOUT = get_layout("ntu25")


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    with safe_open(shared / "golden/skeattnclr/stgcn_small_pretrain_step.safetensors", "pt") as f:
        return {**{k: f.get_tensor(k) for k in f.keys()}, "config": json.loads(f.metadata()["config"])}  # noqa: SIM118


def state_of(golden: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, under our names."""
    tensors = {k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)}
    state = {}
    for theirs, ours in (("encoder_q.", "net."), ("encoder_k.", "key_net.")):
        encoder = {k.removeprefix(theirs): v for k, v in tensors.items() if k.startswith(theirs)}
        state |= {ours + k: v for k, v in skeattnclr_encoder(encoder).items()}
    for key, tensor in tensors.items():
        name, _, rest = key.partition(".")
        if name in PREDICTORS:
            layer, _, kind = rest.rpartition(".")
            state[f"predictors.{PREDICTORS[name]}.{PREDICTOR_LAYERS[layer]}.{kind}"] = tensor.squeeze(-1) if layer != "mlp.1" else tensor
    if "queue_z" in tensors:
        assert tensors["queue_ptr_z"] == tensors["queue_ptr_s"] == tensors["queue_ptr_ns"]
        state |= {"queue": torch.stack([tensors[f"queue_{n}"] for n in ("z", "s", "ns")]), "pointer": tensors["queue_ptr_z"][0]}
    return state


@pytest.fixture(params=[False, True], ids=["plain", "fast"])
def method(golden: dict[str, Any], request: pytest.FixtureRequest) -> SkeAttnCLRPretraining:
    config = golden["config"]
    sizes = {k: config[k] for k in ("hidden_channels", "hidden_dim", "feature_dim", "heads")}
    net = SkeAttnCLR(LAYOUT.parents, LAYOUT.part_indices, config["num_class"], dropout=0.0, fast=request.param, **sizes)
    options = SkeAttnCLROptions(config["queue_size"], config["momentum"], config["Temperature"], config["mu"])
    method = SkeAttnCLRPretraining(net, LAYOUT.parents, LAYOUT.part_indices, options)
    method.load_state_dict(state_of(golden, "sd::"))
    return method


def close(ours: Tensor, golden: Tensor, rtol: float = 0.0) -> None:
    torch.testing.assert_close(ours.detach(), golden, atol=ATOL, rtol=rtol)


def check_losses(losses: Losses, golden: dict[str, Any], prefix: str) -> None:
    for ours, theirs in ((losses.z, "z"), (losses.salient, "salient"), (losses.non_salient, "nonsalient")):
        close(ours, golden[f"{prefix}::loss_{theirs}"])


@pytest.mark.parametrize(("prefix", "stream"), [("eval", "joint"), ("eval_motion", "motion"), ("eval_bone", "bone")])
def test_losses_of_each_stream(golden: dict[str, Any], method: SkeAttnCLRPretraining, prefix: str, stream: str) -> None:
    views = (golden["in::xq"], golden["in::xk"], golden["eval::x_swap"])
    method.eval()
    with torch.no_grad():
        check_losses(method.losses(*(stream_of(v, stream, LAYOUT.parents) for v in views)), golden, prefix)


@pytest.mark.parametrize("stream", ["bone", "motion"])
def test_streams(golden: dict[str, Any], stream: str) -> None:
    close(stream_of(golden["in::xq"], stream, LAYOUT.parents), golden[f"view::{stream}_of_xq"])


def test_swapped_view_is_another_clip_in_a_region(golden: dict[str, Any]) -> None:
    """What the golden says of the swap: clip i takes the region of clip perm[i], and our roll is such a permutation."""
    x, mask = golden["in::xq"], golden["eval::swap_mask"].bool().repeat_interleave(4, 0)[None, None, :, :, None]
    assert torch.equal(golden["eval::x_swap"], torch.where(mask, x[golden["eval::swap_perm"]], x))
    shift = int(golden["eval::swap_perm"][0])
    assert torch.equal(torch.arange(len(x)).roll(-shift), golden["eval::swap_perm"])


def test_training_step(golden: dict[str, Any], method: SkeAttnCLRPretraining) -> None:
    config = golden["config"]
    method.train()
    trainable = [p for p in method.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(trainable, config["lr"], config["sgd_momentum"], weight_decay=config["weight_decay"])
    losses = method.losses(golden["in::xq"], golden["in::xk"], golden["eval::x_swap"])
    losses.total.backward()

    check_losses(losses, golden, "train")
    close(losses.total, golden["train::loss_total"])

    gradients, expected = {n: p.grad for n, p in method.named_parameters() if p.grad is not None}, state_of(golden, "grad::")
    assert gradients.keys() == expected.keys()
    for name in expected:
        # Gradients reach magnitude 22, which float32 does not hold to 1e-5 after other orders of summation.
        close(gradients[name], expected[name], rtol=1e-6 if expected[name].abs().max() > 10 else 0)

    momentum = method.momentum_at(config["cur_iter"] / config["max_iter"])
    assert momentum == pytest.approx(float(golden["train::momentum"]), abs=1e-7)

    optimiser.step()
    method.after_step(losses, config["cur_iter"] / config["max_iter"])
    after, state = state_of(golden, "after::"), method.state_dict()
    assert after.keys() == state.keys()
    for name in after:
        close(state[name], after[name])
    assert int(state["pointer"]) != int(golden["sd::queue_ptr_z"][0])
