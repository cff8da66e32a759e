"""Sizes and options of a net from the shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from skelzoo.errors import CheckpointError
from skelzoo.nets.archs import find_arch
from skelzoo.nets.graph import GRAPHS
from skelzoo.skeleton.layouts import Layout, get_layout
from skelzoo.weights.author_keys import Translation

LAYOUTS = ("ntu25", "kinect20", "coco17")
"""Layouts tried for a number of joints when none is named."""


@dataclass
class Sizes:
    """What a checkpoint tells of its net, filled in by ``infer``.

    Attributes:
        tensors: the checkpoint.
        options: options of the arch that the tensors tell.
        assumed: options that had to be taken from a rule -> the rule.
        given: options that were named, for what the tensors leave open.
        layout, channels, num_classes: of the net; channels are those of one stream.
        frames, persons: of a clip, None where the tensors do not tell.
    """

    tensors: Translation
    given: Mapping[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    assumed: dict[str, str] = field(default_factory=dict)
    layout: Layout = field(default_factory=lambda: get_layout(LAYOUTS[0]))
    channels: int = 3
    num_classes: int = 0
    frames: int | None = None
    persons: int | None = None

    def has(self, key: str) -> bool:
        """Whether there is a tensor of that name of ours."""
        return key in self.tensors.state

    def size(self, key: str, axis: int = 0) -> int:
        """Length of an axis of a tensor.

        Raises:
            CheckpointError: no such tensor, or one of fewer axes.
        """
        shape = self.tensors.state[key].shape if self.has(key) else ()
        if axis >= len(shape):
            found = f"has shape {tuple(shape)}" if self.has(key) else "is given by none of its tensors"
            raise CheckpointError(f"{key}, from which the sizes are told, {found}. Check that the checkpoint is whole and unchanged.")
        return shape[axis]

    def count(self, pattern: str) -> int:
        """One more than the largest number that the pattern's group finds among the names; 0 for none."""
        return max((int(m[1]) + 1 for m in (re.match(pattern, k) for k in self.tensors.state) if m), default=0)


def infer(arch: str, tensors: Translation, given: Mapping[str, Any], layout: str | None) -> Sizes:
    """The sizes that a translated checkpoint tells.

    Args:
        arch: arch of one stream.
        given: options that were named; they fill what shapes leave open, and must not contradict the rest.
        layout: name of the layout, or None to take the one with that many joints.

    Raises:
        CheckpointError: tensors without which nothing can be told are missing, no layout fits, or an option contradicts a shape.
        LayoutError: no such layout.
    """
    sizes = Sizes(tensors, given)
    READERS[arch](sizes, layout)
    sizes.num_classes = sizes.size("head.weight") if sizes.has("head.weight") else 0
    known = find_arch(arch).options
    sizes.options = {n: v for n, v in sizes.options.items() if n in known}
    told = {**sizes.options, **{n: v for n, v in (("num_frames", sizes.frames), ("num_persons", sizes.persons)) if v is not None}}
    for name, value in told.items():
        if name in given and _plain(given[name]) != _plain(value):
            raise CheckpointError(
                f"option {name} is {given[name]!r}, but the shapes of the checkpoint's tensors say {value!r}. Leave the option out, or check the file."
            )
    return sizes


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _fitting_layout(joints: int, name: str | None) -> Layout:
    if name is None:
        name = next((n for n in LAYOUTS if len(get_layout(n)) == joints), None)
        if name is None:
            raise CheckpointError(f"the checkpoint has {joints} joints, which none of {', '.join(LAYOUTS)} has. Name the layout it was trained on.")
    layout = get_layout(name)
    if len(layout) != joints:
        raise CheckpointError(f"layout {name} has {len(layout)} joints, the checkpoint {joints}. Name the layout it was trained on.")
    return layout


def _neck(s: Sizes, hidden: int) -> None:
    s.options["feature_dim"] = s.size("neck.projector.linear2.weight")
    projector = s.size("neck.projector.linear1.weight")
    s.options["projector_dim"] = 0 if projector == hidden and not s.given.get("projector_dim") else projector


def _stgcn(s: Sizes, layout: str | None) -> None:
    s.channels = s.size("backbone.blocks.0.graph_conv.weight", 1)
    s.layout = _fitting_layout(s.size("backbone.input_norm.weight") // max(s.channels, 1), layout)
    s.options["hidden_channels"] = s.size("backbone.blocks.0.temporal_conv.weight")
    s.options["hidden_dim"] = s.size("backbone.blocks.9.temporal_conv.weight")
    graph = next((t for key, t in s.tensors.constants.items() if key.endswith("A")), None)
    if graph is not None:
        fitting = (n for n, make in GRAPHS.items() if graph.shape == make(s.layout).shape and torch.allclose(graph, make(s.layout), atol=1e-6))
        s.options["graph"] = next(fitting, "agcn")
    elif "graph" not in s.given and any(theirs.startswith("neck.") for theirs in s.tensors.unused):
        s.options["graph"] = "agcn"  # SkeAttnCLR's, which alone has a neck


def _skeattnclr_stgcn(s: Sizes, layout: str | None) -> None:
    _stgcn(s, layout)
    _neck(s, s.options["hidden_dim"])


def _bigru(s: Sizes, layout: str | None) -> None:
    s.options["num_layers"] = s.count(r"backbone\.layers\.(\d+)\.")
    s.options["hidden_size"] = s.size("backbone.layers.0.0.weight_hh_l0", 1)
    _neck(s, s.options["hidden_size"])
    inputs = s.size("backbone.layers.0.0.weight_ih_l0", 1)
    # The shape tells only the product of joints, coordinates and persons.
    layouts, persons = [layout] if layout else LAYOUTS, [s.given["num_persons"]] if "num_persons" in s.given else [2, 1]
    ways = [(n, m, c) for m in persons for n in layouts for c in (3, 2) if m * c * len(get_layout(n)) == inputs]
    if not ways:
        raise CheckpointError(
            f"the checkpoint reads {inputs} numbers per frame, which is no whole number of persons of {' or '.join(layouts)}. Name the layout, or num_persons."
        )
    name, s.persons, s.channels = ways[0]
    s.layout = get_layout(name)
    s.options["num_persons"] = s.persons
    if "num_persons" not in s.given:
        s.assumed["num_persons"] = f"{s.persons}, as {inputs} = {len(s.layout)} joints x {s.channels} coordinates x {s.persons} persons"


def _dsta(s: Sizes, layout: str | None) -> None:
    """Blocks of DSTA-Net; what is and is not there tells the forms of attention."""
    s.channels = s.size("backbone.input_conv.weight", 1)
    count, first = max(s.count(r"backbone\.blocks\.(\d+)\."), 1), "backbone.blocks.0."
    codes = [
        _Code(int(m[1]), m[2], key, t.shape) for key, t in s.tensors.constants.items() if (m := re.search(r"graph_layers\.(\d+)\.(\w+)", key)) and t.ndim == 4
    ]
    attention = {axis: s.has(f"{first}{axis}_forward.0.weight") for axis in ("spatial", "temporal")}
    for axis, there in attention.items():
        s.options[axis] = "attention" if there else "conv"
        if there:
            s.options[f"attend_{axis}"], s.options[f"global_{axis}"] = s.has(f"{first}{axis}.query_key.weight"), s.has(f"{first}{axis}.bias")
            s.options[f"code_{axis}"] = any(c.kind == f"pe{axis[0]}" for c in codes)
    frames = {i: s.size(f"backbone.blocks.{i}.temporal.bias", 1) for i in range(count) if s.has(f"backbone.blocks.{i}.temporal.bias")}
    frames |= {c.block: c.shape[2] for c in codes if c.kind != "atts"}
    joints = [s.size(first + "spatial.bias", 2)] if s.has(first + "spatial.bias") else [c.shape[3] for c in codes if c.kind != "attt"]
    s.layout = _fitting_layout(joints[0], layout) if joints else get_layout(layout or LAYOUTS[0])
    s.options["blocks"] = [list(_block(s, i, attention, frames)) for i in range(count)]
    if 0 in frames:
        s.frames = s.options["num_frames"] = frames[0]
    _check_codes(s, codes, frames.get(0, 0))


class _Code(NamedTuple):
    """A constant of a block: position code or all-zero map."""

    block: int
    kind: str
    key: str
    shape: torch.Size


def _check_codes(s: Sizes, codes: Sequence[_Code], frames: int) -> None:
    """Check that the constants are of the shapes that blocks, strides, layout and the frames of the first block make them."""
    joints, subsets = len(s.layout), s.options.get("num_subsets", 1)
    wanted: dict[tuple[int, str], tuple[int, ...]] = {}
    for i, (cin, cout, _, stride) in enumerate(s.options["blocks"]):
        shapes = {"pes": (cin, frames, joints), "pet": (cout, frames, joints), "atts": (subsets, joints, joints), "attt": (subsets, frames, frames)}
        wanted |= {(i, kind): (1, *shape) for kind, shape in shapes.items()}
        frames = -(-frames // stride)
    for code in codes:
        shape = wanted.get((code.block, code.kind))
        if tuple(code.shape) != shape:
            raise CheckpointError(
                f"{code.key} has shape {tuple(code.shape)}, the rest of the checkpoint wants {shape}. Check that the checkpoint is whole and unchanged."
            )


def _block(s: Sizes, i: int, attention: Mapping[str, bool], frames: Mapping[int, int]) -> tuple[int, int, int, int]:
    """Input, output and query/key channels and stride of a block."""
    b = f"backbone.blocks.{i}."
    cout = s.size(b + "spatial_out.0.weight")
    cin = s.size(f"backbone.blocks.{i - 1}.spatial_out.0.weight" if i else "backbone.input_conv.weight")
    if any(attention.values()):
        axis, width = ("spatial", cin) if attention["spatial"] else ("temporal", cout)
        s.options["num_subsets"] = s.size(f"{b}{axis}_out.0.weight", 1) // max(width, 1)
    queries = next((s.size(f"{b}{axis}.query_key.weight") for axis in attention if s.has(f"{b}{axis}.query_key.weight")), 0)
    # Without queries their number is of no effect.
    return cin, cout, queries // (2 * max(s.options.get("num_subsets", 1), 1)) or 1, _stride(s, i, frames)


def _stride(s: Sizes, i: int, frames: Mapping[int, int]) -> int:
    if not s.has(f"backbone.blocks.{i}.spatial_shortcut2.0.weight"):
        return 1
    if frames.get(i, 1) > 1 and frames.get(i + 1):
        return -(-frames[i] // frames[i + 1])
    named = _plain(s.given.get("blocks", ()))
    if len(named) > i and len(named[i]) == 4:
        return int(named[i][3])
    s.assumed["blocks"] = "stride 2 in the last block with a shortcut, which no shape tells"
    return 2


def _skeattnclr_dsta(s: Sizes, layout: str | None) -> None:
    _dsta(s, layout)
    _neck(s, s.options["blocks"][-1][1])


def _psp(s: Sizes, layout: str | None) -> None:
    _dsta(s, layout)
    s.options["pyramid"] = s.has("pyramid.joint.query_key_value.weight")
    if not s.options["pyramid"] and "streams" not in s.given:
        s.options["streams"], s.assumed["streams"] = 1, "1, as DSTA-Net has it: there are no pyramid heads"


READERS: Mapping[str, Callable[[Sizes, str | None], None]] = {
    "skeattnclr-stgcn": _skeattnclr_stgcn, "skeattnclr-bigru": _bigru, "skeattnclr-dsta": _skeattnclr_dsta, "psp": _psp, "stgcn": _stgcn,
}  # fmt: skip
"""Arch -> what reads its sizes."""
