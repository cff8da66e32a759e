"""Our nets as the authors' code would have saved them: their names and shapes, and the constants they store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from tiny import SMALL, randomise
from torch import Tensor, nn

from skelzoo import create
from skelzoo.nets.dsta import DSTA
from skelzoo.nets.stgcn import STGCN

NECK = {
    r"neck\.norm\.": "neck.norm0.", r"neck\.(qkv|proj)\.": r"neck.Attn.\1.", r"neck\.projector\.linear1\.": "neck.proj.mlp.0.",
    r"neck\.projector\.norm\.": "neck.proj.mlp.1.", r"neck\.projector\.linear2\.": "neck.proj.mlp.3.",
}  # fmt: skip
STGCN_NAMES = {
    r"backbone\.input_norm\.": "backbone.data_bn.", r"backbone\.blocks\.(\d)\.edge_importance": r"backbone.edge_importance.\1",
    r"backbone\.blocks\.(\d)\.graph_conv\.": r"backbone.st_gcn_networks.\1.gcn.conv.", r"backbone\.blocks\.(\d)\.norm1\.": r"backbone.st_gcn_networks.\1.tcn.0.",
    r"backbone\.blocks\.(\d)\.temporal_conv\.": r"backbone.st_gcn_networks.\1.tcn.2.", r"backbone\.blocks\.(\d)\.norm2\.": r"backbone.st_gcn_networks.\1.tcn.3.",
    r"backbone\.blocks\.(\d)\.shortcut\.": r"backbone.st_gcn_networks.\1.residual.", r"head\.": "backbone.fc.",
}  # fmt: skip
DSTA_NAMES = {
    r"backbone\.blocks\.(\d)\.spatial\.query_key\.": r"graph_layers.\1.in_nets.", r"backbone\.blocks\.(\d)\.temporal\.query_key\.": r"graph_layers.\1.in_nett.",
    r"backbone\.blocks\.(\d)\.spatial\.alpha": r"graph_layers.\1.alphas", r"backbone\.blocks\.(\d)\.temporal\.alpha": r"graph_layers.\1.alphat",
    r"backbone\.blocks\.(\d)\.spatial\.bias": r"graph_layers.\1.attention0s", r"backbone\.blocks\.(\d)\.temporal\.bias": r"graph_layers.\1.attention0t",
    r"backbone\.blocks\.(\d)\.(s|t)(?:patial|emporal)_out\.": r"graph_layers.\1.out_net\2.", r"backbone\.blocks\.(\d)\.(s|t)(?:patial|emporal)_forward\.": r"graph_layers.\1.ff_net\2.",
    r"backbone\.blocks\.(\d)\.(s|t)(?:patial|emporal)_shortcut([12])\.": r"graph_layers.\1.down\2\3.",
}  # fmt: skip
NAMES: dict[str, dict[str, str]] = {
    "skeattnclr-stgcn": {**STGCN_NAMES, **NECK},
    "skeattnclr-bigru": {
        r"backbone\.layers\.(\d)\.0\.(\w+)_l0": r"backbone.encoder.gru.\2_l\1", r"backbone\.layers\.(\d)\.1\.(\w+)_l0": r"backbone.encoder.gru.\2_l\1_reverse",
        r"head\.": "backbone.fc.", **NECK,
    },
    "skeattnclr-dsta": {
        r"backbone\.input_conv\.": "backbone.proj.", r"backbone\.input_norm\.": "backbone.input_map.0.",
        **{ours: "backbone." + theirs for ours, theirs in DSTA_NAMES.items()}, r"head\.": "backbone.fc.", **NECK,
    },
    "psp": {
        r"backbone\.input_conv\.": "input_map.0.", r"backbone\.input_norm\.": "input_map.1.", **DSTA_NAMES, r"head\.": "fc.", r"projector\.": "mlp.",
        **{rf"pyramid\.{ours}\.{a}\.": f"att_{theirs}.{b}." for ours, theirs in (("body", "b"), ("part", "pb"), ("joint", "jpb"))
           for a, b in (("query_key_value", "in_nets"), ("out", "ff_nets"))},
    },
    "stgcn": {ours: theirs.removeprefix("backbone.") for ours, theirs in STGCN_NAMES.items()},
}  # fmt: skip
"""Arch -> beginning of our name -> the authors' name."""


BLOCKS = [[4, 4, 2, 1], [4, 8, 2, 2], [8, 16, 4, 2]]
"""Of DSTA-Net; as in the papers, the stride is 2 where the channels change."""


def saved(path: Path, content: object, **settings: Any) -> Path:
    """A file of torch."""
    torch.save(content, path, **settings)
    return path


def author_net(arch: str, layout: str = "ntu25", num_classes: int = 3, **options: Any) -> nn.Module:
    """A small net of ours with weights far from their start."""
    settings = SMALL[arch] | ({"blocks": BLOCKS} if "blocks" in SMALL[arch] else {}) | options
    channels = 3 * settings.get("streams", 2 if arch == "psp" else 1)
    return randomise(create(arch, layout=layout, num_classes=num_classes, in_channels=channels, options=settings)).eval()


def author_state(arch: str, net: nn.Module, joints: int = 25) -> dict[str, Tensor]:
    """The state of a net of ours in the authors' encoder, with the constants and idle tensors that theirs has."""
    out = {}
    for name, tensor in net.state_dict().items():
        ours, theirs = next(((o, t) for o, t in NAMES[arch].items() if re.match(o, name)), ("", ""))
        if name.startswith("neck.projector.linear"):
            tensor = tensor[..., None]
        if re.search(r"(spatial|temporal)\.(alpha|bias)$", name):
            tensor = tensor[None]
        out[re.sub(f"^{ours}", theirs, name)] = tensor.clone()
    out |= {k.replace(".proj.", ".proj_obj."): v.clone() for k, v in out.items() if k.startswith("neck.proj.")}
    return out | constants(net.backbone, "" if arch in ("psp", "stgcn") else "backbone.", joints)


def constants(backbone: nn.Module | Tensor, prefix: str, joints: int) -> dict[str, Tensor]:
    """Graph, position codes and all-zero maps."""
    if isinstance(backbone, STGCN):
        return {prefix + "A": backbone.adjacency.clone()}
    out: dict[str, Tensor] = {}
    if isinstance(backbone, DSTA):
        frames = backbone.num_frames
        for i, block in enumerate(backbone.blocks):
            at, last = f"{prefix}graph_layers.{i}.", block.temporal_out
            if block.spatial is not None:
                out[at + "atts"] = torch.zeros(1, block.spatial.subsets, joints, joints)
                out |= {} if block.spatial.code is None else {at + "pes.pe": block.spatial.code[None, :, None].repeat(1, 1, frames, 1)}
            if block.temporal is not None:
                out[at + "attt"], last = torch.zeros(1, block.temporal.subsets, frames, frames), block.temporal_forward
                out |= {} if block.temporal.code is None else {at + "pet.pe": block.temporal.code[None, ..., None].repeat(1, 1, 1, joints)}
            frames = -(-frames // last[0].stride[0])
    return out


def pretraining_state(encoder: dict[str, Tensor], salient: str = "_s", non_salient: str = "_ns") -> dict[str, Tensor]:
    """A SkeAttnCLR pretraining file of an encoder, with queues and predictors under either naming."""
    out = {f"encoder_{e}.{k}": v for e in "qk" for k, v in encoder.items()}
    for suffix in ("", salient, non_salient):
        out |= {f"predictor{suffix}.mlp.0.weight": torch.zeros(4, 2, 1), f"predictor{suffix}.mlp.1.running_mean": torch.zeros(4)}
    for suffix in ("_z", salient, non_salient):
        out |= {f"queue{suffix}": torch.zeros(2, 8), f"queue_ptr{suffix}": torch.zeros(1, dtype=torch.long)}
    return out
