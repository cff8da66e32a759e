"""The authors' checkpoint layouts -> ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from skelzoo.errors import CheckpointError

_BLOCK = r"backbone\.st_gcn_networks\.(\d+)\."
_SKEATTNCLR = tuple(
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"backbone\.data_bn\.(\w+)", r"backbone.input_norm.\1"),
        (r"backbone\.edge_importance\.(\d+)", r"backbone.blocks.\1.edge_importance"),
        (_BLOCK + r"gcn\.conv\.(\w+)", r"backbone.blocks.\1.graph_conv.\2"),
        (_BLOCK + r"tcn\.0\.(\w+)", r"backbone.blocks.\1.norm1.\2"),
        (_BLOCK + r"tcn\.2\.(\w+)", r"backbone.blocks.\1.temporal_conv.\2"),
        (_BLOCK + r"tcn\.3\.(\w+)", r"backbone.blocks.\1.norm2.\2"),
        (_BLOCK + r"residual\.([01]\.\w+)", r"backbone.blocks.\1.shortcut.\2"),
        (r"backbone\.fc\.(\w+)", r"head.\1"),
        (r"neck\.norm0\.(\w+)", r"neck.norm.\1"),
        (r"neck\.Attn\.((?:qkv|proj)\.\w+)", r"neck.\1"),
        (r"neck\.proj\.mlp\.0\.weight", "neck.projector.linear1.weight"),
        (r"neck\.proj\.mlp\.1\.(\w+)", r"neck.projector.norm.\1"),
        (r"neck\.proj\.mlp\.3\.weight", "neck.projector.linear2.weight"),
    )
)
# The graph is constant and built from the layout; proj_obj is never run by the authors' network.
_SKEATTNCLR_DROPPED = re.compile(r"backbone\.A|neck\.proj_obj\..+")


def skeattnclr_key(key: str) -> str | None:
    """Name in our net of a tensor of the authors' SkeAttnCLR encoder (ST-GCN).

    Args:
        key: the authors' name without the leading ``encoder_q.`` or ``encoder_k.``.

    Returns:
        Our name, or None for a tensor that is known and not needed.

    Raises:
        CheckpointError: not a tensor of that encoder.
    """
    if _SKEATTNCLR_DROPPED.fullmatch(key):
        return None
    for pattern, ours in _SKEATTNCLR:
        match = pattern.fullmatch(key)
        if match:
            return match.expand(ours)
    raise CheckpointError(f"tensor {key!r} is not one of the authors' SkeAttnCLR ST-GCN encoder. Check that the checkpoint is of that network.")


def skeattnclr_encoder(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of our net from the authors' encoder state, both without a leading ``encoder_q.``.

    Their projector is of 1x1 convolutions over a time axis of one; ours is of linear layers with the same weights.

    Raises:
        CheckpointError: a tensor that is not of that encoder.
    """
    renamed = ((skeattnclr_key(key), tensor) for key, tensor in tensors.items())
    return {key: tensor.squeeze(-1) if key.startswith("neck.projector.linear") else tensor for key, tensor in renamed if key is not None}
