"""Goldens: an input clip with the prepared tensor, embedding and logits that a set of weights must give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from skelzoo.errors import CheckpointError, ClipError, CoverageError, LayoutError
from skelzoo.inference.mode import evaluating
from skelzoo.inference.precision import own_precision
from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.contract import Contract
from skelzoo.skeleton.layouts import get_layout
from skelzoo.skeleton.prepare import prepare_doubtfully
from skelzoo.weights.checkpoint import check_net

if TYPE_CHECKING:
    from skelzoo.inference.encoder import Encoder

IMAGE_SIZE = (2, 2)
"""Height and width of the picture of 2-D goldens, whose joints go from -1 to 2."""

TOLERANCE = 1e-4
"""Largest absolute difference between a golden and a recomputed value, relative to the golden's largest value."""


def make_golden(encoder: Encoder) -> dict[str, Tensor]:
    """A golden of an encoder: ``keypoints``, ``prepared``, ``embedding`` and, with a head, ``logits``.

    Raises:
        CheckpointError: what it computes is not finite.
    """
    clip = golden_clip(encoder.contract)
    golden = {"keypoints": torch.from_numpy(clip.keypoints), **_outputs(encoder, clip)}
    lost = [name for name, tensor in golden.items() if not tensor.isfinite().all()]
    if lost:
        raise CheckpointError(f"{encoder.name}: {' and '.join(lost)} of a made-up clip are NaN or infinite. Its weights are spoilt; go back to those before.")
    return golden


def golden_clip(contract: Contract) -> Clip:
    """A smooth made-up motion in the contract's layout: every joint on a circle of its own about a body-like rest pose."""
    joints, frames = len(get_layout(contract.layout)), 50
    phase = np.arange(joints)[None, :, None] * 0.7 + np.array([0.0, 1.3, 2.6])[None, None, : contract.channels]
    rest = np.stack([np.sin(np.arange(joints)), np.linspace(0, 1.7, joints), np.cos(np.arange(joints)) * 0.2], -1)[None, :, : contract.channels]
    swing = np.sin(np.linspace(0, 2 * np.pi, frames)[:, None, None] + phase) * 0.15
    return _clip((rest + swing).astype(np.float32), contract)


def prepare_golden(clip: Clip, contract: Contract) -> FloatArray:
    """(C, T, V, M) of a golden's clip: it is made up, so no user need be told that it does not stand."""
    return prepare_doubtfully(clip, contract)[0]


def check_kept(encoder: Encoder, head: bool = True) -> None:
    """Check that config and tensors are all that makes an encoder's vectors and logits: what was put on its net beside them would be lost without a word.

    Args:
        head: see ``check_net``.

    Raises:
        CheckpointError: as ``check_net``, or the net made again from both gives others. Hooks that only look pass.
    """
    again, device = check_net(encoder.net, encoder.config, encoder.name, head).to(encoder.device), encoder.device
    x = torch.from_numpy(prepare_golden(golden_clip(encoder.contract), encoder.contract)[None]).to(device, encoder.dtype)
    with torch.inference_mode(), evaluating(encoder.net), own_precision(device, tf32=False):
        z = again.forward_features(x)
        pairs = {"vectors": (encoder.net.forward_features(x), z)}
        if head:
            pairs["logits"] = encoder.net.forward_head(z), again.forward_head(z)
    other = [what for what, (a, b) in pairs.items() if a.shape != b.shape or not torch.allclose(a, b, TOLERANCE, TOLERANCE, equal_nan=True)]
    if other:
        raise CheckpointError(
            f"{encoder.name}: its net gives other {' and '.join(other)} than one made again from its config and tensors, in which hooks, replaced methods and changed settings "
            "of its layers are not. Take them off (handle.remove(), del layer.forward), or do what they do to what embed gives. Nothing was written."
        )


def golden_differences(encoder: Encoder, golden: Mapping[str, Tensor]) -> dict[str, float]:
    """Recompute a golden from its keypoints.

    Returns:
        Per tensor the largest absolute difference, divided by the golden's largest absolute value (at least 1).

    Raises:
        CheckpointError: it is not the golden of such an encoder.
    """
    strange = [name for name, tensor in golden.items() if tensor.dtype != torch.float32]
    if strange:
        raise CheckpointError(f"{encoder.name}: its golden has {strange[0]} of type {golden[strange[0]].dtype}, not float32.")
    try:
        found = _outputs(encoder, _clip(golden["keypoints"].numpy(), encoder.contract))
    except (KeyError, ClipError, CoverageError, LayoutError) as error:
        raise CheckpointError(f"{encoder.name}: its golden has no keypoints of a clip that it takes ({error}).") from error
    odd = [n for n in {*found, *golden} - {"keypoints"} if n not in found or n not in golden or found[n].shape != golden[n].shape]
    if odd:
        raise CheckpointError(f"{encoder.name}: its golden does not fit the encoder: {', '.join(sorted(odd))}.")
    return {name: float((found[name] - golden[name]).abs().max() / golden[name].abs().max().clamp(min=1)) for name in golden if name != "keypoints"}


def _clip(keypoints: FloatArray, contract: Contract) -> Clip:
    return Clip(keypoints, contract.layout, fps=30, name="golden", image_size=IMAGE_SIZE if contract.channels == 2 else None)


def _outputs(encoder: Encoder, clip: Clip) -> dict[str, Tensor]:
    prepared = prepare_golden(clip, encoder.contract)[None]
    with own_precision(encoder.device, tf32=False):  # rounded to TF32 they would be further off than TOLERANCE
        embedding = torch.from_numpy(encoder.embed(prepared, prepared=True))
        rows = {"prepared": torch.from_numpy(prepared), "embedding": embedding}
        if encoder.config.num_classes:
            with torch.inference_mode():
                rows["logits"] = encoder.net.forward_head(embedding.to(encoder.device, encoder.dtype)).float().cpu()
    return rows
