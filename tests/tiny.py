"""Small encoders, clips, weights folders and corpora that the tests share."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor, nn

from skelzoo import Clip, Contract, Encoder, get_layout, prepare
from skelzoo.weights.checkpoint import build_net
from skelzoo.weights.manifest import ModelConfig

OPTIONS = {"hidden_channels": 4, "hidden_dim": 16, "feature_dim": 8, "heads": 2, "dropout": 0.0}
PSP_OPTIONS = {"blocks": [[4, 4, 2, 1], [4, 8, 2, 2], [8, 16, 4, 1]], "num_frames": 24, "num_subsets": 2}
SMALL: dict[str, dict[str, Any]] = {
    "skeattnclr-stgcn": OPTIONS,
    "skeattnclr-stgcn-3s": OPTIONS,
    "skeattnclr-bigru": {"hidden_size": 8, "num_layers": 2, "feature_dim": 8, "heads": 2},
    "skeattnclr-dsta": {"blocks": [[4, 4, 2, 1], [4, 8, 2, 2], [8, 16, 4, 1]], "num_frames": 24, "feature_dim": 8, "heads": 2},
    "psp": PSP_OPTIONS,
    "psp-ensemble": PSP_OPTIONS,
    "stgcn": {"hidden_channels": 4, "hidden_dim": 16},
    "skeletonmae-strl": {"dim": 8, "hidden_dim": 8, "encoder_layers": 2, "num_layers": 2, "num_frames": 24, "embed_layers": [0, 1]},
}
"""Options of a small net of every architecture."""

WITHOUT_FORM = {"skeattnclr-bigru"}
"""Archs that have no fused form."""

UNUSED = {"skeattnclr": r"(members\.\w+\.)?neck\..+", "psp": r"(members\.\d\.)?(pyramid|projector)\..+"}
"""Family -> parameters that classification does not reach: neck, pyramid and projectors serve the contrast alone."""

CONTRACT = Contract("kinect20", 3, 2, 16, ({"step": "drop_empty_frames"}, {"step": "center"}, {"step": "resample", "frames": 16}))

OWN = CONTRACT.replace(persons=1)
"""Of pretraining's windows in the tests."""


def make_config(labels: Sequence[str] | None = ("sit", "stand", "wave"), contract: Contract = CONTRACT) -> ModelConfig:
    return ModelConfig("skeattnclr-stgcn", OPTIONS, contract, len(labels or ()), None if labels is None else tuple(labels))


def randomise(net: nn.Module, seed: int = 0) -> nn.Module:
    """Move every parameter and BatchNorm statistic away from its initial value, so that mixing two up shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif tensor.is_floating_point():
                small = tensor.ndim > 1 and 0 < tensor.std() < 0.03  # what such weights leave of the clips would drown in biases
                tensor.add_(torch.randn(tensor.shape, generator=generator) * ((2 * tensor[0].numel()) ** -0.5 if small else 0.1))
    return net


def make_encoder(seed: int = 0, labels: Sequence[str] | None = ("sit", "stand", "wave"), **settings: Any) -> Encoder:
    torch.manual_seed(seed)
    config = make_config(labels)
    return Encoder(randomise(build_net(config), seed), config, "tiny", device="cpu", **settings)


def encoder_of(arch: str) -> Encoder:
    """A small encoder of an arch, for 24 frames of two persons in its papers' streams."""
    streams = ("joint", "motion") if arch.startswith("psp") else ("joint", "bone", "motion") if arch.endswith("3s") else ("joint",)
    contract = Contract("kinect20", 3, 2, 24, ({"step": "center"}, {"step": "resample", "frames": 24}), streams)
    config = ModelConfig(arch, SMALL[arch], contract, 3, ("sit", "stand", "wave"))
    torch.manual_seed(0)
    return Encoder(randomise(build_net(config)), config, device="cpu")


def make_clip(seed: int = 0, frames: int = 20, persons: int = 1, layout: str = "kinect20", channels: int = 3) -> Clip:
    """A made-up body that turns, travels and moves every joint."""
    rng = np.random.default_rng(seed)
    joints, t = len(get_layout(layout)), np.linspace(0, 3, frames)[:, None, None]
    people = [
        rng.normal(size=(joints, channels)) + rng.normal(size=channels) * t + 0.2 * np.sin(2 * t + rng.normal(size=(joints, channels))) for _ in range(persons)
    ]
    return Clip(np.stack(people), layout, fps=30, name=f"clip{seed}")


def rows_of(clips: Sequence[Clip]) -> set[bytes]:
    """Clips prepared by ``OWN``, to be compared as sets."""
    return {prepare(c, OWN).tobytes() for c in clips}


def write_corpus(path: Path, clips: Sequence[Clip], labels: Sequence[int] | None = None, **columns: Any) -> Path:
    """Single-person clips of one layout as a corpus file (schema: skelzoo/skeleton/io/corpus.py)."""
    layout, count = clips[0].layout, len(clips)
    steps = [np.rint(c.keypoints[0] * 1000).astype(np.int16) for c in clips]
    everything = np.concatenate(steps)
    delta = np.diff(everything, axis=0, prepend=np.zeros_like(everything[:1]))
    labels = [0] * count if labels is None else list(labels)
    row = {
        "joints_delta": delta, "scale": np.float32(0.001), "clip_origin": np.zeros((count, 3), np.float32),
        "offsets": np.cumsum([0, *(len(s) for s in steps)]), "label": np.array(labels, np.int32),
        "label_names": np.array([f"class{i}" for i in range(max(labels) + 1)]), "clip_name": np.array([c.name for c in clips]),
        "joint_names": np.array(layout.joints), "fps": np.float32(30),
        "max_step": np.array([np.linalg.norm(np.diff(c.keypoints, axis=1), axis=-1).max(initial=0) for c in clips], np.float32),
        **{k: np.asarray(v) for k, v in columns.items()},
    }  # fmt: skip
    np.savez(path, **row)
    return path


def write_json(path: Path, row: Any) -> Path:
    path.write_text(json.dumps(row))
    return path


def direct(encoder: Encoder, clips: list[Clip]) -> Tensor:
    """Embeddings by the net alone, clip by clip."""
    with torch.no_grad():
        return torch.cat([encoder.net.forward_features(torch.from_numpy(prepare(c, encoder.contract))[None]) for c in clips])


def same(a: Any, b: Any) -> None:
    np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5)


def one_bit(data: bytes) -> bytes:
    """A file of ``torch.save`` with another bit in the middle of its largest tensor."""
    with ZipFile(io.BytesIO(data)) as archive:
        member = archive.read(max((info for info in archive.infolist() if "/data/" in info.filename), key=lambda info: info.file_size))
    place = data.index(member) + len(member) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
