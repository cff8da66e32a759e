"""Names of the authors' tensors in our nets, one table per network of theirs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from skelzoo.errors import CheckpointError

Rule = tuple[re.Pattern[str], str | None]
"""Their name, and ours; None for a tensor that is known and not needed."""


def _rules(*pairs: tuple[str, str | None]) -> tuple[Rule, ...]:
    return tuple((re.compile(theirs), ours) for theirs, ours in pairs)


_STGCN = r"backbone\.st_gcn_networks\.(\d+)\."
_GRU = r"backbone\.encoder\.gru\.(weight|bias)_(ih|hh)_l(\d+)"


def _dsta_blocks(prefix: str) -> list[tuple[str, str | None]]:
    """Blocks of DSTA-Net under a prefix of theirs; the codes and the all-zero maps are constants that we compute."""
    block, ours = prefix + r"graph_layers\.(\d+)\.", r"backbone.blocks.\1."
    names = {
        "in_nets": "spatial.query_key", "in_nett": "temporal.query_key",
        r"out_nets\.([01])": r"spatial_out.\2", r"out_nett\.([01])": r"temporal_out.\2",
        r"ff_nets\.([01])": r"spatial_forward.\2", r"ff_nett\.([01])": r"temporal_forward.\2",
        r"downs([12])\.([01])": r"spatial_shortcut\2.\3", r"downt([12])\.([01])": r"temporal_shortcut\2.\3",
    }  # fmt: skip
    pairs: list[tuple[str, str | None]] = [(block + theirs + r"\.(?P<kind>\w+)", ours + name + r".\g<kind>") for theirs, name in names.items()]
    single = {"alphas": "spatial.alpha", "alphat": "temporal.alpha", "attention0s": "spatial.bias", "attention0t": "temporal.bias"}
    pairs += [(block + theirs, ours + name) for theirs, name in single.items()]
    return [*pairs, (block + r"(?:att[st]|pe[st]\.pe)", None)]


_NECK: tuple[tuple[str, str | None], ...] = (
    (r"backbone\.fc\.(\w+)", r"head.\1"),
    (r"neck\.norm0\.(\w+)", r"neck.norm.\1"),
    (r"neck\.Attn\.((?:qkv|proj)\.\w+)", r"neck.\1"),
    (r"neck\.proj\.mlp\.0\.weight", "neck.projector.linear1.weight"),
    (r"neck\.proj\.mlp\.1\.(\w+)", r"neck.projector.norm.\1"),
    (r"neck\.proj\.mlp\.3\.weight", "neck.projector.linear2.weight"),
    (r"neck\.proj_obj\.mlp\.(?:0\.weight|1\.\w+|3\.weight)", None),  # never run by the authors' network
)

RULES: Mapping[str, Sequence[Rule]] = {
    "skeattnclr-stgcn": _rules(
        (r"backbone\.A", None),  # constant, built from the layout
        (r"backbone\.data_bn\.(\w+)", r"backbone.input_norm.\1"),
        (r"backbone\.edge_importance\.(\d+)", r"backbone.blocks.\1.edge_importance"),
        (_STGCN + r"gcn\.conv\.(\w+)", r"backbone.blocks.\1.graph_conv.\2"),
        (_STGCN + r"tcn\.0\.(\w+)", r"backbone.blocks.\1.norm1.\2"),
        (_STGCN + r"tcn\.2\.(\w+)", r"backbone.blocks.\1.temporal_conv.\2"),
        (_STGCN + r"tcn\.3\.(\w+)", r"backbone.blocks.\1.norm2.\2"),
        (_STGCN + r"residual\.([01]\.\w+)", r"backbone.blocks.\1.shortcut.\2"),
        *_NECK,
    ),
    "skeattnclr-bigru": _rules(
        (r"backbone\.input_norm\.(\w+)", r"backbone.input_norm.\1"),
        (_GRU, r"backbone.layers.\3.0.\1_\2_l0"),
        (_GRU + "_reverse", r"backbone.layers.\3.1.\1_\2_l0"),
        *_NECK,
    ),
    "skeattnclr-dsta": _rules(
        (r"backbone\.proj\.(\w+)", r"backbone.input_conv.\1"),
        (r"backbone\.input_map\.0\.(\w+)", r"backbone.input_norm.\1"),
        *_dsta_blocks(r"backbone\."),
        *_NECK,
    ),
    "psp": _rules(
        (r"input_map\.0\.(\w+)", r"backbone.input_conv.\1"),
        (r"input_map\.1\.(\w+)", r"backbone.input_norm.\1"),
        *_dsta_blocks(""),
        (r"fc\.(\w+)", r"head.\1"),
        (r"mlp\.([02])\.(\w+)", r"projector.\1.\2"),
        *((rf"att_{theirs}\.in_nets\.(\w+)", rf"pyramid.{ours}.query_key_value.\1") for theirs, ours in (("b", "body"), ("pb", "part"), ("jpb", "joint"))),
        *((rf"att_{theirs}\.ff_nets\.([01]\.\w+)", rf"pyramid.{ours}.out.\1") for theirs, ours in (("b", "body"), ("pb", "part"), ("jpb", "joint"))),
    ),
}
"""Arch -> rules for the tensors of the authors' encoder, without a leading ``encoder_q.`` or ``module.``."""


def our_key(arch: str, key: str) -> str | None:
    """Name in our net of a tensor of the authors' encoder, or None for one that is known and not needed.

    Raises:
        CheckpointError: not a tensor of that network.
    """
    for pattern, ours in RULES[arch]:
        match = pattern.fullmatch(key)
        if match:
            return None if ours is None else match.expand(ours)
    raise CheckpointError(f"tensor {key!r} is not one of the authors' {arch} network. Check that the checkpoint is of that network.")


def our_state(arch: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of our net from the authors' encoder state.

    Their projections are 1x1 convolutions over a time axis of one, ours linear layers; their attention parameters
    have a leading axis of one.

    Raises:
        CheckpointError: a tensor that is not of that network.
    """
    renamed = {our_key(arch, key): tensor for key, tensor in tensors.items()}
    return {key: _reshaped(key, tensor) for key, tensor in renamed.items() if key is not None}


def _reshaped(key: str, tensor: Tensor) -> Tensor:
    if key.startswith("neck.projector.linear"):
        return tensor.squeeze(-1)
    return tensor.squeeze(0) if re.search(r"(spatial|temporal)\.(alpha|bias)$", key) else tensor
