"""An encoder as one file that runs without skelzoo: ONNX, or a program of torch.export."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skelzoo import __version__
from skelzoo.errors import ExportError, MissingDependencyError
from skelzoo.inference.encoder import TO_FLOAT32, Encoder
from skelzoo.inference.golden import TOLERANCE, golden_clip, prepare_golden
from skelzoo.inference.output import check_output
from skelzoo.inference.progress import quiet, say
from skelzoo.inference.replacing import about_export, check_replaced
from skelzoo.nets.net import Net
from skelzoo.skeleton.contract import Contract
from skelzoo.skeleton.layouts import get_layout
from skelzoo.skeleton.steps import with_defaults
from skelzoo.skeleton.writing import whole_file
from skelzoo.weights.cards import licence_of
from skelzoo.weights.checkpoint import check_net
from skelzoo.weights.files import bytes_info, dump_json

OPSET = 20
"""Of the ONNX operators."""

_NEWER = f"This is torch {torch.__version__}; 2.13 exports all shipped models, 2.6 none that was tried."

Run = Callable[[NDArray[np.float32]], Sequence[NDArray[np.float32]]]


@dataclass(frozen=True)
class Export:
    """What was written, and the largest difference to the encoder, relative to its largest value (at least 1)."""

    files: tuple[Path, Path]
    difference: float


class _Outputs(nn.Module):
    """(N, C, T, V, M) -> the vectors and, with a head, the logits."""

    def __init__(self, net: Net, names: Sequence[str]) -> None:
        super().__init__()
        self.net, self.names = net, names

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        z = self.net.forward_features(clips)
        return (z, self.net.forward_head(z))[: len(self.names)]


def export(encoder: Encoder, path: str | os.PathLike[str]) -> Export:
    """Write an encoder as one file, and check that it gives what the encoder gives, for one clip and for several.

    Args:
        encoder: on the CPU, in float32.
        path: ends in ``.onnx`` for ONNX, in ``.pt2`` for a program of torch.export. ``PATH.json`` beside it says how clips are prepared and what comes out.

    Raises:
        CheckpointError: the net has other layers than its config says.
        ExportError: the net cannot be exported, or what was exported gives other numbers.
        MissingDependencyError: the packages of the onnx extra are not installed.
        WriteError: another suffix, a file there that is no export, or it cannot be written.
    """
    target = check_output(path, (".onnx", ".pt2"))
    about = target.with_name(f"{target.name}.json")
    check_replaced({target: lambda _: about_export(about), about: about_export})
    kind = target.suffix.lower().removeprefix(".")
    if encoder.device.type != "cpu":
        raise ExportError(f"{encoder.name} is on {encoder.device}. Call encoder.net.cpu() to export it.")
    if encoder.dtype != torch.float32:
        raise ExportError(f"{encoder.name} computes in {encoder.dtype}. {TO_FLOAT32}")
    check_net(encoder.net, encoder.config, encoder.name)
    names = ["embedding", "logits"] if encoder.config.num_classes else ["embedding"]
    net = _Outputs(copy.deepcopy(encoder.net).eval(), names)  # the encoder's own may be in training
    clip = prepare_golden(golden_clip(encoder.contract), encoder.contract)
    clips = np.stack([clip, clip * 0.9, clip[:, ::-1]])
    with _quiet():
        data, run = (_onnx if kind == "onnx" else _pt2)(net, torch.from_numpy(clips), encoder.name)
    difference = max(_difference(net, run, clips), _difference(net, run, clips[:1]))
    if difference > TOLERANCE:
        raise ExportError(f"{encoder.name}: the {kind} file gives vectors that differ by {difference:.1e}, more than {TOLERANCE:.0e}; nothing was written.")
    with whole_file(target) as file:
        file.write(data)
        with whole_file(about) as text:
            text.write(dump_json({"sha256": bytes_info(data).sha256, **_about(encoder, kind, names)}).encode())
    return Export((target, about), difference)


def _program(net: nn.Module, clips: Tensor, name: str) -> torch.export.ExportedProgram:
    try:
        with torch.no_grad():
            return torch.export.export(net, (clips,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},), strict=False)
    except RuntimeError as error:
        raise ExportError(f"{name}: torch.export cannot follow the net ({str(error).splitlines()[0]}). {_NEWER}") from error


def _pt2(net: nn.Module, clips: Tensor, name: str) -> tuple[bytes, Run]:
    file = io.BytesIO()
    torch.export.save(_program(net, clips, name), file)
    file.seek(0)
    module = torch.export.load(file).module()
    return file.getvalue(), lambda x: _numpy(module(torch.from_numpy(x)))


def _onnx(net: _Outputs, clips: Tensor, name: str) -> tuple[bytes, Run]:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("onnx, onnxscript or onnxruntime", "onnx", "Exporting to ONNX") from error
    say(f"exporting {name}; to ONNX that takes seconds to minutes, longest of PSP models")
    traced = _program(net, clips, name)
    try:
        program = torch.onnx.export(traced, dynamo=True, opset_version=OPSET, input_names=["clips"], output_names=net.names, verbose=False, optimize=True)
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(f"{name}: torch.onnx cannot convert the net. {_NEWER}") from error
    if program is None:
        raise ExportError(f"{name}: torch.onnx gave nothing. Tell us the model and your torch version.")
    proto = program.model_proto
    values = (*proto.graph.input, *proto.graph.output, *proto.graph.value_info)
    for dim in (d for value in values for d in value.type.tensor_type.shape.dim if d.dim_param):  # named by torch, as s7
        dim.dim_param = re.sub(r"\bs\d+\b", "n", dim.dim_param)
    data = proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, lambda x: session.run(None, {"clips": x})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says about itself while it exports."""
    with quiet("torch.onnx", "onnxscript"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _numpy(outputs: Sequence[Tensor]) -> list[NDArray[np.float32]]:
    return [t.detach().numpy() for t in outputs]


def _difference(net: nn.Module, run: Run, clips: NDArray[np.float32]) -> float:
    with torch.inference_mode():
        expected = _numpy(net(torch.from_numpy(clips)))
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1)) for a, b in zip(run(clips), expected, strict=True))


def preparation(contract: Contract) -> dict[str, Any]:
    """What an export says of how clips are prepared: joints, and the contract with every option of its steps."""
    steps = [with_defaults(step) for step in contract.steps]
    return {"joints": list(get_layout(contract.layout).joints), "contract": {**contract.to_dict(), "steps": steps}}


def _about(encoder: Encoder, kind: str, names: Sequence[str]) -> dict[str, Any]:
    contract, sizes = encoder.contract, {"embedding": encoder.embedding_dim, "logits": encoder.config.num_classes}
    return {
        "format": kind, **({"opset": OPSET} if kind == "onnx" else {}), "skelzoo": __version__, "torch": torch.__version__, "model": encoder.name,
        "input": {"name": "clips", "dtype": "float32", "shape": ["n", *contract.shape], "axes": "n c t v m", "smallest_n": 1},
        "outputs": [{"name": name, "dtype": "float32", "shape": ["n", sizes[name]]} for name in names],
        **preparation(contract),
        "labels": None if encoder.labels is None else list(encoder.labels), "licence": licence_of(encoder.card) or None,
    }  # fmt: skip
