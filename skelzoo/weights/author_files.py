"""The authors' checkpoint files -> the state of our nets. Foreign files are unpickled here alone, and tensors only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from skelzoo.errors import CheckpointError
from skelzoo.nets.dsta import position_code
from skelzoo.nets.graph import GRAPHS
from skelzoo.skeleton.layouts import Layout
from skelzoo.weights.author_keys import Translation, listed
from skelzoo.weights.checkpoint import UNREADABLE

WRAPPERS = ("model", "state_dict")
"""Entries under which a file may keep the state, beside its optimizer and such."""

TOLERANCE = 1e-6
"""Largest difference between a constant that a file stores and the one our net computes."""

TRAINING = {
    r"encoder_k(?:_\w+)?\..*": "key encoder of the pretraining",
    r"queue(?:_\w+)?": "queue of the pretraining",
    r"predictor(?:_\w+)?\.mlp\.\d\.\w+": "predictor of the pretraining",
}
"""Names that only a contrastive pretraining file has, in all spellings (_s and _ns, _p and _c, _motion and _bone)."""


@dataclass(frozen=True)
class AuthorFile:
    """What a checkpoint holds.

    Attributes:
        encoder: the encoder's tensors in float32, by the authors' names without ``module.`` and ``prefix``.
        prefix: ``encoder_q.`` or nothing.
        dropped: other entries -> why they are not needed.
        pretraining: the file holds what only contrastive pretraining needs.
        converted: number of tensors that were stored in another float type.
    """

    encoder: dict[str, Tensor]
    prefix: str
    dropped: dict[str, str]
    pretraining: bool
    converted: int


def read_author_file(path: Path) -> AuthorFile:
    """Read a checkpoint: a state dict, plain or under ``model`` or ``state_dict``, pickled by torch or as safetensors.

    Nothing in the file is run: it is unpickled with ``weights_only=True``, which builds tensors and plain containers.

    Raises:
        CheckpointError: not readable, not a checkpoint, or tensors that are NaN or infinite.
    """
    state, dropped = _unwrapped(path, _load(path))
    tensors = {str(n): t.detach() for n, t in state.items() if isinstance(t, Tensor) and t.layout is torch.strided and not t.is_quantized and not t.is_meta}
    dropped |= {str(n): "not a tensor" for n in state if str(n) not in tensors}
    if not tensors:
        raise CheckpointError(f"{path}: holds no tensors, so it is not a checkpoint. Give the file that torch.save(net.state_dict(), ...) wrote.")
    if all(n.startswith("module.") for n in tensors):
        tensors = {n.removeprefix("module."): t for n, t in tensors.items()}
    broken = [n for n, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]
    if broken:
        raise CheckpointError(f"{path}: NaN or infinite values in {listed(broken)}. The training diverged or the file is damaged; use another checkpoint.")
    training = {n: why for n in tensors for pattern, why in TRAINING.items() if re.fullmatch(pattern, n)}
    dropped |= training | {n: "encoder of another stream" for n in tensors if re.match(r"encoder_q_\w+\.", n)}
    prefix = "encoder_q." if any(n.startswith("encoder_q.") for n in tensors) else ""
    encoder = {n.removeprefix(prefix): t.float() if t.is_floating_point() else t for n, t in tensors.items() if n not in dropped}
    converted = sum(t.is_floating_point() and t.dtype != torch.float32 for t in tensors.values())
    return AuthorFile(encoder, prefix, dropped, bool(training), converted)


def _load(path: Path) -> Any:
    try:
        return load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file. Check the path; relative paths start at the current folder.") from None
    except UNREADABLE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path}: not a checkpoint of plain tensors: it is damaged, something else, or a pickle with code in it ({reason}). "
            "Nothing in it was run. Save it again with torch.save(net.state_dict(), ...), or give another file."
        ) from error


def _unwrapped(path: Path, content: Any) -> tuple[Mapping[Any, Any], dict[str, str]]:
    """The state dict in a file's content, and what lay beside it."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a state dict. Give the file that torch.save(net.state_dict(), ...) wrote.")
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            return content[wrapper], {str(name): f"beside {wrapper!r}, not part of it" for name in content if name != wrapper}
    return content, {}


def check_constants(constants: Mapping[str, Tensor], layout: Layout, graph: str) -> None:
    """Compare the constants that a file stores with those our net computes: graph, position codes, all-zero maps.

    Raises:
        CheckpointError: another graph, other codes; the first is named.
    """
    for name, tensor in constants.items():
        if name.endswith("A"):
            what, expected = f"the {graph} graph of layout {layout.name}", GRAPHS[graph](layout)
        elif name.endswith("pe"):
            channels, frames, joints = (1, 1, 1, *tensor.shape)[-3:]
            code = position_code(channels, joints)[:, None] if "pes" in name else position_code(channels, frames)[:, :, None]
            what, expected = "the position code that our net computes", code[:channels].expand(1, channels, frames, joints)
        else:
            what, expected = "all zero, as our net has it", torch.zeros_like(tensor)
        if expected.shape != tensor.shape:
            raise CheckpointError(f"{name} is not {what}: its shape is {tuple(tensor.shape)}, not {tuple(expected.shape)}. Name the layout it was trained on.")
        difference = float((expected - tensor).abs().max())
        if difference > TOLERANCE:
            raise CheckpointError(
                f"{name} is not {what}: they differ by {difference:.1e}, so our net would give other numbers. Name the layout it was trained on."
            )


def check_state(net: nn.Module, tensors: Translation) -> None:
    """Check that the tensors are exactly those of a net.

    Raises:
        CheckpointError: missing, unexpected or mis-shaped tensors, each named.
    """
    expected = net.state_dict()
    problems = [f"nothing gives {k} of shape {tuple(v.shape)}" for k, v in expected.items() if k not in tensors.state]
    for theirs, ours in tensors.used.items():
        found = tensors.state[ours]
        if ours not in expected:
            problems.append(f"{theirs} has no place, as {ours} is not in the net")
        elif (found.shape, found.dtype) != (expected[ours].shape, expected[ours].dtype):
            problems.append(f"{theirs} is {tuple(found.shape)} {found.dtype}, {ours} needs {tuple(expected[ours].shape)} {expected[ours].dtype}")
    if problems:
        raise CheckpointError(f"does not fit the net that its sizes tell: {listed(problems, between='; ')}. Check that the checkpoint is whole and unchanged.")
