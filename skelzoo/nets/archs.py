"""One table: architecture name -> class, head keys, how it is built for a layout."""

from __future__ import annotations

import difflib
import inspect
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from skelzoo.errors import CheckpointError, UnknownArchError
from skelzoo.nets.ensemble import Ensemble, StreamEnsemble
from skelzoo.nets.net import Net, layers_of
from skelzoo.nets.psp import PSP
from skelzoo.nets.skeattnclr import SkeAttnCLRBiGRU, SkeAttnCLRDSTA, SkeAttnCLRSTGCN
from skelzoo.nets.stgcn import STGCNClassifier
from skelzoo.nets.strl import STRL
from skelzoo.skeleton.contract import STREAMS
from skelzoo.skeleton.layouts import Layout


@dataclass(frozen=True)
class Arch:
    """An architecture.

    Attributes:
        net: class; its constructor takes layout, num_classes, in_channels and the options.
        head: prefix of the head's tensors, the only ones that may be left out when a new head is asked for.
        summary: one line.
        ensemble: how several such nets are put together, where they are.
    """

    net: Callable[..., Net]
    head: str
    summary: str
    ensemble: type[StreamEnsemble] | type[Ensemble] | None = None

    @property
    def options(self) -> Mapping[str, Any]:
        """Options and their defaults."""
        parameters = inspect.signature(self.net).parameters
        options = {n: p.default for n, p in parameters.items() if n not in ("layout", "num_classes", "in_channels")}
        return options | (dict(self.ensemble.OPTIONS) if self.ensemble else {})

    def streams(self, options: Mapping[str, Any]) -> int:
        """How many streams a net of these options reads, one after another on the channel axis."""
        own = int({**self.options, **options}.get("streams", 1))
        return own * (len(STREAMS) if self.ensemble is StreamEnsemble else 1)

    def build(self, layout: Layout, in_channels: int, num_classes: int, options: Mapping[str, Any]) -> Net:
        """A net with random weights; the options are taken as they are."""
        if self.ensemble is None:
            return self.net(layout, num_classes=num_classes, in_channels=in_channels, **options)
        own = {n: v for n, v in options.items() if n in self.ensemble.OPTIONS}
        rest = {n: v for n, v in options.items() if n not in own}
        return self.ensemble(lambda channels: self.net(layout, num_classes=0, in_channels=channels, **rest), num_classes, in_channels, **own)


ARCHS: dict[str, Arch] = {
    "skeattnclr-stgcn": Arch(SkeAttnCLRSTGCN, "head.", "SkeAttnCLR: ST-GCN backbone with the multi-head attention-mask neck"),
    "skeattnclr-bigru": Arch(SkeAttnCLRBiGRU, "head.", "SkeAttnCLR: BiGRU backbone, attention mask over time steps"),
    "skeattnclr-dsta": Arch(SkeAttnCLRDSTA, "head.", "SkeAttnCLR: DSTA-Net transformer backbone with the attention-mask neck"),
    "skeattnclr-stgcn-3s": Arch(SkeAttnCLRSTGCN, "heads.", "SkeAttnCLR: three ST-GCNs for the joint, bone and motion streams, scores fused", StreamEnsemble),
    "psp": Arch(PSP, "head.", "PSP Learning: one DSTA-Net for the joint and motion streams; body, part and joint attention for pretraining"),
    "psp-ensemble": Arch(PSP, "head.", "PSP Learning: several such nets side by side, each trained in its own way", Ensemble),
    "stgcn": Arch(STGCNClassifier, "head.", "ST-GCN alone: the encoder of SkeletonCLR, CrosSCLR and AimCLR"),
    "skeletonmae-strl": Arch(STRL, "head.", "SkeletonMAE: STRL, spatial modelling by pretrained GIN encoders and multi-scale temporal convolution"),
}
SHIPPED = frozenset(ARCHS)


def register_arch(name: str, arch: Arch) -> None:
    """Give a net of one's own a name, so that all that saves, loads, exports and fine-tunes nets does so with it too.

    A process that loads what was saved has to call this first: let the module of the net do so where it is imported. A class that is defined anew, as by a notebook's cell
    that runs again, takes the place of the earlier one.

    Args:
        name: of the architecture, as configs have it.
        arch: its net, a subclass of ``skelzoo.nets.net.Net``.

    Raises:
        CheckpointError: another net has the name, its constructor does not take layout, num_classes and in_channels, an option has no default of a type that JSON has, or ``head`` is
            no text; that the net has no such head is said when one with classes is first made.
    """
    check_arch(name, arch)
    if name in SHIPPED or (name in ARCHS and _home(ARCHS[name]) != _home(arch)):
        raise CheckpointError(f"{name}: is the name of another architecture, {'.'.join(_home(ARCHS[name]))}. Choose another name; nothing was registered.")
    ARCHS[name] = arch


def check_arch(name: str, arch: Arch) -> None:
    """Check that nets of an arch can be built from a config.

    Raises:
        CheckpointError: no ``Arch``, its constructor does not take layout, num_classes and in_channels, or an option has no default that JSON can hold and values can be compared to.
    """
    if not isinstance(name, str) or not isinstance(arch, Arch) or not callable(arch.net) or not isinstance(arch.head, str) or not arch.head:
        raise CheckpointError(f'{name}: an architecture is skelzoo.Arch(net, "head.", summary) of a class of nets, got {arch!r}.')
    missing = {"layout", "num_classes", "in_channels"} - inspect.signature(arch.net).parameters.keys()
    if missing:
        raise CheckpointError(
            f"{name}: its net takes no {', '.join(sorted(missing))}. Let the constructor be __init__(self, layout, num_classes=0, in_channels=3, ...)."
        )
    wrong = [option for option, default in arch.options.items() if not _can_be_compared(default)]
    if wrong:
        raise CheckpointError(
            f"{name}: options {', '.join(wrong)} have no default by which values are checked. Give each a number, a text, true or false, or a tuple of these that is not empty."
        )


def _can_be_compared(default: Any) -> bool:
    if isinstance(default, tuple):
        return len(default) > 0 and all(map(_can_be_compared, default))
    return type(default) in (bool, int, float, str)


def _home(arch: Arch) -> tuple[str, str]:
    """Module and name of the net, which stay where a class is defined anew."""
    return arch.net.__module__, getattr(arch.net, "__qualname__", repr(arch.net))


@torch.inference_mode(False)  # whose tensors have no version counters, by which changed weights are seen
def build(arch: str, layout: Layout, in_channels: int, num_classes: int, options: Mapping[str, Any]) -> Net:
    """A net with random weights, in float32 on the CPU whatever torch's default type and device are.

    Raises:
        UnknownArchError: with near names.
        CheckpointError: an option the arch does not have, a value it cannot take, channels or classes that are no whole numbers, or a net without the head that ``Arch.head`` names.
    """
    check_options(arch, options)
    for what, number, least in (("channels", in_channels, 1), ("classes", num_classes, 0)):
        if isinstance(number, bool) or not isinstance(number, numbers.Integral) or number < least:
            raise CheckpointError(f"{arch}: a net of {number!r} {what} cannot be built. Give a whole number of at least {least}.")
    try:
        with torch.device("cpu"):
            net = ARCHS[arch].build(layout, in_channels, num_classes, options).float()
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{arch}: a net cannot be built with options {dict(options)}, {in_channels} channels and {num_classes} classes ({error})."
        ) from error
    tensors, head = net.state_dict(), ARCHS[arch].head
    if num_classes and not any(name.startswith(head) for name in tensors):
        there = ", ".join(dict.fromkeys(name.split(".")[0] + "." * ("." in name) for name in tensors))
        raise CheckpointError(
            f"{arch}: its head should have tensors that begin with {head!r}, and the net has none. They begin with {there}: give skelzoo.Arch as head what those of the head begin with."
        )
    net.reads = (in_channels, len(layout))
    net.made = layers_of(net)
    return net


def check_options(arch: str, options: Mapping[str, Any]) -> None:
    """Check that an arch has such options, by name and type.

    Raises:
        UnknownArchError: with near names.
        CheckpointError: an option the arch does not have, or a value of another type; the message lists its options.
    """
    known = find_arch(arch).options
    wrong = [n for n, v in options.items() if n not in known or not _fits(v, known[n])]
    if wrong:
        raise CheckpointError(
            f"{arch}: options {', '.join(wrong)} are unknown or of the wrong type. Its options: {', '.join(f'{n}={v!r}' for n, v in known.items())}."
        )


def find_arch(arch: str) -> Arch:
    """A row of the table.

    Raises:
        UnknownArchError: with near names.
    """
    arch = str(arch)
    if arch not in ARCHS:
        near = difflib.get_close_matches(arch, ARCHS, 3, 0.4)
        raise UnknownArchError(
            f"no architecture {arch!r}. {'Did you mean ' + ' or '.join(near) + '? ' if near else ''}Known: {', '.join(ARCHS)}; skelzoo.register_arch adds a net of your own."
        )
    return ARCHS[arch]


def _fits(value: Any, default: Any) -> bool:
    """Whether an option is of its default's type; a list's items are of the type of the default's first one."""
    if isinstance(default, tuple):
        return isinstance(value, (list, tuple)) and all(_fits(item, default[0]) for item in value)
    return type(value) is type(default) or (type(default) is float and type(value) is int)
