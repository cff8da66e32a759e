"""How the numbers are computed: plain ``torch.nn.Module`` classes on prepared tensors (N, C, T, V, M)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skelzoo.skeleton.lazy import submodules

if TYPE_CHECKING:
    from skelzoo.nets import archs, fused
else:
    __getattr__ = submodules(__name__)

__all__ = ["archs", "fused"]
