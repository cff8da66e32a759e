"""PSP's losses and one training step give what the authors' code gives on the same weights and clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from golden_files import psp_clips, psp_net, read_golden_file, under
from torch import Tensor

from skelzoo.learn.losses import SemiSupervisedLosses, semi_supervised_losses
from skelzoo.nets.psp import PSP
from skelzoo.weights.author_keys import translate

pytestmark = pytest.mark.needs_shared
ATOL, HEADS_ATOL = 1e-5, 1e-4
"""Absolute (golden/README.md)."""

OWN_ERROR = 2e-4
"""The authors' float32 gradients are 8.2e-5 away from ours in float64: BatchNorm and LeakyReLUs on their edge magnify rounding."""

LETTERS = {"joint": "", "part": "p", "body": "b"}


def read(shared: Path, name: str) -> dict[str, Any]:
    return read_golden_file(shared / f"golden/psp/psp_small_v25_{name}.safetensors", "meta")


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    return read(shared, "t32")


def close(ours: Tensor, golden: Tensor, atol: float = ATOL) -> None:
    torch.testing.assert_close(ours.detach().to(golden.dtype), golden, atol=atol, rtol=0)


def losses_of(golden: dict[str, Any], net: PSP, dtype: torch.dtype = torch.float32) -> SemiSupervisedLosses:
    labelled, unlabelled = psp_clips(golden)
    return semi_supervised_losses(net, labelled.to(dtype), golden["input/labels"], unlabelled.to(dtype))


def check_losses(losses: SemiSupervisedLosses, golden: dict[str, Any], prefix: str) -> None:
    contrast = losses.contrast
    ours = {"ce": losses.classification, "total": losses.total, "con": contrast.total, "joint": contrast.joint, "part": contrast.part, "body": contrast.body}
    assert {f"loss_{n}" for n in ours} == {k for k in under(golden, f"{prefix}/") if k.startswith("loss_")}
    for name, loss in ours.items():
        close(loss, golden[f"{prefix}/loss_{name}"])


@pytest.mark.parametrize("name", ["t32", "shortT"])
def test_losses(shared: Path, name: str) -> None:
    golden = read(shared, name)
    with torch.no_grad():
        check_losses(losses_of(golden, psp_net(golden)), golden, "output")


def test_outputs_with_batch_statistics(golden: dict[str, Any]) -> None:
    net, (labelled, unlabelled) = psp_net(golden).train(), psp_clips(golden)
    with torch.no_grad():
        known, unknown = net.maps(labelled, unlabelled)
        vectors, levels = net.pooled(known, labelled), net.levels(unknown, 2)
        close(net.forward_head(vectors), golden["train/out/logits"])
    close(vectors, torch.cat([golden["train/out/yj"], golden["train/out/ym"]], 1))
    for name, level in levels.items():
        for stream, vector, projection in zip("jm", level.vectors, level.projections, strict=True):
            close(vector, golden[f"train/out/out{stream}{LETTERS[name]}"], HEADS_ATOL)
            close(projection, golden[f"train/out/proj_out{stream}{LETTERS[name]}"], HEADS_ATOL)


def check_step(golden: dict[str, Any], net: PSP, losses: SemiSupervisedLosses) -> None:
    """Losses, every gradient, and every running statistic after the pass."""
    losses.total.backward()
    check_losses(losses, golden, "train/out")
    gradients = {n: p.grad for n, p in net.named_parameters()}
    expected = translate("psp", under(golden, "train/grad/")).state
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert gradient is not None
        close(gradient, expected[name], OWN_ERROR)
    statistics, state = translate("psp", under(golden, "train/buf/")).state, net.state_dict()
    assert statistics.keys() == {k for k in state if "running_" in k}
    for name, statistic in statistics.items():
        close(state[name], statistic)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_training_step(golden: dict[str, Any], dtype: torch.dtype) -> None:
    net = psp_net(golden).to(dtype).train()
    check_step(golden, net, losses_of(golden, net, dtype))


def test_a_second_pass_of_the_labelled_clips_is_not_the_authors_step(golden: dict[str, Any]) -> None:
    """Negative control: statistics that do not mix labelled and unlabelled clips give other losses and gradients."""
    net, (labelled, _) = psp_net(golden).train(), psp_clips(golden)
    apart = net.pooled(net.maps(labelled)[0], labelled)
    assert (apart - torch.cat([golden["train/out/yj"], golden["train/out/ym"]], 1)).abs().max() > 1e-2
