"""Goldens: an input clip with the prepared tensor, embedding and logits that a set of weights must give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.layouts import get_layout
from skelzoo.skeleton.prepare import prepare

if TYPE_CHECKING:
    from skelzoo.inference.encoder import Encoder

TOLERANCE = 1e-4
"""Largest absolute difference between a golden and a recomputed value, relative to the golden's largest value."""


def make_golden(encoder: Encoder) -> dict[str, Tensor]:
    """A golden of an encoder: ``keypoints``, ``prepared``, ``embedding`` and, with a head, ``logits``."""
    clip = golden_clip(encoder)
    return {"keypoints": torch.from_numpy(clip.keypoints), **_outputs(encoder, clip)}


def golden_clip(encoder: Encoder) -> Clip:
    """A smooth made-up motion in the encoder's layout: every joint on a circle of its own about a body-like rest pose."""
    layout, c = get_layout(encoder.contract.layout), encoder.contract
    joints, frames = len(layout), 50
    phase = np.arange(joints)[None, :, None] * 0.7 + np.array([0.0, 1.3, 2.6])[None, None, : c.channels]
    rest = np.stack([np.sin(np.arange(joints)), np.linspace(0, 1.7, joints), np.cos(np.arange(joints)) * 0.2], -1)[None, :, : c.channels]
    swing = np.sin(np.linspace(0, 2 * np.pi, frames)[:, None, None] + phase) * 0.15
    return Clip((rest + swing).astype(np.float32), layout, fps=30, name="golden")


def golden_differences(encoder: Encoder, golden: Mapping[str, Tensor]) -> dict[str, float]:
    """Recompute a golden from its keypoints.

    Returns:
        Per tensor the largest absolute difference, divided by the golden's largest absolute value (at least 1).
    """
    clip = Clip(golden["keypoints"].numpy(), encoder.contract.layout, fps=30, name="golden")
    found = _outputs(encoder, clip)
    return {name: float((found[name] - golden[name]).abs().max() / golden[name].abs().max().clamp(min=1)) for name in golden if name != "keypoints"}


def _outputs(encoder: Encoder, clip: Clip) -> dict[str, Tensor]:
    prepared = torch.from_numpy(prepare(clip, encoder.contract))[None]
    embedding = torch.from_numpy(encoder.embed(clip))
    rows = {"prepared": prepared, "embedding": embedding}
    if encoder.config.num_classes:
        with torch.inference_mode():
            rows["logits"] = encoder.net.forward_head(embedding.to(encoder.device, encoder.dtype)).float().cpu()  # type: ignore[operator]
    return rows
