"""Names of the authors' tensors in our nets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from skelzoo import create
from skelzoo.errors import CheckpointError
from skelzoo.weights.convert import skeattnclr_encoder, skeattnclr_key

EXAMPLES = {
    "backbone.A": None,
    "backbone.data_bn.running_mean": "backbone.input_norm.running_mean",
    "backbone.edge_importance.9": "backbone.blocks.9.edge_importance",
    "backbone.st_gcn_networks.0.gcn.conv.bias": "backbone.blocks.0.graph_conv.bias",
    "backbone.st_gcn_networks.4.residual.1.num_batches_tracked": "backbone.blocks.4.shortcut.1.num_batches_tracked",
    "backbone.fc.weight": "head.weight",
    "neck.Attn.qkv.weight": "neck.qkv.weight",
    "neck.proj.mlp.3.weight": "neck.projector.linear2.weight",
    "neck.proj_obj.mlp.0.weight": None,
}


@pytest.mark.parametrize(("theirs", "ours"), EXAMPLES.items())
def test_names(theirs: str, ours: str | None) -> None:
    assert skeattnclr_key(theirs) == ours


@pytest.mark.parametrize(
    "key",
    ["", "backbone", "backbone.B", "encoder_q.backbone.fc.weight", "backbone.fc.weight.x", "neck.proj.mlp.2.weight", "xneck.proj_obj.mlp.0.weight", "queue_z"],
)
def test_tensors_of_something_else(key: str) -> None:
    with pytest.raises(CheckpointError, match="is not one of the authors'"):
        skeattnclr_key(key)
    with pytest.raises(CheckpointError):
        skeattnclr_encoder({"backbone.fc.bias": torch.zeros(1), key: torch.zeros(1)})


@pytest.mark.needs_shared
def test_every_tensor_of_an_authors_file_has_its_place_and_every_place_its_tensor(shared: Path) -> None:
    with safe_open(shared / "golden/skeattnclr/stgcn_small.safetensors", "pt") as f:
        theirs = {k.removeprefix("sd::encoder_q."): f.get_tensor(k) for k in f.keys() if k.startswith("sd::encoder_q.")}  # noqa: SIM118
    net = create("skeattnclr-stgcn", layout="ntu25", num_classes=10, options={"hidden_channels": 8, "hidden_dim": 32, "feature_dim": 16, "heads": 4})
    assert {k: v.shape for k, v in skeattnclr_encoder(theirs).items()} == {k: v.shape for k, v in net.state_dict().items()}
