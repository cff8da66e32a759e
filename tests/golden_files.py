"""The authors' networks' goldens (see ../shared/golden/README.md) as our nets and states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from skelzoo.nets.archs import ARCHS
from skelzoo.nets.psp import PSP
from skelzoo.nets.skeattnclr import SkeAttnCLR
from skelzoo.skeleton.layouts import get_layout
from skelzoo.weights.author_keys import translate

BACKBONES = {"stgcn": "skeattnclr-stgcn", "gru": "skeattnclr-bigru", "dsta": "skeattnclr-dsta"}
ATOL = 1e-5
"""Absolute, for values of order 1 to 10 (golden/README.md)."""

LARGE, RTOL = 10, 2e-6
"""Block outputs reach 60, where float32 sums in another order differ by 7e-5 (the authors' from a float64 run; 4e-5
between one thread and two): a tensor with values above 10 may be off by this share of its largest value."""


def read_golden_file(path: Path, key: str) -> dict[str, Any]:
    """Tensors by name, and the metadata under ``key`` as ``config``."""
    with safe_open(path, "pt") as f:
        return {**{k: f.get_tensor(k) for k in f.keys()}, "config": json.loads(f.metadata()[key])}  # noqa: SIM118


def skeattnclr_options(config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Our arch and options for the constructor arguments of a golden."""
    neck = {"feature_dim": config["feature_dim"], "sharpness": config["Lambda"]}
    if config["arch"] == "stgcn":
        return "skeattnclr-stgcn", {**neck, **{k: config[k] for k in ("hidden_channels", "hidden_dim", "heads")}, "dropout": 0.0}
    if config["arch"] == "bigru":
        return "skeattnclr-bigru", {**neck, "heads": config["heads"], "hidden_size": config["en_hidden_size"], "num_layers": config["en_num_layers"]}
    return "skeattnclr-dsta", {**neck, "heads": config["num_heads"], "blocks": config["config"], "num_frames": config["num_frame"]}


def skeattnclr_net(golden: dict[str, Any], encoder: str = "encoder_q", **options: Any) -> SkeAttnCLR:
    """The query (``encoder_q``) or key (``encoder_k``) encoder of a golden, strictly loaded."""
    arch, settings = skeattnclr_options(golden["config"])
    net = ARCHS[arch].build(get_layout("ntu25"), 3, golden["config"]["num_class"], settings | options)
    net.load_state_dict(translate(arch, under(golden, f"sd::{encoder}.")).state)
    assert isinstance(net, SkeAttnCLR)
    return net.eval()


def psp_net(golden: dict[str, Any]) -> PSP:
    """The network of a PSP golden, strictly loaded."""
    config = golden["config"]["ctor"]
    net = PSP(get_layout("ntu25"), config["num_class"], 6, config["config"], config["num_subset"], config["num_frame"])
    net.load_state_dict(translate("psp", under(golden, "state/")).state)
    return net.eval()


def psp_clips(golden: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Labelled and unlabelled clips, joint and motion on the channel axis."""
    labelled, unlabelled = (torch.cat([golden[f"input/xj{u}"], golden[f"input/xm{u}"]], 1) for u in ("", "u"))
    return labelled, unlabelled


def under(golden: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)}


def close(ours: Tensor, golden: Tensor) -> None:
    """Equal within the tolerances above."""
    assert ours.shape == golden.shape
    largest = float(golden.abs().max())
    torch.testing.assert_close(ours, golden, atol=RTOL * largest if largest > LARGE else ATOL, rtol=0)
