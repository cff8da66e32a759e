"""load(), create(), verify(): the only composer of weights/ and inference/.

Not named load.py: importing a submodule ``skelzoo.load`` would replace the function ``skelzoo.load``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from skelzoo.errors import CheckpointError, WeightsUnavailableError
from skelzoo.inference.encoder import Encoder
from skelzoo.inference.golden import TOLERANCE, golden_differences
from skelzoo.nets.archs import build
from skelzoo.skeleton.layouts import Layout, get_layout
from skelzoo.weights.author_config import member_of
from skelzoo.weights.author_keys import RULES
from skelzoo.weights.checkpoint import build_net, load_weights, read_checksums, read_config, read_golden, read_verified
from skelzoo.weights.hub import bundled_folder, hub_folder, local_folder, registered_folder
from skelzoo.weights.manifest import FileInfo, ModelConfig, ModelEntry, manifest


def load(
    name: str,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    compile: bool = False,
    pretrained: bool = True,
    num_classes: int | None = None,
) -> Encoder:
    """Load an encoder.

    Args:
        name: a model name (``skelzoo.list_models()``), ``local:FOLDER`` or ``hf:owner/repo@<commit>``.
        device: ``auto`` is CUDA, then MPS, then CPU.
        dtype: ``auto`` is float32.
        compile: use ``torch.compile``.
        pretrained: False gives the same net with random weights and no labels.
        num_classes: replace the head by a new random one of this size; everything else stays pretrained.

    Raises:
        UnknownModelError: no such name; near ones are listed.
        WeightsUnavailableError: no published weights; the message says what to do.
        IntegrityError: a file is not the one its sha256 names.
        CheckpointError: the weights do not fit their config.
    """
    if not pretrained and name in (*manifest().models, *manifest().aliases):
        stored = manifest().find(name).config
    else:
        folder, files, stored = _locate(name)
    config = stored if num_classes is None else replace(stored, num_classes=num_classes, labels=None)
    net = build_net(config)
    if not pretrained:
        return Encoder(net, replace(config, labels=None), f"{name} (random weights)", device, dtype, compile)
    load_weights(net, config.arch, folder, files, new_head=num_classes is not None)
    return Encoder(net, config, name, device, dtype, compile)


def _locate(name: str) -> tuple[Path, Mapping[str, FileInfo], ModelConfig]:
    """Folder of a model, the files it must hold, and its config; the manifest must agree with those it publishes."""
    if name.startswith(("local:", "hf:")):
        return _folder(local_folder(name.removeprefix("local:")) if name.startswith("local:") else hub_folder(name))
    registered = registered_folder(manifest().aliases.get(name, name))
    if registered is not None and registered.name not in manifest().pretrained:
        return _folder(registered)
    entry = manifest().find(name)
    if entry.weights is None:
        raise WeightsUnavailableError(_unavailable(entry))
    folder = bundled_folder(entry.name) if entry.weights.source == "bundled" else hub_folder(entry.weights.source)
    config = read_config(folder, entry.weights.files)
    if config != entry.config:
        raise CheckpointError(f"{name}: config.json in {folder} is not the config of the manifest. Reinstall skelzoo.")
    return folder, entry.weights.files, config


def _folder(folder: Path) -> tuple[Path, Mapping[str, FileInfo], ModelConfig]:
    files = read_checksums(folder)
    return folder, files, read_config(folder, files)


def _unavailable(entry: ModelEntry) -> str:
    nearest = [n for n in manifest().pretrained if manifest().find(n).family == entry.family] or manifest().pretrained
    convert = f"convert a checkpoint of the authors' code with skelzoo convert CHECKPOINT --as {entry.name} --to FOLDER --register; "
    return (
        f"{entry.name} has no published weights. You can: load a folder of your own with skelzoo.load('local:FOLDER'); "
        f"{convert if member_of(entry.config.arch) in RULES else ''}train it with skelzoo pretrain; "
        f"get the untrained net with skelzoo.load({entry.name!r}, pretrained=False). Nearest model with weights: {nearest[0] if nearest else 'none'}."
    )


def create(arch: str, *, layout: str | Layout, num_classes: int = 0, in_channels: int = 3, options: Mapping[str, Any] | None = None) -> nn.Module:
    """A net with random weights, for training.

    Args:
        arch: e.g. ``"skeattnclr-stgcn"``.
        layout: defines the joints and the graph.
        options: constructor options of the arch, e.g. ``{"hidden_channels": 16, "hidden_dim": 64}``.

    Raises:
        UnknownArchError, LayoutError: unknown names, near ones listed.
        CheckpointError: options the arch does not take.
    """
    return build(arch, get_layout(layout), in_channels, num_classes, options or {})


@dataclass(frozen=True)
class Verification:
    """Result of ``verify``: differences per golden tensor, and whether all are within tolerance."""

    name: str
    differences: Mapping[str, float]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether every recomputed tensor is within tolerance."""
        return all(d <= self.tolerance for d in self.differences.values())


def verify(name: str, device: str | torch.device = "auto") -> Verification:
    """Check every file's sha256, load strictly, and recompute the model's golden on this machine.

    Raises:
        IntegrityError, CheckpointError: as ``load``.
    """
    folder, files, _ = _locate(name)
    for file in files:
        read_verified(folder, file, files)
    return Verification(name, golden_differences(load(name, device=device), read_golden(folder, files)), TOLERANCE)
