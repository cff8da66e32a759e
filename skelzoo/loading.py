"""load(), create(), verify(): from a name to an encoder.

Not named load.py: importing a submodule ``skelzoo.load`` would replace the function ``skelzoo.load``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skelzoo.errors import CheckpointError, IntegrityError, UnknownArchError
from skelzoo.inference.encoder import Encoder
from skelzoo.inference.golden import TOLERANCE, golden_differences
from skelzoo.inference.runner import CompileMode, Dtype
from skelzoo.nets.archs import build, check_options, find_arch
from skelzoo.nets.net import Net
from skelzoo.skeleton.layouts import Layout, get_layout
from skelzoo.weights.checkpoint import build_net, parse_tensors, read_net
from skelzoo.weights.files import CARD, CONFIG, GOLDEN, MODEL
from skelzoo.weights.hub import Hub
from skelzoo.weights.manifest import manifest
from skelzoo.weights.sources import locate, read_config

RANDOM = " (random weights)"
"""Of the name of an encoder whose net was not trained."""


def load(
    name: str,
    *,
    device: str | torch.device = "auto",
    dtype: Dtype | torch.dtype = "auto",
    compile: bool | CompileMode = False,
    pretrained: bool = True,
    num_classes: int | None = None,
    endpoint: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | None = None,
) -> Encoder:
    """Load an encoder. A model of the Hub is fetched once; no request is made for a pinned one in the cache.

    Args:
        name: a model name (``skelzoo.list_models()``), ``local:FOLDER`` or ``hf:owner/repo@<commit>``. A branch, a tag or
            nothing in place of the commit is resolved to one, which the encoder's name then shows.
        device: ``auto`` is CUDA, then MPS, then CPU.
        dtype: ``auto`` is float32, the same on every device; ``tf32``, ``bfloat16`` and ``float16`` are faster on GPUs, see `skelzoo docs speed`.
        compile: use ``torch.compile``; True, or its mode.
        pretrained: False gives the same net with random weights and no labels.
        num_classes: replace the head by a new random one of this size; everything else stays pretrained. Until it is trained, its scores are warned of.
        endpoint: address of the Hub; None as HF_ENDPOINT.
        cache_dir: folder of the cache; None as HF_HUB_CACHE or HF_HOME.
        local_files_only: make no request, as with HF_HUB_OFFLINE=1.
        token: for private repositories; None as HF_TOKEN or `hf auth login`.

    Raises:
        UnknownModelError: no such name; near ones are listed.
        WeightsUnavailableError: no published weights, or the Hub does not give them; the message says what to do.
        IntegrityError: a file is not the one its sha256 names.
        CheckpointError: the weights do not fit their config.
        WriteError: the cache cannot be written.
        DeviceError: the device is not there; another dtype or mode of compiling.
    """
    if pretrained:
        return Encoder.from_pretrained(
            name, device=device, dtype=dtype, compile=compile, num_classes=num_classes,
            endpoint=endpoint, cache_dir=cache_dir, local_files_only=local_files_only, token=token,
        )  # fmt: skip
    known = manifest()
    stored = known.find(name).config if name in (*known.models, *known.aliases) else read_config(name, Hub(endpoint, cache_dir, local_files_only, token))
    config = replace(stored, labels=None, untrained=(), num_classes=stored.num_classes if num_classes is None else num_classes)
    return Encoder(build_net(config), config, f"{name}{RANDOM}", device, dtype, compile)


def create(arch: str, *, layout: str | Layout, num_classes: int = 0, in_channels: int | None = None, options: Mapping[str, Any] | None = None) -> Net:
    """A net with random weights, for training, on torch's default device and in its default type.

    Args:
        arch: e.g. ``"skeattnclr-stgcn"``; an unknown name gets the list of them.
        layout: defines the joints and the graph.
        num_classes: size of the head; 0 for none.
        in_channels: C of a prepared tensor, of all streams together; by default the layout's 2 or 3 dimensions for each
            stream that the arch reads (PSP: joint and motion; ``skeattnclr-stgcn-3s``: joint, bone and motion).
        options: constructor options of the arch, e.g. ``{"hidden_channels": 16, "hidden_dim": 64}``; others keep the arch's defaults.

    Returns:
        A net on prepared tensors (N, C, T, V, M), with ``forward_features``, ``forward_head``, ``forward`` and ``features``.

    Raises:
        UnknownArchError, LayoutError: unknown names, near ones listed; the name of a model.
        CheckpointError: options the arch does not take, or channels or classes that no net has.
    """
    if model := manifest().models.get(str(arch)):
        raise UnknownArchError(
            f"{arch} is a model, of the architecture {model.config.arch}. skelzoo.load({arch!r}) gives it, with pretrained=False its net with random weights."
        )
    joints, chosen = get_layout(layout), options or {}
    if not isinstance(chosen, Mapping):
        raise CheckpointError(f"{arch}: options are of type {type(chosen).__name__}. Give a dict, such as {{'dropout': 0.1}}.")
    check_options(arch, chosen)
    if in_channels is None:
        in_channels = joints.dimensions * find_arch(arch).streams(chosen)
    return build(arch, joints, in_channels, num_classes, chosen).to(torch.get_default_device(), torch.get_default_dtype())


NOT_CHECKED = "not checked, as the files it needs are not what they must be"
NOT_LOADED = "not checked, as the weights become no net"


@dataclass(frozen=True)
class Verification:
    """Result of ``verify``: three checks, each with what it found; "" is nothing wrong.

    Attributes:
        name: of the model, a Hub's with its commit.
        device: on which the golden was recomputed.
        files: how many were hashed.
        hash: files that are not those listed.
        load: why the weights do not become a net.
        golden: what is wrong with the recomputed golden.
        differences: per golden tensor the largest difference, see ``golden_differences``.
        tolerance: what they may be.
        card: what is wrong with the card, which makes no model damaged.
    """

    name: str
    device: str
    files: int
    hash: str
    load: str
    golden: str
    differences: Mapping[str, float] = field(default_factory=dict)
    tolerance: float = TOLERANCE
    card: str = ""

    @property
    def worst(self) -> float:
        """The largest difference, NaN if one is; 0 where none was computed."""
        return float(np.max([0.0, *self.differences.values()]))

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.hash or self.load or self.golden)


def verify(
    name: str,
    device: str | torch.device = "auto",
    *,
    endpoint: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | None = None,
) -> Verification:
    """Check every file's sha256, load strictly, and recompute the model's golden on this machine. Each file is read once.

    Args:
        name: as ``load``, and so are ``endpoint``, ``cache_dir``, ``local_files_only`` and ``token``.
        device: on which the golden is recomputed, as ``load``.

    Returns:
        What each check found; a model that is damaged is a result, not an error.

    Raises:
        UnknownModelError, WeightsUnavailableError: there is nothing to check.
        CheckpointError: the folder has no usable checksum list.
        DeviceError: the device is not there.
    """
    located = locate(name, Hub(endpoint, cache_dir, local_files_only, token))
    data, damaged, card = {}, [], ""
    for file in {MODEL, CONFIG, GOLDEN, *located.files}:
        try:
            data[file] = located.read(file)
        except IntegrityError as error:
            if file == CARD:
                card = f"{located.folder / CARD}: is not the card that was saved; the weights do not depend on it."
            else:
                damaged.append(str(error))
    result = Verification(located.source.name, str(device), len(data), "\n".join(damaged), NOT_CHECKED, NOT_CHECKED, card=card)
    if not {MODEL, CONFIG} <= data.keys():
        return result
    try:
        with torch.random.fork_rng([]):
            config, net = read_net(located, data[CONFIG], data[MODEL])
    except (CheckpointError, UnknownArchError) as error:
        return replace(result, load=str(error), golden=NOT_LOADED)
    encoder = Encoder(net, config, result.name, device)
    result = replace(result, load="", device=str(encoder.device))
    if GOLDEN not in data:
        return result
    try:
        differences = golden_differences(encoder, parse_tensors(data[GOLDEN], located.folder / GOLDEN))
    except CheckpointError as error:
        return replace(result, golden=str(error))
    result = replace(result, differences=differences)
    return replace(result, golden="" if result.worst <= TOLERANCE else f"differs by {result.worst:.1e}, more than {TOLERANCE:.0e}")
