"""How bytes become a net: the manifest, the sources of weights, strict checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skelzoo.skeleton.lazy import submodules

if TYPE_CHECKING:
    from skelzoo.weights import checkpoint, hub, manifest
else:
    __getattr__ = submodules(__name__)

__all__ = ["checkpoint", "hub", "manifest"]
