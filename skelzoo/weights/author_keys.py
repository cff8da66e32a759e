"""Names of the authors' tensors in our nets, one table per network of theirs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from skelzoo.errors import CheckpointError


@dataclass(frozen=True)
class Unused:
    """What stands for our name where a tensor of theirs is known and not needed.

    Attributes:
        why: said of the tensor in reports.
        constant: our net computes it, so it must be equal.
    """

    why: str
    constant: bool = False


Rule = tuple[re.Pattern[str], str | Unused]
"""Their name, and ours."""

_Pairs = list[tuple[str, str | Unused]]
_CONSTANT = Unused("constants that our net computes, compared", constant=True)


def _rules(*pairs: tuple[str, str | Unused]) -> tuple[Rule, ...]:
    return tuple((re.compile(theirs), ours) for theirs, ours in pairs)


def _stgcn(prefix: str) -> _Pairs:
    block = prefix + r"st_gcn_networks\.(\d+)\."
    return [
        (prefix + "A", _CONSTANT),
        (prefix + r"data_bn\.(\w+)", r"backbone.input_norm.\1"),
        (prefix + r"edge_importance\.(\d+)", r"backbone.blocks.\1.edge_importance"),
        (block + r"gcn\.conv\.(\w+)", r"backbone.blocks.\1.graph_conv.\2"),
        (block + r"tcn\.0\.(\w+)", r"backbone.blocks.\1.norm1.\2"),
        (block + r"tcn\.2\.(\w+)", r"backbone.blocks.\1.temporal_conv.\2"),
        (block + r"tcn\.3\.(\w+)", r"backbone.blocks.\1.norm2.\2"),
        (block + r"residual\.([01]\.\w+)", r"backbone.blocks.\1.shortcut.\2"),
        (prefix + r"fc\.(\w+)", r"head.\1"),
    ]


_GRU = r"backbone\.encoder\.gru\.(weight|bias)_(ih|hh)_l(\d+)"


def _dsta_blocks(prefix: str) -> _Pairs:
    """Blocks of DSTA-Net under a prefix of theirs; the codes and the all-zero maps are constants that we compute."""
    block, ours = prefix + r"graph_layers\.(\d+)\.", r"backbone.blocks.\1."
    names = {
        "in_nets": "spatial.query_key", "in_nett": "temporal.query_key",
        r"out_nets\.([01])": r"spatial_out.\2", r"out_nett\.([01])": r"temporal_out.\2",
        r"ff_nets\.([01])": r"spatial_forward.\2", r"ff_nett\.([01])": r"temporal_forward.\2",
        r"downs([12])\.([01])": r"spatial_shortcut\2.\3", r"downt([12])\.([01])": r"temporal_shortcut\2.\3",
    }  # fmt: skip
    pairs: _Pairs = [(block + theirs + r"\.(?P<kind>\w+)", ours + name + r".\g<kind>") for theirs, name in names.items()]
    single = {"alphas": "spatial.alpha", "alphat": "temporal.alpha", "attention0s": "spatial.bias", "attention0t": "temporal.bias"}
    pairs += [(block + theirs, ours + name) for theirs, name in single.items()]
    return [*pairs, (block + r"(?:att[st]|pe[st]\.pe)", _CONSTANT)]


_HEAD = (r"backbone\.fc\.(\w+)", r"head.\1")
_NECK: _Pairs = [
    (r"neck\.norm0\.(\w+)", r"neck.norm.\1"),
    (r"neck\.Attn\.((?:qkv|proj)\.\w+)", r"neck.\1"),
    (r"neck\.proj\.mlp\.0\.weight", "neck.projector.linear1.weight"),
    (r"neck\.proj\.mlp\.1\.(\w+)", r"neck.projector.norm.\1"),
    (r"neck\.proj\.mlp\.3\.weight", "neck.projector.linear2.weight"),
    (r"neck\.proj_obj\.mlp\.(?:0\.weight|1\.\w+|3\.weight)", Unused("never run by the authors' network")),
]

RULES: Mapping[str, Sequence[Rule]] = {
    "skeattnclr-stgcn": _rules(*_stgcn(r"backbone\."), *_NECK),
    "skeattnclr-bigru": _rules(
        (r"backbone\.input_norm\.(\w+)", r"backbone.input_norm.\1"),
        (_GRU, r"backbone.layers.\3.0.\1_\2_l0"),
        (_GRU + "_reverse", r"backbone.layers.\3.1.\1_\2_l0"),
        _HEAD,
        *_NECK,
    ),
    "skeattnclr-dsta": _rules(
        (r"backbone\.proj\.(\w+)", r"backbone.input_conv.\1"),
        (r"backbone\.input_map\.0\.(\w+)", r"backbone.input_norm.\1"),
        *_dsta_blocks(r"backbone\."),
        _HEAD,
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
    "stgcn": _rules(
        *_stgcn(r"(?:backbone\.)?"),
        (r"fc(?:\.\d+)+\.(?:weight|bias)", Unused("projector of the contrastive loss")),
        (r"neck\..+", Unused("neck of SkeAttnCLR, which this net does not have")),
    ),
}
"""Arch -> rules for the tensors of the authors' encoder, without a leading ``encoder_q.`` or ``module.``."""

OURS = (
    "They are skelzoo's own: the file holds encoder.net.state_dict(), which needs no conversion. In Python, with N classes: encoder = skelzoo.load(NAME, num_classes=N); "
    "encoder.net.load_state_dict(torch.load(FILE)); encoder.labels = [...]; encoder.save(FOLDER)."
)


@dataclass(frozen=True)
class Translation:
    """The authors' encoder state, sorted.

    Attributes:
        state: our name -> tensor as our net has it.
        used: their name -> our name.
        unused: their name -> why it is not needed.
        constants: their name -> tensor that our net computes.
    """

    state: dict[str, Tensor] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)
    constants: dict[str, Tensor] = field(default_factory=dict)


def place(arch: str, key: str) -> str | Unused | None:
    """Our name of a tensor of the authors' encoder, why it is not needed, or None for a tensor that is not of that network."""
    found = ((pattern.fullmatch(key), ours) for pattern, ours in RULES[arch])
    return next((ours if isinstance(ours, Unused) else match.expand(ours) for match, ours in found if match), None)


def translate(arch: str, tensors: Mapping[str, Tensor]) -> Translation:
    """Sort the authors' encoder state by the rules of an arch.

    Their projections are 1x1 convolutions over a time axis of one, ours linear layers; their attention parameters
    have a leading axis of one.

    Raises:
        CheckpointError: tensors that are not of that network, or two of one place.
    """
    out, strange = Translation(), []
    for key, tensor in tensors.items():
        ours = place(arch, key)
        if ours is None or ours in out.state:
            strange.append(key)
        elif isinstance(ours, str):
            out.used[key], out.state[ours] = ours, _reshaped(ours, tensor)
        else:
            out.unused[key] = ours.why
            if ours.constant:
                out.constants[key] = tensor
    if strange:
        fitting = [a for a in RULES if a != arch and all(place(a, key) for key in tensors)]
        hint = f"They are those of {' or '.join(fitting)}." if fitting else "Check that the checkpoint is of that network, unchanged."
        if all(map(_is_ours, strange)):
            hint = OURS
        raise CheckpointError(f"not tensors of the authors' {arch} network: {listed(strange)}. {hint}")
    return out


def _is_ours(key: str) -> bool:
    """Whether a tensor has a name that our nets give."""
    ours = (re.sub(r"\\(\d|g<\w+>)", r"\\w+(?:\\.\\w+)?", name) for rules in RULES.values() for _, name in rules if isinstance(name, str))
    return any(re.fullmatch(pattern, key) for pattern in ours)


def listed(names: Sequence[str], most: int = 8, between: str = ", ") -> str:
    """Names for a message: the first few, then a count."""
    return between.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _reshaped(key: str, tensor: Tensor) -> Tensor:
    if key.startswith("neck.projector.linear"):
        return tensor.squeeze(-1)
    return tensor.squeeze(0) if re.search(r"(spatial|temporal)\.(alpha|bias)$", key) else tensor
