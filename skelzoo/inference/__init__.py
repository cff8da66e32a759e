"""How an encoder is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skelzoo.skeleton.lazy import submodules

if TYPE_CHECKING:
    from skelzoo.inference import bulk, encoder, export, files, ray, store
else:
    __getattr__ = submodules(__name__)

__all__ = ["bulk", "encoder", "export", "files", "ray", "store"]
