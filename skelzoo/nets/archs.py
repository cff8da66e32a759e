"""One table: architecture name -> class, head keys, how it is built for a layout."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from skelzoo.errors import CheckpointError, UnknownArchError
from skelzoo.nets.skeattnclr import SkeAttnCLR
from skelzoo.skeleton.layouts import Layout


@dataclass(frozen=True)
class Arch:
    """An architecture.

    Attributes:
        net: class; its constructor takes parents, parts, num_classes, in_channels and the options.
        head: prefix of the head's tensors, the only ones that may be left out when a new head is asked for.
        summary: one line.
    """

    net: Callable[..., nn.Module]
    head: str
    summary: str

    @property
    def options(self) -> Mapping[str, Any]:
        """Options and their defaults."""
        parameters = inspect.signature(self.net).parameters
        return {n: p.default for n, p in parameters.items() if n not in ("parents", "parts", "num_classes", "in_channels")}


ARCHS: Mapping[str, Arch] = {
    "skeattnclr-stgcn": Arch(SkeAttnCLR, "head.", "SkeAttnCLR: ST-GCN backbone with the multi-head attention-mask neck"),
}


def build(arch: str, layout: Layout, in_channels: int, num_classes: int, options: Mapping[str, Any]) -> nn.Module:
    """A net with random weights.

    Raises:
        UnknownArchError: with near names.
        CheckpointError: an option the arch does not have, or a value it cannot take.
    """
    if arch not in ARCHS:
        near = difflib.get_close_matches(arch, ARCHS, 3, 0.4)
        raise UnknownArchError(f"no architecture {arch!r}. {'Did you mean ' + ' or '.join(near) + '? ' if near else ''}Known: {', '.join(ARCHS)}.")
    known = ARCHS[arch].options
    wrong = [n for n, v in options.items() if n not in known or not (type(v) is type(known[n]) or (type(known[n]) is float and type(v) is int))]
    if wrong:
        raise CheckpointError(
            f"{arch}: options {', '.join(wrong)} are unknown or of the wrong type. Its options: {', '.join(f'{n}={v!r}' for n, v in known.items())}."
        )
    try:
        return ARCHS[arch].net(layout.parents, layout.part_indices, num_classes=num_classes, in_channels=in_channels, **options)
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{arch}: a net cannot be built with options {dict(options)}, {in_channels} channels and {num_classes} classes ({error})."
        ) from error
